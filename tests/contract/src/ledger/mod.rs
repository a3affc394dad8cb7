//! A ledger in memory that passes the suite, with knobs for failures.

mod filters;
mod state;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::{IssuanceId, SessionId},
    ledger::{
        AppendError, Claim, Conditions, EndedBy, Entry, Event, Filter, Held, Intent, Lease, LeaseFilter, LeaseState,
        Ledger, Outcome, Owner, Page, ReplayId, Session, SessionFilter, SessionKey, StoreError, Stored, TokenFacts,
        Undone,
    },
    limits::Counted,
    ports::BoxFuture,
};
use procura_wire::{Digest, Name};

use filters::{record_passes, session_passes};
use state::State;

/// A ledger in memory.
#[derive(Default)]
pub struct MemoryLedger {
    state: Mutex<State>,
    failing: AtomicBool,
}

impl MemoryLedger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// While it fails every write answers [`StoreError::Unavailable`] and stores nothing.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    /// As if a record of that time were there.
    pub fn set_durable_time(&self, at: Timestamp) {
        self.read().durable = Some(at);
    }

    /// Erases the personal data of a record.
    pub fn erase(&self, id: IssuanceId) {
        if let Some(record) = self.read().records.get_mut(&id) {
            record.erased = true;
        }
    }

    fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        if self.failing.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable)
        } else {
            Ok(self.read())
        }
    }
}

fn limited<T>(found: impl Iterator<Item = T>, limit: u32) -> Vec<T> {
    found.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
}

impl Ledger for MemoryLedger {
    fn installation(&self) -> &str {
        "memory00"
    }

