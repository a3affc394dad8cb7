//! Credential documents: what `access_token` holds, as JSON text, for structured kinds.

use serde::Deserialize;

use crate::Secret;

/// A login for PostgreSQL (`urn:procura:token-type:postgres`), document version 1.
#[derive(Debug, Deserialize)]
pub struct PostgresCredential {
    /// Version of the document: 1.
    pub version: u32,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database.
    pub dbname: String,
    /// The role made for this issuance.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// libpq's `sslmode`.
    pub sslmode: String,
    /// The same as one `postgresql://` URL, password included.
    pub url: Secret,
    /// When it ends, RFC 3339 in UTC.
    pub expiration: String,
}
