//! Questions to the log: a page, everything line by line, and what is appended from now on.

use std::{sync::Arc, time::Duration};

use axum::{extract::RawQuery, http::HeaderMap, response::Response};
use procura_core::{
    ids::IssuanceId,
    ledger::{Page, StoreError, Stored},
    log::LogStore,
    operator::Operator,
    ports::Ports,
    query::{Expr, Follower, Found, Scope, readable, search, stands},
};
use procura_wire::{FormFault, Name, Reason};
use serde_json::{Value, json};

use super::{
    asked::{Asked, Form},
    csv,
    door::Door,
    filters::Query,
    reply::{Challenge, Refusal},
    streams::{Cut, Outlet},
    v1::unavailable,
    views,
};

/// Records that are sent at once.
const AT_ONCE: u32 = 100;
/// How often the log is looked at for who follows it.
const LOOK: Duration = Duration::from_millis(500);
/// Time without anything else after which a comment is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Newest records of a reader, one of which has an index, where following begins.
const NEWEST: u32 = 10;

/// Where following begins, and the last record of the reader's up to there.
type Begin = (Follower, Option<IssuanceId>);

/// What reads for one reader.
struct Reader {
    ports: Arc<Ports>,
    operator: Operator,
    expr: Expr,
    /// The one target that is asked about, if it is one.
    target: Option<Name>,
}

/// `GET /v1/issuances`: newest first; `next` is the `before` of the next page. As JSON Lines or CSV everything at once.
pub(crate) async fn issuances(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let now = door.app.ports.now()?;
        let read = Query::read(query.as_deref()).map_err(Refusal::from);
        let read = read.and_then(|query| query.issuances(&headers, now));
        let target = read.as_ref().ok().and_then(Asked::target);
        let scope = readable(&door.app.ports, &operator, target.as_ref())?;
        let asked = read?;
        match (asked.form, asked.limit) {
            (Form::Json, Some(limit)) => page(&door, &asked, &scope, limit).await,
            _ => export(&door, operator, asked),
        }
    };
    let answer = work.await;
    door.answer(answer, Challenge::Bearer)
}

async fn page(door: &Door, asked: &Asked, scope: &Scope, limit: u32) -> Result<Response, Refusal> {
    let page = Page {
        before: asked.before,
        limit,
    };
    let found = search(&*door.app.ports.ledger, &asked.expr, scope, page).await;
    let Found { records, next } = found.map_err(unavailable)?;
    let full = records.len() == limit as usize;
    let targets = match scope {
        Scope::All => Value::Null,
        Scope::Targets(targets) => json!(targets),
    };
    Ok(door.json(Ok(json!({
        "issuances": records.iter().map(views::record).collect::<Vec<_>>(),
        "next": next,
        "searched_to": next.filter(|_| !full).map(|next| next.time()),
        "targets": targets,
    }))))
}

/// Everything that passes, in pieces.
fn export(door: &Door, operator: Operator, asked: Asked) -> Result<Response, Refusal> {
    let content_type = match asked.form {
        Form::Csv => "text/csv; charset=utf-8; header=present",
        _ => "application/jsonl",
    };
    let reader = Reader {
        ports: Arc::clone(&door.app.ports),
        operator,
        target: asked.target(),
        expr: asked.expr.clone(),
    };
    let of = reader.operator.subject.principal.id().clone();
    let work = async move |outlet: Outlet| {
        if reader.export(&outlet, &asked).await.is_ok() {
            outlet.end().await;
        }
    };
    Ok(door.app.streams.answer(&of, content_type, work)?)
}

/// `GET /v1/issuances/stream`: server-sent events (HTML Standard, section 9.2), a record each, `id` is that of the record.
/// An event without data says how far the reader has come.
pub(crate) async fn stream(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let operator = door.operator(&headers).await?;
        let ports = Arc::clone(&door.app.ports);
        let now = ports.now()?;
        let read = Query::read(query.as_deref()).map_err(Refusal::from);
        let read = read.and_then(|query| query.stream(now));
        let target = read.as_ref().ok().and_then(|expr| expr.bounds().target);
        readable(&ports, &operator, target.as_ref())?;
        let expr = read?;
        let reader = Reader {
            ports,
            operator,
            expr,
            target,
        };
        let log = Arc::clone(&door.app.log.store);
        let begin = reader.begin(&*log, last_event(&headers)?).await?;
        let of = reader.operator.subject.principal.id().clone();
        let work = async move |outlet: Outlet| {
            // It has no end of its own: whoever follows comes again, and is told where that is refused.
            let _ = reader.follow(&outlet, &*log, begin).await;
            outlet.end().await;
        };
        Ok(door.app.streams.answer(&of, "text/event-stream", work)?)
    };
    let answer: Result<Response, Refusal> = work.await;
    door.answer(answer, Challenge::Bearer)
}

