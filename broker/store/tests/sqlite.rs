//! The suite over SQLite, and what only a file can do.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod kit;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{FutureExt, future::join_all};
use kit::{append_counted, append_many, leaf_of, quiet};
use procura_contract::{
    ledger_suite::{
        LedgerUnderTest,
        sample::{claim, entry, guarded, intent, issued, name, opened, other, replica, session},
    },
    log_suite::LogUnderTest,
    usage_suite::UsageUnderTest,
    web_suite,
};
use procura_core::{
    ids::IssuanceId,
    ledger::{AppendError, Conditions, EndedBy, Event, Ledger, Outcome, StoreError},
    log::{KeptLeaf, LogStore},
    ports::BoxFuture,
    usage::Usage,
};
use procura_store::{OpenError, SqliteLedger, sqlite};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

async fn open_file(dir: &Path) -> Result<SqliteLedger, OpenError> {
    let (clock, entropy, on_fatal) = quiet();
    sqlite::open(&dir.join("procura.db"), clock, entropy, on_fatal).await
}

struct File {
    dir: TempDir,
    ledger: Arc<SqliteLedger>,
}

impl File {
    /// A second connection, past the lock, as an operator with a shell would have.
    async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.dir.path().join("procura.db"));
        SqliteConnection::connect_with(&options).await.expect("connected")
    }
}

impl LedgerUnderTest for File {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger) as Arc<dyn Ledger>
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.ledger.close().await;
            self.ledger = Arc::new(open_file(self.dir.path()).await.expect("opened again"));
        })
    }

    fn replica(&self) -> BoxFuture<'_, Arc<dyn Ledger>> {
        Box::pin(async { self.ledger() })
    }

    fn erase(&self, id: IssuanceId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let delete = sqlx::query("DELETE FROM side WHERE id = $1").bind(id.0);
            delete.execute(&mut self.connection().await).await.expect("erased");
        })
    }
}

async fn file() -> File {
    let dir = tempfile::tempdir().expect("tempdir");
    let ledger = Arc::new(open_file(dir.path()).await.expect("opened"));
    File { dir, ledger }
}

procura_contract::ledger_tests!(file);

impl LogUnderTest for File {
    fn log(&self) -> Arc<dyn LogStore> {
        Arc::clone(&self.ledger) as _
    }

    fn append(&self, count: usize) -> BoxFuture<'_, Vec<IssuanceId>> {
        Box::pin(append_many(&*self.ledger, count))
    }

    fn leaf(&self, id: IssuanceId) -> BoxFuture<'_, KeptLeaf> {
        Box::pin(leaf_of(&*self.ledger, id))
    }
}

mod log {
    use super::*;

    procura_contract::log_tests!(file);

    #[tokio::test]
    async fn a_record_that_was_taken_away_stops_the_integrator() {
        let file = file().await;
        let ids = file.append(5).await;
        file.ledger.begin("here/procura/1".to_owned()).await.expect("begun");
        assert_eq!(file.ledger.waiting(0, 10).await.expect("in order").len(), 5);
        let delete = sqlx::query("DELETE FROM record WHERE id = ?").bind(ids[2].0);
        delete.execute(&mut file.connection().await).await.expect("deleted");
        assert_eq!(file.ledger.waiting(0, 10).await, Err(StoreError::Inconsistent));
        assert_eq!(file.ledger.waiting(0, 2).await.expect("those before it").len(), 2);
    }

    #[tokio::test]
    async fn a_refused_batch_leaves_no_gap() {
        let file = file().await;
        file.ledger.begin("here/procura/1".to_owned()).await.expect("begun");
        let known = entry(1);
        file.ledger
            .append(known.clone(), Conditions::default())
            .await
            .expect("appended");
        let appends = [known, entry(2), entry(3)].map(|entry| file.ledger.append(entry, Conditions::default()));
        let outcomes = join_all(appends).await;
        assert_eq!(outcomes, [Err(AppendError::Superseded), Ok(()), Ok(())]);
        assert_eq!(file.ledger.waiting(0, 10).await.expect("in order").len(), 3);
    }

    #[tokio::test]
    async fn the_order_outlives_a_copy_of_the_file() {
        let mut file = file().await;
        let ids = file.append(300).await;
        sqlx::query("VACUUM")
            .execute(&mut file.connection().await)
            .await
            .expect("copied");
        file.reopen().await;
        file.ledger.begin("here/procura/1".to_owned()).await.expect("begun");
        let waiting = file.ledger.waiting(0, 1000).await.expect("in order");
        assert_eq!(waiting.iter().map(|record| record.id).collect::<Vec<_>>(), ids);
    }
}
impl UsageUnderTest for File {
    fn usage(&self) -> Arc<dyn Usage> {
        Arc::clone(&self.ledger) as Arc<dyn Usage>
    }

    fn usage_replica(&self) -> BoxFuture<'_, Arc<dyn Usage>> {
        Box::pin(async { self.usage() })
    }
}

procura_contract::usage_tests!(file);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_64_callers_share_two_commits() {
    let file = file().await;
    let mut other = file.connection().await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .expect("locked");
    let before = file.ledger.commits();
    let submitted = AtomicUsize::new(0);
    let appends = join_all((0..64).map(|n| append_counted(&*file.ledger, n, &submitted)));
    let release = async {
        while submitted.load(Ordering::SeqCst) < 64 {
            tokio::task::yield_now().await;
        }
        sqlx::query("ROLLBACK").execute(&mut other).await.expect("released");
    };
    let (results, ()) = tokio::join!(appends, release);
    assert!(results.iter().all(Result::is_ok));
    let commits = file.ledger.commits() - before;
    assert!(commits <= 2, "{commits} commits for 64 appends");
}

