//! One secret behind one reference: cached, fetched in a single flight, last good for a bounded time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{Shared, WeakShared},
};
use procura_core::{
    ports::{BoxFuture, Clock, Entropy},
    source::{Source, SourceError, SourceSecret},
};
use procura_wire::{Digest, Secret, json};
use serde_json::Value;

use crate::reference::Reference;

/// How long the outcome of a look at a source is taken for the present, unless a watch knows better.
pub const FRESH: Duration = Duration::from_secs(10);
/// How often [`Sources::run`](crate::Sources::run) looks at what is in use; shorter than [`FRESH`].
pub const REFRESH: Duration = Duration::from_secs(5);
/// How long after its last use a value counts as in use.
pub const IN_USE: Duration = Duration::from_secs(600);
/// How long the last good value serves while the source is away.
pub const LAST_GOOD: Duration = Duration::from_secs(600);
/// How long a failed look is answered without another one where there is no good value.
pub const FAILED: Duration = Duration::from_secs(1);

/// Why a source gave no secret. Holds none.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It cannot be asked, or its answer cannot be used: the last good value may serve.
    Away(String),
    /// It says that there is no such secret, or that it may not be used: nothing serves.
    Gone(String),
}

/// Makes versions for sources that have none: a keyed digest of the content. A plain one of a short password could be
/// guessed from a record. The key is random and lives with the process, so equal content has one version until then.
#[derive(Clone, Copy)]
pub(crate) struct VersionKey([u8; 32]);

impl VersionKey {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }

    /// 16 hex digits.
    pub(crate) fn version(&self, content: &[u8]) -> String {
        let mut version = Digest::of_parts([&self.0[..], content]).to_string();
        version.truncate(16);
        version
    }
}

/// A system that keeps secrets.
pub(crate) trait Upstream: Send + Sync {
    /// Reads what is at the path now: text, or a JSON object as text.
    fn read<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<SourceSecret, Trouble>>;

    /// How long what was read is taken for the present.
    fn fresh_for(&self) -> Duration;

    /// A number that changes when something there may have changed. What was read under another is stale.
    fn generation(&self) -> u64;

    /// Somebody asks past the cache, because a target refused what was read here: where the system makes a secret for
    /// each read, the next read is to bring another.
    fn refused(&self, _path: &str) {}

    /// When what was read there as this version ends by itself, in monotonic time.
    fn end_of(&self, _path: &str, _version: &str) -> Option<Duration> {
        None
    }

    /// Puts text at the path and answers its version, unless the version there is another than the expected one.
    fn write<'a>(
        &'a self,
        _path: &'a str,
        _value: &'a Secret,
        _expected_version: &'a str,
    ) -> BoxFuture<'a, Result<String, Trouble>> {
        async { Err(Trouble::Gone("a source of this kind cannot be written".to_owned())) }.boxed()
    }

    /// Begins a rotation that the system itself carries out.
    fn rotate<'a>(&'a self, _path: &'a str) -> BoxFuture<'a, Result<(), Trouble>> {
        async {
            Err(Trouble::Gone(
                "a source of this kind has no rotation of its own".to_owned(),
            ))
        }
        .boxed()
    }
}

type Fetched = Result<Arc<SourceSecret>, SourceError>;
type Flight = Shared<BoxFuture<'static, Fetched>>;

/// What is known of one reference.
pub(crate) struct Cache {
    reference: Reference,
    upstream: Arc<dyn Upstream>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    good: Option<Good>,
    look: Option<Look>,
    used: Duration,
    /// How often it was written through here.
    writes: u64,
    flight: Option<WeakShared<BoxFuture<'static, Fetched>>>,
}

/// The last good value and when it was last confirmed.
struct Good {
    secret: Arc<SourceSecret>,
    at: Duration,
}

/// The last look at the source.
struct Look {
    at: Duration,
    generation: u64,
    error: Option<SourceError>,
}

