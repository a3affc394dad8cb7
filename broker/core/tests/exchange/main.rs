//! The exchange over fakes of every port.
#![expect(clippy::expect_used, reason = "helpers of tests, outside of #[test] functions")]

mod actors;
mod fair;
mod fakes;
mod identity;
mod laws;
mod limited;
mod once;
mod permits;
mod reuse;
mod rotating;
mod undoing;
mod whois;
mod withdrawn;
mod world;
