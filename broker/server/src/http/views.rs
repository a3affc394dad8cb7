//! What `/v1` shows of records, sessions and leases.

use procura_core::ledger::{Held, Lease, Session, Stored};
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
    json!({"id": held.id, "target": held.target, "until": held.until, "leased": held.leased})
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
    })
}
