//! The suite over PostgreSQL, and what only a server can do: be away, be shared, lose an answer.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod kit;
mod log;
mod proxy;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kit::{Impatient, append_counted, append_many, leaf_of, quiet};
use procura_contract::{
    ledger_suite::{LedgerUnderTest, sample::*},
    log_suite::LogUnderTest,
    postgres::Cluster,
    usage_suite::{UsageUnderTest, count},
    web_suite,
};
use procura_core::{
    ids::IssuanceId,
    ledger::{AppendError, Conditions, Ledger, StoreError},
    log::{KeptLeaf, LogStore},
    ports::BoxFuture,
    usage::{Dimension, Usage, UsageFilter},
};
use procura_store::{PostgresLedger, postgres};
use procura_wire::Secret;
use proxy::{Cut, Proxy};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

struct Database {
    cluster: Arc<Cluster>,
    name: String,
    ledger: Arc<PostgresLedger>,
}

async fn open_url(url: &str) -> Arc<PostgresLedger> {
    let (clock, entropy, on_fatal) = quiet();
    let ledger = postgres::open(&Secret::new(url.to_owned()), clock, entropy, on_fatal).await;
    Arc::new(ledger.unwrap_or_else(|error| panic!("{error}")))
}

impl Database {
    fn url(&self) -> String {
        self.cluster.url_of(&self.name)
    }

    async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("connected")
    }
}

impl LedgerUnderTest for Database {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledger) as Arc<dyn Ledger>
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.ledger.close().await;
            self.ledger = open_url(&self.url()).await;
        })
    }

    fn replica(&self) -> BoxFuture<'_, Arc<dyn Ledger>> {
        Box::pin(async { open_url(&self.url()).await as Arc<dyn Ledger> })
    }

    fn erase(&self, id: IssuanceId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let delete = sqlx::query("DELETE FROM side WHERE id = $1").bind(id.0);
            delete.execute(&mut self.connection().await).await.expect("erased");
        })
    }
}

/// A fresh database of the shared cluster.
async fn database() -> Database {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cluster = Cluster::shared().unwrap_or_else(|problem| panic!("{problem}"));
    let name = format!(
        "procura_{}_{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let mut superuser = PgConnection::connect(&cluster.superuser_url).await.expect("connected");
    let create = sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")));
    create.execute(&mut superuser).await.expect("created");
    let ledger = open_url(&cluster.url_of(&name)).await;
    Database { cluster, name, ledger }
}

procura_contract::ledger_tests!(database);

impl LogUnderTest for Database {
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

impl UsageUnderTest for Database {
    fn usage(&self) -> Arc<dyn Usage> {
        Arc::clone(&self.ledger) as Arc<dyn Usage>
    }

    fn usage_replica(&self) -> BoxFuture<'_, Arc<dyn Usage>> {
        Box::pin(async { open_url(&self.url()).await as Arc<dyn Usage> })
    }
}

procura_contract::usage_tests!(database);

/// Of two transactions the later one commits first: its record waits for the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_commits_late_is_not_passed_over() {
    let database = database().await;
    let (early, late) = (entry(0), entry(1));
    let mut other = database.connection().await;
    sqlx::query("BEGIN").execute(&mut other).await.expect("begun");
    let insert =
        "INSERT INTO record (id, leaf, event, outcome, at, grants) VALUES ($1, '{}', 'exchange', 'issued', 0, ' ')";
    let inserted = sqlx::query(insert).bind(early.id.0).execute(&mut other).await;
    inserted.expect("inserted");
    let appended = database.ledger.append(late, Conditions::default()).await;
    appended.expect("appended");
    let usage: &dyn Usage = &*database.ledger;
    let now = at(1_000_000);
    assert_eq!(
        usage.project(replica(), now).await,
        Ok(0),
        "the record before it is not committed"
    );
    sqlx::query("COMMIT").execute(&mut other).await.expect("committed");
    assert_eq!(count(usage, 2).await, 2);
}

