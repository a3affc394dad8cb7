//! Where a target's own credential is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use procura_wire::Secret;

use crate::ports::{BoxFuture, Clock};

/// A secret of a source at one version.
#[derive(Debug)]
pub struct SourceSecret {
    /// The secret: plain text, or a JSON object of fields as the source keeps it.
    pub value: Secret,
    /// Its version, as the source names it (a number, an id, a digest).
    pub version: String,
}

/// The source cannot be read. Names the reference, holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("source {reference}: {problem}")]
pub struct SourceError {
    /// The reference as the bundle has it.
    pub reference: String,
    /// What happened and what to do.
    pub problem: String,
}

/// One secret behind one reference, cached by version; fetches are single-flight.
pub trait Source: Send + Sync {
    /// The current secret: from the cache while it is fresh, for a bounded time also when the source is away.
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>>;

    /// The version that the source itself has now, past every cache.
    fn newest(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async { Ok(self.refetch().await?.version.clone()) })
    }

    /// Asks the source itself, past the cache; callers that wait at the same time share one fetch.
    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>>;

    /// Tells that the target has just refused this version, and answers what to try in its place: one that is not among
    /// those that were tried a moment ago, it among them, where there is one.
    fn refused<'a>(
        &'a self,
        _version: &'a str,
        _tried: &'a BTreeSet<String>,
    ) -> BoxFuture<'a, Result<Arc<SourceSecret>, SourceError>> {
        self.refetch()
    }

    /// Tells that what [`Source::refused`] answered works at the target.
    fn works(&self, _version: &str) {}

    /// Makes `value` the current secret where `expected` is the current version still, and answers the new version. Where
    /// it is not, nothing changes and there is an error. After one that does not say which version is current (a
    /// time-out), ask [`Source::refetch`].
    fn write<'a>(&'a self, _value: &'a Secret, _expected: &'a str) -> BoxFuture<'a, Result<String, SourceError>> {
        Box::pin(async { Err(read_only("cannot be written")) })
    }

    /// Asks the source to begin a rotation of its own. It ends later, and then [`Source::refetch`] answers another version.
    fn rotate(&self) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(async { Err(read_only("cannot be rotated")) })
    }
}

fn read_only(problem: &str) -> SourceError {
    SourceError {
        reference: "of this kind".to_owned(),
        problem: problem.to_owned(),
    }
}

/// How an attempt with a secret ended.
#[derive(Debug)]
pub enum Attempt<T, E> {
    /// It worked.
    Done(T),
    /// The target refused the secret: a rotation may be under way.
    SecretRefused(String),
    /// It failed otherwise.
    Failed(E),
}

/// What [`through_rotation`] gave up with.
#[derive(Debug)]
pub enum RotationError<E> {
    /// The source cannot be read.
    Source(SourceError),
    /// Until the deadline the target refused every version that the source had.
    Refused(String),
    /// The attempt failed otherwise.
    Failed(E),
}

/// Time between two looks at the source while the target refuses its secret.
const REREAD: Duration = Duration::from_millis(250);

/// Time until a version that was refused is tried again: the target may follow its source.
const RETRY: Duration = Duration::from_secs(1);

/// Runs `attempt` with the current secret. When the target refuses it, looks for another at once and then every 250 ms
/// until `deadline` (monotonic). Tries each version once per second at most.
pub async fn through_rotation<T, E, F: Future<Output = Attempt<T, E>>>(
    source: &dyn Source,
    clock: &dyn Clock,
    deadline: Duration,
    // No `AsyncFnMut`: its future cannot be shown to be `Send` where it borrows.
    mut attempt: impl FnMut(Arc<SourceSecret>) -> F,
) -> Result<T, RotationError<E>> {
    let mut secret = source.current().await.map_err(RotationError::Source)?;
    let mut tried = BTreeMap::new();
    loop {
        let problem = match attempt(Arc::clone(&secret)).await {
            Attempt::Done(value) => {
                if !tried.is_empty() {
                    source.works(&secret.version);
                }
                return Ok(value);
            }
            Attempt::Failed(error) => return Err(RotationError::Failed(error)),
            Attempt::SecretRefused(problem) => problem,
        };
        tried.insert(secret.version.clone(), clock.monotonic());
        secret = loop {
            let now = clock.monotonic();
            let lately = tried.iter().filter(|(_, at)| now.saturating_sub(**at) < RETRY);
            let lately = lately.map(|(version, _)| version.clone()).collect();
            match source.refused(&secret.version, &lately).await {
                Ok(other) if !lately.contains(&other.version) => break other,
                // A source that is away for a moment is no reason to give up before the deadline.
                Ok(_) | Err(_) => {}
            }
            if clock.monotonic() + REREAD >= deadline {
                return Err(RotationError::Refused(problem));
            }
            clock.sleep(REREAD).await;
        };
    }
}
