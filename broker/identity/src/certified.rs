//! Client authentication by the certificate of the connection (RFC 8705 section 2, SPIFFE X.509-SVID).

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, Server, ServerAuth},
    identity::{AuthenticatedServer, ClientAuthMethod, PeerCertificates},
};
use procura_wire::{Digest, Name, Reason};

use crate::{Identity, leaf::Leaf};

impl Identity {
    /// The server that the certificate proves. Without a client id it is the only one that the certificate names.
    pub(crate) async fn certified(
        &self,
        catalogue: &Catalogue,
        id: Option<&str>,
        certificates: Option<&PeerCertificates>,
        now: Timestamp,
    ) -> Result<AuthenticatedServer, Reason> {
        let certificates = certificates.ok_or(Reason::ClientUnauthenticated)?;
        let leaf = certificates.0.first().and_then(|der| Leaf::read(der));
        let leaf = leaf.ok_or(Reason::ClientMtls)?;
        let (name, server) = named(catalogue, id, &leaf).ok_or(Reason::ClientMtls)?;
        let method = match &server.auth {
            ServerAuth::TlsClient(_) => {
                self.client_ca.vouch(certificates, now)?;
                ClientAuthMethod::TlsClientAuth
            }
            ServerAuth::SelfSigned(_) if leaf.is_current(now) => ClientAuthMethod::SelfSignedTlsClientAuth,
            ServerAuth::Spiffe(pattern) => {
                let bundle = self.spiffe.bundle(&pattern.trust_domain, |_| true).await?;
                bundle.anchors.vouch(certificates, now)?;
                ClientAuthMethod::SpiffeX509
            }
            _ => return Err(Reason::ClientMtls),
        };
        Ok(AuthenticatedServer {
            name: name.clone(),
            method,
            key: key_id(leaf.sha256),
            once: None,
        })
    }
}

/// The one server that the certificate can be of.
fn named<'a>(catalogue: &'a Catalogue, id: Option<&str>, leaf: &Leaf) -> Option<(&'a Name, &'a Server)> {
    let mut servers = catalogue
        .servers
        .iter()
        .filter(|(name, server)| id.is_none_or(|id| id == name.as_str()) && names(&server.auth, leaf));
    servers.next().filter(|_| servers.next().is_none())
}

fn names(auth: &ServerAuth, leaf: &Leaf) -> bool {
    match auth {
        ServerAuth::TlsClient(name) => leaf.has(name),
        ServerAuth::SelfSigned(keys) => leaf
            .key
            .is_some_and(|key| keys.iter().any(|known| known.fits(key, leaf.sha256))),
        ServerAuth::Spiffe(pattern) => leaf.spiffe_id().is_some_and(|id| pattern.matches(&id)),
        ServerAuth::ClientSecret(_)
        | ServerAuth::PrivateKeyJwt { .. }
        | ServerAuth::Workload(_)
        | ServerAuth::BuiltinDev => false,
    }
}

/// What a record calls a certificate or a key.
pub(crate) fn key_id(digest: Digest) -> String {
    let mut id = digest.to_string();
    id.truncate(16);
    id
}
