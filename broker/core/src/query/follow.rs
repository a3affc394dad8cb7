//! Following the log: every record once, in the order in which it was first seen.
//!
//! Ids order by the time at which a request began, and a record is appended when it ends. So a record may appear behind
//! ones that were seen before it, and what was seen of the last while is remembered.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    Timestamp,
    ids::IssuanceId,
    ledger::{Ledger, StoreError},
};

/// How long after its id a record may appear and still be seen: longer than the longest mint, its margin and the time
/// until another replica takes it over. What a broker that was away for longer recovers is not followed.
pub const LATE: Duration = Duration::from_secs(120);
/// Most records appear so soon; further back is looked now and then.
const SOON: Duration = Duration::from_secs(10);
/// One look in so many goes back all the way.
const THOROUGH: u32 = 16;
/// Ids that are read at once.
const BATCH: u32 = 1000;

/// Where a reader stands.
#[derive(Debug)]
pub struct Follower {
    seen: BTreeSet<IssuanceId>,
    /// What is not newer than this was caught up with, unless it appears late.
    reached: IssuanceId,
    looks: u32,
}

impl Follower {
    /// From now on: what is there is not told.
    pub async fn from_now(ledger: &dyn Ledger, now: Timestamp) -> Result<Self, StoreError> {
        let mut follower = Self::after(IssuanceId::first_at(now));
        while follower.batch(ledger, now).await?.1 {}
        Ok(follower)
    }

    /// From a record on that was told before. What appeared up to [`LATE`] before it is told again: what came late there
    /// may not have been told.
    pub fn after(id: IssuanceId) -> Self {
        Self {
            seen: BTreeSet::new(),
            reached: IssuanceId::first_at(id.time() - LATE),
            looks: 0,
        }
    }

    /// Ids of records that were not seen before, those that came late the last; of many the first, and then it may be
    /// looked again at once. Nothing where there is nothing new.
    pub async fn look(&mut self, ledger: &dyn Ledger, now: Timestamp) -> Result<Vec<IssuanceId>, StoreError> {
        let (mut new, more) = self.batch(ledger, now).await?;
        if more {
            return Ok(new);
        }
        self.looks = self.looks.wrapping_add(1);
        let back = if self.looks.is_multiple_of(THOROUGH) {
            LATE
        } else {
            SOON
        };
        let mut from = IssuanceId::first_at(now - back);
        loop {
            let ids = ledger.ids_after(from, BATCH).await?;
            new.extend(ids.iter().filter(|id| self.seen.insert(**id)));
            match ids.last() {
                Some(last) if ids.len() == BATCH as usize && new.len() < BATCH as usize => from = *last,
                _ => break,
            }
        }
        self.seen = self.seen.split_off(&IssuanceId::first_at(now - 2 * LATE));
        Ok(new)
    }

    /// The next ones in the order of their ids, and whether there may be more.
    async fn batch(&mut self, ledger: &dyn Ledger, now: Timestamp) -> Result<(Vec<IssuanceId>, bool), StoreError> {
        let ids = ledger.ids_after(self.reached, BATCH).await?;
        if let Some(last) = ids.last() {
            self.reached = *last;
        }
        let recent = IssuanceId::first_at(now - 2 * LATE);
        let more = ids.len() == BATCH as usize;
        let mut new = ids;
        new.retain(|id| *id < recent || self.seen.insert(*id));
        Ok((new, more))
    }
}
