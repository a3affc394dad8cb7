//! Which session an exchange belongs to.

use procura_wire::Reason;

use super::{Admitted, refuse::Stop};
use crate::{
    catalogue::Server,
    identity::Caller,
    ids::SessionId,
    judgement::SessionFacts,
    ledger::{Session, SessionKey},
    ports::Ports,
    request::SessionChoice,
};

/// The session of an exchange: there already, or to be opened once it is permitted.
#[derive(Debug)]
pub(super) enum Run {
    Live(Session),
    New(Session),
}

impl Run {
    pub(super) fn session(&self) -> &Session {
        match self {
            Self::Live(session) | Self::New(session) => session,
        }
    }

    /// What rules may know of it.
    pub(super) fn facts(&self, admitted: &Admitted) -> SessionFacts {
        let session = self.session();
        let age = admitted.now.duration_since(session.opened).as_secs();
        SessionFacts {
            age: u64::try_from(age).unwrap_or(0),
            issuances: session.issuances,
        }
    }
}

/// Finds the session that the request names or joins. Opens nothing.
pub(super) async fn find(
    ports: &Ports,
    admitted: &Admitted,
    caller: &Caller,
    choice: SessionChoice,
) -> Result<Run, Stop> {
    let key = SessionKey {
        server: caller.server.name.clone(),
        subject: caller.subject.principal.clone(),
        actor: caller.actor.agent.clone(),
        sid: caller.subject.token.sid.clone(),
    };
    let server = admitted.entry()?;
    match choice {
        SessionChoice::Unknown => Err(unknown()),
        SessionChoice::New => Ok(Run::New(fresh(ports, admitted, server, key, true))),
        SessionChoice::Join => match ports.ledger.find_session(key.clone(), admitted.now).await? {
            Some(session) => Ok(Run::Live(session)),
            None => Ok(Run::New(fresh(ports, admitted, server, key, false))),
        },
        SessionChoice::Pinned(id) => {
            let session = ports
                .ledger
                .session(id)
                .await?
                .filter(|session| session.is_live(admitted.now));
            let theirs = |other: &SessionKey| {
                (&other.server, &other.subject, &other.actor) == (&key.server, &key.subject, &key.actor)
            };
            session
                .filter(|session| theirs(&session.key))
                .map(Run::Live)
                .ok_or_else(unknown)
        }
    }
}

/// Opens it, if it is new; the loser of a race takes the winner's.
pub(super) async fn open(ports: &Ports, run: Run) -> Result<Session, Stop> {
    match run {
        Run::Live(session) => Ok(session),
        Run::New(session) => Ok(ports.ledger.open_session(session).await?),
    }
}

fn unknown() -> Stop {
    Stop::param(Reason::SessionUnknown, "session")
}

fn fresh(ports: &Ports, admitted: &Admitted, server: &Server, key: SessionKey, pinned: bool) -> Session {
    let now = admitted.now;
    Session {
        id: SessionId::new(now, &*ports.entropy),
        key,
        pinned,
        opened: now,
        ends: now + server.session_ttl,
        last_used: now,
        issuances: 0,
        ended: None,
    }
}
