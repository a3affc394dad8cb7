//! What readiness is made of.

use std::sync::{Mutex, PoisonError};

/// State of the parts that can be degraded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// A shutdown has begun.
    pub(crate) draining: bool,
    /// A key is active.
    pub(crate) signs: bool,
    /// Mistakes of the bundle that was last read; the one before stays in force.
    pub(crate) bundle_mistakes: usize,
    /// Whether the key file could not be read last time: 0 or 1.
    pub(crate) key_mistakes: usize,
}

/// Shared by whoever reports and whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Report>);

impl Health {
    pub(crate) fn report(&self) -> Report {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