#[tokio::test]
async fn a_write_that_finds_no_place_in_the_queue_is_refused_and_not_stored() {
    let file = file().await;
    let mut other = file.connection().await;
    let lock = sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await;
    lock.expect("the writer waits for the file");
    let mut waiting = Vec::new();
    let (id, refused) = loop {
        let entry = entry(1);
        let id = entry.id;
        let mut append = file.ledger.append(entry, Conditions::default());
        match (&mut append).now_or_never() {
            Some(answer) => break (id, answer),
            None => waiting.push(append),
        }
        // 4096 may wait, and the writer may have taken 512 already.
        assert!(waiting.len() <= 4096 + 512, "all wait");
    };
    assert_eq!(refused, Err(AppendError::Store(StoreError::Overloaded)));
    assert!(waiting.len() >= 4096, "{} wait", waiting.len());
    sqlx::query("ROLLBACK").execute(&mut other).await.expect("released");
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    assert!(file.ledger.record(id).await.expect("read").is_none());
    let later = file.ledger.append(entry(2), Conditions::default()).await;
    later.expect("there is room again");
}

/// Ends a session while an append of the same transaction is guarded by the session of `sid`.
async fn ends_beside(by: EndedBy, sid: &str) -> Result<(), AppendError> {
    let file = file().await;
    let ledger = &*file.ledger;
    let of = |sid: &str| {
        let mut session = session(0);
        session.key.sid = Some(sid.to_owned());
        session
    };
    let (ended, guard) = (opened(ledger, of("ended")).await, opened(ledger, of(sid)).await);
    let before = ledger.commits();
    let end = ledger.end_session(ended.id, by, other(Event::SessionEnd, Outcome::Done, 5));
    let append = ledger.append(issued(&guard, 5), guarded(&guard, 0));
    let (end, append) = tokio::join!(end, append);
    assert!(end.expect("written").is_some(), "it was live");
    assert_eq!(ledger.commits() - before, 1, "they share a transaction");
    append
}

#[tokio::test]
async fn a_session_that_ends_in_the_same_transaction_refuses_its_appends() {
    let refused = ends_beside(EndedBy::Server, "ended").await;
    assert_eq!(refused, Err(AppendError::SessionEnded));
}

#[tokio::test]
async fn a_mark_made_in_the_same_transaction_refuses_tokens_of_other_sessions() {
    assert_eq!(ends_beside(EndedBy::Server, "other").await, Ok(()), "no mark");
    let refused = ends_beside(EndedBy::Operator, "other").await;
    assert_eq!(refused, Err(AppendError::SubjectRevoked));
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_keeps_no_other_from_being_undone() {
    let file = file().await;
    let (broken, astray, fine) = (entry(1), entry(1), entry(2));
    for minting in [&broken, &astray, &fine] {
        file.ledger.intend(intent(minting, replica())).await.expect("intended");
    }
    let spoil = "UPDATE lease SET aborted = iif(id = $1, '?', aborted), target = iif(id = $2, '?', target)";
    let spoil = sqlx::query(spoil).bind(broken.id.0).bind(astray.id.0);
    spoil.execute(&mut file.connection().await).await.expect("spoilt");
    let claim = claim(replica(), 60);
    let targets = file.ledger.due_targets(claim.now, claim.margin).await;
    assert_eq!(targets, Ok(vec![name("github")]));
    let taken = file.ledger.take_due(name("github"), claim, 10).await.expect("taken");
    let taken: Vec<_> = taken.iter().map(|lease| lease.id).collect();
    assert_eq!(taken, [fine.id]);
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_not_forgotten() {
    let file = file().await;
    let spoil = "INSERT INTO mark (key, server, subject_kind, subject, second) VALUES (x'00', 's', 'user', 'c/a', 1)";
    sqlx::query(spoil)
        .execute(&mut file.connection().await)
        .await
        .expect("spoilt");
    file.ledger.close().await;
    let error = open_file(file.dir.path()).await.err().expect("refused").to_string();
    assert!(error.contains("a mark's key is no digest"), "{error}");
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let file = file().await;
    let error = open_file(file.dir.path()).await.err().expect("refused").to_string();
    assert!(
        error
            .ends_with("procura.db is in use by another process: stop it, or use PostgreSQL where several run at once"),
        "{error}"
    );
    file.ledger.close().await;
    open_file(file.dir.path()).await.expect("free again");
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::write(
        dir.path().join("procura.db"),
        "not a database, but long enough to look at".repeat(100),
    )
    .expect("written");
    let error = open_file(dir.path()).await.err().expect("refused").to_string();
    assert!(error.contains("procura.db: "), "{error}");
    let (clock, entropy, on_fatal) = quiet();
    let nowhere = sqlite::open(&dir.path().join("no/such/file"), clock, entropy, on_fatal).await;
    assert!(
        nowhere
            .err()
            .expect("refused")
            .to_string()
            .contains("the folder must exist")
    );
}

#[tokio::test]
async fn the_page_keeps_its_log_ins_and_counts() {
    web_suite::a_log_in_is_kept_until_it_ends(&*file().await.ledger).await;
    web_suite::log_ins_of_one_person_are_bounded(&*file().await.ledger).await;
    let file = file().await;
    web_suite::activity_is_counted(&*file.ledger, &*file.ledger).await;
}
