//! Token type identifiers (RFC 8693 section 3) and our own for structured credentials.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The `grant_type` of an exchange (RFC 8693 section 2.1).
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The `grant_type` of an assertion (RFC 7523 section 2.1).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What a token is said to be. Subject and actor tokens may be `AccessToken` or `Jwt`,
/// subject tokens also `IdToken`; the others are what the broker issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenType {
    /// `urn:ietf:params:oauth:token-type:access_token`
    AccessToken,
    /// `urn:ietf:params:oauth:token-type:jwt`
    Jwt,
    /// `urn:ietf:params:oauth:token-type:id_token`
    IdToken,
    /// `urn:procura:token-type:postgres`: a credential document for PostgreSQL.
    Postgres,
    /// `urn:procura:token-type:aws`: temporary credentials of AWS, as `credential_process` prints them.
    Aws,
    /// `urn:procura:token-type:vault`: a token of Vault, or a secret that one of its engines made.
    Vault,
}

/// The text names no token type that the broker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown token type")]
pub struct UnknownTokenType;

impl TokenType {
    /// Every type that the broker knows.
    pub const ALL: [Self; 6] = [
        Self::AccessToken,
        Self::Jwt,
        Self::IdToken,
        Self::Postgres,
        Self::Aws,
        Self::Vault,
    ];

    /// The URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Postgres => "urn:procura:token-type:postgres",
            Self::Aws => "urn:procura:token-type:aws",
            Self::Vault => "urn:procura:token-type:vault",
        }
    }

    /// Whether a subject or actor token may be declared as this.
    pub fn is_presentable(self) -> bool {
        matches!(self, Self::AccessToken | Self::Jwt | Self::IdToken)
    }

    /// `token_type` of an answer that issues this: `Bearer`, or `N_A` where it is no OAuth access
    /// token (RFC 8693 section 2.2.1).
    pub fn scheme(self) -> &'static str {
        match self {
            Self::AccessToken | Self::Jwt => "Bearer",
            Self::IdToken | Self::Postgres | Self::Aws | Self::Vault => "N_A",
        }
    }
}

impl FromStr for TokenType {
    type Err = UnknownTokenType;

    fn from_str(text: &str) -> Result<Self, UnknownTokenType> {
        Self::ALL
            .into_iter()
            .find(|t| t.as_str() == text)
            .ok_or(UnknownTokenType)
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TokenType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TokenType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
