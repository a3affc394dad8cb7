//! The log: laws of its tree, and an integrator that is ended, hindered and lied to.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod deaths;
mod laws;
mod peers;
mod restores;
mod world;
