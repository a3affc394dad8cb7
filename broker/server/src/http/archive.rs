//! `GET /v1/log/export`: the whole log, for readers of all of it.

use std::sync::Arc;

use axum::{extract::RawQuery, http::HeaderMap, response::Response};
use procura_core::{
    archive::{checkpoint_line, header_line, record_line},
    log::{Head, LogStore, Statement},
};
use procura_wire::{FormFault, Reason};

use super::{
    door::Door,
    reply::{Challenge, Refusal},
    streams::{Cut, Outlet},
};

/// Records that are sent at once.
const AT_ONCE: u64 = 200;

/// JSON Lines from the record `from` to the last published checkpoint, which is the last line.
pub(crate) async fn export(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        door.reader(&headers, None).await?;
        let from = from(query.as_deref().unwrap_or_default())?;
        let (_, note) = door.tree().await?.published.ok_or(Reason::LogPending)?;
        let Ok(Statement::Checkpoint(head)) = Statement::parse_unverified(&note) else {
            return Err(Reason::ServerError.into());
        };
        let store = Arc::clone(&door.app.log.store);
        let work = async move |outlet: Outlet| {
            if send(&*store, &outlet, from, &head).await.is_ok() && outlet.send(checkpoint_line(&note)).await.is_ok() {
                outlet.end().await;
            }
        };
        Ok(door.app.streams.answer("application/jsonl", work)?)
    };
    let answer: Result<Response, Refusal> = work.await;
    door.answer(answer, Challenge::Bearer)
}

fn from(query: &str) -> Result<u64, FormFault> {
    match query.strip_prefix("from=") {
        None if query.is_empty() => Ok(0),
        from => from
            .and_then(|from| from.parse().ok())
            .ok_or_else(|| FormFault::of(Reason::ParamMalformed, "from")),
    }
}

async fn send(store: &dyn LogStore, outlet: &Outlet, from: u64, head: &Head) -> Result<(), Cut> {
    if from == 0 {
        outlet.send(header_line(&head.origin)).await?;
    }
    let mut index = from;
    while index < head.size {
        let count = AT_ONCE.min(head.size - index);
        let leaves = store.leaves(index, count as u32).await.map_err(|error| {
            tracing::warn!(%error, index, "an export is broken off");
            Cut
        })?;
        if leaves.is_empty() {
            tracing::error!(index, size = head.size, "a record of the log is missing");
            return Err(Cut);
        }
        let mut lines = String::new();
        for leaf in &leaves {
            let side = leaf.side.as_ref().map(|(salt, clear)| (salt, clear.as_str()));
            lines += &record_line(index, &leaf.record.leaf, side);
            index += 1;
        }
        outlet.send(lines).await?;
    }
    Ok(())
}
