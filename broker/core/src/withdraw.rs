//! What a bundle does not give any more is taken back: the sessions of servers that are gone or suspended,
//! and the credentials of grants that are gone or out of a server's reach.

use std::collections::{BTreeMap, BTreeSet};

use procura_wire::{Name, QualifiedId};

use crate::{
    catalogue::{Catalogue, Server},
    exchange::{is_suspended, is_suspended_agent},
    ids::IssuanceId,
    ledger::{EndedBy, Event, LeaseFilter, LeaseState, Outcome, Page, SessionFilter, SessionKey, StoreError, Stored},
    operator::end_unasked,
    ports::Ports,
    record::Draft,
};

/// What is looked at together.
const BATCH: u32 = 256;

/// Takes back what the bundle in force does not give and `before` did. Without an earlier bundle only those
/// who are suspended lose what they have: who is merely not in this one may be in that of another replica.
/// A second time changes nothing.
pub async fn withdraw(ports: &Ports, before: Option<&Catalogue>) -> Result<(), StoreError> {
    let snapshot = ports.active.snapshot();
    let now = snapshot.judge.catalogue();
    let gone = |server: &Name| before.is_some_and(|before| before.servers.contains_key(server));
    end_sessions(ports, |key| {
        names_suspended(now, key) || (!now.servers.contains_key(&key.server) && gone(&key.server))
    })
    .await?;
    let lost = before.map(|before| lost(before, now)).unwrap_or_default();
    for (target, lost) in lost {
        undo_lost(ports, target, &lost).await?;
    }
    Ok(())
}

async fn end_sessions(ports: &Ports, ends: impl Fn(&SessionKey) -> bool) -> Result<(), StoreError> {
    let filter = SessionFilter {
        live_at: Some(ports.now().map_err(|_| StoreError::Unavailable)?),
        ..SessionFilter::default()
    };
    let mut before = None;
    loop {
        let sessions = ports.ledger.sessions(filter.clone(), before, BATCH).await?;
        let Some(last) = sessions.last() else { return Ok(()) };
        before = Some(last.id);
        for session in sessions {
            if ends(&session.key) {
                end_unasked(ports, session, EndedBy::Policy).await?;
            }
        }
    }
}

fn names_suspended(catalogue: &Catalogue, key: &SessionKey) -> bool {
    let server = catalogue.servers.get(&key.server);
    let actor = key.actor.as_ref();
    server.is_some_and(|server| server.suspended)
        || is_suspended(catalogue, &key.subject)
        || actor.is_some_and(|actor| is_suspended_agent(catalogue, actor))
}

/// By target: which server may not have which of its grants any more.
type Lost = BTreeMap<Name, BTreeSet<(Name, Name)>>;

fn lost(before: &Catalogue, now: &Catalogue) -> Lost {
    let (before, now) = (reach(before), reach(now));
    let mut lost = Lost::new();
    for (server, target, grant) in before.difference(&now) {
        let of_target = lost.entry(target.clone()).or_default();
        of_target.insert((server.clone(), grant.clone()));
    }
    lost
}

/// Which server may have which grant of which target, by any tool or by none.
fn reach(catalogue: &Catalogue) -> BTreeSet<(Name, Name, Name)> {
    let listed = |server: &Server| -> BTreeSet<QualifiedId> {
        let tools = server.tools.values().flatten();
        tools.chain(&server.grants).cloned().collect()
    };
    let mut reach = BTreeSet::new();
    for (name, server) in &catalogue.servers {
        for id in listed(server) {
            let target = catalogue.targets.get(&id.qualifier);
            let grant = target.and_then(|target| target.grants.keys().find(|grant| grant.as_str() == id.local));
            reach.extend(grant.map(|grant| (name.clone(), id.qualifier.clone(), grant.clone())));
        }
    }
    reach
}

async fn undo_lost(ports: &Ports, target: Name, lost: &BTreeSet<(Name, Name)>) -> Result<(), StoreError> {
    let filter = LeaseFilter {
        target: Some(target),
        state: Some(LeaseState::Live),
        ..LeaseFilter::default()
    };
    let mut before = None;
    loop {
        let page = Page { before, limit: BATCH };
        let leases = ports.ledger.leases(filter.clone(), page).await?;
        let Some(last) = leases.last() else { return Ok(()) };
        before = Some(last.id);
        for lease in leases {
            if let Some(stored) = ports.ledger.record(lease.id).await?
                && is_lost(&stored, lost)
            {
                revoke(ports, &stored).await?;
            }
        }
    }
}

fn is_lost(stored: &Stored, lost: &BTreeSet<(Name, Name)>) -> bool {
    let index = &stored.index;
    let lost = |server: &Name| {
        index
            .grants
            .iter()
            .any(|grant| lost.contains(&(server.clone(), grant.clone())))
    };
    index.server.as_ref().is_some_and(lost)
}

/// With a record that says that policy did it; its lease is the sweeper's.
async fn revoke(ports: &Ports, stored: &Stored) -> Result<(), StoreError> {
    let now = ports.now().map_err(|_| StoreError::Unavailable)?;
    let id = IssuanceId::new(now, &*ports.entropy);
    let mut draft = Draft::new(id, now, Event::Revocation, String::new());
    draft.facts.about = Some(stored.id);
    draft.facts.server.clone_from(&stored.index.server);
    draft.facts.target.clone_from(&stored.index.target);
    draft.facts.session = stored.index.session;
    draft.facts.ended_by = Some(EndedBy::Policy);
    draft.facts.bundle = Some(ports.active.snapshot().judge.digest());
    let entry = draft.seal(Outcome::Done, None, &*ports.entropy);
    let entry = entry.map_err(|_| StoreError::Inconsistent)?;
    ports.ledger.revoke(stored.id, entry).await.map(drop)
}
