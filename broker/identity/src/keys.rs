//! Key sets of issuers: cached, fetched once for all that wait, the last good one kept for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use procura_core::{catalogue::Catalogue, ports::Clock};
use procura_wire::Reason;

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

pub(crate) struct Keys {
    http: Http,
    builtin: Option<Arc<KeySet>>,
    clock: Arc<dyn Clock>,
    /// By issuer identifier. Trusted issuers only, so it cannot be flooded.
    issuers: Mutex<HashMap<String, Arc<Cached>>>,
}

/// What is known of one issuer's keys.
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
    fn due(&self, kid: &str, seen: u64, now: Duration) -> bool {
        let since = |then: Duration| now.saturating_sub(then);
        let rested = self.failure.is_none() || since(self.tried) >= FAILURE_PAUSE;
        match &self.set {
            None => rested,
            Some(_) if since(self.fetched) >= FRESH => rested,
            Some(set) if set.has(kid) => false,
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

    fn is_usable(&self, kid: &str, now: Duration) -> bool {
        self.current(now).is_ok_and(|set| set.has(kid))
    }

    fn record(&mut self, fetched: Result<KeySet, Reason>, kid: &str, now: Duration) {
        let missed = self.set.as_ref().is_some_and(|set| !set.has(kid));
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
        let left = |(issuer, cached): (&String, &Arc<Cached>)| {
            let state = cached.state();
            state.failure.filter(|_| state.set.is_some())?;
            let age = self.clock.monotonic().saturating_sub(state.fetched);
            Some((issuer.clone(), KEPT.saturating_sub(age)))
        };
        issuers.iter().filter_map(left).collect()
    }

    async fn set(&self, issuer: &str, kid: &str) -> Result<Arc<KeySet>, Reason> {
        if issuer == BUILTIN {
            return self.builtin.clone().ok_or(Reason::JwtIssUntrusted);
        }
        let cached = self.cached(issuer);
        let (due, seen) = {
            let state = cached.state();
            (state.due(kid, state.attempts, self.clock.monotonic()), state.attempts)
        };
        if due {
            self.refresh(&cached, issuer, kid, seen).await;
        }
        cached.state().current(self.clock.monotonic())
    }

    /// Fetches, unless another request does: then waits for it, or goes on at once with what is usable.
    async fn refresh(&self, cached: &Cached, issuer: &str, kid: &str, seen: u64) {
        let _flight = match cached.flight.try_lock() {
            Ok(flight) => flight,
            Err(_) if cached.state().is_usable(kid, self.clock.monotonic()) => return,
            Err(_) => cached.flight.lock().await,
        };
        if !cached.state().due(kid, seen, self.clock.monotonic()) {
            return;
        }
        let fetched = discovery::keys(&self.http, issuer).await;
        if let Err(reason) = &fetched {
            tracing::warn!(
                issuer,
                reason = reason.code(),
                "the keys of an issuer cannot be fetched"
            );
        }
        cached.state().record(fetched, kid, self.clock.monotonic());
    }

    fn cached(&self, issuer: &str) -> Arc<Cached> {
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
                || cached.is_some_and(|cached| cached.state().set.as_ref().is_some_and(|set| set.has(kid)))
        })
    }
}
