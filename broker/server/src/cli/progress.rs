//! How far a long command is, on standard error and only where a person looks at it.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over bytes.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self::styled(
            ProgressBar::new(bytes),
            "{bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        )
    }

    /// Of nobody knows how many.
    pub(super) fn unknown() -> Self {
        Self::styled(ProgressBar::no_length(), "{spinner} {bytes}, {bytes_per_sec}")
    }

    fn styled(bar: ProgressBar, template: &str) -> Self {
        Self(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    pub(super) fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
