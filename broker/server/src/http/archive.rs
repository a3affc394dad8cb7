//! `GET /v1/log/export`: the whole log, for readers of all of it, as long as they are.

use std::sync::Arc;

use axum::{extract::RawQuery, http::HeaderMap, response::Response};
use procura_core::{
    archive::{checkpoint_line, header_line, missing_line, record_line},
    ids::IssuanceId,
    ledger::{StoreError, Stored},
    log::{Head, KeptLeaf, LogStore, Statement},
    operator::Operator,
    ports::Ports,
    query::{Scope, stands},
};
use procura_wire::{FormFault, Reason};

use super::{
    csv,
    door::Door,
    reply::{Challenge, Refusal},
    streams::{Cut, Outlet},
};

/// Records that are sent at once.
const AT_ONCE: u64 = 200;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    /// Leaf index of the first record.
    from: u64,
    /// As CSV in place of JSON Lines.
    csv: bool,
}

/// Everything that an export reads.
struct Export {
    store: Arc<dyn LogStore>,
    ports: Arc<Ports>,
    operator: Operator,
    wanted: Wanted,
    head: Head,
    note: String,
}

/// JSON Lines from the record `from` to the last published checkpoint, which is the last line, or to the first record that the
/// store lacks, which the last line says; with `format=csv` the same records as a table, broken off there.
pub(crate) async fn export(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let operator = door.reader(&headers, None).await?;
        let wanted = Wanted::read(query.as_deref().unwrap_or_default())?;
        let (_, note) = door.tree().await?.published.ok_or(Reason::LogPending)?;
        let Ok(Statement::Checkpoint(head)) = Statement::parse_unverified(&note) else {
            return Err(Reason::ServerError.into());
        };
        let reader = operator.subject.principal.id().clone();
        let export = Export {
            store: Arc::clone(&door.app.log.store),
            ports: Arc::clone(&door.app.ports),
            operator,
            wanted,
            head,
            note,
        };
        let work = async move |outlet: Outlet| {
            if export.send(&outlet).await.is_ok() {
                outlet.end().await;
            }
        };
        let content_type = match wanted.csv {
            true => "text/csv; charset=utf-8; header=present",
            false => "application/jsonl",
        };
        Ok(door.app.streams.answer(&reader, content_type, work)?)
    };
    let answer: Result<Response, Refusal> = work.await;
    door.answer(answer, Challenge::Bearer)
}

impl Wanted {
    fn read(query: &str) -> Result<Self, FormFault> {
        let mut wanted = Self { from: 0, csv: false };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let malformed = |name| FormFault::of(Reason::ParamMalformed, name);
            match part.split_once('=') {
                Some(("from", from)) => wanted.from = from.parse().map_err(|_| malformed("from"))?,
                Some(("format", "csv")) => wanted.csv = true,
                Some(("format", "jsonl")) => wanted.csv = false,
                Some(("format", _)) => return Err(malformed("format")),
                _ => return Err(malformed("from")),
            }
        }
        Ok(wanted)
    }
}

impl Export {
    async fn send(&self, outlet: &Outlet) -> Result<(), Cut> {
        if self.wanted.from == 0 {
            match self.wanted.csv {
                true => outlet.send(csv::indexed_head()).await?,
                false => outlet.send(header_line(&self.head.origin)).await?,
            }
        }
        let mut index = self.wanted.from;
        while index < self.head.size {
            self.is_permitted()?;
            let leaves = self.leaves(index).await?;
            if leaves.is_empty() {
                return self.missing(outlet, index).await;
            }
            let count = leaves.len() as u64;
            match self.wanted.csv {
                true => {
                    outlet
                        .send(csv::indexed_rows(index, &self.records(leaves).await?))
                        .await?
                }
                false => outlet.send(lines(index, &leaves)).await?,
            }
            index += count;
        }
        match self.wanted.csv {
            true => Ok(()),
            false => outlet.send(checkpoint_line(&self.note)).await,
        }
    }

    /// Whether all may be read still.
    fn is_permitted(&self) -> Result<(), Cut> {
        match stands(&self.ports, &self.operator, None) {
            Ok(Scope::All) => Ok(()),
            _ => Err(Cut),
        }
    }

    /// The next leaves; none where the first of them is missing.
    async fn leaves(&self, index: u64) -> Result<Vec<KeptLeaf>, Cut> {
        let mut count = AT_ONCE.min(self.head.size - index);
        loop {
            match self.store.leaves(index, count as u32).await {
                // Those before it are told all the same.
                Err(StoreError::Inconsistent) if count > 1 => count /= 2,
                Err(StoreError::Inconsistent) => return Ok(Vec::new()),
                leaves => return leaves.map_err(|error| broken(&error, index)),
            }
        }
    }

    /// The end of an export whose next record is missing.
    async fn missing(&self, outlet: &Outlet, index: u64) -> Result<(), Cut> {
        tracing::error!(index, size = self.head.size, "a record of the log is missing");
        match self.wanted.csv {
            true => Err(Cut),
            false => outlet.send(missing_line(index)).await,
        }
    }

    /// The records of these leaves, with the columns that a leaf alone does not have.
    async fn records(&self, leaves: Vec<KeptLeaf>) -> Result<Vec<Stored>, Cut> {
        let mut records = Vec::with_capacity(leaves.len());
        for KeptLeaf { record, .. } in leaves {
            records.push(self.record(record.id).await?);
        }
        Ok(records)
    }

    async fn record(&self, id: IssuanceId) -> Result<Stored, Cut> {
        let found = self.ports.ledger.record(id).await.map_err(|error| broken(&error, id))?;
        found.ok_or_else(|| broken(&StoreError::Inconsistent, id))
    }
}

fn broken(error: &StoreError, at: impl std::fmt::Display) -> Cut {
    tracing::warn!(%error, %at, "an export is broken off");
    Cut
}

fn lines(first: u64, leaves: &[KeptLeaf]) -> String {
    let line = |(index, leaf): (u64, &KeptLeaf)| {
        let side = leaf.side.as_ref().map(|(salt, clear)| (salt, clear.as_str()));
        record_line(index, &leaf.record.leaf, side)
    };
    (first..).zip(leaves).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_where_and_how_and_nothing_else() {
        let wanted = |from, csv| Some(Wanted { from, csv });
        for (query, expected) in [
            ("", wanted(0, false)),
            ("from=7", wanted(7, false)),
            ("from=7&format=csv", wanted(7, true)),
            ("format=jsonl", wanted(0, false)),
            ("format=xml", None),
            ("from=-1", None),
            ("from", None),
            ("to=7", None),
        ] {
            assert_eq!(Wanted::read(query).ok(), expected, "{query}");
        }
    }
}
