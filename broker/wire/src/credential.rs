//! Credential documents: what `access_token` holds, as JSON text, for structured kinds.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::Secret;

/// Temporary credentials of AWS (`urn:procura:token-type:aws`): what an SDK's `credential_process` prints, version 1.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AwsCredential {
    /// Version of the document: 1.
    pub version: u32,
    /// The access key's id.
    pub access_key_id: String,
    /// The access key.
    pub secret_access_key: Secret,
    /// Goes with every request.
    pub session_token: Secret,
    /// When they end, RFC 3339 in UTC, whole seconds.
    pub expiration: String,
}

/// A token of Vault or OpenBao, or what one of its engines made (`urn:procura:token-type:vault`), document version 1.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum VaultCredential {
    /// A token.
    Token {
        /// Version of the document: 1.
        version: u32,
        /// The server, `https://host[:port]`.
        address: String,
        /// The namespace that it is of; the root's if absent.
        namespace: Option<String>,
        /// The token.
        token: Secret,
        /// Its accessor, which tells of it and does not use it.
        accessor: String,
        /// When it ends, RFC 3339 in UTC.
        expiration: String,
    },
    /// What an engine made: a log-in, keys, a certificate.
    Secret {
        /// Version of the document: 1.
        version: u32,
        /// Where it was read or written.
        path: String,
        /// Its lease; absent where nothing takes it back.
        lease_id: Option<String>,
        /// The engine's answer, a JSON object as text.
        #[serde(deserialize_with = "object")]
        data: Secret,
        /// When it ends, RFC 3339 in UTC.
        expiration: String,
    },
}

impl VaultCredential {
    /// Version of the document.
    pub fn version(&self) -> u32 {
        match self {
            Self::Token { version, .. } | Self::Secret { version, .. } => *version,
        }
    }

    /// One string member of what an engine made: `username`, `password`, `certificate`.
    pub fn field(&self, name: &str) -> Option<Secret> {
        let Self::Secret { data, .. } = self else { return None };
        #[expect(clippy::disallowed_methods, reason = "a member of the secret is a secret again")]
        let mut members: BTreeMap<String, Value> = serde_json::from_str(data.expose()).ok()?;
        match members.remove(name)? {
            Value::String(text) => Some(Secret::new(text)),
            _ => None,
        }
    }
}

fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let object = Map::<String, Value>::deserialize(deserializer)?;
    Ok(Secret::new(Value::Object(object).to_string()))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_vault_is_a_token_or_what_an_engine_made() {
        let token = r#"{"version":1,"kind":"token","address":"https://v","namespace":null,"token":"hvs.t","accessor":"a",
            "expiration":"2026-11-20T09:00:00Z"}"#;
        let token: VaultCredential = serde_json::from_str(token).expect("token");
        assert!(!format!("{token:?}").contains("hvs.t") && token.field("token").is_none());
        let made = r#"{"version":1,"kind":"secret","path":"database/creds/r","lease_id":"database/creds/r/x",
            "data":{"username":"u","password":"hunter2","ttl":3},"expiration":"2026-11-20T09:00:00Z"}"#;
        let made: VaultCredential = serde_json::from_str(made).expect("secret");
        assert_eq!(made.field("password"), Some(Secret::new("hunter2".into())));
        assert_eq!(
            (made.version(), made.field("ttl"), made.field("other")),
            (1, None, None)
        );
        assert!(!format!("{made:?}").contains("hunter2"));
    }
}
