//! Key sets of issuers and servers: cached, fetched once for all that wait, the last good one kept for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use procura_core::{catalogue::Catalogue, ports::Clock};
use procura_wire::Reason;
use url::Url;

use crate::{
    BUILTIN, discovery,
    http::Http,
    jwk::{Key, KeySet},
};

/// A set older than this is fetched again when it is asked for.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// A set is used so long after it was fetched, while newer fetches fail.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// Between two fetches that unknown key ids caused.
const MISS_PAUSE: Duration = Duration::from_secs(30);
/// Between two fetches after one that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

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
    http: Http,
    builtin: Option<Arc<KeySet>>,
    clock: Arc<dyn Clock>,
    /// Those of the bundle only, so it cannot be flooded.
    places: Mutex<HashMap<Place, Arc<Cached>>>,
}

/// What is known of the keys at one place.
#[derive(Default)]
struct Cached {
    state: Mutex<State>,
    /// Held by the one request that fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    set: Option<Arc<KeySet>>,
    /// When `set` was fetched.
    fetched: Duration,
    /// Fetches so far, failed ones included, and when the last one ended.
    attempts: u64,
    tried: Duration,
    /// When an unknown key id last caused a fetch.
    missed: Option<Duration>,
    /// Why the last fetch failed.
    failure: Option<Reason>,
}

impl State {
    /// Whether a request that saw `seen` attempts when it came should fetch.
    fn due(&self, kid: Option<&str>, seen: u64, now: Duration) -> bool {
        let since = |then: Duration| now.saturating_sub(then);
        let rested = self.failure.is_none() || since(self.tried) >= FAILURE_PAUSE;
        match &self.set {
            None => rested,
            Some(_) if since(self.fetched) >= FRESH => rested,
            Some(set) if kid.is_none_or(|kid| set.has(kid)) => false,
            Some(_) => self.attempts == seen && self.missed.is_none_or(|then| since(then) >= MISS_PAUSE),
        }
    }

    fn current(&self, now: Duration) -> Result<Arc<KeySet>, Reason> {
        match &self.set {
            Some(set) if now.saturating_sub(self.fetched) < KEPT => Ok(Arc::clone(set)),
            Some(_) => Err(Reason::IssuerUnavailable),
            None => Err(self.failure.unwrap_or(Reason::IssuerUnavailable)),
        }
    }

    fn is_usable(&self, kid: Option<&str>, now: Duration) -> bool {
        self.current(now).is_ok_and(|set| kid.is_none_or(|kid| set.has(kid)))
    }

    fn record(&mut self, fetched: Result<KeySet, Reason>, kid: Option<&str>, now: Duration) {
        let missed = self
            .set
            .as_ref()
            .is_some_and(|set| kid.is_some_and(|kid| !set.has(kid)));
        self.missed = if missed { Some(now) } else { self.missed };
        self.attempts += 1;
        self.tried = now;
        self.failure = fetched.as_ref().err().copied();
        if let Ok(set) = fetched {
            (self.set, self.fetched) = (Some(Arc::new(set)), now);
        }
    }
}

impl Cached {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    pub(crate) fn new(http: Http, builtin: Option<Arc<KeySet>>, clock: Arc<dyn Clock>) -> Self {
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
        let left = |(place, cached): (&Place, &Arc<Cached>)| {
            let state = cached.state();
            state.failure.filter(|_| state.set.is_some())?;
            let age = self.clock.monotonic().saturating_sub(state.fetched);
            Some((place.as_str().to_owned(), KEPT.saturating_sub(age)))
        };
        places.iter().filter_map(left).collect()
    }

    async fn set(&self, place: &Place, kid: Option<&str>) -> Result<Arc<KeySet>, Reason> {
        let cached = self.cached(place);
        let (due, seen) = {
            let state = cached.state();
            (state.due(kid, state.attempts, self.clock.monotonic()), state.attempts)
        };
        if due {
            self.refresh(&cached, place, kid, seen).await;
        }
        cached.state().current(self.clock.monotonic())
    }

    /// Fetches, unless another request does: then waits for it, or goes on at once with what is usable.
    async fn refresh(&self, cached: &Cached, place: &Place, kid: Option<&str>, seen: u64) {
        let _flight = match cached.flight.try_lock() {
            Ok(flight) => flight,
            Err(_) if cached.state().is_usable(kid, self.clock.monotonic()) => return,
            Err(_) => cached.flight.lock().await,
        };
        if !cached.state().due(kid, seen, self.clock.monotonic()) {
            return;
        }
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
        cached.state().record(fetched, kid, self.clock.monotonic());
    }

    fn cached(&self, place: &Place) -> Arc<Cached> {
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
                || cached.is_some_and(|cached| cached.state().set.as_ref().is_some_and(|set| set.has(kid)))
        })
    }
}
