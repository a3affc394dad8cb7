//! Sessions, and one as a timeline.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Path, RawQuery},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::{
    Timestamp,
    ids::SessionId,
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
use crate::http::{Door, Query};

/// Records that are looked through for the sessions of somebody who may not read all.
const LOOKED_THROUGH: u32 = 500;

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
    pub(super) issuances: u64,
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
            issuances: session.issuances,
            last_used: time(session.last_used),
            ends: time(session.ends),
        }
    }
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    asked: Asked,
    problem: String,
    /// Which sessions were looked for, where that is not all.
    partial: Option<&'static str>,
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
        let (found, limit, problem) = match Query::read(Some(&query)).and_then(Query::sessions) {
            Ok(query) => {
                let limit = query.limit;
                let live = query.live;
                let filter = SessionFilter {
                    live_at: live.then_some(now),
                    ..query.filter
                };
                let found = match reader.targets() {
                    None => door.app.ports.ledger.sessions(filter, query.before, limit).await?,
                    Some(_) => of_records(&door, &reader, &filter, now).await?,
                };
                (found, limit, String::new())
            }
            Err(_) => (Vec::new(), 0, "A field is not written as it must be.".to_owned()),
        };
        let full = reader.targets().is_none() && u32::try_from(found.len()).is_ok_and(|count| count == limit);
        let older = found
            .last()
            .filter(|_| full && limit > 0)
            .map(|last| asked.older(&last.id.to_string()));
        let status = if problem.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        };
        let page = SessionsPage {
            frame: reader.frame(&door, "sessions", "Sessions"),
            asked,
            problem,
            partial: partial(&reader),
            rows: found.iter().map(|session| SessionRow::of(session, now)).collect(),
            older,
        };
        Ok(html(&door, status, &page))
    };
    answer(&door, Some(&format!("/sessions?{query}")), work.await)
}

fn partial(reader: &Reader) -> Option<&'static str> {
    let text = "Sessions of the newest 500 exchanges at targets that you may read.";
    reader.targets().map(|_| text)
}

/// Sessions of the newest records that the reader may see.
async fn of_records(
    door: &Door,
    reader: &Reader,
    filter: &SessionFilter,
    now: Timestamp,
) -> Result<Vec<Session>, Stop> {
    let ledger = &*door.app.ports.ledger;
    let asked = [
        filter.subject.as_ref().map(|id| Expr::is("subject", id)),
        filter.actor.as_ref().map(|id| Expr::is("actor", id)),
        filter.server.as_ref().map(|name| Expr::is("server", name)),
    ];
    let exchanges = Expr::is("event", "exchange");
    let exchanges = asked.into_iter().flatten().fold(exchanges, Expr::and);
    let page = Page {
        before: None,
        limit: LOOKED_THROUGH,
    };
    let records = search(ledger, &exchanges, &reader.scope, page).await?.records;
    let mut found = BTreeMap::new();
    for id in records.iter().filter_map(|record| record.index.session) {
        if !found.contains_key(&id)
            && let Some(session) = ledger.session(id).await?
        {
            found.insert(id, session);
        }
    }
    let wanted = |session: &Session| filter.live_at.is_none() || session.is_live(now);
    Ok(found.into_values().rev().filter(wanted).collect())
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
            session: SessionRow::of(&seen.session, ports.now()?),
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
