//! The embedded default: one file, one process.

mod insert;
mod sql;

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use procura_core::{
    ledger::Entry,
    ports::{Clock, Entropy},
};
use sqlx::{
    Connection, Sqlite, SqliteConnection,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    db::{Db, Fault, bind_arguments, statements},
    ledger::Store,
    open::{Given, OnFatal, OpenError, Opened},
    sql::Sql,
};

/// The ledger in an SQLite file.
pub type SqliteLedger = Store<Sqlite>;

const READERS: u32 = 4;

/// Primary result codes (`SQLITE_…`).
const CORRUPT: i32 = 11;
const IOERR: i32 = 10;
const NOTADB: i32 = 26;
/// Disk full, read-only, busy, locked, out of memory, cannot open, permission.
const UNAVAILABLE: [i32; 8] = [13, 8, 5, 6, 7, 14, 3, 9];
/// The shared memory beside the file cannot grow: the disk is full.
const IOERR_SHMSIZE: i32 = 4874;
/// A write that failed for another reason than a full disk: the file system became read-only, or a quota or a
/// limit is used up. The log has no commit then, and SQLite rolls back as it does where the disk is full.
const IOERR_WRITE: i32 = 778;

/// Opens the file, makes it where it is missing (readable by its owner only), and brings its schema up to
/// date. The file `<path>.lock` keeps a second process out. Needs a Tokio runtime.
pub async fn open(
    path: &Path,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    on_fatal: OnFatal,
) -> Result<SqliteLedger, OpenError> {
    let given = Given {
        clock,
        entropy,
        on_fatal,
    };
    let lock = lock(path)?;
    let opened = schema(lock, options(path)).await;
    let store = match opened {
        Ok(opened) => opened.start(given).await,
        Err(error) => Err(error),
    };
    store.map_err(|error| {
        unusable(
            path,
            &format!("{error}; is it a file of Procura, made by this version or an earlier one?"),
        )
    })
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // 16 MiB of log before a commit also copies it into the file: hot pages are copied once, not often.
        .pragma("wal_autocheckpoint", "4000")
        // 32 MiB of pages, where the default's 2 hold no index of a day.
        .pragma("cache_size", "-32768")
        // Statements over many rows note how pages were before; not in a file of their own.
        .pragma("temp_store", "memory")
        .statement_cache_capacity(64)
        // As many as the readers behind the log take at once, so that they are not woken for every few.
        .row_buffer_size(512)
}

async fn schema(lock: File, options: SqliteConnectOptions) -> Result<Opened<Sqlite>, sqlx::Error> {
    let mut conn = SqliteConnection::connect_with(&options).await?;
    sqlx::migrate!("../../migrations/sqlite")
        .run_direct(None, &mut conn, false)
        .await?;
    let pool = SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(5))
        // It was tested when it came back, and a file does not go away: a second time would cost as much as a read.
        .test_before_acquire(false)
        .connect_lazy_with(
            options
                .clone()
                .pragma("query_only", "on")
                // 4 MiB of pages each: what more they read the system has, and an idle broker does not keep it.
                .pragma("cache_size", "-4096"),
        );
    Ok(Opened {
        conn,
        pool,
        options,
        lock: Some(lock),
        alone: true,
    })
}

/// Makes the file where it is missing and locks the one beside it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let make = |path: &Path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options
            .open(path)
            .map_err(|error| unusable(path, &format!("{error}; the folder must exist and be writable")))
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = make(Path::new(&name))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::InUse {
                path: path.display().to_string(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(unusable(path, &format!("cannot be locked: {error}"))),
    }
    make(path)?;
    Ok(lock)
}

fn unusable(path: &Path, problem: &str) -> OpenError {
    OpenError::Unusable {
        place: path.display().to_string(),
        problem: problem.to_owned(),
    }
}

bind_arguments!(SqliteArguments);

impl Db for Sqlite {
    const SQL: Sql = sql::SQL;
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const PATIENCE: Option<Duration> = None;

    statements!(SqliteArguments);

    fn insert<'c>(conn: &'c mut SqliteConnection, entries: &'c [&'c Entry]) -> BoxFuture<'c, Result<u64, sqlx::Error>> {
        Box::pin(insert::insert(conn, entries))
    }

    fn fault(error: &sqlx::Error) -> Fault {
        let code = error
            .as_database_error()
            .and_then(|error| error.code()?.parse::<i32>().ok());
        match (code, code.map(|code| code & 0xff)) {
            (Some(IOERR_SHMSIZE | IOERR_WRITE), _) => Fault::Unavailable,
            (_, Some(IOERR | CORRUPT | NOTADB)) => Fault::Fatal,
            (_, Some(primary)) if UNAVAILABLE.contains(&primary) => Fault::Unavailable,
            (_, Some(_)) => Fault::Statement,
            (_, None) => match error {
                sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Fault::Fatal,
                _ => Fault::Statement,
            },
        }
    }

    /// SQLite says whether a commit was carried out.
    fn commit_is_uncertain(_: &sqlx::Error) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use procura_contract::{entropy::CountingEntropy, ledger_suite::sample::entry, manual_clock::ManualClock};
    use procura_core::ledger::{AppendError, Conditions, Ledger, StoreError};
    use procura_wire::Digest;

    use super::*;

    #[test]
    fn an_io_error_ends_the_process() {
        assert_eq!(Sqlite::fault(&sqlx::Error::Io(io::Error::other("disk"))), Fault::Fatal);
        assert_eq!(Sqlite::fault(&sqlx::Error::WorkerCrashed), Fault::Fatal);
        assert_eq!(Sqlite::fault(&sqlx::Error::RowNotFound), Fault::Statement);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_recovers_by_itself() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("procura.db");
        let options = options(&path).pragma("max_page_count", "100");
        let opened = schema(lock(&path).expect("locked"), options).await.expect("schema");
        let given = Given {
            clock: Arc::new(ManualClock::default()),
            entropy: Arc::new(CountingEntropy::default()),
            on_fatal: Arc::new(|problem: &str| panic!("fatal: {problem}")),
        };
        let ledger = opened.start(given).await.expect("started");
        let mut kept = 0;
        while ledger
            .keep_bundle(Digest::of(&[kept]), vec![kept; 20_000])
            .await
            .is_ok()
        {
            kept += 1;
        }
        let mut big = entry(1);
        big.clear = format!("\"{}\"", "x".repeat(20_000));
        let refused = ledger.append(big.clone(), Conditions::default()).await;
        assert_eq!(refused, Err(AppendError::Store(StoreError::Unavailable)));
        assert!(ledger.record(big.id).await.expect("reads go on").is_none());
        assert!(ledger.bundle(Digest::of(&[0])).await.expect("reads go on").is_some());

        let mut operator = SqliteConnection::connect_with(&super::options(&path))
            .await
            .expect("connected");
        let room = sqlx::query("DELETE FROM bundle").execute(&mut operator).await;
        assert_eq!(room.expect("room is made").rows_affected(), u64::from(kept));
        ledger.append(big, Conditions::default()).await.expect("recovered");
        ledger.check().await.expect("usable");
    }
}
