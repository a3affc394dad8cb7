//! Key sets of issuers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_core::{catalogue::Catalogue, ports::Clock};
use procura_wire::Reason;

use crate::{
    BUILTIN,
    cached::{Cached, Kept},
    discovery,
    http::Http,
    jwk::{Key, KeySet},
};

impl Kept for KeySet {}

pub(crate) struct Keys {
    http: Arc<Http>,
    builtin: Option<Arc<KeySet>>,
    clock: Arc<dyn Clock>,
    /// By issuer identifier. Trusted issuers only, so it cannot be flooded.
    issuers: Mutex<HashMap<String, Arc<Cached<KeySet>>>>,
}

impl Keys {
    pub(crate) fn new(http: Arc<Http>, builtin: Option<Arc<KeySet>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            http,
            builtin,
            clock,
            issuers: Mutex::default(),
        }
    }

    /// The key of that id that the issuer publishes.
    pub(crate) async fn find(&self, catalogue: &Catalogue, issuer: &str, kid: &str) -> Result<Arc<Key>, Reason> {
        let found = self.set(issuer, kid).await?.get(kid);
        match found {
            Err(Reason::JwksMiss) if self.elsewhere(catalogue, issuer, kid) => Err(Reason::JwtKeyWrongIssuer),
            found => found,
        }
    }

    /// Issuers whose keys cannot be fetched, and how long those that are known still serve.
    pub(crate) fn running_out(&self) -> Vec<(String, Duration)> {
        let issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let left = |(issuer, cached): (&String, &Arc<Cached<KeySet>>)| Some((issuer.clone(), cached.running_out(now)?));
        issuers.iter().filter_map(left).collect()
    }

    async fn set(&self, issuer: &str, kid: &str) -> Result<Arc<KeySet>, Reason> {
        if issuer == BUILTIN {
            return self.builtin.clone().ok_or(Reason::JwtIssUntrusted);
        }
        let fetch = async {
            let fetched = discovery::keys(&self.http, issuer).await;
            if let Err(reason) = &fetched {
                tracing::warn!(
                    issuer,
                    reason = reason.code(),
                    "the keys of an issuer cannot be fetched"
                );
            }
            fetched
        };
        let cached = self.cached(issuer);
        cached.get(self.clock.as_ref(), |set| set.has(kid), fetch).await
    }

    fn cached(&self, issuer: &str) -> Arc<Cached<KeySet>> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        match issuers.get(issuer) {
            Some(cached) => Arc::clone(cached),
            None => Arc::clone(issuers.entry(issuer.to_owned()).or_default()),
        }
    }

    /// Whether another trusted issuer is known to publish a key of that id.
    fn elsewhere(&self, catalogue: &Catalogue, issuer: &str, kid: &str) -> bool {
        let issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let others = catalogue.issuers.values().filter(|other| other.issuer != issuer);
        others.into_iter().any(|other| {
            let builtin = self.builtin.as_ref().filter(|_| other.issuer == BUILTIN);
            let cached = issuers.get(&other.issuer);
            builtin.is_some_and(|set| set.has(kid))
                || cached.is_some_and(|cached| cached.last().is_some_and(|set| set.has(kid)))
        })
    }
}
