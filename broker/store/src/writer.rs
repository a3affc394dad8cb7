//! The one task that writes: whatever waits, up to 512 writes, is one transaction.

use std::{
    fs::File,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{Either, select};
use procura_core::{
    Timestamp,
    ids::ReplicaId,
    ledger::{AppendError, StoreError},
    ports::Clock,
};
use sqlx::{Connection, SqlSafeStr};
use tokio::{
    sync::{Notify, mpsc},
    task::yield_now,
};
use tokio_util::sync::CancellationToken;

use crate::{
    answer::{Failure, Job, Outcome, Write},
    batch::{Batch, Effects},
    cache::Cache,
    db::{Db, Fault},
    open::OnFatal,
    rows::NumberRow,
    sql,
};

/// Writes of one transaction at most.
pub(crate) const BATCH: usize = 512;

/// Writes that may wait.
pub(crate) const QUEUE: usize = 4096;

const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What the writer tells the rest of the store.
pub(crate) struct Shared {
    pub(crate) commits: AtomicU64,
    /// Microseconds.
    pub(crate) durable: AtomicI64,
    /// Told of commits that appended records.
    pub(crate) appended: Notify,
    pub(crate) cache: Option<Cache>,
}

pub(crate) struct Writer<D: Db> {
    pub(crate) conn: Option<D::Connection>,
    pub(crate) options: <D::Connection as Connection>::Options,
    pub(crate) id: ReplicaId,
    pub(crate) batch: i64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) on_fatal: OnFatal,
    /// Held as long as this process may write the file.
    pub(crate) lock: Option<File>,
}

/// How a transaction ended that was not committed.
enum Ended {
    /// One of its writes cannot be stored, or brings a record that is there already.
    Spoilt(String, AppendError),
    /// Nothing was stored.
    Unavailable(String),
    /// Nothing may be answered any more.
    Fatal(String),
}

impl<D: Db> Writer<D> {
    /// Writes until the store is closed and nothing waits any more.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.cancelled(), if !queue.is_closed() => queue.close(),
                count = queue.recv_many(&mut jobs, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    // Requests that are ready to write share the commit.
                    yield_now().await;
                    while jobs.len() < BATCH && let Ok(job) = queue.try_recv() {
                        jobs.push(job);
                    }
                    if !self.write(&mut jobs).await {
                        // The process is about to end; until then nobody gets an answer.
                        stop.cancelled().await;
                        break;
                    }
                }
            }
        }
        if let Some(conn) = self.conn {
            let _ = conn.close().await;
        }
        drop(self.lock);
    }

    /// Writes and answers; `false` where nothing may be answered any more.
    async fn write(&mut self, jobs: &mut Vec<Job>) -> bool {
        match self.transaction(jobs).await {
            Ok(outcomes) => answer(jobs, outcomes),
            Err(Ended::Spoilt(problem, _)) if jobs.len() > 1 => {
                tracing::info!(problem, writes = jobs.len(), "a batch is written one by one");
                return self.one_by_one(jobs).await;
            }
            Err(Ended::Spoilt(problem, error)) => {
                tracing::warn!(problem, "a write was refused");
                refuse(jobs, error);
            }
            Err(Ended::Unavailable(problem)) => {
                tracing::warn!(problem, writes = jobs.len(), "the store cannot be written");
                refuse(jobs, StoreError::Unavailable.into());
            }
            Err(Ended::Fatal(problem)) => {
                (self.on_fatal)(&problem);
                return false;
            }
        }
        true
    }

    /// So that a write that cannot be stored does not take others with it.
    async fn one_by_one(&mut self, jobs: &mut Vec<Job>) -> bool {
        let mut waiting = std::mem::take(jobs).into_iter();
        while let Some(job) = waiting.next() {
            jobs.push(job);
            if !Box::pin(self.write(jobs)).await {
                jobs.extend(waiting);
                return false;
            }
        }
        true
    }

    async fn transaction(&mut self, jobs: &[Job]) -> Result<Vec<Outcome>, Ended> {
        let clock = Arc::clone(&self.clock);
        let begun = in_time::<D, _, _>(&*clock, self.begin()).await;
        let mut conn = begun.map_err(|error| ended::<D>(&Failure::Sql(error)))?;
        match in_time::<D, _, _>(&*clock, self.statements(&mut conn, jobs)).await {
            Ok((outcomes, effects)) => {
                // The log's own steps come when they come: places that tests count are those of the ledger.
                let counted = !jobs.iter().all(|job| matches!(job.write, Write::Log(_)));
                self.commit(conn, counted).await?;
                self.committed(effects);
                Ok(outcomes)
            }
            Err(failure) => {
                if self.roll_back(&mut conn).await {
                    self.conn = Some(conn);
                }
                Err(ended::<D>(&failure))
            }
        }
    }

    /// Whether the connection can be used again.
    async fn roll_back(&mut self, conn: &mut D::Connection) -> bool {
        let rollback = D::run(conn, "ROLLBACK".into_sql_str(), Vec::new());
        in_time::<D, _, _>(&*self.clock, rollback).await.is_ok()
    }

    /// Opens a transaction, on another connection where the last one does not answer any more.
    async fn begin(&mut self) -> Result<D::Connection, sqlx::Error> {
        if let Some(mut conn) = self.conn.take() {
            match D::run(&mut conn, D::BEGIN.into_sql_str(), Vec::new()).await {
                Ok(_) => return Ok(conn),
                Err(error) if D::fault(&error) == Fault::Fatal => return Err(error),
                Err(error) => tracing::warn!(%error, "the store is connected again"),
            }
        }
        let mut conn = D::Connection::connect_with(&self.options).await?;
        D::run(&mut conn, D::BEGIN.into_sql_str(), Vec::new()).await?;
        Ok(conn)
    }

    async fn statements(&mut self, conn: &mut D::Connection, jobs: &[Job]) -> Result<(Vec<Outcome>, Effects), Failure> {
        let writes: Vec<&Write> = jobs.iter().map(|job| &job.write).collect();
        let mut batch = Batch::<D>::new(conn, self.shared.cache.as_ref());
        let outcomes = batch.execute(&writes).await?;
        let durable = self.shared.durable.load(Ordering::Acquire);
        let latest = batch
            .effects
            .latest
            .map_or(durable, |at| at.as_microsecond().max(durable));
        self.batch += 1;
        let args = vec![self.id.0.into(), self.batch.into(), latest.into()];
        match batch.run(sql::WRITER, args).await? {
            1 => Ok((outcomes, batch.effects)),
            rows => Err(Failure::Count(1, "writer", rows)),
        }
    }

    async fn commit(
        &mut self,
        mut conn: D::Connection,
        #[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "failpoints ask"))] counted: bool,
    ) -> Result<(), Ended> {
        fail::fail_point!("store-before-commit", counted, |_| Ok(()));
        fail::fail_point!("store-fsync", counted, |_| Err(Ended::Fatal(
            "an injected I/O error".to_owned()
        )));
        let commit = D::run(&mut conn, "COMMIT".into_sql_str(), Vec::new());
        match in_time::<D, _, _>(&*self.clock, commit).await {
            Ok(_) => {}
            Err(error) if D::commit_is_uncertain(&error) => {
                tracing::warn!(%error, "the outcome of a commit is unknown and is read back");
                drop(conn);
                conn = self.read_back().await?;
            }
            Err(error) => {
                if self.roll_back(&mut conn).await || in_no_transaction(&error) {
                    self.conn = Some(conn);
                }
                return Err(ended::<D>(&Failure::Sql(error)));
            }
        }
        fail::fail_point!("store-after-commit", counted, |_| Ok(()));
        self.conn = Some(conn);
        Ok(())
    }

    /// Asks until it is known whether the last batch was committed.
    async fn read_back(&mut self) -> Result<D::Connection, Ended> {
        loop {
            if let Ok(mut conn) = in_time::<D, _, _>(&*self.clock, D::Connection::connect_with(&self.options)).await {
                let sql = D::SQL.last_batch.into_sql_str();
                let last = D::rows::<NumberRow>(&mut conn, sql, vec![self.id.0.into()]);
                match in_time::<D, _, _>(&*self.clock, last).await {
                    Ok(rows) if rows.iter().any(|row| row.number == Some(self.batch)) => return Ok(conn),
                    Ok(_) => {
                        self.conn = Some(conn);
                        return Err(Ended::Unavailable("the batch was not committed".to_owned()));
                    }
                    Err(error) => tracing::warn!(%error, "a commit could not be read back yet"),
                }
            }
            self.clock.sleep(ASK_AGAIN).await;
        }
    }

    fn committed(&self, effects: Effects) {
        self.shared.commits.fetch_add(1, Ordering::AcqRel);
        if let Some(latest) = effects.latest {
            self.shared.durable.fetch_max(latest.as_microsecond(), Ordering::AcqRel);
            self.shared.appended.notify_one();
        }
        if let Some(cache) = &self.shared.cache {
            cache.committed(effects);
        }
    }
}

