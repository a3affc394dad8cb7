//! Behavioural suites of the ports and fakes that pass them. Tests of every crate use these.

pub mod entropy;
pub mod ledger;
pub mod ledger_suite;
pub mod manual_clock;
pub mod postgres;
#[cfg(feature = "vault")]
pub mod vault;
#[cfg(feature = "vault")]
pub mod vault_suite;
