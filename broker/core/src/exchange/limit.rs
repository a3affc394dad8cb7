//! Rate limits on the way of a request. A server's own limit counts what comes through it; the bundle's counts over
//! all servers; a grant's own stands before both.

use procura_wire::Name;

use super::{Admitted, refuse::Stop};
use crate::{
    catalogue::Grant,
    identity::Principal,
    ids::SessionId,
    limits::{Ask, Dimension, Exceeded},
    ports::Ports,
};

impl Admitted {
    fn ask(&self, dimension: Dimension, name: impl FnOnce() -> String) -> Option<Ask> {
        let own = self.entry().ok().and_then(|server| server.limits.get(&dimension));
        let all = &self.snapshot.judge.catalogue().limits;
        match own {
            Some(rate) => Some(Ask::new(dimension, self.server.name.as_str(), &name(), *rate)),
            None => all.get(&dimension).map(|rate| Ask::new(dimension, "", &name(), *rate)),
        }
    }
}

/// Counts a request of an authenticated server.
pub(crate) fn server(ports: &Ports, admitted: &Admitted) -> Result<(), Exceeded> {
    let ask = admitted.ask(Dimension::Server, || admitted.server.name.to_string());
    ports.limiter.admit(ask.as_slice(), admitted.now)
}

/// Counts an exchange for a subject.
pub(super) fn subject(ports: &Ports, admitted: &Admitted, subject: &Principal) -> Result<(), Stop> {
    let ask = admitted.ask(Dimension::Subject, || format!("{} {}", subject.kind(), subject.id()));
    Ok(ports.limiter.admit(ask.as_slice(), admitted.now)?)
}

/// Counts a permitted exchange for its session and each of its grants. Only those who are permitted get here, so that
/// nobody else learns which grants there are.
pub(super) fn permitted(
    ports: &Ports,
    admitted: &Admitted,
    grants: &[(&Name, &Grant)],
    session: SessionId,
) -> Result<(), Stop> {
    let target = admitted.draft.facts.target.as_ref();
    let mut asks: Vec<_> = admitted
        .ask(Dimension::Session, || session.0.to_string())
        .into_iter()
        .collect();
    for (name, grant) in grants {
        let id = || format!("{}/{name}", target.map_or("", Name::as_str));
        asks.extend(match grant.limit {
            Some(rate) => Some(Ask::new(Dimension::Grant, "", &id(), rate)),
            None => admitted.ask(Dimension::Grant, id),
        });
    }
    Ok(ports.limiter.admit(&asks, admitted.now)?)
}
