//! What one transaction does: single writes in the order of their arrival, then all appends as sets.

use std::time::Duration;

use procura_core::{
    Timestamp,
    ids::IssuanceId,
    ledger::{Entry, Held, Session},
};
use procura_wire::Digest;
use serde::Serialize;
use sqlx::SqlSafeStr;

use crate::{
    answer::{Answer, Failure, Outcome, Write},
    cache::Cache,
    db::{Arg, Db, Row},
    rows::{HeldRow, IntoDomain},
    sql,
};

/// One-time ids forgotten at once, so that the writer is not kept long.
pub(crate) const FORGET_AT_ONCE: u64 = 5_000;
/// After so long a finding is told no more and its digest forgotten: it is outside of what is looked at.
const ALERT_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A transaction under way.
pub(crate) struct Batch<'c, D: Db> {
    conn: &'c mut D::Connection,
    pub(crate) cache: Option<&'c Cache>,
    pub(crate) effects: Effects,
}

/// What is true once it is committed.
#[derive(Default)]
pub(crate) struct Effects {
    /// Sessions as they are then.
    pub(crate) changed: Vec<Session>,
    /// Keys of marks.
    pub(crate) marked: Vec<Digest>,
    /// Highest time of a record.
    pub(crate) latest: Option<Timestamp>,
}

impl<'c, D: Db> Batch<'c, D> {
    pub(crate) fn new(conn: &'c mut D::Connection, cache: Option<&'c Cache>) -> Self {
        Self {
            conn,
            cache,
            effects: Effects::default(),
        }
    }

    /// Carries the writes out; the outcomes are in their order.
    pub(crate) async fn execute(&mut self, writes: &[&Write]) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut appended = Vec::new();
        for write in writes {
            outcomes.push(Ok(self.single(write, &mut appended).await?));
        }
        self.sets(writes, &mut outcomes, appended).await?;
        self.counts(writes, &mut outcomes).await?;
        Ok(outcomes)
    }

    /// A write that is not part of a set. Records that it brings along are appended with the others.
    async fn single<'w>(&mut self, write: &'w Write, appended: &mut Vec<&'w Entry>) -> Result<Answer, Failure> {
        Ok(match write {
            Write::Append(..) | Write::Intend(_) | Write::Burn(_) | Write::Check | Write::Count(..) => Answer::Done,
            Write::Open(session) => Answer::Session(Box::new(self.open_session(session).await?)),
            Write::End(id, by, entry) => {
                let held = self.end_session(*id, *by, entry.index.at).await?;
                appended.extend(held.is_some().then_some(&**entry));
                Answer::Held(held)
            }
            Write::Revoke(id, entry) => {
                appended.push(entry);
                let held = self.revoke(*id, entry.index.at).await?;
                Answer::Held(held.map(|held| vec![held]))
            }
            Write::TakeDue(target, claim, limit) => Answer::Leases(self.take_due(target, claim, *limit).await?),
            Write::Take(id, claim) => Answer::Leases(self.take(*id, claim).await?),
            Write::Settle(id, owner, undone) => Answer::Settled(self.settle(*id, *owner, undone).await?),
            Write::KeepBundle(digest, content) => {
                let args = vec![Arg::from(&digest.as_bytes()[..]), Arg::Bytes(content.clone())];
                self.run(sql::KEEP_BUNDLE, args).await?;
                Answer::Done
            }
            Write::SettleBundle(digest) => {
                self.run(sql::SETTLE_BUNDLE, vec![Arg::from(&digest.as_bytes()[..])])
                    .await?;
                Answer::Done
            }
            Write::Log(write) => Answer::Changed(self.log(write).await?),
            Write::Web(write) => {
                self.web(write).await?;
                Answer::Done
            }
            Write::Forget(before) => {
                self.run(sql::FORGET_ALERTS, vec![(*before - ALERT_LIFE).into()])
                    .await?;
                let limit = Arg::Int(FORGET_AT_ONCE.cast_signed());
                Answer::Forgotten(self.run(sql::FORGET, vec![(*before).into(), limit]).await?)
            }
            Write::Usage(write) => self.usage(write).await?,
        })
    }

    async fn revoke(&mut self, id: IssuanceId, now: Timestamp) -> Result<Option<Held>, Failure> {
        let mut held = self
            .domain::<HeldRow>(sql::HELD_ONE, vec![id.0.into(), now.into()])
            .await?;
        let Some(held) = held.pop() else { return Ok(None) };
        if self.run(sql::REVOKE, vec![id.0.into(), now.into()]).await? == 0 {
            return Ok(None);
        }
        self.run(sql::UNDO, vec![id.0.into(), now.into()]).await?;
        Ok(Some(held))
    }

    pub(crate) async fn run(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<u64, Failure> {
        Ok(D::run(self.conn, sql.into_sql_str(), args).await?)
    }

    pub(crate) async fn rows<R: Row>(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<R>, Failure> {
        Ok(D::rows(self.conn, sql.into_sql_str(), args).await?)
    }

    pub(crate) async fn domain<R: Row + IntoDomain>(
        &mut self,
        sql: &'static str,
        args: Vec<Arg>,
    ) -> Result<Vec<R::Domain>, Failure> {
        let rows = self.rows::<R>(sql, args).await?;
        Ok(rows.into_iter().map(R::into_domain).collect::<Result<_, _>>()?)
    }

    /// Inserts records with their sides; every one of them must be new.
    pub(crate) async fn insert_entries(&mut self, entries: &[&Entry]) -> Result<(), Failure> {
        let (inserted, wanted) = (D::insert(self.conn, entries).await?, 2 * entries.len());
        match usize::try_from(inserted) {
            Ok(count) if count == wanted => Ok(()),
            _ => Err(Failure::Count(wanted, "record", inserted)),
        }
    }

    /// Rows of a set that is given as JSON; none where the set is empty.
    pub(crate) async fn rows_of<R: Row>(
        &mut self,
        sql: &'static str,
        set: &[impl Serialize + Sync],
    ) -> Result<Vec<R>, Failure> {
        if set.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sql, vec![serde_json::to_string(set)?.into()]).await
    }

    /// Runs a statement over a set; as many rows must change as the set has.
    pub(crate) async fn run_all(
        &mut self,
        table: &'static str,
        sql: &'static str,
        set: &[impl Serialize + Sync],
    ) -> Result<(), Failure> {
        if set.is_empty() {
            return Ok(());
        }
        let changed = self.run(sql, vec![serde_json::to_string(set)?.into()]).await?;
        match usize::try_from(changed) {
            Ok(count) if count == set.len() => Ok(()),
            _ => Err(Failure::Count(set.len(), table, changed)),
        }
    }
}
