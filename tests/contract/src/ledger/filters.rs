//! Which rows pass a listing's filters.

use procura_core::ledger::{Filter, Lease, LeaseFilter, Session, SessionFilter, Stored};
use procura_wire::{Name, QualifiedId};

use super::state::State;

/// Absent filters hold; a given one must equal.
fn holds<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
    wanted.is_none_or(|wanted| Some(wanted) == is)
}

fn issuer(stored: &Stored) -> Option<Name> {
    let leaf: serde_json::Value = serde_json::from_str(stored.leaf.get()).ok()?;
    leaf["issuer"].as_str()?.parse().ok()
}

pub(super) fn record_passes(filter: &Filter, stored: &Stored) -> bool {
    let index = &stored.index;
    holds(filter.event.as_ref(), Some(&index.event))
        && holds(filter.outcome.as_ref(), Some(&index.outcome))
        && holds(filter.subject.as_ref(), index.subject.as_ref())
        && holds(filter.actor.as_ref(), index.actor.as_ref())
        && (filter.issuer.is_none() || filter.issuer == issuer(stored))
        && holds(filter.server.as_ref(), index.server.as_ref())
        && holds(filter.tool.as_ref(), index.tool.as_ref())
        && holds(filter.target.as_ref(), index.target.as_ref())
        && holds(filter.session.as_ref(), index.session.as_ref())
        && holds(filter.about.as_ref(), index.about.as_ref())
        && filter.grant.as_ref().is_none_or(|grant| index.grants.contains(grant))
        && filter.subject_begin.as_ref().is_none_or(|begin| {
            let begins = |subject: &QualifiedId| subject.to_string().starts_with(begin.as_str());
            index.subject.as_ref().is_none_or(begins)
        })
        && filter.from.is_none_or(|from| stored.id >= from)
        && filter.since.is_none_or(|since| index.at >= since)
        && filter.until.is_none_or(|until| index.at < until)
}

pub(super) fn session_passes(filter: &SessionFilter, session: &Session) -> bool {
    holds(filter.subject.as_ref(), Some(session.key.subject.id()))
        && holds(filter.actor.as_ref(), session.key.actor.as_ref())
        && holds(filter.server.as_ref(), Some(&session.key.server))
        && filter.live_at.is_none_or(|now| session.is_live(now))
}

impl State {
    pub(super) fn lease_passes(&self, filter: &LeaseFilter, lease: &Lease) -> bool {
        let by_session = SessionFilter {
            subject: filter.subject.clone(),
            actor: filter.actor.clone(),
            server: filter.server.clone(),
            live_at: None,
        };
        let session = self.sessions.get(&lease.session);
        let of_session = session.is_some_and(|session| session_passes(&by_session, session));
        holds(filter.target.as_ref(), Some(&lease.target))
            && holds(filter.source_version.as_ref(), lease.source_version.as_ref())
            && holds(filter.session.as_ref(), Some(&lease.session))
            && holds(filter.state.as_ref(), Some(&lease.state))
            && (of_session || by_session == SessionFilter::default())
    }
}
