//! Who presents what: client authentication, issuers' keys, and verification of JWTs.

mod act;
mod address;
mod claims;
mod client;
mod discovery;
mod http;
mod introspection;
mod jwk;
mod jws;
mod keys;
mod roca;
mod verified;
mod verify;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use procura_core::{
    Timestamp,
    catalogue::Catalogue,
    identity::{AuthenticatedServer, ClientCredentials, PeerCertificates, PresentedToken, VerifiedToken},
    ports::{BoxFuture, Clock, Role, TokenVerifier},
};
use procura_wire::{Digest, Name, Reason};
use serde_json::Value;

pub use http::HttpOptions;
pub use introspection::Opener;

/// What an issuer's file says instead of a URL for the issuer of development mode.
const BUILTIN: &str = "builtin:dev";

/// How identities are verified.
pub struct IdentityOptions {
    /// The broker's own issuer identifier: its tokens are nobody's subject or actor tokens.
    pub issuer: String,
    /// What outgoing requests may reach.
    pub http: HttpOptions,
    /// The issuer of development mode, for catalogue entries with `issuer = "builtin:dev"`.
    pub builtin: Option<Builtin>,
    /// SHA-256 of the secrets of servers whose `auth` is `builtin:dev`. Those without one are refused.
    pub dev_secrets: BTreeMap<Name, Digest>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The issuer of development mode, whose keys are known without a fetch.
pub struct Builtin {
    /// `iss` of its tokens.
    pub issuer_identifier: String,
    /// Its public keys (RFC 7517 section 5).
    pub jwks: Value,
}

/// The verifier could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The HTTP client could not be made.
    #[error("the HTTP client for issuers cannot be made: {0}")]
    Http(#[from] reqwest::Error),
    /// TLS could not be set up.
    #[error("TLS for issuers cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// An entry of `extra_ca` holds no certificate, or one that cannot be read.
    #[error("an entry of extra_ca is not certificates in PEM")]
    ExtraCa,
    /// The key set of the builtin issuer is not acceptable.
    #[error("the key set of the builtin issuer is not acceptable: {}", .0.code())]
    Builtin(Reason),
}

/// [`TokenVerifier`] for JWTs (RFC 7519, RFC 8725, RFC 9068) of issuers that publish their keys, for tokens that issuers
/// are asked about (RFC 7662), and for client secrets.
pub struct Identity {
    issuer: String,
    builtin: Option<String>,
    clients: client::Clients,
    keys: keys::Keys,
    verified: verified::Verified,
    introspections: introspection::Introspections,
}

impl Identity {
    /// Makes the one HTTP client; fetches nothing yet.
    pub fn new(options: IdentityOptions) -> Result<Self, IdentityError> {
        let http = http::Http::new(options.http)?;
        let (builtin, set) = match options.builtin {
            Some(Builtin {
                issuer_identifier,
                jwks,
            }) => {
                let set = jwk::KeySet::read(&jwks).map_err(IdentityError::Builtin)?;
                (Some(issuer_identifier), Some(Arc::new(set)))
            }
            None => (None, None),
        };
        Ok(Self {
            issuer: options.issuer,
            builtin,
            clients: client::Clients::new(options.dev_secrets, Arc::clone(&options.clock)),
            introspections: introspection::Introspections::new(http.clone(), Arc::clone(&options.clock)),
            keys: keys::Keys::new(http, set, options.clock),
            verified: verified::Verified::default(),
        })
    }
}

impl Identity {
    /// Lets issuers be asked about tokens, with client secrets that `opener` opens. Without it none is.
    #[must_use]
    pub fn with_secrets(mut self, opener: Opener) -> Self {
        self.introspections.open_by(opener);
        self
    }

    /// Issuers (by identifier) whose keys could not be fetched last time, and how long the last good ones still
    /// serve.
    pub fn running_out(&self) -> Vec<(String, Duration)> {
        self.keys.running_out()
    }
}

impl TokenVerifier for Identity {
    fn authenticate<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        credentials: &'a ClientCredentials,
        _certificates: Option<&'a PeerCertificates>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<AuthenticatedServer, Reason>> {
        Box::pin(async move { self.clients.authenticate(catalogue, credentials, now) })
    }

    fn verify<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        token: &'a PresentedToken,
        role: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        Box::pin(self.token(catalogue, token, role))
    }

    fn introspect<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        issuer: &'a Name,
        token: &'a PresentedToken,
        _role: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        Box::pin(self.opaque(catalogue, issuer, token))
    }
}