impl Cache {
    pub(crate) fn new(reference: Reference, upstream: Arc<dyn Upstream>, clock: Arc<dyn Clock>) -> Self {
        Self {
            reference,
            upstream,
            clock,
            state: Mutex::default(),
        }
    }

    /// Looks at the source if the value is in use and the last look is not recent.
    pub(crate) async fn refresh(self: Arc<Self>) {
        let now = self.clock.monotonic();
        let due = {
            let state = self.state();
            let pause = REFRESH.max(self.upstream.fresh_for() / 2);
            state.look.as_ref().is_some_and(|look| {
                let recent = now.saturating_sub(look.at) < pause && look.generation == self.upstream.generation();
                !recent && now.saturating_sub(state.used) < IN_USE
            })
        };
        if due {
            // The outcome stands in the state, and was logged if it is news.
            let _ = self.flight().await;
        }
    }

    async fn current(self: Arc<Self>) -> Fetched {
        if let Some(known) = self.known() {
            return known;
        }
        match self.flight().await {
            Ok(secret) => Ok(secret),
            Err(error) => self.last_good(&self.state()).ok_or(error),
        }
    }

    /// What can be answered without asking.
    fn known(&self) -> Option<Fetched> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.used = now;
        let look = state.look.as_ref()?;
        let age = now.saturating_sub(look.at);
        match (&look.error, self.last_good(&state)) {
            (None, Some(secret)) => {
                let fresh = age < self.upstream.fresh_for() && look.generation == self.upstream.generation();
                fresh.then_some(Ok(secret))
            }
            // A source that is known to be away holds nobody up; the background asks again.
            (Some(_), Some(secret)) => (age < FRESH).then_some(Ok(secret)),
            (Some(error), None) => (age < FAILED).then(|| Err(error.clone())),
            (None, None) => None,
        }
    }

    /// The reference and how long its last good value still serves, where the source cannot be read.
    pub(crate) fn running_out(&self) -> Option<(String, Duration)> {
        let state = self.state();
        state.look.as_ref()?.error.as_ref()?;
        let age = self.clock.monotonic().saturating_sub(state.good.as_ref()?.at);
        Some((self.reference.to_string(), last_good_time().saturating_sub(age)))
    }

    fn last_good(&self, state: &State) -> Option<Arc<SourceSecret>> {
        let good = state.good.as_ref()?;
        let now = self.clock.monotonic();
        let end = self.upstream.end_of(&self.reference.path, &good.secret.version);
        let serves = now.saturating_sub(good.at) < last_good_time() && end.is_none_or(|end| now < end);
        serves.then(|| Arc::clone(&good.secret))
    }

    /// The fetch under way, or a new one. It ends when nobody waits for it any more.
    fn flight(self: &Arc<Self>) -> Flight {
        let mut state = self.state();
        if let Some(flight) = state.flight.as_ref().and_then(WeakShared::upgrade) {
            return flight;
        }
        let cache = Arc::clone(self);
        let flight = async move { cache.fetch().await }.boxed().shared();
        state.flight = flight.downgrade();
        flight
    }

    async fn fetch(&self) -> Fetched {
        let (mut state, generation, picked) = loop {
            let generation = self.upstream.generation();
            let writes = self.state().writes;
            let read = self.upstream.read(&self.reference.path).await;
            let picked = read.and_then(|secret| self.pick(secret));
            let state = self.state();
            // What was read while it was written may be what was there before.
            if state.writes == writes {
                break (state, generation, picked);
            }
        };
        state.flight = None;
        let outcome = self.keep(&mut state, picked);
        state.look = Some(Look {
            at: self.clock.monotonic(),
            generation,
            error: outcome.as_ref().err().cloned(),
        });
        outcome
    }

    /// Writes, and looks again at once whatever came of it.
    async fn write(self: Arc<Self>, value: &Secret, expected: &str) -> Result<String, SourceError> {
        let path = self.whole("written")?;
        let written = self.upstream.write(path, value, expected).await;
        self.state().writes += 1;
        // The outcome stands in the state, and was logged if it is news.
        let _ = self.flight().await;
        let version = written.map_err(|trouble| self.error(trouble))?;
        tracing::info!(reference = %self.reference, version, "secret written");
        Ok(version)
    }

    async fn rotate(&self) -> Result<(), SourceError> {
        let path = self.whole("rotated")?;
        let begun = self.upstream.rotate(path).await;
        begun.map_err(|trouble| self.error(trouble))?;
        tracing::info!(reference = %self.reference, "rotation of the secret begun");
        Ok(())
    }

    /// The path, if the reference names the whole secret there.
    fn whole(&self, done: &str) -> Result<&str, SourceError> {
        match &self.reference.field {
            None => Ok(&self.reference.path),
            Some(field) => Err(self.error(Trouble::Gone(format!(
                "a single field cannot be {done}; refer to the whole secret, without #{field}"
            )))),
        }
    }

    fn error(&self, trouble: Trouble) -> SourceError {
        let (Trouble::Away(problem) | Trouble::Gone(problem)) = trouble;
        SourceError {
            reference: self.reference.to_string(),
            problem,
        }
    }

    /// The field that the reference names.
    fn pick(&self, secret: SourceSecret) -> Result<SourceSecret, Trouble> {
        let Some(field) = &self.reference.field else {
            return Ok(secret);
        };
        #[expect(clippy::disallowed_methods, reason = "the field is taken out of the secret's JSON")]
        let object = json::strict(secret.value.expose().as_bytes());
        match object {
            Ok(Value::Object(mut members)) => match members.remove(field) {
                Some(Value::String(text)) => Ok(SourceSecret {
                    value: Secret::new(text),
                    version: secret.version,
                }),
                Some(_) => Err(Trouble::Gone(format!("the field {field} is not a string"))),
                None => Err(Trouble::Gone(format!("the secret has no field {field}"))),
            },
            // A file that is being written looks like this too.
            _ => Err(Trouble::Away(
                "the secret is no JSON object, so it has no fields".to_owned(),
            )),
        }
    }

    fn keep(&self, state: &mut State, picked: Result<SourceSecret, Trouble>) -> Fetched {
        let failed = state.look.as_ref().is_some_and(|look| look.error.is_some());
        match picked {
            Ok(secret) => {
                let secret = match state.good.take() {
                    Some(good) if good.secret.version == secret.version => good.secret,
                    _ => {
                        tracing::info!(reference = %self.reference, version = %secret.version, "secret read");
                        Arc::new(secret)
                    }
                };
                state.good = Some(Good {
                    secret: Arc::clone(&secret),
                    at: self.clock.monotonic(),
                });
                Ok(secret)
            }
            Err(trouble) => {
                if let Trouble::Gone(_) = trouble {
                    state.good = None;
                }
                let error = self.error(trouble);
                if !failed {
                    tracing::warn!(reference = %self.reference, problem = error.problem, "a secret cannot be read");
                }
                Err(error)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last_good_time() -> Duration {
    fail::fail_point!("source-short-last-good", |_| FAILED);
    LAST_GOOD
}

/// A holder's share of a [`Cache`].
pub(crate) struct Entry(pub(crate) Arc<Cache>);

impl Source for Entry {
    fn current(&self) -> BoxFuture<'_, Fetched> {
        Arc::clone(&self.0).current().boxed()
    }

    fn refetch(&self) -> BoxFuture<'_, Fetched> {
        self.0.upstream.refused(&self.0.reference.path);
        self.0.flight().boxed()
    }

    fn write<'a>(&'a self, value: &'a Secret, expected: &'a str) -> BoxFuture<'a, Result<String, SourceError>> {
        Arc::clone(&self.0).write(value, expected).boxed()
    }

    fn rotate(&self) -> BoxFuture<'_, Result<(), SourceError>> {
        self.0.rotate().boxed()
    }
}

#[cfg(test)]
mod tests;
