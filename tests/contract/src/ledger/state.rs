//! What the ledger in memory holds, and its rules.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use procura_core::{
    Timestamp,
    identity::Principal,
    ids::{IssuanceId, SessionId},
    ledger::{
        AppendError, Claim, Conditions, EndedBy, Entry, Event, Held, Intent, Kept as Receipts, Lease, LeaseState,
        LeaseStep, Outcome, Owner, ReplayId, Session, SessionKey, Stored, TokenFacts, Undone,
    },
};
use procura_wire::{Digest, Name, QualifiedId};
use serde_json::value::RawValue;

/// Tables as maps, ordered as the listings are.
#[derive(Default)]
pub(super) struct State {
    pub(super) records: BTreeMap<IssuanceId, Record>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) leases: BTreeMap<IssuanceId, Kept>,
    pub(super) marks: Vec<Mark>,
    pub(super) burnt: HashMap<Digest, Timestamp>,
    pub(super) bundles: HashMap<Digest, Vec<u8>>,
    pub(super) settled: Vec<Digest>,
    pub(super) counted: HashMap<(Digest, Timestamp), u64>,
    pub(super) durable: Option<Timestamp>,
}

pub(super) struct Record {
    pub(super) entry: Entry,
    revoked: Option<Timestamp>,
    pub(super) erased: bool,
}

pub(super) struct Kept {
    pub(super) lease: Lease,
    claimed: Option<Timestamp>,
}

pub(super) struct Mark {
    server: Name,
    subject: Principal,
    actor: Option<QualifiedId>,
    second: i64,
}

impl State {
    pub(super) fn append(&mut self, entry: Entry, conditions: &Conditions) -> Result<(), AppendError> {
        if let Some(guard) = &conditions.guard {
            let session = self.sessions.get(&guard.session);
            if !session.is_some_and(|session| session.is_live(entry.index.at)) {
                return Err(AppendError::SessionEnded);
            }
            if self.is_revoked(&guard.token) {
                return Err(AppendError::SubjectRevoked);
            }
        }
        let superseded = conditions.lease.as_ref().is_some_and(|step| !self.owns(entry.id, step));
        if superseded || self.records.contains_key(&entry.id) {
            return Err(AppendError::Superseded);
        }
        self.burn(&conditions.burn)?;
        if let Some(step) = &conditions.lease {
            self.step(entry.id, step);
        }
        self.insert(entry);
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        let index = &entry.index;
        self.durable = self.durable.max(Some(index.at));
        let issued = (index.event, index.outcome) == (Event::Exchange, Outcome::Issued);
        let used = (index.event, index.outcome) == (Event::Use, Outcome::Reported);
        let session = index.session.and_then(|id| self.sessions.get_mut(&id));
        if let Some(session) = session.filter(|_| issued || used) {
            session.last_used = session.last_used.max(index.at);
            session.issuances += u64::from(issued);
        }
        let record = Record {
            entry,
            revoked: None,
            erased: false,
        };
        self.records.insert(record.entry.id, record);
    }

    pub(super) fn burn(&mut self, ids: &[ReplayId]) -> Result<(), AppendError> {
        if ids.iter().any(|id| self.burnt.contains_key(&id.id)) {
            return Err(AppendError::Replayed);
        }
        self.burnt.extend(ids.iter().map(|id| (id.id, id.until)));
        Ok(())
    }

    fn owns(&self, id: IssuanceId, step: &LeaseStep) -> bool {
        let lease = |id| self.leases.get(id).map(|kept| &kept.lease);
        match step {
            LeaseStep::Shared(with) => lease(with).is_some_and(|lease| lease.state == LeaseState::Live),
            LeaseStep::Live { owner, .. } | LeaseStep::Gone(owner) | LeaseStep::Undo { owner, .. } => {
                lease(&id).is_some_and(|lease| lease.state == LeaseState::Intended && lease.owner == *owner)
            }
        }
    }

