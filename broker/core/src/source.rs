//! Where a target's own credential is kept.

use std::{sync::Arc, time::Duration};

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

    /// Asks the source itself, past the cache; callers that wait at the same time share one fetch.
    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>>;
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

/// Runs `attempt` with the current secret. When the target refuses it, reads the source again at once
/// and then every 250 ms until `deadline` (monotonic), trying only versions it has not tried last.
pub async fn through_rotation<T, E, F: Future<Output = Attempt<T, E>>>(
    source: &dyn Source,
    clock: &dyn Clock,
    deadline: Duration,
    // No `AsyncFnMut`: its future cannot be shown to be `Send` where it borrows.
    mut attempt: impl FnMut(Arc<SourceSecret>) -> F,
) -> Result<T, RotationError<E>> {
    let mut secret = source.current().await.map_err(RotationError::Source)?;
    loop {
        let problem = match attempt(Arc::clone(&secret)).await {
            Attempt::Done(value) => return Ok(value),
            Attempt::Failed(error) => return Err(RotationError::Failed(error)),
            Attempt::SecretRefused(problem) => problem,
        };
        let refused = secret.version.clone();
        loop {
            // A source that is away for a moment is no reason to give up before the deadline.
            if let Ok(fresh) = source.refetch().await {
                secret = fresh;
            }
            if secret.version != refused {
                break;
            }
            if clock.monotonic() + REREAD >= deadline {
                return Err(RotationError::Refused(problem));
            }
            clock.sleep(REREAD).await;
        }
    }
}
