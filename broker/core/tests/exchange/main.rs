//! The exchange over fakes of every port.
#![expect(clippy::expect_used, reason = "helpers of tests, outside of #[test] functions")]

mod actors;
mod bound;
mod demands;
mod fair;
mod fakes;
mod id_jag;
mod identity;
mod keys;
mod laws;
mod limited;
mod once;
mod permits;
mod reading;
mod reuse;
mod rotating;
mod tokens;
mod undoing;
mod vouching;
mod whois;
mod withdrawn;
mod world;