    fn step(&mut self, id: IssuanceId, step: &LeaseStep) {
        let Some(Kept { lease, .. }) = self.leases.get_mut(&id) else {
            return;
        };
        lease.aborted = None;
        match step {
            LeaseStep::Live {
                until,
                source_version,
                kept,
                ..
            } => {
                lease.state = LeaseState::Live;
                lease.until = Some(*until);
                lease.source_version.clone_from(source_version);
                lease.kept = kept.clone();
            }
            LeaseStep::Gone(_) => {
                lease.state = LeaseState::Gone;
                lease.kept = Receipts::default();
            }
            LeaseStep::Undo { at, kept, .. } => {
                lease.state = LeaseState::Undoing;
                lease.next_attempt = Some(*at);
                lease.kept = kept.clone();
            }
            LeaseStep::Shared(_) => {}
        }
    }

    pub(super) fn intend(&mut self, intent: Intent) -> Result<(), AppendError> {
        self.burn(&intent.burn)?;
        let lease = Lease {
            id: intent.id,
            handle: intent.handle,
            target: intent.target,
            place: intent.place,
            session: intent.session,
            state: LeaseState::Intended,
            owner: Owner {
                replica: intent.replica,
                fence: 1,
            },
            deadline: intent.deadline,
            until: None,
            source_version: None,
            kept: Receipts {
                lapses: intent.lapses,
                ..Receipts::default()
            },
            attempts: 0,
            next_attempt: None,
            aborted: Some(intent.aborted),
        };
        self.leases.insert(lease.id, Kept { lease, claimed: None });
        Ok(())
    }

    pub(super) fn is_revoked(&self, token: &TokenFacts) -> bool {
        self.marks.iter().any(|mark| {
            (&mark.server, &mark.subject, &mark.actor) == (&token.server, &token.subject, &token.actor)
                && token.issued_at.is_none_or(|at| at.as_second() <= mark.second)
        })
    }

    pub(super) fn joinable(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions
            .values()
            .find(|session| session.key == *key && !session.pinned && session.ended.is_none())
    }

    pub(super) fn open(&mut self, session: Session) -> Session {
        if !session.pinned {
            match self.joinable(&session.key).cloned() {
                Some(live) if live.is_live(session.opened) => return live,
                Some(dead) => {
                    self.end(dead.id, EndedBy::Time, session.opened);
                }
                None => {}
            }
        }
        self.sessions.insert(session.id, session.clone());
        session
    }

    pub(super) fn end(&mut self, id: SessionId, by: EndedBy, now: Timestamp) -> Option<Vec<Held>> {
        let session = self.sessions.get_mut(&id).filter(|session| session.ended.is_none())?;
        session.ended = Some((now, by));
        if matches!(by, EndedBy::Operator | EndedBy::Policy) {
            let key = session.key.clone();
            self.marks.push(Mark {
                server: key.server,
                subject: key.subject,
                actor: key.actor,
                second: now.as_second(),
            });
        }
        let held = self.held(id, now);
        for held in &held {
            self.revoke_record(held.id, now);
        }
        let ids: Vec<IssuanceId> = self
            .leases
            .values()
            .filter(|kept| kept.lease.session == id)
            .map(|kept| kept.lease.id)
            .collect();
        ids.into_iter().for_each(|id| self.undo(id, now));
        Some(held)
    }

    pub(super) fn revoke(&mut self, id: IssuanceId, now: Timestamp) -> Option<Held> {
        let held = self.held_record(self.records.get(&id)?, now)?;
        self.revoke_record(id, now);
        self.undo(id, now);
        Some(held)
    }

    fn revoke_record(&mut self, id: IssuanceId, now: Timestamp) {
        let shares = |record: &Record| {
            let index = &record.entry.index;
            index.about == Some(id) && (index.event, index.outcome) == (Event::Exchange, Outcome::Issued)
        };
        for record in self.records.values_mut() {
            if record.entry.id == id || shares(record) {
                record.revoked.get_or_insert(now);
            }
        }
    }

    fn undo(&mut self, id: IssuanceId, now: Timestamp) {
        if let Some(kept) = self
            .leases
            .get_mut(&id)
            .filter(|kept| kept.lease.state == LeaseState::Live)
        {
            kept.lease.state = LeaseState::Undoing;
            kept.lease.next_attempt = Some(now);
            kept.claimed = None;
        }
    }

    pub(super) fn held(&self, session: SessionId, now: Timestamp) -> Vec<Held> {
        let records = self.records.values().rev();
        records
            .filter(|record| record.entry.index.session == Some(session))
            .filter_map(|record| self.held_record(record, now))
            .collect()
    }

