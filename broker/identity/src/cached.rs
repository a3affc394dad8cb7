//! Documents of others: cached, fetched once for all that wait, the last good one kept for a while.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use procura_core::ports::Clock;
use procura_wire::Reason;

/// A document older than this is fetched again when it is asked for.
pub(crate) const FRESH: Duration = Duration::from_secs(5 * 60);
/// A document is used so long after it was fetched, while newer fetches fail.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// Between two fetches because something was not in the document.
const MISS_PAUSE: Duration = Duration::from_secs(30);
/// Between two fetches after one that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// A document that is kept.
pub trait Kept {
    /// How long it is not asked for again.
    fn fresh(&self) -> Duration {
        FRESH
    }
}

/// What is known of one document.
pub struct Cached<T> {
    state: Mutex<State<T>>,
    /// Held by the one request that fetches.
    flight: tokio::sync::Mutex<()>,
}

struct State<T> {
    document: Option<Arc<T>>,
    /// When `document` was fetched.
    fetched: Duration,
    /// Fetches so far, failed ones included, and when the last one ended.
    attempts: u64,
    tried: Duration,
    /// When something that was not in the document last caused a fetch.
    missed: Option<Duration>,
    /// Why the last fetch failed.
    failure: Option<Reason>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        let state = State {
            document: None,
            fetched: Duration::ZERO,
            attempts: 0,
            tried: Duration::ZERO,
            missed: None,
            failure: None,
        };
        Self {
            state: Mutex::new(state),
            flight: tokio::sync::Mutex::default(),
        }
    }
}

impl<T: Kept> State<T> {
    /// Whether a request that saw `seen` attempts when it came should fetch.
    fn due(&self, has: impl Fn(&T) -> bool, seen: u64, now: Duration) -> bool {
        let since = |then: Duration| now.saturating_sub(then);
        let rested = self.failure.is_none() || since(self.tried) >= FAILURE_PAUSE;
        match &self.document {
            None => rested,
            Some(document) if since(self.fetched) >= document.fresh() => rested,
            Some(document) if has(document) => false,
            Some(_) => self.attempts == seen && self.missed.is_none_or(|then| since(then) >= MISS_PAUSE),
        }
    }

    fn current(&self, now: Duration) -> Result<Arc<T>, Reason> {
        match &self.document {
            Some(document) if now.saturating_sub(self.fetched) < KEPT => Ok(Arc::clone(document)),
            Some(_) => Err(Reason::IssuerUnavailable),
            None => Err(self.failure.unwrap_or(Reason::IssuerUnavailable)),
        }
    }

    fn record(&mut self, fetched: Result<T, Reason>, has: impl Fn(&T) -> bool, now: Duration) {
        let missed = self.document.as_ref().is_some_and(|document| !has(document));
        self.missed = if missed { Some(now) } else { self.missed };
        self.attempts += 1;
        self.tried = now;
        self.failure = fetched.as_ref().err().copied();
        if let Ok(document) = fetched {
            (self.document, self.fetched) = (Some(Arc::new(document)), now);
        }
    }
}

impl<T: Kept> Cached<T> {
    /// The document as it is now; fetched where it is not there, not fresh, or does not have what is looked for. What is
    /// answered may not have it either. Error: why it could not be fetched.
    pub async fn get(
        &self,
        clock: &dyn Clock,
        has: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Result<T, Reason>>,
    ) -> Result<Arc<T>, Reason> {
        let (due, seen) = {
            let state = self.state();
            (state.due(&has, state.attempts, clock.monotonic()), state.attempts)
        };
        if due {
            self.refresh(clock, &has, seen, fetch).await;
        }
        self.current(clock)
    }

    /// The last document that was had, unless it is too old to be used.
    pub(crate) fn current(&self, clock: &dyn Clock) -> Result<Arc<T>, Reason> {
        self.state().current(clock.monotonic())
    }

    /// The last document that was had, however old.
    pub(crate) fn last(&self) -> Option<Arc<T>> {
        self.state().document.clone()
    }

    /// How long the document still serves, where it cannot be fetched.
    pub(crate) fn running_out(&self, now: Duration) -> Option<Duration> {
        let state = self.state();
        state.failure.filter(|_| state.document.is_some())?;
        Some(KEPT.saturating_sub(now.saturating_sub(state.fetched)))
    }

    /// Fetches, unless another request does: then waits for it, or goes on at once with what is usable.
    async fn refresh(
        &self,
        clock: &dyn Clock,
        has: impl Fn(&T) -> bool,
        seen: u64,
        fetch: impl Future<Output = Result<T, Reason>>,
    ) {
        let _flight = match self.flight.try_lock() {
            Ok(flight) => flight,
            Err(_) if self.current(clock).is_ok_and(|document| has(&document)) => return,
            Err(_) => self.flight.lock().await,
        };
        if !self.state().due(&has, seen, clock.monotonic()) {
            return;
        }
        let fetched = fetch.await;
        self.state().record(fetched, has, clock.monotonic());
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
