//! Client authentication by secret (RFC 6749 section 2.3.1) and the brake on guessing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, SecretHash, Server, ServerAuth},
    identity::{AuthenticatedServer, ClientAuthMethod, ClientCredentials},
    ports::Clock,
};
use procura_wire::{Digest, Name, Reason};

/// Wrong secrets for one server within [`WINDOW`] that are answered like any other.
const FREE_FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Secrets that a server may have; every request compares with so many.
const SECRETS: usize = 2;

pub(crate) struct Clients {
    dev_secrets: BTreeMap<Name, Digest>,
    clock: Arc<dyn Clock>,
    /// Begin of the window and wrong secrets in it. Names in the catalogue only, so it cannot be flooded.
    failures: Mutex<BTreeMap<Name, (Duration, u32)>>,
}

impl Clients {
    pub(crate) fn new(dev_secrets: BTreeMap<Name, Digest>, clock: Arc<dyn Clock>) -> Self {
        Self {
            dev_secrets,
            clock,
            failures: Mutex::default(),
        }
    }

    pub(crate) fn authenticate(
        &self,
        catalogue: &Catalogue,
        credentials: &ClientCredentials,
        now: Timestamp,
    ) -> Result<AuthenticatedServer, Reason> {
        let (id, secret, method) = match credentials {
            ClientCredentials::Basic { id, secret } => (id, secret, ClientAuthMethod::ClientSecretBasic),
            ClientCredentials::Body { id, secret } => (id, secret, ClientAuthMethod::ClientSecretPost),
            ClientCredentials::Assertion { .. } | ClientCredentials::Id(_) | ClientCredentials::None => {
                return Err(Reason::ClientUnauthenticated);
            }
        };
        let server = catalogue.servers.get_key_value(id.as_str());
        let hashes = server.map_or_else(Vec::new, |(name, server)| self.hashes(name, server));
        let found = compare(secret.digest(), &hashes);
        let Some((name, _)) = server else {
            return Err(Reason::ClientUnauthenticated);
        };
        match found {
            Some(known) if known.expires.is_none_or(|end| now < end) => Ok(AuthenticatedServer {
                name: name.clone(),
                method,
                key: key_id(known.hash),
                once: None,
            }),
            Some(_) => Err(Reason::ClientSecretExpired),
            None => Err(self.failed(name)),
        }
    }

    fn hashes(&self, name: &Name, server: &Server) -> Vec<SecretHash> {
        match &server.auth {
            ServerAuth::ClientSecret(hashes) => hashes.clone(),
            // No secret fits those that prove themselves otherwise.
            ServerAuth::PrivateKeyJwt { .. } | ServerAuth::Workload(_) => Vec::new(),
            ServerAuth::BuiltinDev => self
                .dev_secrets
                .get(name)
                .map(|hash| SecretHash {
                    hash: *hash,
                    expires: None,
                })
                .into_iter()
                .collect(),
            ServerAuth::TlsClient(_) | ServerAuth::SelfSigned(_) | ServerAuth::Spiffe(_) => Vec::new(),
        }
    }

    /// Counts a wrong secret. A right one is never held up by wrong ones.
    fn failed(&self, name: &Name) -> Reason {
        let now = self.clock.monotonic();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (begin, count) = failures.entry(name.clone()).or_insert((now, 0));
        if now.saturating_sub(*begin) >= WINDOW {
            (*begin, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > FREE_FAILURES {
            Reason::ClientBruteforce
        } else {
            Reason::ClientUnauthenticated
        }
    }
}

/// The hash that the secret has. Always compares the same number of times, so that time tells
/// neither whether the server exists nor how many secrets it has.
fn compare(presented: Digest, hashes: &[SecretHash]) -> Option<&SecretHash> {
    let dummy = Digest::from_bytes([0; 32]);
    let mut found = None;
    for at in 0..hashes.len().max(SECRETS) {
        let known = hashes.get(at);
        if presented == known.map_or(dummy, |known| known.hash) {
            found = found.or(known);
        }
    }
    found
}

fn key_id(hash: Digest) -> String {
    short(Digest::of(hash.as_bytes()))
}

/// The first 16 hex digits, as records have them.
pub(crate) fn short(digest: Digest) -> String {
    let mut id = digest.to_string();
    id.truncate(16);
    id
}