/// The event that was seen last (HTML Standard, section 9.2.4).
fn last_event(headers: &HeaderMap) -> Result<Option<IssuanceId>, FormFault> {
    let malformed = || FormFault::of(Reason::ParamMalformed, "Last-Event-ID");
    let read = |value: &axum::http::HeaderValue| value.to_str().ok()?.parse().ok();
    match headers.get("last-event-id") {
        Some(value) => read(value).map(Some).ok_or_else(malformed),
        None => Ok(None),
    }
}

impl Reader {
    /// What may be read now.
    fn scope(&self) -> Result<Scope, Cut> {
        stands(&self.ports, &self.operator, self.target.as_ref()).map_err(|_| Cut)
    }

    async fn export(&self, outlet: &Outlet, asked: &Asked) -> Result<(), Cut> {
        if asked.form == Form::Csv {
            outlet.send(csv::head()).await?;
        }
        let mut left = asked.limit.unwrap_or(u32::MAX);
        let mut page = Page {
            before: asked.before,
            limit: AT_ONCE,
        };
        while left > 0 {
            outlet.look()?;
            page.limit = left.min(AT_ONCE);
            let found = search(&*self.ports.ledger, &self.expr, &self.scope()?, page).await;
            let Found { records, next } = found.map_err(cut)?;
            match asked.form {
                _ if records.is_empty() => {}
                Form::Csv => outlet.send(csv::rows(&records)).await?,
                _ => outlet.send(lines(&records)).await?,
            }
            left = left.saturating_sub(records.len() as u32);
            match next {
                Some(next) => page.before = Some(next),
                None => break,
            }
        }
        Ok(())
    }

    /// Where it begins: now, or behind the record that was seen last. Of one that the reader may not see nothing is told,
    /// not even whether it exists.
    async fn begin(&self, log: &dyn LogStore, last: Option<IssuanceId>) -> Result<Begin, Refusal> {
        let scope = readable(&self.ports, &self.operator, self.target.as_ref())?;
        let Some(id) = last else {
            return self.newest(log, &scope).await.map_err(unavailable);
        };
        let record = self.ports.ledger.record(id).await.map_err(unavailable)?;
        record.filter(|record| scope.covers(record)).ok_or(Reason::V1NotFound)?;
        let follower = Follower::after(log, id).await.map_err(unavailable)?;
        Ok((follower.ok_or(Reason::V1NotFound)?, Some(id)))
    }

    /// A reader whom nothing was shown yet goes on behind one of the newest records that were there.
    async fn newest(&self, log: &dyn LogStore, scope: &Scope) -> Result<Begin, StoreError> {
        let follower = Follower::from_now(log).await?;
        let newest = Page {
            before: None,
            limit: NEWEST,
        };
        let newest = search(&*self.ports.ledger, &Expr::everything(), scope, newest).await?;
        for record in newest.records {
            if follower.is_behind(log, record.id).await? {
                return Ok((follower, Some(record.id)));
            }
        }
        Ok((follower, None))
    }

    async fn follow(&self, outlet: &Outlet, log: &dyn LogStore, begin: Begin) -> Result<(), Cut> {
        let (ledger, clock) = (&*self.ports.ledger, &*self.ports.clock);
        let (mut follower, mut position) = begin;
        outlet.send(how_far(position)).await?;
        let (mut told, mut said) = (position, clock.monotonic());
        loop {
            outlet.look()?;
            let scope = self.scope()?;
            let next = follower.look(log).await.map_err(cut)?;
            let nothing_new = next.is_none();
            for id in next.unwrap_or_default() {
                let record = ledger.record(id).await.map_err(cut)?;
                // Of records of others not even that they are there is told.
                let Some(record) = record.filter(|record| scope.covers(record)) else {
                    continue;
                };
                position = Some(id);
                if self.expr.matches(&record) {
                    let data = views::record(&record);
                    outlet.send(format!("id: {id}\ndata: {data}\n\n")).await?;
                    (told, said) = (position, clock.monotonic());
                }
            }
            // By the time alone: a count of looks would tell how many records others have.
            if position != told || clock.monotonic().saturating_sub(said) >= KEEP_ALIVE {
                outlet.send(how_far(position)).await?;
                (told, said) = (position, clock.monotonic());
            }
            if nothing_new {
                outlet.pause(LOOK).await?;
            }
        }
    }
}

/// An event without data moves the last event id alone (HTML Standard, section 9.2.6).
fn how_far(position: Option<IssuanceId>) -> String {
    let id = position.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}: the log is followed\n\n")
}

fn lines(records: &[Stored]) -> String {
    records
        .iter()
        .map(|record| format!("{}\n", views::record(record)))
        .collect()
}

fn cut(error: StoreError) -> Cut {
    tracing::warn!(%error, "an answer is broken off");
    Cut
}
