//! Sessions, and one as a timeline.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    extract::{Path, RawQuery},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::{
    Timestamp,
    ids::{IssuanceId, SessionId},
    judgement::OperatorAction,
    ledger::{Held, Page, Session, SessionFilter, Stored},
    query::{Expr, search},
    timeline::timeline,
};

use super::{
    answer::{Frame, Stop, answer, html, stop},
    guard::Reader,
    query::Asked,
    records::Row,
    show::{plain, time, word},
};
use crate::http::{Door, Query, SessionQuery};

/// Exchanges whose sessions stand on a page of somebody who may not read all.
const EXCHANGES: u32 = 200;

/// A session in a list.
pub(super) struct SessionRow {
    pub(super) id: String,
    pub(super) opened: String,
    pub(super) iso: String,
    pub(super) live: bool,
    pub(super) state: String,
    pub(super) subject: String,
    pub(super) actor: String,
    pub(super) server: String,
    /// `None` for whoever may not read everything that happened in it.
    pub(super) issuances: Option<u64>,
    /// The same; else when it was used as far as they may know.
    pub(super) last_used: String,
    pub(super) ends: String,
}

impl SessionRow {
    pub(super) fn of(session: &Session, now: Timestamp) -> Self {
        let actor = session.key.actor.as_ref().map(|id| plain(&id.to_string()));
        Self {
            id: session.id.to_string(),
            opened: time(session.opened),
            iso: session.opened.to_string(),
            live: session.is_live(now),
            state: match session.ended {
                Some((at, by)) => format!("ended by {} {}", word(by), time(at)),
                None if session.is_live(now) => "live".to_owned(),
                None => "over".to_owned(),
            },
            subject: plain(&session.key.subject.id().to_string()),
            actor: actor.unwrap_or_default(),
            server: session.key.server.to_string(),
            issuances: Some(session.issuances),
            last_used: time(session.last_used),
            ends: time(session.ends),
        }
    }

    /// For whoever may read some of its records only, the newest of which is of that time.
    fn restricted(self, newest: Option<Timestamp>) -> Self {
        Self {
            issuances: None,
            last_used: newest.map(time).unwrap_or_default(),
            ..self
        }
    }
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    asked: Asked,
    problem: String,
    /// How far back was looked, where that is not at all sessions.
    searched_to: Option<String>,
    rows: Vec<SessionRow>,
    older: Option<String>,
}

/// `GET /ui/sessions`
pub(super) async fn list(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let asked = Asked::read(Some(&query));
        let now = door.app.ports.now()?;
        let (found, problem) = match Query::read(Some(&query)).and_then(Query::sessions) {
            Ok(question) => (find(&door, &reader, question, now).await?, String::new()),
            Err(_) => (Found::default(), "A field is not written as it must be.".to_owned()),
        };
        let older = found.older.map(|before| asked.older(&before));
        let status = if problem.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        };
        let page = SessionsPage {
            frame: reader.frame(&door, "sessions", "Sessions"),
            asked,
            problem,
            searched_to: found.searched_to.map(time),
            rows: found.rows,
            older,
        };
        Ok(html(&door, status, &page))
    };
    answer(&door, Some(&format!("/sessions?{query}")), work.await)
}

/// A page of sessions.
#[derive(Default)]
struct Found {
    rows: Vec<SessionRow>,
    /// Where the next page begins.
    older: Option<String>,
    /// How far back was looked for them.
    searched_to: Option<Timestamp>,
}

async fn find(door: &Door, reader: &Reader, question: SessionQuery, now: Timestamp) -> Result<Found, Stop> {
    let filter = SessionFilter {
        live_at: question.live.then_some(now),
        ..question.filter
    };
    if reader.targets().is_some() {
        return of_records(door, reader, (&filter, question.before), now).await;
    }
    let ledger = &door.app.ports.ledger;
    let sessions = ledger.sessions(filter, question.before, question.limit).await?;
    let full = u32::try_from(sessions.len()).is_ok_and(|count| count == question.limit);
    Ok(Found {
        rows: sessions.iter().map(|session| SessionRow::of(session, now)).collect(),
        older: sessions.last().filter(|_| full).map(|last| last.id.to_string()),
        searched_to: None,
    })
}

