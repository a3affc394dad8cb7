//! Key sets of issuers and servers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_core::{catalogue::Catalogue, ports::Clock};
use procura_wire::Reason;
use url::Url;

use crate::{
    BUILTIN,
    cached::{Cached, Kept},
    discovery,
    http::Http,
    jwk::{Key, KeySet},
};

impl Kept for KeySet {}

/// Where a key set is published.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    /// Where the metadata of the issuer of that identifier says.
    Issuer(String),
    /// At that URL.
    Uri(String),
}

impl Place {
    fn as_str(&self) -> &str {
        match self {
            Self::Issuer(text) | Self::Uri(text) => text,
        }
    }
}

pub(crate) struct Keys {
    http: Arc<Http>,
    builtin: Option<Arc<KeySet>>,
    clock: Arc<dyn Clock>,
    /// Those of the bundle only, so it cannot be flooded.
    places: Mutex<HashMap<Place, Arc<Cached<KeySet>>>>,
}

impl Keys {
    pub(crate) fn new(http: Arc<Http>, builtin: Option<Arc<KeySet>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            http,
            builtin,
            clock,
            places: Mutex::default(),
        }
    }

    /// The key of that id that the issuer publishes.
    pub(crate) async fn find(&self, catalogue: &Catalogue, issuer: &str, kid: &str) -> Result<Arc<Key>, Reason> {
        let set = match issuer {
            BUILTIN => self.builtin.clone().ok_or(Reason::JwtIssUntrusted)?,
            _ => self.set(&Place::Issuer(issuer.to_owned()), Some(kid)).await?,
        };
        match set.get(kid) {
            Err(Reason::JwksMiss) if self.elsewhere(catalogue, issuer, kid) => Err(Reason::JwtKeyWrongIssuer),
            found => found,
        }
    }

    /// The keys of a server at its `jwks_uri`; fetched again where the one of that id is missing.
    pub(crate) async fn at(&self, uri: &str, kid: Option<&str>) -> Result<Arc<KeySet>, Reason> {
        self.set(&Place::Uri(uri.to_owned()), kid).await
    }

    /// Issuers, and `jwks_uri`s of servers, whose keys cannot be fetched, and how long those that are known still
    /// serve.
    pub(crate) fn running_out(&self) -> Vec<(String, Duration)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let left = |(place, cached): (&Place, &Arc<Cached<KeySet>>)| {
            Some((place.as_str().to_owned(), cached.running_out(now)?))
        };
        places.iter().filter_map(left).collect()
    }

    async fn set(&self, place: &Place, kid: Option<&str>) -> Result<Arc<KeySet>, Reason> {
        let fetch = async {
            let fetched = match place {
                Place::Issuer(issuer) => discovery::keys(&self.http, issuer).await,
                Place::Uri(uri) => match Url::parse(uri) {
                    Ok(uri) => discovery::key_set(&self.http, &uri).await,
                    Err(_) => Err(Reason::JwksRefused),
                },
            };
            if let Err(reason) = &fetched {
                let (from, reason) = (place.as_str(), reason.code());
                tracing::warn!(from, reason, "the keys of an issuer or server cannot be fetched");
            }
            fetched
        };
        let has = |set: &KeySet| kid.is_none_or(|kid| set.has(kid));
        self.cached(place).get(self.clock.as_ref(), has, fetch).await
    }

    fn cached(&self, place: &Place) -> Arc<Cached<KeySet>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        match places.get(place) {
            Some(cached) => Arc::clone(cached),
            None => Arc::clone(places.entry(place.clone()).or_default()),
        }
    }

    /// Whether another trusted issuer is known to publish a key of that id.
    fn elsewhere(&self, catalogue: &Catalogue, issuer: &str, kid: &str) -> bool {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let others = catalogue.issuers.values().filter(|other| other.issuer != issuer);
        others.into_iter().any(|other| {
            let builtin = self.builtin.as_ref().filter(|_| other.issuer == BUILTIN);
            let cached = places.get(&Place::Issuer(other.issuer.clone()));
            builtin.is_some_and(|set| set.has(kid))
                || cached.is_some_and(|cached| cached.last().is_some_and(|set| set.has(kid)))
        })
    }
}
