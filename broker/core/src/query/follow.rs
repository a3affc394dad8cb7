//! Following the log: every record once, in the order of the tree.
//!
//! Ids order by the time at which a request began, leaf indexes by when its record was appended. So a record that
//! recovery appends late is told like any other, and where a reader stands is one number.

use crate::{ids::IssuanceId, ledger::StoreError, log::LogStore};

/// Records that are read at once.
const BATCH: u32 = 100;
/// Records that may wait for their index when somebody begins to follow; the integrator takes no more at once.
const WAITING: u32 = 512;

/// Where a reader stands.
#[derive(Debug)]
pub struct Follower {
    /// Index of the record that is told next.
    next: u64,
    /// Records that were there before, and have their index later.
    passed_over: Vec<IssuanceId>,
}

impl Follower {
    /// From now on: what is there is not told.
    pub async fn from_now(log: &dyn LogStore) -> Result<Self, StoreError> {
        let next = log.tree().await?.size;
        let waiting = log.waiting(next, WAITING).await?;
        Ok(Self {
            next,
            passed_over: waiting.into_iter().map(|record| record.id).collect(),
        })
    }

    /// Behind a record that was told before; `None` where no record with an index has that id.
    pub async fn after(log: &dyn LogStore, id: IssuanceId) -> Result<Option<Self>, StoreError> {
        let index = log.index_of(id).await?;
        Ok(index.map(|index| Self {
            next: index + 1,
            passed_over: Vec::new(),
        }))
    }

    /// Whether the record has an index that was passed.
    pub async fn is_behind(&self, log: &dyn LogStore, id: IssuanceId) -> Result<bool, StoreError> {
        Ok(log.index_of(id).await?.is_some_and(|index| index < self.next))
    }

    /// Ids of the records that come next, of many the first; `None` where nothing is new.
    pub async fn look(&mut self, log: &dyn LogStore) -> Result<Option<Vec<IssuanceId>>, StoreError> {
        let leaves = log.leaves(self.next, BATCH).await?;
        if leaves.is_empty() {
            return Ok(None);
        }
        self.next += leaves.len() as u64;
        let mut ids: Vec<_> = leaves.into_iter().map(|leaf| leaf.record.id).collect();
        ids.retain(|id| !self.passed_over.contains(id));
        Ok(Some(ids))
    }
}
