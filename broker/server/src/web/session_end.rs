//! Ending a session: first what it means, then what became of it.

use askama::Template;
use axum::{
    extract::{Path, Request},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::{
    judgement::OperatorAction,
    operator::{self, CredentialReport},
};
use procura_wire::{Reason, RevocationStatus};

use super::{
    answer::{Frame, Stop, answer, html, stop},
    guard::Reader,
    sessions::{HeldRow, Seen, SessionRow, absent},
    show::time,
};
use crate::http::Door;

#[derive(Template)]
#[template(path = "end.html")]
struct EndPage {
    frame: Frame,
    session: SessionRow,
    holds: Vec<HeldRow>,
    hidden: usize,
    token: String,
}

/// `GET /ui/sessions/{id}/end`: everything that ends with it.
pub(super) async fn confirm(door: Door, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let path = format!("/sessions/{id}/end");
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let Some(seen) = Seen::find(&door, &reader, &id).await? else {
            return Ok(absent(&door, &reader));
        };
        if !reader.may(&door.app.ports, OperatorAction::EndSession, None) {
            return Err(Stop::Reason(Reason::V1Forbidden));
        }
        if seen.session.ended.is_some() {
            return Ok(ended_before(&door, &reader));
        }
        let frame = reader.frame(&door, "sessions", "End session");
        let page = EndPage {
            session: seen.row(&reader, door.app.ports.now()?),
            holds: seen.holds,
            hidden: seen.hidden,
            token: frame
                .reader
                .as_ref()
                .map(|(_, token)| token.clone())
                .unwrap_or_default(),
            frame,
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some(&path), work.await)
}

/// What became of one credential.
struct Fate {
    id: String,
    target: String,
    word: &'static str,
    text: String,
}

impl Fate {
    fn of(report: &CredentialReport) -> Self {
        let (word, text) = match (report.status, report.until) {
            (RevocationStatus::Done, _) => ("undone", "the target confirmed that it is gone".to_owned()),
            (RevocationStatus::Queued, _) => (
                "queued",
                "the target did not confirm yet; it is asked until it does".to_owned(),
            ),
            (RevocationStatus::Until, Some(until)) => {
                let text = format!(
                    "inactive where it is asked for here; elsewhere it lives until {} UTC",
                    time(until)
                );
                ("lives on", text)
            }
            (RevocationStatus::Until, None) => ("lives on", "until its end".to_owned()),
        };
        Self {
            id: report.issuance.to_string(),
            target: report.target.to_string(),
            word,
            text,
        }
    }
}

#[derive(Template)]
#[template(path = "ended.html")]
struct EndedPage {
    frame: Frame,
    session: SessionRow,
    fates: Vec<Fate>,
    hidden: usize,
}

/// `POST /ui/sessions/{id}/end`: ends it and reports.
pub(super) async fn end(door: Door, Path(id): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async {
        let (reader, _) = Reader::of_form(&door, &parts, body).await?;
        let Some(seen) = Seen::find(&door, &reader, &id).await? else {
            return Ok(absent(&door, &reader));
        };
        let (session, ports, trace) = (seen.session.id, door.app.ports.clone(), door.trace.clone());
        let operator = reader.operator.clone();
        let ended = door.tracked(async move { operator::end_session(&ports, &operator, session, trace).await });
        let Some(report) = ended.await? else {
            return Ok(ended_before(&door, &reader));
        };
        let ports = &door.app.ports;
        let (shown, hidden): (Vec<_>, Vec<_>) = report
            .credentials
            .iter()
            .partition(|credential| reader.reads(ports, Some(&credential.target)));
        let session = ports.ledger.session(session).await?.unwrap_or(seen.session);
        let seen = Seen { session, ..seen };
        let page = EndedPage {
            frame: reader.frame(&door, "sessions", "Session ended"),
            session: seen.row(&reader, ports.now()?),
            fates: shown.into_iter().map(Fate::of).collect(),
            hidden: hidden.len(),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, None, work.await)
}

fn ended_before(door: &Door, reader: &Reader) -> Response {
    stop(
        door,
        Some(reader),
        StatusCode::CONFLICT,
        "The session had ended before.",
    )
}
