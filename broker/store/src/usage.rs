//! Sums of the log behind their port: read and folded here, written with the position by the one writer.

mod fold;
mod select;

use procura_core::{
    Timestamp,
    ids::{IssuanceId, ReplicaId},
    ledger::StoreError,
    ports::BoxFuture,
    usage::{Alert, Dimension, Projected, Sum, Usage, UsageFilter},
};
use procura_wire::Digest;
use serde::Serialize;
use sqlx::{AssertSqlSafe, FromRow, SqlSafeStr};
use uuid::Uuid;

use crate::{
    answer::{Answer, Failure, Write},
    batch::Batch,
    db::{Arg, Db},
    ledger::Store,
    rows::{At, InconsistentRow, IntoDomain, NumberRow},
    sql,
};
use fold::{Fold, ProjectableRow};
use select::SumRow;

/// Records that are counted at once: the writer is not kept long.
const AT_ONCE: i64 = 512;

/// Others leave the counting to whoever counted last for so many seconds.
const CLAIM: i64 = 30;

/// A write that is about sums.
pub(crate) enum UsageWrite {
    Count(Box<Counting>),
    Alert(Vec<Alert>),
    TakeAlerts {
        now: Timestamp,
        again: Timestamp,
        limit: u32,
    },
    SettleAlert(Digest),
}

/// What the next records add, and the step of the position that it belongs to.
pub(crate) struct Counting {
    from: (i64, Uuid),
    to: (i64, Uuid),
    at: i64,
    records: i64,
    replica: ReplicaId,
    claimed: i64,
    fold: Fold,
}

#[derive(FromRow)]
struct PositionRow {
    number: i64,
    record: Uuid,
    at: Option<i64>,
    records: i64,
    replica: Uuid,
    claimed: i64,
}

#[derive(FromRow)]
pub(crate) struct AlertRow {
    key: Vec<u8>,
    found: i64,
    body: String,
    attempts: i64,
}

impl IntoDomain for AlertRow {
    type Domain = Alert;

    fn into_domain(self) -> Result<Alert, InconsistentRow> {
        let at = At("alert", Uuid::nil());
        Ok(Alert {
            key: Digest::from_bytes(at.bytes("key", self.key)?),
            found: at.time("found", self.found)?,
            body: self.body,
            attempts: u32::try_from(self.attempts).map_err(|_| at.wrong("attempts"))?,
        })
    }
}

/// An alert as `insert_alerts` reads it.
#[derive(Serialize)]
struct NewAlert<'a> {
    key: String,
    found: i64,
    body: &'a str,
}

impl<D: Db> Store<D> {
    async fn position(&self) -> Result<PositionRow, StoreError> {
        let rows = self.rows(sql::PROJECTION.into_sql_str(), Vec::new()).await?;
        rows.into_iter().next().ok_or(StoreError::Inconsistent)
    }

    /// The next records in the order of their appends. What an engine needs to know of that order stands in its
    /// statement alone.
    async fn after(&self, position: &PositionRow, limit: i64) -> Result<Vec<ProjectableRow>, StoreError> {
        let args = vec![position.number.into(), position.record.into(), limit.into()];
        self.rows(D::SQL.next_records.into_sql_str(), args).await
    }

    async fn count_next(&self, replica: ReplicaId, now: Timestamp) -> Result<u64, StoreError> {
        let position = self.position().await?;
        if position.replica != replica.0 && position.claimed > now.as_microsecond() {
            return Ok(0);
        }
        let rows = self.after(&position, AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(0) };
        let records = i64::try_from(rows.len()).unwrap_or(AT_ONCE);
        let counting = Counting {
            from: (position.number, position.record),
            to: (last.number, last.id),
            at: last.at,
            records,
            replica,
            claimed: now.as_microsecond() + CLAIM * 1_000_000,
            fold: Fold::of(&rows)?,
        };
        match self.write(Write::Usage(UsageWrite::Count(Box::new(counting)))).await? {
            Answer::Rows(0) => Ok(0),
            Answer::Rows(_) => Ok(records.unsigned_abs()),
            _ => Err(StoreError::Inconsistent),
        }
    }

