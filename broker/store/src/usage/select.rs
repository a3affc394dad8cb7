//! The statement of a report's sums.

use procura_core::{
    ids::IssuanceId,
    usage::{Day, Dimension, Sum, UsageFilter},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    db::Arg,
    rows::{At, InconsistentRow, IntoDomain},
};

/// A sum as [`sums`] reads it.
#[derive(FromRow)]
pub(super) struct SumRow {
    dimensions: String,
    issued: i64,
    refused: i64,
    reported: i64,
    first_at: i64,
    last_at: i64,
    used_on: Option<i64>,
    until: Option<i64>,
    granted: Option<i64>,
    used: Option<i64>,
    record: String,
}

impl IntoDomain for SumRow {
    type Domain = Sum;

    fn into_domain(self) -> Result<Sum, InconsistentRow> {
        let at = At("usage", Uuid::nil());
        let count = |count: i64| count.unsigned_abs();
        Ok(Sum {
            of: serde_json::from_str(&self.dimensions).map_err(|_| at.wrong("route"))?,
            issued: count(self.issued),
            refused: count(self.refused),
            reported: count(self.reported),
            first: at.time("first_at", self.first_at)?,
            last: at.time("last_at", self.last_at)?,
            used_on: self.used_on.map(Day),
            until: at.maybe_time("until", self.until)?,
            granted: self.granted.map(count),
            used: self.used.map(count),
            record: at.text::<IssuanceId>("record", &self.record)?,
        })
    }
}

/// A statement under construction. Texts of callers are bound, never written.
#[derive(Default)]
struct Conditions {
    sql: String,
    args: Vec<Arg>,
}

impl Conditions {
    fn and(&mut self, before: &str, arg: Option<Arg>, after: &str) {
        let Some(arg) = arg else { return };
        self.args.push(arg);
        self.sql.push_str(&format!(" AND {before} ${}{after}", self.args.len()));
    }

    fn text(&mut self, column: &str, text: Option<String>) {
        self.and(&format!("{column} ="), text.map(Arg::Text), "");
    }

    fn person(&mut self, column: &str, name: Option<String>) {
        let before = format!("u.{column} <> 0 AND u.{column} = (SELECT id FROM person WHERE name =");
        self.and(&before, name.map(Arg::Text), ")");
    }

    fn targets(&mut self, targets: &Option<Vec<procura_wire::Name>>) {
        let Some(targets) = targets else { return };
        let places: Vec<String> = targets
            .iter()
            .map(|target| {
                self.args.push(Arg::Text(target.to_string()));
                format!("${}", self.args.len())
            })
            .collect();
        match places.is_empty() {
            true => self.sql.push_str(" AND false"),
            false => self.sql.push_str(&format!(" AND r.target IN ({})", places.join(", "))),
        }
    }
}

/// The statement and its values. `json_list` is the engine's function for a list.
///
/// A person leads to the sums by an index of their own; otherwise the few routes come first, and of each the days that
/// are asked for. The order of a CROSS JOIN is kept by SQLite.
pub(super) fn sums(json_list: &str, filter: &UsageFilter, by: &[Dimension], limit: u32) -> (String, Vec<Arg>) {
    let conditions = conditions(filter);
    let columns: Vec<&str> = by.iter().map(|dimension| column(*dimension)).collect();
    let by_person = filter.subject.is_some() || filter.actor.is_some();
    let from = if by_person {
        "usage u CROSS JOIN route r"
    } else {
        "route r CROSS JOIN usage u"
    };
    let mut sql = format!(
        "SELECT CAST({json_list}({columns}) AS text) AS dimensions,
                CAST(sum(u.issued) AS bigint) AS issued, CAST(sum(u.refused) AS bigint) AS refused,
                CAST(sum(u.reported) AS bigint) AS reported, min(u.first_at) AS first_at, max(u.last_at) AS last_at,
                CAST(max(CASE WHEN u.issued + u.reported > 0 THEN u.day END) AS bigint) AS used_on,
                max(u.until) AS until, max(u.granted) AS granted, max(u.used) AS used, min(u.record) AS record
           FROM {from}",
        columns = columns.join(", "),
    );
    for (dimension, table, column) in [(Dimension::Subject, "s", "subject"), (Dimension::Actor, "a", "actor")] {
        if by.contains(&dimension) {
            sql.push_str(&format!(" LEFT JOIN person {table} ON {table}.id = u.{column}"));
        }
    }
    sql.push_str(" WHERE r.id = u.route");
    sql.push_str(&conditions.sql);
    if !columns.is_empty() {
        sql.push_str(&format!(" GROUP BY {}", columns.join(", ")));
    }
    let mut args = conditions.args;
    args.push(i64::from(limit).into());
    sql.push_str(&format!(
        " HAVING count(*) > 0 ORDER BY max(u.last_at) DESC LIMIT ${}",
        args.len()
    ));
    (sql, args)
}

