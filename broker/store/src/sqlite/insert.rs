//! New records and their sides, as values bound to one text of two statements. Its number of rows is a power
//! of two, so that few texts are kept prepared; what is left over is NULL and not inserted.

use std::sync::LazyLock;

use procura_core::{Timestamp, ledger::Entry};
use sqlx::{Arguments, SqliteConnection, error::BoxDynError, query_with, sqlite::SqliteArguments};

use crate::{
    reads::{event_word, outcome_word},
    rows::grants_text,
    writer::BATCH,
};

const RECORD: [&str; 15] = [
    "id",
    "leaf",
    "event",
    "outcome",
    "reason",
    "at",
    "server",
    "tool",
    "target",
    "grants",
    "session",
    "about",
    "value",
    "until",
    "source_version",
];

const SIDE: [&str; 5] = ["id", "salt", "clear", "subject", "actor"];

/// The text for 1, 2, 4, … rows.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| (0..=BATCH.ilog2()).map(|power| text(1 << power)).collect());

/// Parameters have no numbers: SQLite would look each up in a list of all.
fn text(rows: usize) -> String {
    let into = |table: &str, columns: &[&str]| {
        let row = format!("({})", vec!["?"; columns.len()].join(","));
        format!(
            "INSERT INTO {table} ({}) SELECT * FROM (VALUES {}) WHERE column1 IS NOT NULL ON CONFLICT (id) DO NOTHING",
            columns.join(", "),
            vec![row; rows].join(",")
        )
    };
    format!("{}; {}", into("record", &RECORD), into("side", &SIDE))
}

/// Answers the number of rows inserted, of both tables.
pub(super) async fn insert(conn: &mut SqliteConnection, entries: &[&Entry]) -> Result<u64, sqlx::Error> {
    let mut inserted = 0;
    for entries in entries.chunks(BATCH) {
        let rows = entries.len().next_power_of_two();
        let args = arguments(entries, rows).map_err(sqlx::Error::Encode)?;
        let text = TEXTS[rows.ilog2() as usize].as_str();
        let done = query_with(text, args).execute(&mut *conn).await?;
        inserted += done.rows_affected();
    }
    Ok(inserted)
}

fn arguments(entries: &[&Entry], rows: usize) -> Result<SqliteArguments, BoxDynError> {
    let mut args = SqliteArguments::default();
    args.reserve(rows * (RECORD.len() + SIDE.len()), 0);
    for entry in entries {
        record(&mut args, entry)?;
    }
    absent(&mut args, (rows - entries.len()) * RECORD.len())?;
    for entry in entries {
        side(&mut args, entry)?;
    }
    absent(&mut args, (rows - entries.len()) * SIDE.len())?;
    Ok(args)
}

fn absent(args: &mut SqliteArguments, count: usize) -> Result<(), BoxDynError> {
    (0..count).try_for_each(|_| args.add(None::<i64>))
}

/// In the order of `RECORD`.
fn record(args: &mut SqliteArguments, entry: &Entry) -> Result<(), BoxDynError> {
    let index = &entry.index;
    args.add(entry.id.0)?;
    args.add(entry.leaf.as_str())?;
    args.add(event_word(index.event))?;
    args.add(outcome_word(index.outcome))?;
    args.add(index.reason.as_deref())?;
    args.add(index.at.as_microsecond())?;
    args.add(index.server.as_ref().map(|server| server.as_str()))?;
    args.add(index.tool.as_deref())?;
    args.add(index.target.as_ref().map(|target| target.as_str()))?;
    args.add(grants_text(index))?;
    args.add(index.session.map(|session| session.0))?;
    args.add(index.about.map(|about| about.0))?;
    args.add(index.value.as_ref().map(|value| &value.as_bytes()[..]))?;
    args.add(index.until.map(Timestamp::as_microsecond))?;
    args.add(index.source_version.as_deref())
}

/// In the order of `SIDE`.
fn side(args: &mut SqliteArguments, entry: &Entry) -> Result<(), BoxDynError> {
    args.add(entry.id.0)?;
    args.add(&entry.salt[..])?;
    args.add(entry.clear.as_str())?;
    args.add(entry.index.subject.as_ref().map(ToString::to_string))?;
    args.add(entry.index.actor.as_ref().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use procura_contract::ledger_suite::sample;
    use sqlx::Connection;

    use super::*;

    #[tokio::test]
    async fn inserts_every_record_and_side_once_whatever_their_number() {
        let mut conn = SqliteConnection::connect(":memory:").await.expect("connected");
        let migrations = sqlx::migrate!("../../migrations/sqlite");
        migrations.run(&mut conn).await.expect("migrated");
        for count in [1, 2, 3, 64, 100, BATCH, BATCH + 1] {
            let entries: Vec<Entry> = (0..count).map(|_| sample::entry(1)).collect();
            let entries: Vec<&Entry> = entries.iter().collect();
            assert_eq!(insert(&mut conn, &entries).await.expect("inserted"), 2 * count as u64);
            assert_eq!(insert(&mut conn, &entries).await.expect("there already"), 0);
        }
    }
}
