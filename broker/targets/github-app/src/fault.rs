//! Deadlines, and what became of an attempt.

use std::time::Duration;

use futures_util::future::{Either, select};
use procura_core::{kind::MintError, ports::Clock, source::RotationError};

/// The result of the work, or `None` where a moment of the monotonic clock comes first.
pub(crate) async fn before<T>(clock: &dyn Clock, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let left = deadline.saturating_sub(clock.monotonic());
    match select(Box::pin(work), clock.sleep(left)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

pub(crate) fn late() -> RotationError<MintError> {
    RotationError::Failed(MintError::Failed("the deadline came first".to_owned()))
}

pub(crate) fn mint_error(error: RotationError<MintError>) -> MintError {
    match error {
        RotationError::Source(error) => MintError::Source(error.to_string()),
        RotationError::Refused(problem) => MintError::Refused(problem),
        RotationError::Failed(error) => error,
    }
}

pub(crate) fn words(error: MintError) -> String {
    match error {
        MintError::Source(problem)
        | MintError::Refused(problem)
        | MintError::Failed(problem)
        | MintError::Uncertain(problem) => problem,
    }
}
