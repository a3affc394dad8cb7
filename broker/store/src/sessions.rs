//! Opening and ending sessions.

use procura_core::{
    Timestamp,
    ids::SessionId,
    ledger::{EndedBy, Held, Session, SessionKey},
};
use procura_wire::Digest;
use serde::Serialize;

use crate::{
    answer::{Failure, mark_key, session_key},
    batch::Batch,
    db::{Arg, Db},
    rows::{HeldRow, SessionRow},
    sql,
};

/// A session as `insert_sessions` reads it.
#[derive(Serialize)]
struct NewSession<'w> {
    id: String,
    key: String,
    server: &'w str,
    subject_kind: &'w str,
    subject: String,
    actor: Option<String>,
    sid: Option<&'w str>,
    pinned: bool,
    opened: i64,
    ends: i64,
    last_used: i64,
    issuances: u64,
}

/// A mark as `insert_marks` reads it.
#[derive(Serialize)]
struct NewMark<'w> {
    key: String,
    server: &'w str,
    subject_kind: &'w str,
    subject: String,
    actor: Option<String>,
    second: i64,
}

impl<D: Db> Batch<'_, D> {
    pub(crate) async fn open_session(&mut self, session: &Session) -> Result<Session, Failure> {
        let key = session_key(&session.key);
        // The second round reads the winner where another replica opened one in between.
        for _ in 0..2 {
            if let Some(live) = self.joinable(session, &key).await? {
                return Ok(live);
            }
            let row = NewSession {
                id: session.id.0.simple().to_string(),
                key: key.to_string(),
                server: session.key.server.as_str(),
                subject_kind: session.key.subject.kind(),
                subject: session.key.subject.id().to_string(),
                actor: session.key.actor.as_ref().map(ToString::to_string),
                sid: session.key.sid.as_deref(),
                pinned: session.pinned,
                opened: session.opened.as_microsecond(),
                ends: session.ends.as_microsecond(),
                last_used: session.last_used.as_microsecond(),
                issuances: session.issuances,
            };
            let json = serde_json::to_string(&[row])?;
            if self.run(D::SQL.insert_sessions, vec![json.into()]).await? == 1 {
                self.effects.changed.push(session.clone());
                return Ok(session.clone());
            }
        }
        Err(Failure::Count(1, "session", 0))
    }

    /// The live session of the key, unless the new one is pinned. A dead one is ended by time.
    async fn joinable(&mut self, new: &Session, key: &Digest) -> Result<Option<Session>, Failure> {
        if new.pinned {
            return Ok(None);
        }
        let args = vec![Arg::from(&key.as_bytes()[..])];
        match self.domain::<SessionRow>(sql::LIVE_SESSION, args).await?.pop() {
            Some(found) if found.is_live(new.opened) => Ok(Some(found)),
            Some(dead) => {
                self.end_session(dead.id, EndedBy::Time, new.opened).await?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Ends a session: marks it, revokes what it holds, queues its live leases, leaves a mark.
    pub(crate) async fn end_session(
        &mut self,
        id: SessionId,
        by: EndedBy,
        now: Timestamp,
    ) -> Result<Option<Vec<Held>>, Failure> {
        let word = match by {
            EndedBy::Server => "server",
            EndedBy::Operator => "operator",
            EndedBy::Policy => "policy",
            EndedBy::Time => "time",
        };
        let args = vec![id.0.into(), now.into(), word.to_owned().into()];
        if self.run(sql::END_SESSION, args).await? == 0 {
            return Ok(None);
        }
        let both = || vec![Arg::from(id.0), Arg::from(now)];
        let held = self.domain::<HeldRow>(sql::HELD, both()).await?;
        self.run(sql::REVOKE_SESSION, both()).await?;
        self.run(sql::UNDO_SESSION, both()).await?;
        let session = self.domain::<SessionRow>(sql::SESSION, vec![id.0.into()]).await?.pop();
        let session = session.ok_or(Failure::Count(1, "session", 0))?;
        if matches!(by, EndedBy::Operator | EndedBy::Policy) {
            self.mark(&session.key, now).await?;
        }
        self.effects.changed.push(session);
        Ok(Some(held))
    }

    async fn mark(&mut self, session: &SessionKey, now: Timestamp) -> Result<(), Failure> {
        let key = mark_key(&session.server, &session.subject, session.actor.as_ref());
        let mark = NewMark {
            key: key.to_string(),
            server: session.server.as_str(),
            subject_kind: session.subject.kind(),
            subject: session.subject.id().to_string(),
            actor: session.actor.as_ref().map(ToString::to_string),
            second: now.as_second(),
        };
        self.effects.marked.push(key);
        self.run_all("mark", D::SQL.insert_marks, &[mark]).await
    }
}
