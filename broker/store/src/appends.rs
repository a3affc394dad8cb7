//! Appends and intents of a batch, handled as sets: a handful of statements whatever their number.
//! What is refused is that row's, and nothing of it is stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use procura_core::{
    Timestamp,
    ids::{IssuanceId, SessionId},
    ledger::{
        AppendError, Conditions, Entry, Event, Guard, Intent, LeaseState, LeaseStep, Outcome as RecordOutcome, Owner,
        ReplayId, Session,
    },
};
use procura_wire::Digest;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    answer::{Failure, Outcome, Write, is_marked, mark_key},
    batch::Batch,
    cache::Cache,
    db::Db,
    rows::{DigestRow, IntoDomain, MarkRow, OwnerRow, SessionRow},
};

/// A one-time id as `burn` reads it.
#[derive(Serialize)]
struct Burnt {
    id: String,
    until: i64,
}

/// How far a session moves, as `move_sessions` reads it.
#[derive(Serialize)]
struct Moved {
    id: String,
    at: i64,
    issued: u64,
}

/// A lease's next state, as `step_leases` reads it.
#[derive(Serialize)]
struct Step<'w> {
    id: String,
    state: LeaseState,
    due: Option<i64>,
    until: Option<i64>,
    source_version: Option<&'w str>,
    sealed: Option<String>,
    lapses: Option<i64>,
    known_as: Option<&'w str>,
}

/// A lease as `insert_leases` reads it.
#[derive(Serialize)]
struct NewLease<'w> {
    id: String,
    handle: &'w str,
    target: &'w str,
    place: &'w str,
    session: String,
    replica: String,
    deadline: i64,
    lapses: Option<i64>,
    aborted: String,
}

/// What guards and lease steps are compared with.
struct Found {
    sessions: HashMap<SessionId, Session>,
    marks: HashMap<Vec<u8>, i64>,
    leases: HashMap<Uuid, OwnerRow>,
}