/// The work, or an error of the engine where it says nothing for too long: then its connection is dropped.
async fn in_time<D: Db, T, E: From<sqlx::Error>>(
    clock: &dyn Clock,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(patience) = D::PATIENCE else { return work.await };
    match select(pin!(work), clock.sleep(patience)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into()),
    }
}

impl Shared {
    pub(crate) fn durable_time(&self) -> Timestamp {
        Timestamp::from_microsecond(self.durable.load(Ordering::Acquire)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Engines may roll a failed commit back by themselves; a second rollback is an error of no consequence.
fn in_no_transaction(commit: &sqlx::Error) -> bool {
    commit.as_database_error().is_some()
}

fn ended<D: Db>(failure: &Failure) -> Ended {
    let problem = failure.to_string();
    let inconsistent = StoreError::Inconsistent.into();
    match failure {
        Failure::Sql(error) => match D::fault(error) {
            // Also what lost a deadlock: it says the truth for each, that nothing was stored.
            Fault::Statement => Ended::Spoilt(problem, StoreError::Unavailable.into()),
            Fault::Unavailable => Ended::Unavailable(problem),
            Fault::Fatal => Ended::Fatal(problem),
        },
        Failure::Count(_, "record", _) => Ended::Spoilt(problem, AppendError::Superseded),
        Failure::Row(_) | Failure::Count(..) | Failure::Json(_) => Ended::Spoilt(problem, inconsistent),
    }
}

fn answer(jobs: &mut Vec<Job>, outcomes: Vec<Outcome>) {
    for (job, outcome) in jobs.drain(..).zip(outcomes) {
        // Who asked may have gone away; the write stands.
        let _ = job.reply.send(outcome);
    }
}

fn refuse(jobs: &mut Vec<Job>, error: AppendError) {
    for job in jobs.drain(..) {
        let _ = job.reply.send(Err(error));
    }
}
