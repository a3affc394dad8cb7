//! Whether a record is what the log holds: its proof is computed anew, from the bytes that the store has now.

use procura_core::{
    Timestamp,
    ledger::{StoreError, Stored},
    log::{Log, Proof, ProofError, Statement, record_hash},
    record::commitment,
};
use serde_json::Value;

use super::record_view::Fact;
use crate::http::Door;

/// What is known of a record's place in the log.
pub(super) struct Standing {
    /// `holds`, `waits`, `broken` or `unknown`.
    pub(super) class: &'static str,
    pub(super) text: &'static str,
    pub(super) facts: Vec<Fact>,
    /// What answers the proof to a program.
    pub(super) command: String,
}

/// What was found.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Holds(Proof),
    /// No checkpoint covers it.
    Waits,
    /// The bytes are not those of the log, or nobody of ours signed it.
    OtherBytes,
    /// The clear text is not what the record commits to.
    OtherText,
    /// The columns say something else than the record.
    OtherColumns,
    /// The log cannot be read.
    Unknown,
}

impl Standing {
    pub(super) async fn of(door: &Door, stored: &Stored) -> Self {
        let found = found(&door.app.log, stored).await;
        if matches!(found, Found::OtherBytes | Found::OtherText | Found::OtherColumns) {
            tracing::error!(record = %stored.id, ?found, "a record is not what the log holds");
        }
        let (class, text) = told(&found);
        let mut facts = vec![Fact {
            name: "Leaf hash",
            value: record_hash(stored.leaf.get().as_bytes()).to_string(),
        }];
        if let Found::Holds(proof) = &found {
            let index = Fact {
                name: "Leaf index",
                value: proof.index.to_string(),
            };
            facts.insert(0, index);
            facts.push(Fact {
                name: "Checkpoint",
                value: format!("of {} records, its signature verified", proof.size),
            });
        }
        let proof = format!("{}/v1/issuances/{}/proof", door.app.site.issuer, stored.id);
        Self {
            class,
            text,
            facts,
            command: format!("curl -H \"Authorization: Bearer $PROCURA_TOKEN\" {proof}"),
        }
    }
}

fn told(found: &Found) -> (&'static str, &'static str) {
    match found {
        Found::Holds(_) => (
            "holds",
            "In the log: its proof of inclusion was computed just now, from the bytes that the store has, and holds.",
        ),
        Found::Waits => (
            "waits",
            "Not under a signed checkpoint yet. That takes about a second; when it takes longer, the page of the log says \
             what is in the way.",
        ),
        Found::OtherBytes => (
            "broken",
            "NOT in the log: what the store has now does not fit the signed checkpoint. It was changed, or the log was.",
        ),
        Found::OtherText => (
            "broken",
            "NOT what is in the log: names and values shown here are not those that the record commits to. They were \
             changed.",
        ),
        Found::OtherColumns => (
            "broken",
            "NOT what is in the log: the columns that it is found by say something else than the record. They were \
             changed.",
        ),
        Found::Unknown => (
            "unknown",
            "Whether it is in the log cannot be told: the log cannot be read now.",
        ),
    }
}

/// What the log says of a record as the store has it.
pub(super) async fn found(log: &Log, stored: &Stored) -> Found {
    let proof = match log.prove(stored.id, stored.leaf.get()).await {
        Ok(proof) => proof,
        Err(ProofError::Pending) => return Found::Waits,
        Err(ProofError::Store(StoreError::Inconsistent)) => return Found::OtherBytes,
        Err(ProofError::Store(_)) => return Found::Unknown,
    };
    let leaf: Value = serde_json::from_str(stored.leaf.get()).unwrap_or_default();
    let clear: Value = match &stored.side {
        Some((_, clear)) => serde_json::from_str(clear.get()).unwrap_or_default(),
        None => Value::Null,
    };
    let committed = match &stored.side {
        Some((salt, clear)) => leaf["commitment"] == commitment(salt, clear.get()).to_string(),
        None => true,
    };
    match (
        is_signed(log, &proof.checkpoint),
        committed,
        columns_fit(stored, &leaf, &clear),
    ) {
        (false, ..) => Found::OtherBytes,
        (_, false, _) => Found::OtherText,
        (.., false) => Found::OtherColumns,
        _ => Found::Holds(proof),
    }
}

/// By one of our keys.
fn is_signed(log: &Log, checkpoint: &str) -> bool {
    let claimed = Statement::parse_unverified(checkpoint);
    claimed.is_ok_and(|claimed| log.notary.open(&claimed.head().origin, checkpoint).is_ok())
}

/// What pages show of a record is in its columns, too.
fn columns_fit(stored: &Stored, leaf: &Value, clear: &Value) -> bool {
    let columns = serde_json::to_value(&stored.index).unwrap_or_default();
    let members = [
        "event",
        "outcome",
        "reason",
        "server",
        "tool",
        "target",
        "session",
        "about",
        "source_version",
    ];
    let no_grants = Value::Array(Vec::new());
    let grants = leaf.get("grants").unwrap_or(&no_grants);
    leaf["id"] == stored.id.to_string()
        && members.iter().all(|member| columns[*member] == leaf[*member])
        && columns["grants"] == *grants
        && is_time(Some(stored.index.at), &leaf["at"])
        && is_time(stored.index.until, &leaf["until"])
        && (stored.side.is_none() || columns["subject"] == clear["subject"]["id"] && columns["actor"] == clear["actor"])
}

/// The record has milliseconds, the column more.
fn is_time(column: Option<Timestamp>, member: &Value) -> bool {
    let member: Option<Timestamp> = member.as_str().and_then(|text| text.parse().ok());
    match (column, member) {
        (None, None) => true,
        (Some(column), Some(member)) => column.as_millisecond().abs_diff(member.as_millisecond()) <= 1,
        _ => false,
    }
}
