//! The kind against a stand-in of an authorization server.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod bed;
mod client;
mod mint;
mod settings;
mod undo;