/// Sessions of exchanges that the reader may see, by those exchanges: the cursor is a record's, for one of sessions would
/// tell of others. A session that goes on for long may stand on several pages.
async fn of_records(
    door: &Door,
    reader: &Reader,
    (filter, before): (&SessionFilter, Option<SessionId>),
    now: Timestamp,
) -> Result<Found, Stop> {
    let ledger = &*door.app.ports.ledger;
    let asked = [
        filter.subject.as_ref().map(|id| Expr::is("subject", id)),
        filter.actor.as_ref().map(|id| Expr::is("actor", id)),
        filter.server.as_ref().map(|name| Expr::is("server", name)),
    ];
    let exchanges = Expr::is("event", "exchange");
    let exchanges = asked.into_iter().flatten().fold(exchanges, Expr::and);
    let page = Page {
        before: before.map(|SessionId(id)| IssuanceId(id)),
        limit: EXCHANGES,
    };
    let found = search(ledger, &exchanges, &reader.scope, page).await?;
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    // The newest comes first.
    for record in &found.records {
        let Some(id) = record.index.session.filter(|id| seen.insert(*id)) else {
            continue;
        };
        let session = ledger.session(id).await?;
        let session = session.filter(|session| filter.live_at.is_none() || session.is_live(now));
        rows.extend(session.map(|session| SessionRow::of(&session, now).restricted(Some(record.index.at))));
    }
    Ok(Found {
        rows,
        older: found.next.map(|next| next.to_string()),
        searched_to: found.next.map(|next| next.time()),
    })
}

/// A credential that a session holds.
pub(super) struct HeldRow {
    pub(super) id: String,
    pub(super) target: String,
    pub(super) until: String,
    /// Undone at its target; what is not lives until its end wherever it is checked offline.
    pub(super) leased: bool,
}

impl HeldRow {
    fn of(held: &Held) -> Self {
        Self {
            id: held.id.to_string(),
            target: held.target.to_string(),
            until: time(held.until),
            leased: held.lease.is_some(),
        }
    }
}

/// A session that the reader may see, and of it what they may.
pub(super) struct Seen {
    pub(super) session: Session,
    /// The newest first.
    pub(super) records: Vec<Stored>,
    /// There are older ones.
    pub(super) is_cut: bool,
    pub(super) holds: Vec<HeldRow>,
    /// Credentials at targets whose records the reader may not read.
    pub(super) hidden: usize,
}

impl Seen {
    /// `None` where there is no such session, or no record of it that the reader may read.
    pub(super) async fn find(door: &Door, reader: &Reader, id: &str) -> Result<Option<Self>, Stop> {
        let ports = &door.app.ports;
        let Ok(id) = id.parse::<SessionId>() else {
            return Ok(None);
        };
        let Some(session) = ports.ledger.session(id).await? else {
            return Ok(None);
        };
        let timeline = timeline(ports, id).await?;
        let records = timeline.steps.into_iter().rev().map(|step| step.record);
        let records: Vec<_> = records.filter(|record| reader.scope.covers(record)).collect();
        if records.is_empty() && reader.targets().is_some() {
            return Ok(None);
        }
        let held = ports.ledger.held(id, ports.now()?).await?;
        let (seen, hidden): (Vec<_>, Vec<_>) = held.iter().partition(|held| reader.reads(ports, Some(&held.target)));
        Ok(Some(Self {
            session,
            records,
            is_cut: !timeline.whole,
            holds: seen.into_iter().map(HeldRow::of).collect(),
            hidden: hidden.len(),
        }))
    }

    /// Its facts, as far as the reader may know them.
    pub(super) fn row(&self, reader: &Reader, now: Timestamp) -> SessionRow {
        let row = SessionRow::of(&self.session, now);
        match reader.targets() {
            None => row,
            Some(_) => row.restricted(self.records.first().map(|record| record.index.at)),
        }
    }
}

#[derive(Template)]
#[template(path = "session.html")]
struct SessionPage {
    frame: Frame,
    session: SessionRow,
    holds: Vec<HeldRow>,
    records: Vec<Row>,
    is_cut: bool,
    may_end: bool,
}

/// `GET /ui/sessions/{id}`
pub(super) async fn one(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let path = format!("/sessions/{id}");
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let Some(seen) = Seen::find(&door, &reader, &id).await? else {
            return Ok(absent(&door, &reader));
        };
        let ports = &door.app.ports;
        let page = SessionPage {
            frame: reader.frame(&door, "sessions", "Session"),
            session: seen.row(&reader, ports.now()?),
            is_cut: seen.is_cut,
            records: seen.records.iter().map(Row::of).collect(),
            holds: seen.holds,
            may_end: seen.session.ended.is_none() && reader.may(ports, OperatorAction::EndSession, None),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some(&path), work.await)
}

/// What is not there, and what one may not see.
pub(super) fn absent(door: &Door, reader: &Reader) -> Response {
    let text = "There is no such session, or it is not for you.";
    stop(door, Some(reader), StatusCode::NOT_FOUND, text)
}

impl SessionsPage {
    fn field(&self, name: &str) -> String {
        plain(self.asked.get(name))
    }

    fn is_live_only(&self) -> bool {
        self.asked.get("live") == "true"
    }
}