impl<D: Db> Batch<'_, D> {
    /// Appends and intents; `appended` are records that other writes bring along.
    pub(crate) async fn sets(
        &mut self,
        writes: &[&Write],
        outcomes: &mut [Outcome],
        mut appended: Vec<&Entry>,
    ) -> Result<(), Failure> {
        let mut found = self.find(writes, &appended).await?;
        for (write, outcome) in writes.iter().zip(outcomes.iter_mut()) {
            if let Write::Append(entry, conditions) = write
                && let Err(refused) = found.check(entry, conditions)
            {
                *outcome = Err(refused);
            }
        }
        self.burn(writes, outcomes).await?;
        let (mut intents, mut steps) = (Vec::new(), Vec::new());
        for (write, outcome) in writes.iter().zip(outcomes.iter()) {
            match write {
                Write::Append(entry, conditions) if outcome.is_ok() => {
                    appended.push(entry);
                    steps.extend(conditions.lease.as_ref().and_then(|lease| step(entry, lease)));
                }
                Write::Intend(intent) if outcome.is_ok() => intents.push(new_lease(intent)?),
                _ => {}
            }
        }
        self.run_all("lease", D::SQL.insert_leases, &intents).await?;
        self.run_all("lease", D::SQL.step_leases, &steps).await?;
        self.insert(&appended).await?;
        self.move_sessions(&mut found.sessions, &appended).await
    }

    async fn find(&mut self, writes: &[&Write], appended: &[&Entry]) -> Result<Found, Failure> {
        let (mut sessions, mut marks, mut leases) = (HashSet::new(), HashSet::new(), Vec::new());
        sessions.extend(appended.iter().filter_map(|entry| moves(entry)));
        for write in writes {
            let Write::Append(entry, conditions) = write else {
                continue;
            };
            sessions.extend(moves(entry));
            if let Some(guard) = &conditions.guard {
                sessions.insert(guard.session);
                if self.may_be_marked(guard) {
                    marks.insert(key_of(guard).to_string());
                }
            }
            leases.extend(conditions.lease.as_ref().map(|step| text(leased(entry, step).0)));
        }
        // Sessions before their leases, as whoever ends a session does.
        let sessions = self.sessions(sessions).await?;
        let marks: Vec<String> = marks.into_iter().collect();
        let marks = self.rows_of::<MarkRow>(D::SQL.marks, &marks).await?;
        let leases = self.rows_of::<OwnerRow>(D::SQL.lock_leases, &leases).await?;
        Ok(Found {
            sessions,
            marks: marks.into_iter().map(|mark| (mark.key, mark.second)).collect(),
            leases: leases.into_iter().map(|lease| (lease.id, lease)).collect(),
        })
    }

    fn may_be_marked(&self, guard: &Guard) -> bool {
        let known = |cache: &Cache| cache.has_mark(|| key_of(guard));
        self.cache.is_none_or(known) || !self.effects.marked.is_empty()
    }

    /// Sessions as they are now: known, unless this transaction changed them; or read, and locked where
    /// others write too.
    async fn sessions(&mut self, wanted: HashSet<SessionId>) -> Result<HashMap<SessionId, Session>, Failure> {
        let (mut found, mut missing) = (HashMap::with_capacity(wanted.len()), Vec::new());
        for id in wanted {
            let changed = self.effects.changed.iter().any(|session| session.id == id);
            match self.cache.filter(|_| !changed).and_then(|cache| cache.session(id)) {
                Some(session) => {
                    found.insert(id, session);
                }
                None => missing.push(text(id.0)),
            }
        }
        for row in self.rows_of::<SessionRow>(D::SQL.lock_sessions, &missing).await? {
            let session = row.into_domain()?;
            found.insert(session.id, session);
        }
        Ok(found)
    }

    /// Burns the one-time ids of what is not refused yet. The first in a batch wins; ids of a loser that
    /// nobody else has are given back.
    async fn burn(&mut self, writes: &[&Write], outcomes: &mut [Outcome]) -> Result<(), Failure> {
        let mut wanted = BTreeMap::new();
        for (write, outcome) in writes.iter().zip(outcomes.iter()) {
            if outcome.is_ok() {
                wanted.extend(
                    ids_of(write)
                        .iter()
                        .map(|id| (id.id.to_string(), id.until.as_microsecond())),
                );
            }
        }
        let wanted: Vec<Burnt> = wanted.into_iter().map(|(id, until)| Burnt { id, until }).collect();
        let burnt = self.rows_of::<DigestRow>(D::SQL.burn, &wanted).await?;
        let mut free: HashSet<Vec<u8>> = burnt.into_iter().map(|row| row.digest).collect();
        for (write, outcome) in writes.iter().zip(outcomes.iter_mut()) {
            let ids: HashSet<&[u8]> = ids_of(write).iter().map(|id| &id.id.as_bytes()[..]).collect();
            if outcome.is_err() || ids.is_empty() {
                continue;
            }
            if ids.iter().all(|id| free.contains(*id)) {
                ids.iter().for_each(|id| {
                    free.remove(*id);
                });
            } else {
                *outcome = Err(AppendError::Replayed);
            }
        }
        let back: Vec<String> = free.iter().map(hex::encode).collect();
        self.run_all("replay", D::SQL.unburn, &back).await
    }

    async fn insert(&mut self, entries: &[&Entry]) -> Result<(), Failure> {
        if entries.is_empty() {
            return Ok(());
        }
        self.effects.latest = entries.iter().map(|entry| entry.index.at).max();
        self.insert_entries(entries).await
    }

    async fn move_sessions(
        &mut self,
        sessions: &mut HashMap<SessionId, Session>,
        entries: &[&Entry],
    ) -> Result<(), Failure> {
        let mut moved: BTreeMap<SessionId, Moved> = BTreeMap::new();
        for entry in entries {
            let Some(id) = moves(entry) else { continue };
            let Some(session) = sessions.get_mut(&id) else { continue };
            let issued = u64::from(entry.index.event == Event::Exchange);
            session.last_used = session.last_used.max(entry.index.at);
            session.issuances += issued;
            let sum = moved.entry(id).or_insert_with(|| Moved {
                id: text(id.0),
                at: i64::MIN,
                issued: 0,
            });
            sum.at = sum.at.max(entry.index.at.as_microsecond());
            sum.issued += issued;
        }
        self.effects
            .changed
            .extend(moved.keys().filter_map(|id| sessions.remove(id)));
        let moved: Vec<Moved> = moved.into_values().collect();
        self.run_all("session", D::SQL.move_sessions, &moved).await
    }
}

