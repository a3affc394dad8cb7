//! The port over either engine: writes wait for the writer, reads take a connection of the pool.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::{IssuanceId, SessionId},
    ledger::{
        AppendError, Claim, Conditions, EndedBy, Entry, Filter, Held, Intent, Lease, LeaseFilter, Ledger, Owner, Page,
        ReplayId, SESSION_IDLE, Session, SessionFilter, SessionKey, StoreError, Stored, TokenFacts, Undone,
    },
    limits::Counted,
    ports::BoxFuture,
};
use procura_wire::{Digest, Name};
use sqlx::{AssertSqlSafe, Pool, SqlSafeStr, SqlStr};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    answer::{Answer, Job, Outcome, Write, is_marked, mark_key, session_key},
    batch::FORGET_AT_ONCE,
    db::{Arg, Db, Row},
    questions,
    reads::{self, Select},
    rows::{
        BytesRow, CountedRow, HeldRow, IdRow, IntoDomain, LeaseRow, MarkRow, NumberRow, PlaceRow, RecordRow,
        SessionRow, TextRow,
    },
    sql,
    writer::Shared,
};

/// A ledger in a database.
pub struct Store<D: Db> {
    pub(crate) installation: String,
    pub(crate) pool: Pool<D>,
    pub(crate) queue: mpsc::Sender<Job>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl<D: Db> Store<D> {
    /// Durable commits so far.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Acquire)
    }

    /// Writes that wait for the writer now.
    pub fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Writes what waits, then closes every connection. Later writes are refused.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        self.stop.cancel();
        let (tasks, pool) = (self.tasks.clone(), self.pool.clone());
        Box::pin(async move {
            tasks.wait().await;
            pool.close().await;
        })
    }

    async fn submit(&self, write: Write) -> Outcome {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Job { write, reply }).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Closed(_) => StoreError::Unavailable,
        })?;
        match answer.await {
            Ok(outcome) => outcome,
            // The writer was stopped by a fatal error: what became of this write is not known here.
            Err(_) => pending().await,
        }
    }

    /// A write that cannot be refused, only fail.
    pub(crate) async fn write(&self, write: Write) -> Result<Answer, StoreError> {
        self.submit(write).await.map_err(|error| match error {
            AppendError::Store(error) => error,
            _ => StoreError::Inconsistent,
        })
    }

    async fn held_by(&self, write: Write) -> Result<Option<Vec<Held>>, StoreError> {
        match self.write(write).await? {
            Answer::Held(held) => Ok(held),
            _ => Err(StoreError::Inconsistent),
        }
    }

    async fn leases_by(&self, write: Write) -> Result<Vec<Lease>, StoreError> {
        match self.write(write).await? {
            Answer::Leases(leases) => Ok(leases),
            _ => Err(StoreError::Inconsistent),
        }
    }

    pub(crate) async fn rows<R: Row>(&self, sql: SqlStr, args: Vec<Arg>) -> Result<Vec<R>, StoreError> {
        let rows = match self.pool.acquire().await {
            Ok(mut conn) => D::rows(&mut conn, sql, args).await,
            Err(error) => Err(error),
        };
        rows.map_err(|error| {
            tracing::warn!(%error, "the store cannot be read");
            StoreError::Unavailable
        })
    }

    pub(crate) async fn many<R: Row + IntoDomain>(
        &self,
        sql: SqlStr,
        args: Vec<Arg>,
    ) -> Result<Vec<R::Domain>, StoreError> {
        let rows = self.rows::<R>(sql, args).await?;
        rows.into_iter()
            .map(|row| {
                row.into_domain().map_err(|problem| {
                    tracing::error!(%problem, "an inconsistent row");
                    StoreError::Inconsistent
                })
            })
            .collect()
    }

    pub(crate) async fn one<R: Row + IntoDomain>(
        &self,
        sql: &'static str,
        arg: Arg,
    ) -> Result<Option<R::Domain>, StoreError> {
        Ok(self.many::<R>(sql.into_sql_str(), vec![arg]).await?.pop())
    }

    async fn selected<R: Row + IntoDomain>(&self, select: Select) -> Result<Vec<R::Domain>, StoreError> {
        self.many::<R>(AssertSqlSafe(select.sql).into_sql_str(), select.args)
            .await
    }

    async fn joined(&self, key: &SessionKey) -> Result<Option<Session>, StoreError> {
        let digest = session_key(key);
        let read = || self.one::<SessionRow>(sql::LIVE_SESSION, Arg::from(&digest.as_bytes()[..]));
        let Some(cache) = &self.shared.cache else {
            return read().await;
        };
        match cache.joined(&digest) {
            Ok(session) => Ok(Some(session)),
            Err(commits) => {
                let found = read().await?;
                if let Some(session) = &found {
                    cache.keep(session.clone(), commits);
                }
                Ok(found)
            }
        }
    }

    async fn marked(&self, token: &TokenFacts) -> Result<bool, StoreError> {
        let key = || mark_key(&token.server, &token.subject, token.actor.as_ref());
        if self.shared.cache.as_ref().is_some_and(|cache| !cache.has_mark(key)) {
            return Ok(false);
        }
        let args = vec![Arg::from(&key().as_bytes()[..])];
        let marks = self.rows::<MarkRow>(sql::MARK.into_sql_str(), args).await?;
        Ok(marks.iter().any(|mark| is_marked(mark.second, token.issued_at)))
    }
}

