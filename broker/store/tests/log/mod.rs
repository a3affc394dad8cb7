//! The log on PostgreSQL: its suite, replicas that race, records of versions that do not know it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use procura_contract::{
    entropy::CountingEntropy,
    log::{Faults, MemoryAnchor, MemoryNotary, assert_one_tree},
};
use procura_core::{
    Timestamp,
    ids::ReplicaId,
    log::{self, Log},
    ports::Clock,
    query::Follower,
};

use super::*;

procura_contract::log_tests!(database);

/// Runs far ahead at each look, so that leases end all the time.
#[derive(Default)]
struct Racing(AtomicI64);

impl Clock for Racing {
    fn now(&self) -> Timestamp {
        at(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::task::yield_now())
    }
}

async fn published(log: &dyn LogStore, size: u64) {
    while log
        .tree()
        .await
        .expect("tree")
        .published
        .is_none_or(|(published, _)| published < size)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_take_the_lease_from_each_other_all_the_time_make_one_tree() {
    let database = database().await;
    let anchor = Arc::new(MemoryAnchor::new(Arc::new(Faults::default())));
    let clock = Arc::new(Racing::default());
    let entropy = CountingEntropy::default();
    let stop = Arc::new(tokio::sync::Semaphore::new(0));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let replica = open_url(&database.url()).await;
        let id = ReplicaId::new(at(0), &entropy);
        let notary = Arc::new(MemoryNotary::default());
        let log = Log::new(Arc::clone(&clock) as _, replica, Arc::clone(&anchor) as _, notary, id);
        let log = Arc::new(log);
        log.open("here", false).await.expect("opened");
        let stop = Arc::clone(&stop);
        let stopped = async move { stop.acquire().await.map(drop).unwrap_or_default() };
        running.spawn(log::run(log, Box::pin(stopped)));
    }
    let other = open_url(&database.url()).await;
    let one = append_many(&*database.ledger, 150);
    let two = append_many(&*other, 150);
    let (mut ids, more) = futures_util::future::join(one, two).await;
    ids.extend(more);
    let everything = tokio::time::timeout(Duration::from_secs(60), published(&*database.ledger, 300)).await;
    everything.expect("published");
    stop.add_permits(100);
    running.join_all().await;
    let leaves = database.ledger.leaves(0, 1000).await.expect("leaves");
    let leaves: Vec<_> = leaves.into_iter().map(|leaf| leaf.record).collect();
    let mut found: Vec<_> = leaves.iter().map(|leaf| leaf.id).collect();
    found.sort();
    ids.sort();
    assert_eq!(found, ids, "each record is a leaf, once");
    let sizes = assert_one_tree(&anchor.notes(), &leaves);
    assert_eq!(sizes.last(), Some(&300));
    assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]), "{sizes:?}");
}

/// Publishes what there is, once.
async fn publish(database: &Database) {
    let anchor = Arc::new(MemoryAnchor::new(Arc::new(Faults::default())));
    let id = ReplicaId::new(at(0), &CountingEntropy::default());
    let replica = Arc::clone(&database.ledger) as _;
    let log = Log::new(
        Arc::new(Racing::default()),
        replica,
        anchor,
        Arc::new(MemoryNotary::default()),
        id,
    );
    log::run(Arc::new(log), Box::pin(async {})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_commits_behind_others_is_followed() {
    let database = database().await;
    let log: &dyn LogStore = &*database.ledger;
    log.begin("here/procura/1".to_owned()).await.expect("begun");
    let mut follower = Follower::from_now(log).await.expect("read");
    let (early, later) = (entry(1), entry(2));
    let mut other = database.connection().await;
    let insert =
        "INSERT INTO record (id, leaf, event, outcome, at, grants) VALUES ($1, '{}', 'use', 'reported', 0, ' ')";
    sqlx::query("BEGIN").execute(&mut other).await.expect("begun");
    let insert = sqlx::query(insert).bind(early.id.0);
    insert.execute(&mut other).await.expect("inserted, not committed");
    let appended = database.ledger.append(later.clone(), Conditions::default()).await;
    appended.expect("appended");
    publish(&database).await;
    assert_eq!(follower.look(log).await, Ok(Some(vec![later.id])));
    assert_eq!(follower.look(log).await, Ok(None));
    sqlx::query("COMMIT").execute(&mut other).await.expect("committed");
    publish(&database).await;
    assert_eq!(follower.look(log).await, Ok(Some(vec![early.id])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_version_appends_that_does_not_know_the_log_waits_too() {
    let database = database().await;
    database.ledger.begin("here/procura/1".to_owned()).await.expect("begun");
    let id = append_many(&*database.ledger, 1).await[0];
    let older = "INSERT INTO record (id, leaf, event, outcome, at, grants)
                 SELECT gen_random_uuid(), leaf, event, outcome, at, grants FROM record WHERE id = $1";
    let inserted = sqlx::query(older)
        .bind(id.0)
        .execute(&mut database.connection().await)
        .await;
    inserted.expect("inserted");
    assert_eq!(database.ledger.waiting(0, 10).await.expect("records").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_waits_and_was_taken_away_stops_the_integrator() {
    let database = database().await;
    let log = &database.ledger;
    log.begin("here/procura/1".to_owned()).await.expect("begun");
    let ids = append_many(&**log, 3).await;
    let gone = sqlx::query("DELETE FROM record WHERE id = $1").bind(ids[1].0);
    gone.execute(&mut database.connection().await).await.expect("deleted");
    assert_eq!(log.waiting(0, 10).await, Err(StoreError::Inconsistent));
    let rest = sqlx::query("DELETE FROM record");
    rest.execute(&mut database.connection().await).await.expect("deleted");
    assert!(log.tree().await.expect("tree").waiting);
    assert_eq!(
        log.waiting(0, 10).await,
        Err(StoreError::Inconsistent),
        "not as if nothing waited"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_no_longer_pending_is_not_integrated_again() {
    let database = database().await;
    let log = &database.ledger;
    log.begin("here/procura/1".to_owned()).await.expect("begun");
    let claim = procura_core::log::IntegratorClaim {
        replica: replica(),
        seen: 0,
        now: at(0),
        until: at(5),
    };
    let fence = log.hold(claim).await.expect("asked").expect("held");
    let ids = append_many(&**log, 2).await;
    let gone = sqlx::query("DELETE FROM pending WHERE id = $1").bind(ids[0].0);
    gone.execute(&mut database.connection().await).await.expect("deleted");
    let grown = procura_core::log::Grown {
        from: 0,
        ids,
        root: procura_core::log::EMPTY_HASH,
        tiles: vec![],
    };
    assert_eq!(log.integrate(fence, grown).await, Err(StoreError::Inconsistent));
    assert_eq!(log.tree().await.expect("tree").size, 0, "nothing of it is kept");
}
