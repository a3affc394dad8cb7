//! The kit of the end-to-end tests: a running broker, real identity providers, and a small harness
//! that runs named cases, stops what it started and reports as `cargo test` does.

pub mod authority;
pub mod broker;
pub mod chromium;
pub mod commands;
pub mod database;
pub mod external;
pub mod harness;
pub mod http;
pub mod id_jag_client;
pub mod issuer;
pub mod keycloak;
pub mod mcp;
pub mod oauth_client;
pub mod oidc_provider;
mod process;
mod replica;
pub mod serve;
pub mod testbed;
pub mod wire;

pub use process::Used;
pub use testbed::Testbed;

/// Why a case failed, or a part of the kit did not come up.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