    async fn how_far(&self) -> Result<Projected, StoreError> {
        let position = self.position().await?;
        let behind = !self.after(&position, 1).await?.is_empty();
        let at = At("projection", position.record);
        let time = at.maybe_time("at", position.at).map_err(|_| StoreError::Inconsistent)?;
        Ok(Projected {
            records: position.records.unsigned_abs(),
            record: time.map(|_| IssuanceId(position.record)),
            at: time,
            behind,
        })
    }
}

impl<D: Db> Usage for Store<D> {
    fn project(&self, replica: ReplicaId, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.count_next(replica, now))
    }

    fn projected(&self) -> BoxFuture<'_, Result<Projected, StoreError>> {
        Box::pin(self.how_far())
    }

    fn sums(&self, filter: UsageFilter, by: Vec<Dimension>, limit: u32) -> BoxFuture<'_, Result<Vec<Sum>, StoreError>> {
        let (sql, args) = select::sums(D::SQL.json_list, &filter, &by, limit);
        Box::pin(self.many::<SumRow>(AssertSqlSafe(sql).into_sql_str(), args))
    }

    fn alert(&self, alerts: Vec<Alert>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            match self.write(Write::Usage(UsageWrite::Alert(alerts))).await? {
                Answer::Rows(count) => Ok(count),
                _ => Err(StoreError::Inconsistent),
            }
        })
    }

    fn take_alerts(
        &self,
        now: Timestamp,
        again: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>> {
        Box::pin(async move {
            // Idle costs no commit.
            let due = self
                .rows::<NumberRow>(sql::ALERT_DUE.into_sql_str(), vec![now.into()])
                .await?;
            if due.is_empty() {
                return Ok(Vec::new());
            }
            match self
                .write(Write::Usage(UsageWrite::TakeAlerts { now, again, limit }))
                .await?
            {
                Answer::Alerts(alerts) => Ok(alerts),
                _ => Err(StoreError::Inconsistent),
            }
        })
    }

    fn settle_alert(&self, key: Digest) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write(Write::Usage(UsageWrite::SettleAlert(key))).await.map(drop) })
    }
}

impl<D: Db> Batch<'_, D> {
    pub(crate) async fn usage(&mut self, write: &UsageWrite) -> Result<Answer, Failure> {
        Ok(match write {
            UsageWrite::Count(counting) => Answer::Rows(self.count_records(counting).await?),
            UsageWrite::Alert(alerts) => {
                let new = json(&alerts.iter().map(new_alert).collect::<Vec<_>>())?;
                Answer::Rows(self.run(D::SQL.insert_alerts, vec![new]).await?)
            }
            UsageWrite::TakeAlerts { now, again, limit } => {
                let args = vec![(*now).into(), (*again).into(), i64::from(*limit).into()];
                Answer::Alerts(self.domain::<AlertRow>(sql::TAKE_ALERTS, args).await?)
            }
            UsageWrite::SettleAlert(key) => {
                let args = vec![Arg::from(&key.as_bytes()[..])];
                Answer::Rows(self.run(sql::SETTLE_ALERT, args).await?)
            }
        })
    }

    /// Nothing, where another replica has moved the position or somebody is erasing a person just now: the position is
    /// the fence, and its row is held until the commit.
    async fn count_records(&mut self, counting: &Counting) -> Result<u64, Failure> {
        let Counting { from, to, fold, .. } = counting;
        let args = vec![
            from.0.into(),
            from.1.into(),
            to.0.into(),
            to.1.into(),
            counting.at.into(),
            counting.records.into(),
            counting.replica.0.into(),
            counting.claimed.into(),
        ];
        let moved = self.run(D::SQL.move_projection, args).await?;
        if moved == 1 && !fold.sums.is_empty() {
            self.run(D::SQL.insert_persons, vec![json(&fold.persons)?]).await?;
            self.run(D::SQL.insert_routes, vec![json(&fold.routes)?]).await?;
            let changed = self.run(D::SQL.add_usage, vec![json(&fold.sums)?]).await?;
            if changed == 0 {
                return Err(Failure::Count(fold.sums.len(), "usage", changed));
            }
        }
        Ok(moved)
    }
}

fn new_alert(alert: &Alert) -> NewAlert<'_> {
    NewAlert {
        key: alert.key.to_string(),
        found: alert.found.as_microsecond(),
        body: &alert.body,
    }
}

fn json(rows: &impl Serialize) -> Result<Arg, Failure> {
    Ok(serde_json::to_string(rows)?.into())
}
