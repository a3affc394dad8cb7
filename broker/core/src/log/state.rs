//! What readiness and metrics are told of the log.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{AnchorError, BrokenTree, NotaryError, Tree};
use crate::{Timestamp, ledger::StoreError};

/// Why no checkpoint is signed. Issuance goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The store cannot be read or written.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// Tiles of the store do not fit its root.
    #[error("{0}; restore the store, then start once with --new-log-epoch")]
    Broken(#[from] BrokenTree),
    /// The anchor cannot be read or written.
    #[error("the anchor: {0}")]
    Anchor(AnchorError),
    /// No key signs.
    #[error("{0}")]
    NoKey(NotaryError),
    /// The anchor's last note is not ours.
    #[error(
        "the last note at the anchor is not signed by a key of [keys.log]: is it the anchor of another broker, or was \
         a key taken out of the set?"
    )]
    Foreign,
    /// The store and the anchor contradict each other.
    #[error("{0}")]
    Contradiction(#[from] Contradiction),
}

/// How the stored tree and the anchor contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// The anchor has nothing although something was anchored.
    #[error("the anchor is empty although checkpoints were published: it was changed, or is another one")]
    AnchorEmptied,
    /// The anchor has less than was published there.
    #[error("the anchor lacks a checkpoint that was published: it was rolled back, or is another one")]
    AnchorBehind,
    /// The store has fewer leaves than were anchored.
    #[error("the store has fewer records than the anchor vouches for: it was rolled back or restored")]
    StoreBehind,
    /// The store has other leaves than were anchored.
    #[error("the store has other records than those that the anchor vouches for: it was restored or changed")]
    StoreBeside,
    /// The anchor speaks of another epoch.
    #[error("the anchor speaks of another epoch of the log: the store was restored, or is another one")]
    OtherEpoch,
}

impl Problem {
    /// A word for readiness and metrics; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "store_unavailable",
            Self::Broken(_) => "tree_broken",
            Self::Anchor(AnchorError::Unfit(_)) => "anchor_unfit",
            Self::Anchor(_) => "anchor_unavailable",
            Self::NoKey(_) => "no_key",
            Self::Foreign => "anchor_foreign",
            Self::Contradiction(Contradiction::AnchorEmptied) => "anchor_emptied",
            Self::Contradiction(Contradiction::AnchorBehind) => "anchor_behind",
            Self::Contradiction(Contradiction::StoreBehind) => "store_behind",
            Self::Contradiction(Contradiction::StoreBeside) => "store_beside",
            Self::Contradiction(Contradiction::OtherEpoch) => "other_epoch",
        }
    }
}

impl From<AnchorError> for Problem {
    fn from(error: AnchorError) -> Self {
        Self::Anchor(error)
    }
}

impl From<NotaryError> for Problem {
    fn from(error: NotaryError) -> Self {
        match error {
            NotaryError::NoKey => Self::NoKey(error),
            NotaryError::Foreign => Self::Foreign,
        }
    }
}

/// How far the log is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Leaves that have an index.
    pub size: u64,
    /// Leaves under the last published checkpoint.
    pub published: u64,
    /// When this process first saw that checkpoint: it was signed then at the latest.
    pub signed_by: Option<Timestamp>,
    /// Since when there is something that is not published.
    pub behind_since: Option<Timestamp>,
    /// What is in the way.
    pub problem: Option<Problem>,
}

impl Progress {
    /// How long something has waited to be published.
    pub fn lag(&self, now: Timestamp) -> Duration {
        let lag = self.behind_since.map(|since| now.duration_since(since));
        lag.and_then(|lag| Duration::try_from(lag).ok()).unwrap_or_default()
    }
}

#[derive(Default)]
pub(super) struct State(Mutex<Progress>);

impl State {
    pub(super) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Notes the tree as it was read.
    pub(super) fn saw(&self, tree: &Tree, now: Timestamp) {
        let mut progress = self.lock();
        let published = tree.published.as_ref().map_or(0, |(size, _)| *size);
        if progress.published != published || progress.signed_by.is_none() {
            progress.signed_by = tree.published.as_ref().map(|_| now);
        }
        progress.size = tree.size;
        progress.published = published;
        progress.behind_since = match tree.is_behind() {
            true => progress.behind_since.or(Some(now)),
            false => None,
        };
    }

    /// Notes how a round ended; what is new is logged, once.
    pub(super) fn ended(&self, problem: Option<Problem>) {
        let mut progress = self.lock();
        if progress.problem == problem {
            return;
        }
        match &problem {
            Some(problem) => tracing::error!(code = problem.code(), %problem, "no checkpoint is signed"),
            None => tracing::info!("checkpoints are signed again"),
        }
        progress.problem = problem;
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    /// Whether something is not integrated or not published.
    pub fn is_behind(&self) -> bool {
        let published = self.published.as_ref().map(|(size, _)| *size);
        self.waiting || self.size > 0 && published != Some(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::EMPTY_HASH;

    #[test]
    fn a_checkpoint_was_signed_at_the_latest_when_it_was_seen_first() {
        let at = |second| Timestamp::from_second(second).expect("time");
        let tree = |published: Option<u64>| Tree {
            origin: "b/procura/1".to_owned(),
            epoch: 1,
            size: 9,
            root: EMPTY_HASH,
            published: published.map(|size| (size, String::new())),
            fence: 0,
            until: at(0),
            waiting: false,
        };
        let state = State::default();
        for (second, published, expected) in [
            (10, None, None),
            (11, Some(0), Some(11)),
            (12, Some(0), Some(11)),
            (13, Some(5), Some(13)),
            (14, Some(5), Some(13)),
            (15, None, None),
        ] {
            state.saw(&tree(published), at(second));
            assert_eq!(state.progress().signed_by, expected.map(at), "{second}");
        }
    }
}