impl<D: Db> Ledger for Store<D> {
    fn installation(&self) -> &str {
        &self.installation
    }

    fn durable_time(&self) -> Timestamp {
        self.shared.durable_time()
    }

    fn append(&self, entry: Entry, conditions: Conditions) -> BoxFuture<'_, Result<(), AppendError>> {
        let write = Write::Append(Box::new(entry), Box::new(conditions));
        Box::pin(async move { self.submit(write).await.map(drop) })
    }

    fn intend(&self, intent: Intent) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move { self.submit(Write::Intend(Box::new(intent))).await.map(drop) })
    }

    fn burn(&self, ids: Vec<ReplayId>) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move { self.submit(Write::Burn(ids)).await.map(drop) })
    }

    fn find_session(&self, key: SessionKey, now: Timestamp) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(async move { Ok(self.joined(&key).await?.filter(|session| session.is_live(now))) })
    }

    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>, StoreError>> {
        Box::pin(self.one::<SessionRow>(sql::SESSION, id.0.into()))
    }

    fn is_revoked(&self, token: TokenFacts) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.marked(&token).await })
    }

    fn open_session(&self, session: Session) -> BoxFuture<'_, Result<Session, StoreError>> {
        Box::pin(async move {
            match self.write(Write::Open(Box::new(session))).await? {
                Answer::Session(session) => Ok(*session),
                _ => Err(StoreError::Inconsistent),
            }
        })
    }

    fn end_session(
        &self,
        id: SessionId,
        by: EndedBy,
        entry: Entry,
    ) -> BoxFuture<'_, Result<Option<Vec<Held>>, StoreError>> {
        Box::pin(self.held_by(Write::End(id, by, Box::new(entry))))
    }

    fn revoke(&self, id: IssuanceId, entry: Entry) -> BoxFuture<'_, Result<Option<Held>, StoreError>> {
        Box::pin(async move {
            let held = self.held_by(Write::Revoke(id, Box::new(entry))).await?;
            Ok(held.and_then(|mut held| held.pop()))
        })
    }

    fn due_targets(&self, now: Timestamp, margin: Duration) -> BoxFuture<'_, Result<Vec<Name>, StoreError>> {
        Box::pin(async move {
            let args = vec![now.into(), (now - margin).into()];
            let rows = self.rows::<TextRow>(sql::DUE_TARGETS.into_sql_str(), args).await?;
            // One that cannot be read keeps no other waiting.
            let read = |row: TextRow| {
                let read = row.text.parse();
                read.inspect_err(|_| tracing::error!(target = row.text, "leases of what is no target"))
                    .ok()
            };
            Ok(rows.into_iter().filter_map(read).collect())
        })
    }

    fn take_due(&self, target: Name, claim: Claim, limit: u32) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        Box::pin(self.leases_by(Write::TakeDue(target, claim, limit)))
    }

    fn take(&self, id: IssuanceId, claim: Claim) -> BoxFuture<'_, Result<Option<Lease>, StoreError>> {
        Box::pin(async move { Ok(self.leases_by(Write::Take(id, claim)).await?.pop()) })
    }

    fn settle(&self, id: IssuanceId, owner: Owner, undone: Undone) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            match self.write(Write::Settle(id, owner, undone)).await? {
                Answer::Settled(settled) => Ok(settled),
                _ => Err(StoreError::Inconsistent),
            }
        })
    }

    fn lease(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<Lease>, StoreError>> {
        Box::pin(self.one::<LeaseRow>(sql::LEASE, id.0.into()))
    }

    fn leased_places(&self) -> BoxFuture<'_, Result<Vec<(Name, String)>, StoreError>> {
        Box::pin(async move {
            let rows = self
                .rows::<PlaceRow>(sql::LEASED_PLACES.into_sql_str(), Vec::new())
                .await?;
            let read = |row: PlaceRow| Ok((row.target.parse().map_err(|_| StoreError::Inconsistent)?, row.place));
            rows.into_iter().map(read).collect()
        })
    }

    fn lease_known_as(&self, name: String) -> BoxFuture<'_, Result<Option<Lease>, StoreError>> {
        Box::pin(self.one::<LeaseRow>(sql::LEASE_KNOWN_AS, name.into()))
    }

    fn leases(&self, filter: LeaseFilter, page: Page) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        Box::pin(self.selected::<LeaseRow>(reads::leases(&filter, page)))
    }

    fn expired_sessions(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        let args = vec![now.into(), (now - SESSION_IDLE).into(), i64::from(limit).into()];
        Box::pin(self.many::<SessionRow>(sql::EXPIRED_SESSIONS.into_sql_str(), args))
    }

    fn record(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        Box::pin(self.one::<RecordRow>(sql::RECORD, id.0.into()))
    }

    fn record_by_value(&self, value: Digest) -> BoxFuture<'_, Result<Option<Stored>, StoreError>> {
        Box::pin(self.one::<RecordRow>(sql::RECORD_BY_VALUE, Arg::from(&value.as_bytes()[..])))
    }

    fn records(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Stored>, StoreError>> {
        Box::pin(self.selected::<RecordRow>(questions::records::<D>(&filter, page)))
    }

    fn floor(
        &self,
        filter: Filter,
        before: Option<IssuanceId>,
        records: u32,
    ) -> BoxFuture<'_, Result<Option<IssuanceId>, StoreError>> {
        Box::pin(async move {
            let ids = self
                .selected::<IdRow>(questions::floor::<D>(&filter, before, records))
                .await?;
            Ok(ids.into_iter().next())
        })
    }

    fn sessions(
        &self,
        filter: SessionFilter,
        before: Option<SessionId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Session>, StoreError>> {
        Box::pin(self.selected::<SessionRow>(reads::sessions(&filter, before, limit)))
    }

    fn held(&self, id: SessionId, now: Timestamp) -> BoxFuture<'_, Result<Vec<Held>, StoreError>> {
        Box::pin(self.many::<HeldRow>(sql::HELD.into_sql_str(), vec![id.0.into(), now.into()]))
    }

    fn keep_bundle(&self, digest: Digest, content: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write(Write::KeepBundle(digest, content)).await.map(drop) })
    }

    fn settle_bundle(&self, digest: Digest) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.write(Write::SettleBundle(digest)).await.map(drop) })
    }

    fn settled_bundle(&self, unless: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            let args = vec![Arg::from(&unless.as_bytes()[..])];
            let rows = self.rows::<BytesRow>(sql::SETTLED_BUNDLE.into_sql_str(), args).await?;
            Ok(rows.into_iter().next().map(|row| row.bytes))
        })
    }

    fn bundle(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            let args = vec![Arg::from(&digest.as_bytes()[..])];
            let rows = self.rows::<BytesRow>(sql::BUNDLE.into_sql_str(), args).await?;
            Ok(rows.into_iter().next().map(|row| row.bytes))
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.rows::<NumberRow>(sql::DURABLE_TIME.into_sql_str(), Vec::new())
                .await?;
            self.write(Write::Check).await.map(drop)
        })
    }

    fn count(&self, counts: Vec<Counted>, now: Timestamp) -> BoxFuture<'_, Result<Vec<Counted>, StoreError>> {
        Box::pin(async move {
            match self.write(Write::Count(counts, now)).await? {
                Answer::Counted(sums) => Ok(sums),
                _ => Err(StoreError::Inconsistent),
            }
        })
    }

    fn counted(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Counted>, StoreError>> {
        let args = vec![now.into(), i64::from(limit).into()];
        Box::pin(self.many::<CountedRow>(sql::COUNTED.into_sql_str(), args))
    }

    fn forget_replay_ids(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            loop {
                match self.write(Write::Forget(self.shared.durable_time())).await? {
                    Answer::Forgotten(count) if count == FORGET_AT_ONCE => {}
                    _ => return Ok(()),
                }
            }
        })
    }
}
