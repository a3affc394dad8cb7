//! Where targets' own credentials are kept: mounted files, Vault (KV versions 1 and 2, engines with leases) and AWS
//! Secrets Manager. Cache, single flight, the last good value and the watch live here once, for every kind of source.
//!
//! A reference is `NAME:PATH` or `NAME:PATH#FIELD`, where `NAME` is a `[sources.NAME]` of `procura.toml`:
//! `vault:kv/prod/github-app`, `file:postgres-admin.json#password`. Without a field the whole secret is
//! the value: the text of a file or of an AWS secret, the JSON object of a Vault secret.
//!
//! A value that was looked at within [`FRESH`] is served at once, and [`Sources::run`] looks again every
//! [`REFRESH`] at what was used within [`IN_USE`], so that a caller seldom waits for a source. When a source
//! is away its last good value serves for [`LAST_GOOD`], then there is an error. Only the references into
//! that source notice.

mod aws;
mod cache;
mod config;
mod file;
mod reference;
mod sources;
mod vault;

pub use aws::AwsConfig;
pub use cache::{FAILED, FRESH, IN_USE, LAST_GOOD, REFRESH};
pub use config::{AppRoleLogIn, FileConfig, KvVersion, RoleLogIn, SourceConfig, SourceConfigError, VaultConfig};
pub use reference::{Glob, MalformedReference, Reference};
pub use sources::Sources;
