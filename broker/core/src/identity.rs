//! Who takes part in an exchange: verified tokens, subject, actor, server.

use std::{collections::BTreeSet, str::FromStr, sync::Arc};

use procura_wire::{Name, QualifiedId, Reason, Secret, TokenType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Timestamp, ledger::ReplayId, trust::Vouched};

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
    /// Assertion signed by its own key.
    PrivateKeyJwt,
    /// Token of the platform that runs it.
    Workload,
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
    /// First 16 hex digits of the SHA-256 of the secret's hash, of the certificate, of the key (RFC 7638), or of a
    /// workload's `iss`, a space and its `sub`: tells which of two was used.
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

/// What a token is bound to: the one member of `cnf` (RFC 7800 section 3.1). Both are base64url of a SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// `jkt`: the RFC 7638 thumbprint of a key that signs DPoP proofs (RFC 9449 section 6.1).
    #[serde(rename = "jkt")]
    Jkt(String),
    /// `x5t#S256`: the thumbprint of a certificate (RFC 8705 section 3.1).
    #[serde(rename = "x5t#S256")]
    X5tS256(String),
}

/// A DPoP proof as a request brings it, and the request that it must be for (RFC 9449 section 4).
#[derive(Debug)]
pub struct PresentedProof {
    /// The one DPoP header; `None` where there are several, or it is no text.
    pub value: Option<Secret>,
    /// Method of the request.
    pub method: String,
    /// URI of the request under the broker's issuer, without query.
    pub uri: String,
}

/// A verified DPoP proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// RFC 7638 thumbprint of the key that signed it.
    pub jkt: String,
    /// Its id, which nobody has looked for yet.
    pub once: Once,
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
    /// `cnf`: the key that whoever presents it must prove, each time.
    pub confirmation: Option<Confirmation>,
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
    /// What else is known of it.
    pub vouched: Vouched,
}

/// A verified ID-JAG: an issuer's word for who its client acts for, and what the issuer grants it here
/// (draft-ietf-oauth-identity-assertion-authz-grant). Times, audience and client are claims here too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdJag {
    /// Who. Its `client` is `client_id` and nothing else; `jti` is there.
    pub token: Arc<VerifiedToken>,
    /// `resource`: what it is for; empty where it does not say.
    pub resources: Vec<String>,
    /// `authorization_details` (RFC 9396).
    pub details: Option<Value>,
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

/// Who said that a link stands in a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkAssertion {
    /// By which token.
    pub by: ActorAssertion,
    /// Issuer of that token; the broker where it authenticated the server itself.
    pub iss: String,
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

impl Actor {
    /// Who asserted each link of the chain: the actor's own token or authentication the first, the subject token all
    /// that are nested in it.
    pub fn assertions(&self, subject: &VerifiedToken, broker: &str) -> Vec<LinkAssertion> {
        let said = |by, iss: &str| LinkAssertion {
            by,
            iss: iss.to_owned(),
        };
        let first = match (self.asserted_by, self.chain.first()) {
            // The link of an actor token names that token's issuer.
            (by @ ActorAssertion::ActorToken, Some(Link { iss: Some(iss), .. })) => said(by, iss),
            (by @ ActorAssertion::Server, _) => said(by, broker),
            (by, _) => said(by, &subject.iss),
        };
        let nested = self
            .chain
            .iter()
            .skip(1)
            .map(|_| said(ActorAssertion::Act, &subject.iss));
        std::iter::once(first).chain(nested).collect()
    }
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
