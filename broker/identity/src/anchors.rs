//! Roots that vouch for client certificates.

use std::{fmt, sync::Arc, time::Duration};

use procura_core::{Timestamp, identity::PeerCertificates};
use procura_wire::Reason;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

/// Roots of one authority; none vouches for nobody.
pub(crate) struct Anchors(Option<Arc<dyn ClientCertVerifier>>);

/// One of the roots cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRoot;

impl Anchors {
    pub(crate) fn new(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Self, BadRoot> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(|_| BadRoot)?;
        }
        if store.is_empty() {
            return Ok(Self(None));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build();
        Ok(Self(Some(verifier.map_err(|_| BadRoot)?)))
    }

    /// Whether a path leads from the certificate to one of the roots, all of it valid now and for clients
    /// (RFC 5280 section 6). Names are not looked at.
    pub(crate) fn vouch(&self, certificates: &PeerCertificates, now: Timestamp) -> Result<(), Reason> {
        let verifier = self.0.as_ref().ok_or(Reason::ClientMtls)?;
        let mut chain = certificates.0.iter().map(|der| CertificateDer::from(der.as_slice()));
        let leaf = chain.next().ok_or(Reason::ClientMtls)?;
        let others: Vec<_> = chain.collect();
        let now = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).map_err(|_| Reason::ClientMtls)?;
        let vouched = verifier.verify_client_cert(&leaf, &others, UnixTime::since_unix_epoch(now));
        vouched.map(drop).map_err(|error| {
            tracing::debug!(%error, "a client certificate is refused");
            Reason::ClientMtls
        })
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchors").finish_non_exhaustive()
    }
}
