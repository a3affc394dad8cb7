//! The start: the store is compared with the anchor, and an operator may begin a new epoch after a restore.

use super::{
    Epoch, Link, Log, Problem, Statement, Tree,
    head::origin,
    integrate::LEASE,
    ports::{AnchorError, Anchored},
    state::Contradiction,
};

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is in the way of it.
    #[error("{0}")]
    Problem(Problem),
    /// The store does not go on where the anchor ends.
    #[error(
        "{0}. If the store was restored on purpose, or the anchor was moved, start once with --new-log-epoch, which \
         is written down at the anchor; otherwise find out who changed which of the two"
    )]
    Unacknowledged(Contradiction),
    /// There is nothing to acknowledge.
    #[error("the store goes on where the anchor ends: start without --new-log-epoch")]
    NothingToAcknowledge,
    /// Another replica integrates.
    #[error("another replica runs on this store: stop all of them, then start one with --new-log-epoch")]
    Busy,
}

impl<E: Into<Problem>> From<E> for OpenError {
    fn from(error: E) -> Self {
        match error.into() {
            Problem::Contradiction(contradiction) => Self::Unacknowledged(contradiction),
            problem => Self::Problem(problem),
        }
    }
}

impl Log {
    /// Makes the log where there is none, and compares it with the anchor. `base` is what origins begin with. An anchor
    /// that is away does not keep the broker from starting: the same is asked before each checkpoint. `acknowledged`
    /// says that an operator knows why the two contradict each other.
    pub async fn open(&self, base: &str, acknowledged: bool) -> Result<(), OpenError> {
        self.store.begin(origin(base, 1)).await?;
        let before = self.store.tree().await?;
        let anchored = match self.anchor.last().await {
            Err(AnchorError::Away(problem)) if !acknowledged => {
                tracing::warn!(problem, "the log was not compared with its anchor");
                return Ok(());
            }
            anchored => anchored?,
        };
        let tree = self.store.tree().await?;
        let last = self.read(&anchored)?;
        match self.extends((&before, &tree), last.as_ref()).await {
            Ok(()) if acknowledged => Err(OpenError::NothingToAcknowledge),
            Ok(()) => Ok(()),
            Err(Problem::Contradiction(contradiction)) => match last {
                // A new epoch was anchored, and whoever did so died before the store knew.
                Some(Statement::Link(link)) if self.begun(&tree, &link).await? => {
                    self.enter(&link, anchored.note).await
                }
                last if acknowledged => self.acknowledge(base, &tree, last, &anchored).await,
                _ => Err(OpenError::Unacknowledged(contradiction)),
            },
            Err(problem) => Err(problem.into()),
        }
    }

    /// Whether that link leads on from this tree's epoch to this very tree.
    async fn begun(&self, tree: &Tree, link: &Link) -> Result<bool, OpenError> {
        let later = link.new.epoch().is_some_and(|epoch| epoch > tree.epoch);
        match self.continues(tree, &link.new).await {
            Ok(()) => Ok(later),
            Err(Problem::Contradiction(_)) => Ok(false),
            Err(problem) => Err(problem.into()),
        }
    }

    /// Signs and anchors a link from what was before to the tree as it is, then enters the new epoch.
    async fn acknowledge(
        &self,
        base: &str,
        tree: &Tree,
        last: Option<Statement>,
        anchored: &Anchored,
    ) -> Result<(), OpenError> {
        let old = match (last, &tree.published) {
            (Some(statement), _) => statement.head().clone(),
            (None, Some((_, note))) => self
                .read(&Anchored {
                    position: 0,
                    note: Some(note.clone()),
                })?
                .map_or_else(|| tree.head(), |statement| statement.head().clone()),
            (None, None) => tree.head(),
        };
        let number = tree.epoch.max(old.epoch().unwrap_or(0)) + 1;
        let mut new = tree.head();
        new.origin = origin(base, number);
        let link = Link { old, new };
        let note = self.notary.sign(&link.new.origin, &link.text())?;
        // Not before the lease is ours: whoever else integrates would sign what the link does not know.
        self.claim().await?;
        self.anchor.append(anchored.position, note.clone()).await?;
        self.enter(&link, Some(note)).await
    }

    async fn enter(&self, link: &Link, note: Option<String>) -> Result<(), OpenError> {
        let fence = self.claim().await?;
        let epoch = Epoch {
            number: link.new.epoch().ok_or(Contradiction::OtherEpoch)?,
            origin: link.new.origin.clone(),
            link: note.unwrap_or_default(),
        };
        tracing::warn!(
            origin = epoch.origin,
            size = link.new.size,
            "a new epoch of the log begins"
        );
        match self.store.begin_epoch(fence, epoch).await? {
            true => Ok(self.store.release(fence).await?),
            false => Err(OpenError::Busy),
        }
    }

    /// The lease, if need be after the one of a process that died has run out.
    async fn claim(&self) -> Result<i64, OpenError> {
        for again in [true, false] {
            let tree = self.store.tree().await?;
            if let Some(fence) = self.hold(&mut None, &tree).await? {
                return Ok(fence);
            }
            if again {
                self.clock.sleep(LEASE).await;
            }
        }
        Err(OpenError::Busy)
    }
}
