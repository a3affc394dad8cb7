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
/// Looks without anything new after which a comment is sent.
const KEEP_ALIVE: u32 = 30;

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
    let work = async move |outlet: Outlet| {
        if reader.export(&outlet, &asked).await.is_ok() {
            outlet.end().await;
        }
    };
    Ok(door.app.streams.answer(content_type, work)?)
}

/// `GET /v1/issuances/stream`: server-sent events (HTML Standard, section 9.2), a record each, `id` is that of the record.
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
        let follower = reader.follower(&*log, last_event(&headers)?).await?;
        let work = async move |outlet: Outlet| {
            // It has no end of its own: whoever follows comes again, and is told where that is refused.
            let _ = reader.follow(&outlet, &*log, follower).await;
            outlet.end().await;
        };
        Ok(door.app.streams.answer("text/event-stream", work)?)
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
    async fn follower(&self, log: &dyn LogStore, last: Option<IssuanceId>) -> Result<Follower, Refusal> {
        let Some(id) = last else {
            return Follower::from_now(log).await.map_err(unavailable);
        };
        let scope = readable(&self.ports, &self.operator, self.target.as_ref())?;
        let record = self.ports.ledger.record(id).await.map_err(unavailable)?;
        record.filter(|record| scope.covers(record)).ok_or(Reason::V1NotFound)?;
        let follower = Follower::after(log, id).await.map_err(unavailable)?;
        Ok(follower.ok_or(Reason::V1NotFound)?)
    }

    async fn follow(&self, outlet: &Outlet, log: &dyn LogStore, mut follower: Follower) -> Result<(), Cut> {
        let ledger = &*self.ports.ledger;
        let mut quiet = KEEP_ALIVE;
        loop {
            let scope = self.scope()?;
            let next = follower.look(log).await.map_err(cut)?;
            let nothing_new = next.is_none();
            for id in next.unwrap_or_default() {
                let record = ledger.record(id).await.map_err(cut)?;
                let passes = |record: &Stored| scope.covers(record) && self.expr.matches(record);
                if let Some(record) = record.filter(passes) {
                    outlet
                        .send(format!("id: {id}\ndata: {}\n\n", views::record(&record)))
                        .await?;
                    quiet = 0;
                }
            }
            if quiet >= KEEP_ALIVE {
                outlet.send(": the log is followed\n\n").await?;
                quiet = 0;
            }
            if nothing_new {
                outlet.pause(LOOK).await?;
                quiet += 1;
            }
        }
    }
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