fn conditions(filter: &UsageFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.text("r.server", filter.server.as_ref().map(ToString::to_string));
    conditions.text("r.target", filter.target.as_ref().map(ToString::to_string));
    conditions.text("r.issuer", filter.issuer.as_ref().map(ToString::to_string));
    conditions.text("r.source", filter.source.clone());
    conditions.text("r.source_version", filter.source_version.clone());
    conditions.text("r.signing_key", filter.signing_key.clone());
    conditions.text("r.token_key", filter.token_key.clone());
    conditions.targets(&filter.targets);
    conditions.person("subject", filter.subject.as_ref().map(ToString::to_string));
    conditions.person("actor", filter.actor.as_ref().map(ToString::to_string));
    conditions.and("u.day >=", filter.since.map(|day| day.0.into()), "");
    conditions.and("u.day <", filter.until.map(|day| day.0.into()), "");
    conditions
}

fn column(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Day => "CAST(u.day AS text)",
        Dimension::Server => "r.server",
        Dimension::Tool => "r.tool",
        Dimension::Target => "r.target",
        Dimension::Grants => "r.grants",
        Dimension::Issuer => "r.issuer",
        Dimension::Source => "r.source",
        Dimension::SourceVersion => "r.source_version",
        Dimension::SigningKey => "r.signing_key",
        Dimension::TokenKey => "r.token_key",
        Dimension::Rules => "r.rules",
        Dimension::Groups => "r.groups",
        Dimension::Subject => "s.name",
        Dimension::Actor => "a.name",
    }
}

#[cfg(test)]
mod tests {
    use procura_contract::ledger_suite::sample::{name, qualified};
    use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

    use super::*;

    /// How SQLite answers the sums, one step a line.
    async fn plan(filter: &UsageFilter, by: &[Dimension]) -> String {
        let mut conn = SqliteConnection::connect(":memory:").await.expect("connected");
        let migrations = sqlx::migrate!("../../migrations/sqlite");
        migrations.run(&mut conn).await.expect("migrated");
        let (sql, _) = sums("json_array", filter, by, 9);
        let steps = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        let steps = steps.fetch_all(&mut conn).await.expect("explained");
        let step = |step: &sqlx::sqlite::SqliteRow| step.get::<String, _>("detail") + "\n";
        steps.iter().map(step).collect()
    }

    #[tokio::test]
    async fn sums_are_read_by_an_index_whatever_is_asked() {
        let days = UsageFilter {
            since: Some(Day(20_000)),
            until: Some(Day(20_030)),
            ..UsageFilter::default()
        };
        let person = |subject, actor| UsageFilter {
            subject,
            actor,
            ..days.clone()
        };
        let server = UsageFilter {
            server: Some(name("tickets")),
            ..days.clone()
        };
        for (filter, wanted) in [
            (days.clone(), "SEARCH u USING PRIMARY KEY (route=? AND day>? AND day<?)"),
            (server, "SEARCH u USING PRIMARY KEY (route=? AND day>? AND day<?)"),
            (
                person(Some(qualified("corp/alice")), None),
                "SEARCH u USING INDEX usage_subject (subject=? AND day>? AND day<?)",
            ),
            (
                person(None, Some(qualified("corp/bot"))),
                "SEARCH u USING INDEX usage_actor (actor=? AND day>? AND day<?)",
            ),
        ] {
            let plan = plan(&filter, &[Dimension::Subject, Dimension::Tool]).await;
            assert!(plan.contains(wanted) && !plan.contains("SCAN u\n"), "{plan}");
        }
    }
}