/// Whoever erases holds the sums only; nobody's write waits for the end of that transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_under_way_holds_up_no_append_and_no_name_comes_back() {
    let database = database().await;
    let usage: &dyn Usage = &*database.ledger;
    let (first, second) = (entry(0), entry(1));
    for entry in [first.clone(), second] {
        let appended = database.ledger.append(entry, Conditions::default()).await;
        appended.expect("appended");
    }
    let mut other = database.connection().await;
    sqlx::query("BEGIN").execute(&mut other).await.expect("begun");
    let erased = sqlx::query("DELETE FROM side").execute(&mut other).await;
    assert_eq!(erased.expect("erased").rows_affected(), 2);
    let now = at(1_000_000);
    assert_eq!(
        usage.project(replica(), now).await,
        Ok(0),
        "left alone until it is over"
    );
    let appended = database.ledger.append(entry(2), Conditions::default()).await;
    appended.expect("appended meanwhile");
    sqlx::query("COMMIT").execute(&mut other).await.expect("committed");
    count(usage, 3).await;
    let sums = usage.sums(UsageFilter::default(), vec![Dimension::Subject], 9).await;
    let issued: Vec<_> = sums
        .expect("read")
        .into_iter()
        .map(|sum| (sum.of[0].is_some(), sum.issued))
        .collect();
    assert_eq!(issued, [(true, 1), (false, 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_of_64_callers_share_two_commits() {
    let database = database().await;
    let mut other = database.connection().await;
    sqlx::query("BEGIN").execute(&mut other).await.expect("begun");
    sqlx::query("LOCK TABLE record IN EXCLUSIVE MODE")
        .execute(&mut other)
        .await
        .expect("locked");
    let before = database.ledger.commits();
    let queued = AtomicUsize::new(0);
    let appends = join_all((0..64).map(|n| append_counted(&*database.ledger, n, &queued)));
    let release = async {
        while queued.load(Ordering::SeqCst) < 64 {
            tokio::task::yield_now().await;
        }
        sqlx::query("ROLLBACK").execute(&mut other).await.expect("released");
    };
    let (results, ()) = tokio::join!(appends, release);
    assert!(results.iter().all(Result::is_ok));
    let commits = database.ledger.commits() - before;
    assert!(commits <= 2, "{commits} commits for 64 appends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_open_a_new_database_at_once() {
    let cluster = Cluster::shared().unwrap_or_else(|problem| panic!("{problem}"));
    let name = format!("procura_{}_twice", std::process::id());
    let mut superuser = PgConnection::connect(&cluster.superuser_url).await.expect("connected");
    let create = sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")));
    create.execute(&mut superuser).await.expect("created");
    let url = cluster.url_of(&name);
    let (one, two) = tokio::join!(open_url(&url), open_url(&url));
    assert_eq!(one.installation(), two.installation());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_time_ids_are_burnt_for_all_replicas() {
    let database = database().await;
    let replica = database.replica().await;
    let results = join_all((0..64).map(|n| {
        let ledger: &dyn Ledger = if n % 2 == 0 { &*database.ledger } else { &*replica };
        ledger.append(entry(1), burning(&[&format!("id-{}", n / 2)]))
    }))
    .await;
    for (pair, results) in results.chunks(2).enumerate() {
        let passed = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(passed, 1, "{pair}: {results:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_ended_is_made_anew() {
    let database = database().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'procura'
                AND datname = current_database()";
    sqlx::query(end)
        .execute(&mut database.connection().await)
        .await
        .expect("ended");
    database
        .ledger
        .append(entry(1), Conditions::default())
        .await
        .expect("appended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_read_back() {
    for (cut, expected) in [
        (Cut::BeforeCommit, Err(AppendError::Store(StoreError::Unavailable))),
        (Cut::BeforeAnswer, Ok(())),
    ] {
        let database = database().await;
        let proxy = Proxy::start(database.cluster.port).await;
        let through = database
            .url()
            .replace(&format!(":{}/", database.cluster.port), &format!(":{}/", proxy.port));
        let ledger = open_url(&through).await;
        proxy.arm(cut);
        let lost = entry(1);
        assert_eq!(
            ledger.append(lost.clone(), Conditions::default()).await,
            expected,
            "{cut:?}"
        );
        assert!(proxy.has_cut(), "{cut:?}");
        let there = database.ledger.record(lost.id).await.expect("read").is_some();
        assert_eq!(there, expected.is_ok(), "{cut:?}");
        ledger.append(entry(2), Conditions::default()).await.expect("recovered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_given_up_and_tried_anew() {
    let database = database().await;
    let proxy = Proxy::start(database.cluster.port).await;
    let through = database
        .url()
        .replace(&format!(":{}/", database.cluster.port), &format!(":{}/", proxy.port));
    let (_, entropy, on_fatal) = quiet();
    let clock = Arc::new(Impatient::default());
    let opened = postgres::open(&Secret::new(through), clock.clone(), entropy, on_fatal).await;
    let ledger = opened.expect("opened");
    proxy.arm(Cut::Silence);
    clock.0.store(true, Ordering::SeqCst);
    let silent = ledger.append(entry(1), Conditions::default());
    let silent = tokio::time::timeout(Duration::from_secs(30), silent).await;
    assert_eq!(silent, Ok(Err(AppendError::Store(StoreError::Unavailable))));
    clock.0.store(false, Ordering::SeqCst);
    proxy.disarm();
    ledger.append(entry(2), Conditions::default()).await.expect("recovered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_durable_whatever_the_server_is_set_to() {
    let database = database().await;
    let lazy = format!("ALTER DATABASE {} SET synchronous_commit = off", database.name);
    sqlx::query(AssertSqlSafe(lazy))
        .execute(&mut database.connection().await)
        .await
        .expect("set");
    // A trigger runs with the settings of whoever writes.
    let watch = "CREATE TABLE seen AS SELECT ''::text AS setting LIMIT 0;
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO seen VALUES (current_setting(''synchronous_commit'')); RETURN NULL; END';
        CREATE TRIGGER see AFTER INSERT ON record EXECUTE FUNCTION see()";
    let mut watching = database.connection().await;
    sqlx::raw_sql(watch).execute(&mut watching).await.expect("watched");
    let ledger = open_url(&database.url()).await;
    ledger.append(entry(1), Conditions::default()).await.expect("appended");
    let seen = sqlx::query_scalar::<_, String>("SELECT setting FROM seen");
    assert_eq!(seen.fetch_all(&mut watching).await.expect("read"), ["on"]);
}

#[tokio::test]
async fn errors_of_opening_name_the_host_and_not_the_password() {
    let database = database().await;
    let wrong = [
        database.url().replace(":throwaway@", ":hunter2@"),
        "postgres://procura:hunter2@127.0.0.1:1/procura".to_owned(),
        "hunter2".to_owned(),
    ];
    for url in wrong {
        let (clock, entropy, on_fatal) = quiet();
        let Err(error) = postgres::open(&Secret::new(url.clone()), clock, entropy, on_fatal).await else {
            panic!("{url} was opened");
        };
        let text = format!("{error} {error:?}");
        assert!(text.contains("PostgreSQL") && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn the_page_keeps_its_log_ins_and_counts() {
    web_suite::a_log_in_is_kept_until_it_ends(&*database().await.ledger).await;
    web_suite::log_ins_of_one_person_are_bounded(&*database().await.ledger).await;
    let database = database().await;
    web_suite::activity_is_counted(&*database.ledger, &*database.ledger).await;
}
