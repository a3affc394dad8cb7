//! New records and their sides, each as one JSON text.

use procura_core::{
    Timestamp,
    ledger::{Entry, Event, Outcome},
};
use serde::Serialize;
use sqlx::{PgConnection, query};
use uuid::Uuid;

use crate::rows::grants_text;

const RECORDS: &str = "
    INSERT INTO record (id, leaf, event, outcome, reason, at, server, tool, target, grants, session, about, value,
                        until, source_version)
    SELECT id, leaf, event, outcome, reason, at, server, tool, target, grants, session, about, decode(value, 'hex'),
           until, source_version
      FROM json_to_recordset($1::json)
           AS appended (id uuid, leaf text, event text, outcome text, reason text, at bigint, server text, tool text,
                        target text, grants text, session uuid, about uuid, value text, until bigint,
                        source_version text)
        ON CONFLICT (id) DO NOTHING";

const SIDES: &str = "
    INSERT INTO side (id, salt, clear, subject, actor)
    SELECT id, decode(salt, 'hex'), clear, subject, actor
      FROM json_to_recordset($1::json) AS appended (id uuid, salt text, clear text, subject text, actor text)
        ON CONFLICT (id) DO NOTHING";

/// A record as `RECORDS` reads it.
#[derive(Serialize)]
struct NewRecord<'e> {
    id: Uuid,
    leaf: &'e str,
    event: Event,
    outcome: Outcome,
    reason: Option<&'e str>,
    at: i64,
    server: Option<&'e str>,
    tool: Option<&'e str>,
    target: Option<&'e str>,
    grants: String,
    session: Option<Uuid>,
    about: Option<Uuid>,
    value: Option<String>,
    until: Option<i64>,
    source_version: Option<&'e str>,
}

/// A side row as `SIDES` reads it.
#[derive(Serialize)]
struct NewSide<'e> {
    id: Uuid,
    salt: String,
    clear: &'e str,
    subject: Option<String>,
    actor: Option<String>,
}

/// Answers the number of rows inserted, of both tables.
pub(super) async fn insert(conn: &mut PgConnection, entries: &[&Entry]) -> Result<u64, sqlx::Error> {
    let records: Vec<NewRecord<'_>> = entries.iter().map(|entry| new_record(entry)).collect();
    let new_records = query(RECORDS).bind(json(&records)?).execute(&mut *conn).await?;
    let sides: Vec<NewSide<'_>> = entries.iter().map(|entry| new_side(entry)).collect();
    let new_sides = query(SIDES).bind(json(&sides)?).execute(conn).await?;
    Ok(new_records.rows_affected() + new_sides.rows_affected())
}

fn json(rows: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn new_record(entry: &Entry) -> NewRecord<'_> {
    let index = &entry.index;
    NewRecord {
        id: entry.id.0,
        leaf: &entry.leaf,
        event: index.event,
        outcome: index.outcome,
        reason: index.reason.as_deref(),
        at: index.at.as_microsecond(),
        server: index.server.as_ref().map(|server| server.as_str()),
        tool: index.tool.as_deref(),
        target: index.target.as_ref().map(|target| target.as_str()),
        grants: grants_text(index),
        session: index.session.map(|session| session.0),
        about: index.about.map(|about| about.0),
        value: index.value.map(|value| value.to_string()),
        until: index.until.map(Timestamp::as_microsecond),
        source_version: index.source_version.as_deref(),
    }
}

fn new_side(entry: &Entry) -> NewSide<'_> {
    NewSide {
        id: entry.id.0,
        salt: hex::encode(entry.salt),
        clear: &entry.clear,
        subject: entry.index.subject.as_ref().map(ToString::to_string),
        actor: entry.index.actor.as_ref().map(ToString::to_string),
    }
}
