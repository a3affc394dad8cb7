//! The kind against a stand-in of GitHub's endpoints.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod bed;
mod mint;
mod settings;
mod undo;
