//! Client of the Procura broker for MCP servers: short-lived, narrowed credentials for the session that a
//! tool call belongs to.
//!
//! ```no_run
//! use procura_client::{Client, Secret, UseOutcome};
//!
//! # async fn example(client_secret: Secret, users_token: Secret) -> Result<(), procura_client::Error> {
//! // Once, at start.
//! let client = Client::builder("https://broker.example.com", "tickets", client_secret).build()?;
//!
//! // For each tool call.
//! let session = client.session(users_token);
//! let credential = session.bearer("issues-api", "read").tool("list_issues").tool_call_id("7").get().await?;
//! let call = credential.begin("7").await?;
//! let token: &Secret = call.value(); // calls the API with it; forget the credential if the API answers 401
//! call.finish(UseOutcome::Ok, Some(1234));
//!
//! // Once, at the end.
//! client.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Credentials are cached by everything that they depend on and refreshed before they end; only one caller
//! asks at a time. A server with a key of its own, or with a token of the platform that runs it, begins with
//! [`Client::builder_with_key`] or [`Client::builder_with_assertion_file`]. The value is reached through [`Credential::begin`] only, because each use of a cached
//! credential is reported to the broker, which records it.

mod cache;
mod client;
mod credential;
mod error;
mod http;
mod identification;
mod key;
mod proof;
mod session;
mod slot;
mod uses;

pub use client::{Builder, Client};
pub use credential::{Credential, Use};
pub use error::{Challenge, Error, Refusal};
pub use identification::PrivateKey;
pub use procura_wire::{AwsCredential, ErrorBody, Needs, PostgresCredential, Secret, UseOutcome, VaultCredential};
pub use proof::ProofKey;
pub use session::{Request, Session};