    fn durable_time(&self) -> Timestamp {
        self.read().durable.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn append(&self, entry: Entry, conditions: Conditions) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move { self.write()?.append(entry, &conditions) })
    }

    fn intend(&self, intent: Intent) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move { self.write()?.intend(intent) })
    }

    fn burn(&self, ids: Vec<ReplayId>) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move { self.write()?.burn(&ids) })
    }

    fn find_session(&self, key: SessionKey, now: Timestamp) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .read()
                .joinable(&key)
                .filter(|session| session.is_live(now))
                .cloned())
        })
    }

    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(async move { Ok(self.read().sessions.get(&id).cloned()) })
    }

    fn is_revoked(&self, token: TokenFacts) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.read().is_revoked(&token)) })
    }

    fn open_session(&self, session: Session) -> BoxFuture<'_, Result<Session, StoreError>> {
        Box::pin(async move { Ok(self.write()?.open(session)) })
    }

    fn end_session(
        &self,
        id: SessionId,
        by: EndedBy,
        entry: Entry,
    ) -> BoxFuture<'_, Result<Option<Vec<Held>>, StoreError>> {
        Box::pin(async move {
            let mut state = self.write()?;
            let held = state.end(id, by, entry.index.at);
            if held.is_some() {
                state
                    .append(entry, &Conditions::default())
                    .map_err(|_| StoreError::Inconsistent)?;
            }
            Ok(held)
        })
    }

    fn revoke(&self, id: IssuanceId, entry: Entry) -> BoxFuture<'_, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            let mut state = self.write()?;
            let held = state.revoke(id, entry.index.at);
            state
                .append(entry, &Conditions::default())
                .map_err(|_| StoreError::Inconsistent)?;
            Ok(held)
        })
    }

    fn due_targets(&self, now: Timestamp, margin: Duration) -> BoxFuture<'_, Result<Vec<Name>, StoreError>> {
        Box::pin(async move { Ok(self.read().due_targets(now, margin)) })
    }

    fn take_due(&self, target: Name, claim: Claim, limit: u32) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        Box::pin(async move { Ok(self.write()?.take_due(&target, claim, limit)) })
    }

    fn take(&self, id: IssuanceId, claim: Claim) -> BoxFuture<'_, Result<Option<Lease>, StoreError>> {
        Box::pin(async move { Ok(self.write()?.take(id, claim)) })
    }

    fn settle(&self, id: IssuanceId, owner: Owner, undone: Undone) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.write()?.settle(id, owner, undone)) })
    }

    fn lease(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<Lease>, StoreError>> {
        Box::pin(async move { Ok(self.read().lease(id)) })
    }

    fn leased_places(&self) -> BoxFuture<'_, Result<Vec<(Name, String)>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let leases = state.leases.values().map(|kept| &kept.lease);
            let held = leases.filter(|lease| lease.state != LeaseState::Gone);
            let places: BTreeSet<_> = held.map(|lease| (lease.target.clone(), lease.place.clone())).collect();
            Ok(places.into_iter().collect())
        })
    }

    fn lease_known_as(&self, name: String) -> BoxFuture<'_, Result<Option<Lease>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let leases = state.leases.keys().rev().filter_map(|id| state.lease(*id));
            Ok({ leases }.find(|lease| lease.kept.known_as.as_ref() == Some(&name)))
        })
    }

    fn leases(&self, filter: LeaseFilter, page: Page) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let leases = state.leases.keys().rev().filter_map(|id| state.lease(*id));
            let before = |lease: &Lease| page.before.is_none_or(|before| lease.id < before);
            Ok(limited(
                leases.filter(|lease| before(lease) && state.lease_passes(&filter, lease)),
                page.limit,
            ))
        })
    }

    fn expired_sessions(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let expired = |session: &&Session| session.ended.is_none() && !session.is_live(now);
            Ok(limited(state.sessions.values().filter(expired).cloned(), limit))
        })
    }

    fn record(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        Box::pin(async move { Ok(self.read().records.get(&id).and_then(|record| record.stored())) })
    }

    fn record_by_value(&self, value: Digest) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let mut issued = state.records.values().rev().filter(|record| {
                let index = &record.entry.index;
                (index.event, index.outcome, index.value) == (Event::Exchange, Outcome::Issued, Some(value))
            });
            Ok(issued.next().and_then(|record| record.stored()))
        })
    }

    fn records(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Stored>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let stored = state.records.values().rev().filter_map(|record| record.stored());
            let before = |stored: &Stored| page.before.is_none_or(|before| stored.id < before);
            Ok(limited(
                stored.filter(|stored| before(stored) && record_passes(&filter, stored)),
                page.limit,
            ))
        })
    }

    fn floor(
        &self,
        filter: Filter,
        before: Option<IssuanceId>,
        records: u32,
    ) -> BoxFuture<'_, Result<Option<IssuanceId>, StoreError>> {
        Box::pin(async move {
            // The target leads here, and nothing else.
            let leader = Filter {
                target: filter.target,
                from: filter.from.max(filter.since.map(IssuanceId::first_at)),
                ..Filter::default()
            };
            let state = self.read();
            let stored = state.records.values().rev().filter_map(|record| record.stored());
            let older = stored.filter(|stored| before.is_none_or(|before| stored.id < before));
            let mut led = older.filter(|stored| record_passes(&leader, stored));
            Ok(led.nth(records.saturating_sub(1) as usize).map(|stored| stored.id))
        })
    }

    fn sessions(
        &self,
        filter: SessionFilter,
        before: Option<SessionId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let sessions = state.sessions.values().rev().cloned();
            let before = |session: &Session| before.is_none_or(|before| session.id < before);
            Ok(limited(
                sessions.filter(|session| before(session) && session_passes(&filter, session)),
                limit,
            ))
        })
    }

    fn held(&self, id: SessionId, now: Timestamp) -> BoxFuture<'_, Result<Vec<Held>, StoreError>> {
        Box::pin(async move { Ok(self.read().held(id, now)) })
    }

    fn keep_bundle(&self, digest: Digest, content: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.write()?.bundles.entry(digest).or_insert(content);
            Ok(())
        })
    }

    fn settle_bundle(&self, digest: Digest) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut state = self.write()?;
            state.settled.retain(|settled| *settled != digest);
            state.settled.push(digest);
            Ok(())
        })
    }

    fn settled_bundle(&self, unless: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let last = state.settled.last().filter(|_| !state.settled.contains(&unless));
            Ok(last.and_then(|digest| state.bundles.get(digest).cloned()))
        })
    }

    fn bundle(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move { Ok(self.read().bundles.get(&digest).cloned()) })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write().map(drop) })
    }

    fn count(&self, counts: Vec<Counted>, now: Timestamp) -> BoxFuture<'_, Result<Vec<Counted>, StoreError>> {
        Box::pin(async move {
            let mut state = self.write()?;
            state.counted.retain(|(_, ends), _| now < *ends);
            let add = |counted: Counted| {
                let sum = state.counted.entry((counted.key, counted.ends)).or_default();
                *sum += counted.count;
                Counted { count: *sum, ..counted }
            };
            Ok(counts.into_iter().map(add).collect())
        })
    }

    fn counted(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Counted>, StoreError>> {
        Box::pin(async move {
            let state = self.read();
            let kept = state.counted.iter().filter(|((_, ends), _)| now < *ends);
            let mut kept: Vec<_> = kept
                .map(|((key, ends), count)| Counted {
                    key: *key,
                    ends: *ends,
                    count: *count,
                })
                .collect();
            kept.sort_by_key(|counted| std::cmp::Reverse(counted.count));
            Ok(limited(kept.into_iter(), limit))
        })
    }

    fn forget_replay_ids(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let durable = self.durable_time();
            self.write()?.burnt.retain(|_, until| *until >= durable);
            Ok(())
        })
    }
}
