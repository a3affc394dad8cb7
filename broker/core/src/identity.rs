//! Who takes part in an exchange: verified tokens, subject, actor, server.

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use procura_wire::{Name, QualifiedId, Reason, Secret, TokenType};
use serde::{Deserialize, Serialize};

use crate::{Timestamp, ledger::ReplayId};

/// A subject or actor token as it was presented: nothing about it is known yet.
#[derive(Debug)]
pub struct PresentedToken {
    /// The token.
    pub value: Secret,
    /// What the caller says that it is.
    pub declared: TokenType,
}

/// What a server presented to prove who it is (RFC 6749 section 2.3, RFC 7521 section 4.2, RFC 8705 section 2).
#[derive(Debug)]
pub enum ClientCredentials {
    /// HTTP Basic, both parts form-decoded.
    Basic {
        /// Client id.
        id: String,
        /// Client secret.
        secret: Secret,
    },
    /// `client_id` and `client_secret` in the body.
    Body {
        /// Client id.
        id: String,
        /// Client secret.
        secret: Secret,
    },
    /// `client_assertion`: a JWT that says who the server is.
    Assertion {
        /// `client_id`, where it stands beside the assertion.
        id: Option<String>,
        /// `client_assertion_type`
        ty: AssertionType,
        /// The JWT.
        assertion: Secret,
    },
    /// `client_id` alone: the certificate of the connection must prove the rest.
    Id(String),
    /// Nothing.
    None,
}

/// `client_assertion_type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssertionType {
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer` (RFC 7523 section 2.2).
    JwtBearer,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-spiffe` (draft-ietf-oauth-spiffe-client-auth).
    JwtSpiffe,
}

impl FromStr for AssertionType {
    type Err = Reason;

    /// Error: [`Reason::ClientUnauthenticated`] for every other type.
    fn from_str(text: &str) -> Result<Self, Reason> {
        match text {
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" => Ok(Self::JwtBearer),
            "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe" => Ok(Self::JwtSpiffe),
            _ => Err(Reason::ClientUnauthenticated),
        }
    }
}

/// The certificates that the other end of a connection presented, in DER, its own first. The handshake has proved that
/// it holds the key; that anybody vouches for them is for whoever uses them to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificates(pub Vec<Vec<u8>>);

/// How the server proved who it is, for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMethod {
    /// Secret in the Authorization header.
    ClientSecretBasic,
    /// Secret in the body.
    ClientSecretPost,
    /// Certificate of a CA (RFC 8705 section 2.1).
    TlsClientAuth,
    /// Certificate whose key is registered (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth,
    /// X.509-SVID.
    SpiffeX509,
    /// JWT-SVID.
    SpiffeJwt,
}

/// An authenticated server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedServer {
    /// Its name in the catalogue.
    pub name: Name,
    /// How it proved that.
    pub method: ClientAuthMethod,
    /// First 16 hex digits of the SHA-256 of the secret's hash, of the certificate, or of the key: tells which of two
    /// was used.
    pub key: String,
    /// The assertion's id, where it may be used once.
    pub once: Option<Once>,
}

/// The id of a proof that may be used once, not used up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The id.
    pub id: ReplayId,
    /// What a second use is refused as.
    pub replayed: Reason,
}

/// A token whose signature and form were verified under its issuer's rules. Times, audience and
/// client are claims here: whoever uses it looks at them each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Alias of its issuer.
    pub issuer: Name,
    /// The issuer's identifier, `iss`.
    pub iss: String,
    /// `sub`.
    pub sub: String,
    /// `aud`, one or several.
    pub audience: Vec<String>,
    /// `exp`.
    pub expires: Timestamp,
    /// `nbf`.
    pub not_before: Option<Timestamp>,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// `jti`.
    pub jti: Option<String>,
    /// `sid`.
    pub sid: Option<String>,
    /// `client_id`, else `azp`: whom it was issued to.
    pub client: Option<String>,
    /// `scope`, split; `None` where the token does not say.
    pub scopes: Option<BTreeSet<String>>,
    /// Groups after the issuer's mapping, qualified by its alias.
    pub groups: BTreeSet<QualifiedId>,
    /// How and when the user logged in.
    pub auth: LogIn,
    /// `act`, outermost first; at most 8.
    pub act: Vec<Link>,
    /// `may_act`.
    pub may_act: Option<Link>,
}

/// How and when a user logged in (OpenID Connect Core section 2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIn {
    /// `acr`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// `amr`
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub amr: BTreeSet<String>,
    /// `auth_time`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// One link of an `act` chain (RFC 8693 section 4.1); other members are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `sub` as the token says.
    pub sub: String,
    /// `iss`, where the token says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// `client_id`, where the token says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// A user, or an agent with an identity of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "lowercase")]
pub enum Principal {
    /// `User::"corp/alice"`
    User(QualifiedId),
    /// `Agent::"corp/triage-bot"`
    Agent(QualifiedId),
}

impl Principal {
    /// The qualified id.
    pub fn id(&self) -> &QualifiedId {
        match self {
            Self::User(id) | Self::Agent(id) => id,
        }
    }

    /// `user` or `agent`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Agent(_) => "agent",
        }
    }
}

/// Whom the work is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The subject's id in rules and records.
    pub principal: Principal,
    /// The token that says so.
    pub token: Arc<VerifiedToken>,
}

/// Who asserted the actor, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorAssertion {
    /// Its own token.
    ActorToken,
    /// The subject token's `act`.
    Act,
    /// The subject token's `azp`, as the issuer's file allows.
    Azp,
    /// Nobody: the authenticated server acts itself.
    Server,
}

/// Who acts for the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The agent; `None` where the server itself acts.
    pub agent: Option<QualifiedId>,
    /// Who said so.
    pub asserted_by: ActorAssertion,
    /// `act` of what is issued: the actor, then the earlier ones.
    pub chain: Vec<Link>,
    /// End of the actor token, where there is one.
    pub expires: Option<Timestamp>,
}

/// Everybody who takes part, each verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The server that asks.
    pub server: AuthenticatedServer,
    /// Whom the work is for.
    pub subject: Subject,
    /// Who acts.
    pub actor: Actor,
}
