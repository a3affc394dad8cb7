//! The broker's core: identity values, the plan, issuance states, the ports, the exchange, undo and
//! recovery. It decides and records; it knows no runtime, no database, no HTTP, no file and no Cedar.

pub mod archive;
pub mod catalogue;
pub mod certificate;
pub mod exchange;
pub mod identity;
pub mod ids;
pub mod introspect;
pub mod issued_value;
pub mod judgement;
pub mod kind;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod operator;
pub mod params;
pub mod ports;
pub mod possession;
pub mod query;
pub mod record;
pub mod report;
pub mod request;
pub mod revoke;
pub mod rotate;
pub mod source;
pub mod spiffe;
pub mod staged;
pub mod timeline;
pub mod trust;
pub mod undo;
pub mod usage;
pub mod uses;
pub mod web;
pub mod whois;
pub mod withdraw;

pub use jiff::Timestamp;
