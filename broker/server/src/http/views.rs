//! What `/v1` shows of records, sessions and leases.

use procura_core::{
    ledger::{Held, Lease, Session, Stored},
    timeline::Step,
    whois::{Status, Traced},
};
use serde_json::{Value, json};

/// A record: its query columns, the exact leaf, and salt and clear text until they are erased.
pub(crate) fn record(stored: &Stored) -> Value {
    let index = &stored.index;
    json!({
        "id": stored.id,
        "event": index.event,
        "outcome": index.outcome,
        "reason": index.reason,
        "at": index.at,
        "server": index.server,
        "tool": index.tool,
        "target": index.target,
        "grants": index.grants,
        "session": index.session,
        "subject": index.subject,
        "actor": index.actor,
        "about": index.about,
        "until": index.until,
        "source_version": index.source_version,
        "revoked": stored.revoked,
        "leaf": stored.leaf.get(),
        "salt": stored.side.as_ref().map(|(salt, _)| hex::encode(salt)),
        "clear": stored.side.as_ref().map(|(_, clear)| clear.get()),
    })
}

/// A session.
pub(crate) fn session(session: &Session) -> Value {
    let ended = session.ended.map(|(at, by)| json!({"at": at, "by": by}));
    json!({
        "id": session.id,
        "server": session.key.server,
        "subject": session.key.subject,
        "actor": session.key.actor,
        "sid": session.key.sid,
        "pinned": session.pinned,
        "opened": session.opened,
        "ends": session.ends,
        "last_used": session.last_used,
        "issuances": session.issuances,
        "ended": ended,
    })
}

/// A credential that a session holds.
pub(crate) fn held(held: &Held) -> Value {
    json!({"id": held.id, "target": held.target, "until": held.until, "leased": held.lease.is_some()})
}

/// One step of a session's timeline: the record in short, and what has become of what it issued.
pub(crate) fn step(step: &Step) -> Value {
    let (record, index) = (&step.record, &step.record.index);
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let leaf = json(record.leaf.get());
    let clear = record
        .side
        .as_ref()
        .map(|(_, clear)| json(clear.get()))
        .unwrap_or_default();
    json!({
        "id": record.id,
        "at": index.at,
        "event": index.event,
        "outcome": index.outcome,
        "reason": index.reason,
        "tool": index.tool,
        "target": index.target,
        "grants": index.grants,
        "about": index.about,
        "until": index.until,
        "revoked": record.revoked,
        "status": step.status,
        "lapses": step.lease.as_ref().and_then(|lease| lease.kept.lapses),
        "used": leaf["used"],
        "ended_by": leaf["ended_by"],
        "operator": clear["operator"]["id"],
    })
}

/// A lease.
pub(crate) fn lease(lease: &Lease) -> Value {
    json!({
        "id": lease.id,
        "handle": lease.handle,
        "target": lease.target,
        "session": lease.session,
        "state": lease.state,
        "deadline": lease.deadline,
        "until": lease.until,
        "source_version": lease.source_version,
        "attempts": lease.attempts,
        "next_attempt": lease.next_attempt,
        "lapses": lease.kept.lapses,
        "known_as": lease.kept.known_as,
    })
}

/// An issuance that was traced. Of its session only what its own record does not say: whoever may read one
/// target's records may not read sessions.
pub(crate) fn traced(traced: &Traced) -> Value {
    let times = |session: &Session| {
        let ended = session.ended.map(|(at, by)| json!({"at": at, "by": by}));
        json!({"id": session.id, "opened": session.opened, "ends": session.ends, "ended": ended})
    };
    json!({
        "id": traced.id,
        "status": traced.status,
        "live": traced.status == Status::Live,
        "record": traced.record.as_ref().map(record),
        "lease": traced.lease.as_ref().map(lease),
        "session": traced.session.as_ref().map(times),
    })
}
