//! Behavioural suites of the ports and fakes that pass them. Tests of every crate use these.

pub mod asked;
pub mod entropy;
#[cfg(feature = "upstreams")]
pub mod github;
pub mod ledger;
pub mod ledger_suite;
pub mod log;
pub mod log_suite;
pub mod manual_clock;
#[cfg(feature = "moto")]
pub mod moto;
pub mod postgres;
#[cfg(feature = "moto")]
pub mod recorder;
#[cfg(feature = "upstreams")]
mod served;
#[cfg(feature = "upstreams")]
pub mod upstream;
pub mod usage_suite;
#[cfg(feature = "vault")]
pub mod vault;
#[cfg(feature = "vault")]
pub mod vault_suite;
#[cfg(any(feature = "upstreams", feature = "vault"))]
mod wall_clock;
pub mod web_suite;