impl Found {
    fn check(&self, entry: &Entry, conditions: &Conditions) -> Result<(), AppendError> {
        if let Some(guard) = &conditions.guard {
            self.check_guard(guard, entry.index.at)?;
        }
        match &conditions.lease {
            Some(step) if !self.holds(leased(entry, step), owner(step)) => Err(AppendError::Superseded),
            _ => Ok(()),
        }
    }

    fn check_guard(&self, guard: &Guard, now: Timestamp) -> Result<(), AppendError> {
        let session = self.sessions.get(&guard.session).filter(|session| session.is_live(now));
        if session.is_none() {
            return Err(AppendError::SessionEnded);
        }
        if self.marks.is_empty() {
            return Ok(());
        }
        match self.marks.get(&key_of(guard).as_bytes()[..]) {
            Some(second) if is_marked(*second, guard.token.issued_at) => Err(AppendError::SubjectRevoked),
            _ => Ok(()),
        }
    }

    /// Whether the lease is intended and this owner's, or live where nobody moves it.
    fn holds(&self, id: IssuanceId, owner: Option<Owner>) -> bool {
        self.leases.get(&id.0).is_some_and(|lease| match owner {
            Some(owner) => lease.state == "intended" && lease.replica == owner.replica.0 && lease.fence == owner.fence,
            None => lease.state == "live",
        })
    }
}

/// The session that a record moves: that of an issued exchange, or of a reported use.
fn moves(entry: &Entry) -> Option<SessionId> {
    match (entry.index.event, entry.index.outcome) {
        (Event::Exchange, RecordOutcome::Issued) | (Event::Use, RecordOutcome::Reported) => entry.index.session,
        _ => None,
    }
}

fn ids_of(write: &Write) -> &[ReplayId] {
    match write {
        Write::Append(_, conditions) => &conditions.burn,
        Write::Intend(intent) => &intent.burn,
        Write::Burn(ids) => ids,
        _ => &[],
    }
}

fn owner(step: &LeaseStep) -> Option<Owner> {
    match step {
        LeaseStep::Live { owner, .. } | LeaseStep::Gone(owner) | LeaseStep::Undo { owner, .. } => Some(*owner),
        LeaseStep::Shared(_) => None,
    }
}

/// The lease that a step is of.
fn leased(entry: &Entry, step: &LeaseStep) -> IssuanceId {
    match step {
        LeaseStep::Shared(with) => *with,
        LeaseStep::Live { .. } | LeaseStep::Gone(_) | LeaseStep::Undo { .. } => entry.id,
    }
}

fn key_of(guard: &Guard) -> Digest {
    mark_key(&guard.token.server, &guard.token.subject, guard.token.actor.as_ref())
}

fn text(id: Uuid) -> String {
    id.simple().to_string()
}

fn step<'w>(entry: &Entry, step: &'w LeaseStep) -> Option<Step<'w>> {
    let (state, due, kept) = match step {
        LeaseStep::Live { until, kept, .. } => (LeaseState::Live, Some(*until), Some(kept)),
        LeaseStep::Undo { at, kept, .. } => (LeaseState::Undoing, Some(*at), Some(kept)),
        LeaseStep::Gone(_) => (LeaseState::Gone, None, None),
        LeaseStep::Shared(_) => return None,
    };
    let (until, source_version) = match step {
        LeaseStep::Live {
            until, source_version, ..
        } => (Some(*until), source_version.as_deref()),
        _ => (None, None),
    };
    Some(Step {
        id: text(entry.id.0),
        state,
        due: due.map(Timestamp::as_microsecond),
        until: until.map(Timestamp::as_microsecond),
        source_version,
        sealed: kept.and_then(|kept| kept.sealed.as_ref()).map(hex::encode),
        lapses: kept.and_then(|kept| kept.lapses).map(Timestamp::as_microsecond),
        known_as: kept.and_then(|kept| kept.known_as.as_deref()),
    })
}

fn new_lease(intent: &Intent) -> Result<NewLease<'_>, Failure> {
    Ok(NewLease {
        id: text(intent.id.0),
        handle: intent.handle.as_str(),
        target: intent.target.as_str(),
        place: &intent.place,
        session: text(intent.session.0),
        replica: text(intent.replica.0),
        deadline: intent.deadline.as_microsecond(),
        lapses: intent.lapses.map(Timestamp::as_microsecond),
        aborted: serde_json::to_string(&intent.aborted)?,
    })
}
