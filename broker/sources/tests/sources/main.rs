//! Sources as the broker uses them.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod aws;
mod dynamic;
mod file;
mod kit;
mod login;
mod suite;
mod vault;
mod write;
