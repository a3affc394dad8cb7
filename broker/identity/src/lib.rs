//! Who presents what: client authentication, issuers' keys, and verification of JWTs.

mod act;
mod address;
mod anchors;
mod assertion;
mod cached;
mod certified;
mod claims;
mod client;
mod discovery;
mod dpop;
mod http;
mod id_jag;
mod introspection;
mod jwk;
mod jws;
mod keys;
mod leaf;
mod log_in;
mod nonce;
mod post;
mod roca;
mod spiffe;
mod svid;
mod verified;
mod verify;
mod workload;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use procura_core::{
    Timestamp,
    catalogue::Catalogue,
    identity::{
        AssertionType, AuthenticatedServer, ClientCredentials, IdJag, PeerCertificates, PresentedProof, PresentedToken,
        Proof, VerifiedToken,
    },
    ports::{BoxFuture, Clock, Role, Signer, TokenVerifier},
};
use procura_wire::{Digest, Name, Reason, Secret};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;

pub use cached::{Cached, Kept};
pub use http::HttpOptions;
pub use introspection::Opener;
pub use log_in::{Fetched, Unfetched};
pub use post::PostError;
pub use spiffe::BundleSource;

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
    /// The broker's keys, which nonces are recognised by.
    pub signer: Arc<dyn Signer>,
    /// Who vouches for certificates and workloads of servers.
    pub vouchers: Vouchers,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Who vouches for certificates and workloads of servers. The default trusts nobody.
#[derive(Debug, Default)]
pub struct Vouchers {
    /// Roots for `tls_client_auth`, PEM.
    pub client_ca: Option<String>,
    /// Bundles by the name of their trust domain.
    pub trust_domains: BTreeMap<String, BundleSource>,
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
    /// `client_ca` holds no certificate, or one that cannot be read.
    #[error("client_ca is not certificates in PEM")]
    ClientCa,
    /// The key set of the builtin issuer is not acceptable.
    #[error("the key set of the builtin issuer is not acceptable: {}", .0.code())]
    Builtin(Reason),
}

/// [`TokenVerifier`] for JWTs (RFC 7519, RFC 8725, RFC 9068) of issuers that publish their keys, for tokens that issuers
/// are asked about (RFC 7662), for client secrets and for client assertions (RFC 7523).
pub struct Identity {
    issuer: String,
    builtin: Option<String>,
    http: Arc<http::Http>,
    clients: client::Clients,
    inline: assertion::Inline,
    keys: keys::Keys,
    verified: verified::Verified,
    signer: Arc<dyn Signer>,
    introspections: introspection::Introspections,
    client_ca: anchors::Anchors,
    spiffe: spiffe::TrustDomains,
}

impl Identity {
    /// Makes the one HTTP client; fetches nothing yet.
    pub fn new(options: IdentityOptions) -> Result<Self, IdentityError> {
        let http = Arc::new(http::Http::new(options.http)?);
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
        let clock = Arc::clone(&options.clock);
        let spiffe = spiffe::TrustDomains::new(Arc::clone(&http), clock, options.vouchers.trust_domains);
        Ok(Self {
            client_ca: client_ca(options.vouchers.client_ca.as_deref())?,
            spiffe,
            issuer: options.issuer,
            builtin,
            clients: client::Clients::new(options.dev_secrets, Arc::clone(&options.clock)),
            inline: assertion::Inline::default(),
            introspections: introspection::Introspections::new(Arc::clone(&http), Arc::clone(&options.clock)),
            keys: keys::Keys::new(Arc::clone(&http), set, options.clock),
            http,
            verified: verified::Verified::default(),
            signer: options.signer,
        })
    }
}

/// Roots in PEM; `None` trusts nobody.
fn client_ca(pem: Option<&str>) -> Result<anchors::Anchors, IdentityError> {
    let roots = pem.map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>());
    let roots = roots.transpose().map_err(|_| IdentityError::ClientCa)?;
    if roots.as_ref().is_some_and(Vec::is_empty) {
        return Err(IdentityError::ClientCa);
    }
    anchors::Anchors::new(roots.unwrap_or_default()).map_err(|_| IdentityError::ClientCa)
}

impl Identity {
    /// Lets issuers be asked about tokens, with client secrets that `opener` opens. Without it none is.
    #[must_use]
    pub fn with_secrets(mut self, opener: Opener) -> Self {
        self.introspections.open_by(opener);
        self
    }

    /// Issuers (by identifier), servers' `jwks_uri`s and trust domains whose keys could not be fetched last time, and how
    /// long the last good ones still serve.
    pub fn running_out(&self) -> Vec<(String, Duration)> {
        let mut all = self.keys.running_out();
        all.extend(self.spiffe.running_out());
        all
    }
}

impl TokenVerifier for Identity {
    fn authenticate<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        credentials: &'a ClientCredentials,
        certificates: Option<&'a PeerCertificates>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<AuthenticatedServer, Reason>> {
        Box::pin(async move {
            match credentials {
                ClientCredentials::Assertion {
                    id,
                    ty: AssertionType::JwtBearer,
                    assertion,
                } => self.assertion(catalogue, id.as_deref(), assertion, now).await,
                ClientCredentials::Id(id) => self.certified(catalogue, Some(id), certificates, now).await,
                ClientCredentials::None => self.certified(catalogue, None, certificates, now).await,
                ClientCredentials::Assertion {
                    id,
                    ty: AssertionType::JwtSpiffe,
                    assertion,
                } => self.svid(catalogue, id.as_deref(), assertion, now).await,
                _ => self.clients.authenticate(catalogue, credentials, now),
            }
        })
    }

    fn verify<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        token: &'a PresentedToken,
        role: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        Box::pin(self.token(catalogue, token, role))
    }

    fn verify_id_jag<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        assertion: &'a Secret,
    ) -> BoxFuture<'a, Result<IdJag, Reason>> {
        Box::pin(self.id_jag(catalogue, assertion))
    }

    fn prove(&self, proof: &PresentedProof, token: Option<&Secret>, now: Timestamp) -> Result<Proof, Reason> {
        let verified = dpop::verify(proof, token, now)?;
        let fresh = match &verified.nonce {
            Some(nonce) => nonce::is_ours(&*self.signer, nonce, now),
            // A token in use is fresh enough by its proof's time (RFC 9449 section 11.1).
            None => token.is_some(),
        };
        if fresh {
            Ok(verified.proof)
        } else {
            Err(Reason::DpopNonce)
        }
    }

    fn nonce(&self, now: Timestamp) -> Option<String> {
        nonce::make(&*self.signer, now)
    }

    fn introspect<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        issuer: &'a Name,
        token: &'a PresentedToken,
        role: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        Box::pin(self.opaque(catalogue, issuer, token, role))
    }
}
