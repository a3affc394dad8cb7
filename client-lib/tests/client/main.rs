//! The client against a broker that counts.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod exchange;
mod identification;
mod kit;
mod proof;
mod uses;