    fn held_record(&self, record: &Record, now: Timestamp) -> Option<Held> {
        let index = &record.entry.index;
        let issued = (index.event, index.outcome) == (Event::Exchange, Outcome::Issued);
        let until = index
            .until
            .filter(|until| issued && *until > now && record.revoked.is_none())?;
        let lease = self.leases.get(&index.about.unwrap_or(record.entry.id));
        let gone = lease.is_some_and(|kept| kept.lease.state == LeaseState::Gone);
        (!gone).then_some(Held {
            id: record.entry.id,
            target: index.target.clone()?,
            until,
            lease: lease.map(|kept| kept.lease.id),
        })
    }

    pub(super) fn due_targets(&self, now: Timestamp, margin: Duration) -> Vec<Name> {
        let leases = self.leases.values().map(|kept| &kept.lease);
        let due = leases.filter(|lease| due(lease, margin).is_some_and(|at| at <= now));
        let targets: BTreeSet<&Name> = due.map(|lease| &lease.target).collect();
        targets.into_iter().cloned().collect()
    }

    pub(super) fn take_due(&mut self, target: &Name, claim: Claim, limit: u32) -> Vec<Lease> {
        let mut due: Vec<(Timestamp, IssuanceId)> = self
            .leases
            .values()
            .filter(|kept| kept.lease.target == *target)
            .filter_map(|kept| Some((due(&kept.lease, claim.margin)?, kept.lease.id)))
            .filter(|(at, _)| *at <= claim.now)
            .collect();
        due.sort();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        due.into_iter().filter_map(|(_, id)| self.claim(id, claim)).collect()
    }

    pub(super) fn take(&mut self, id: IssuanceId, claim: Claim) -> Option<Lease> {
        let kept = self.leases.get(&id)?;
        let free = kept.claimed.is_none_or(|until| until <= claim.now);
        let over = match kept.lease.state {
            LeaseState::Undoing => true,
            LeaseState::Live => kept.lease.until.is_some_and(|until| until <= claim.now),
            LeaseState::Intended | LeaseState::Gone => false,
        };
        if over && free { self.claim(id, claim) } else { None }
    }

    fn claim(&mut self, id: IssuanceId, claim: Claim) -> Option<Lease> {
        let kept = self.leases.get_mut(&id)?;
        kept.claimed = Some(claim.again);
        kept.lease.state = LeaseState::Undoing;
        kept.lease.next_attempt = Some(claim.again);
        kept.lease.owner = Owner {
            replica: claim.replica,
            fence: kept.lease.owner.fence + 1,
        };
        self.lease(id)
    }

    pub(super) fn settle(&mut self, id: IssuanceId, owner: Owner, undone: Undone) -> bool {
        let recorded = self.records.contains_key(&id);
        let Some(kept) = self.leases.get_mut(&id) else {
            return false;
        };
        if kept.lease.state != LeaseState::Undoing || kept.lease.owner != owner {
            return false;
        }
        kept.claimed = None;
        kept.lease.attempts += 1;
        match undone {
            Undone::Gone => {
                kept.lease.state = LeaseState::Gone;
                kept.lease.next_attempt = None;
                kept.lease.kept.sealed = None;
                kept.lease.aborted.take_if(|_| recorded);
            }
            Undone::Retry { at, .. } => kept.lease.next_attempt = Some(at),
        }
        true
    }

    pub(super) fn lease(&self, id: IssuanceId) -> Option<Lease> {
        let mut lease = self.leases.get(&id)?.lease.clone();
        lease.aborted.take_if(|_| self.records.contains_key(&id));
        Some(lease)
    }
}

fn due(lease: &Lease, margin: Duration) -> Option<Timestamp> {
    match lease.state {
        LeaseState::Intended => Some(lease.deadline + margin),
        LeaseState::Live => lease.until,
        LeaseState::Undoing => lease.next_attempt,
        LeaseState::Gone => None,
    }
}

impl Record {
    pub(super) fn stored(&self) -> Option<Stored> {
        let mut index = self.entry.index.clone();
        let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
        let side = if self.erased {
            (index.subject, index.actor) = (None, None);
            None
        } else {
            Some((self.entry.salt, raw(&self.entry.clear)?))
        };
        Some(Stored {
            id: self.entry.id,
            leaf: raw(&self.entry.leaf)?,
            side,
            index,
            revoked: self.revoked,
        })
    }
}
