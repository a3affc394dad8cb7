//! What opening has in common, once the engine's schema is there.

use std::{
    collections::HashSet,
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
};

use procura_core::{
    ids::ReplicaId,
    ports::{Clock, Entropy},
};
use procura_wire::Digest;
use sqlx::{Connection, Pool, SqlSafeStr};
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache::Cache,
    db::{Arg, Db, Row},
    ledger::Store,
    rows::{DigestRow, NumberRow, TextRow},
    sql,
    writer::{QUEUE, Shared, Writer},
};

/// Called once, with the problem, when the store cannot be trusted any more: the process must end. What
/// waits for the store is not answered.
pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;

/// The store cannot be opened. Names the file or the host, never a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the file.
    #[error("{path} is in use by another process: stop it, or use PostgreSQL where several run at once")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file, the server or its schema is not usable.
    #[error("{place}: {problem}")]
    Unusable {
        /// The file, or host and database.
        place: String,
        /// What happened and what to do.
        problem: String,
    },
}

/// What each engine hands over.
pub(crate) struct Opened<D: Db> {
    pub(crate) conn: D::Connection,
    pub(crate) pool: Pool<D>,
    pub(crate) options: <D::Connection as Connection>::Options,
    pub(crate) lock: Option<File>,
    /// Whether this process is the only one that writes.
    pub(crate) alone: bool,
}

/// What the store is given from outside.
pub(crate) struct Given {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) on_fatal: OnFatal,
}

impl<D: Db> Opened<D> {
    /// Reads what must be known and starts the writer.
    pub(crate) async fn start(mut self, given: Given) -> Result<Store<D>, sqlx::Error> {
        self.run(sql::NEW_INSTALLATION, vec![new_installation(&*given.entropy).into()])
            .await?;
        let installation = self.rows::<TextRow>(sql::INSTALLATION).await?.pop();
        let installation = installation.ok_or(sqlx::Error::RowNotFound)?.text;
        let durable = self.rows::<NumberRow>(sql::DURABLE_TIME).await?;
        let durable = durable.first().and_then(|row| row.number).unwrap_or(0);
        let id = ReplicaId::new(given.clock.now(), &*given.entropy);
        self.run(sql::NEW_WRITER, vec![id.0.into(), durable.into()]).await?;
        let cache = if self.alone {
            Some(Cache::new(self.marks().await?))
        } else {
            None
        };
        let shared = Arc::new(Shared {
            commits: AtomicU64::new(0),
            durable: AtomicI64::new(durable),
            appended: Notify::new(),
            cache,
        });
        let (queue, waiting) = mpsc::channel(queue_length());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let writer = Writer::<D> {
            conn: Some(self.conn),
            options: self.options,
            id,
            batch: 0,
            shared: Arc::clone(&shared),
            clock: given.clock,
            on_fatal: given.on_fatal,
            lock: self.lock,
        };
        tasks.spawn(writer.run(waiting, stop.clone()));
        tasks.close();
        Ok(Store {
            installation,
            pool: self.pool,
            queue,
            shared,
            tasks,
            stop,
        })
    }

    async fn marks(&mut self) -> Result<HashSet<Digest>, sqlx::Error> {
        let rows = self.rows::<DigestRow>(sql::MARK_KEYS).await?;
        let digest = |row: DigestRow| {
            let bytes = row.digest.try_into();
            // Left out, it would revoke nothing.
            bytes
                .map(Digest::from_bytes)
                .map_err(|_| sqlx::Error::Decode("a mark's key is no digest".into()))
        };
        rows.into_iter().map(digest).collect()
    }

    async fn rows<R: Row>(&mut self, sql: &'static str) -> Result<Vec<R>, sqlx::Error> {
        D::rows(&mut self.conn, sql.into_sql_str(), Vec::new()).await
    }

    async fn run(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<u64, sqlx::Error> {
        D::run(&mut self.conn, sql.into_sql_str(), args).await
    }
}

fn queue_length() -> usize {
    fail::fail_point!("store-short-queue", |_| 4);
    QUEUE
}

/// 8 of `[a-z0-9]`.
fn new_installation(entropy: &dyn Entropy) -> String {
    let mut random = [0; 8];
    entropy.fill(&mut random);
    random
        .iter()
        .map(|byte| match byte % 36 {
            letter @ 0..26 => char::from(b'a' + letter),
            digit => char::from(b'0' + digit - 26),
        })
        .collect()
}
