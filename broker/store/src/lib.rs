//! The ledger's store: SQLite for one process, PostgreSQL for several replicas.
//!
//! One writer task per store puts everything that waits into one transaction (group commit). What the
//! engines have in common stands here; `sqlite` and `postgres` hold their SQL and how they are opened.

mod answer;
mod appends;
mod batch;
mod cache;
mod counts;
mod db;
mod leases;
mod ledger;
mod log;
mod open;
pub mod postgres;
mod questions;
mod reads;
mod rows;
mod sessions;
mod sql;
pub mod sqlite;
mod usage;
mod web;
mod writer;

pub use ledger::Store;
pub use open::{OnFatal, OpenError};
pub use postgres::PostgresLedger;
pub use sqlite::SqliteLedger;
