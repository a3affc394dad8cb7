//! What every store of the log does. Each function is one behaviour; `log_tests!` makes a test of each.

#![expect(clippy::expect_used, reason = "the code of tests, kept in a library")]

use std::{sync::Arc, time::Duration};

use procura_core::{
    ids::{IssuanceId, ReplicaId},
    log::{Epoch, Growing, Grown, IntegratorClaim, KeptLeaf, LogStore, Tiles},
    ports::BoxFuture,
    query::Follower,
};

use crate::ledger_suite::sample::{at, replica};

/// A store for one test, empty at first.
pub trait LogUnderTest: Send + Sync {
    /// The store.
    fn log(&self) -> Arc<dyn LogStore>;

    /// Appends so many records one after another.
    fn append(&self, count: usize) -> BoxFuture<'_, Vec<IssuanceId>>;

    /// A record, as the ledger has it.
    fn leaf(&self, id: IssuanceId) -> BoxFuture<'_, KeptLeaf>;
}

const LEASE: i64 = 5;

fn claim(replica: ReplicaId, seen: i64, second: i64) -> IntegratorClaim {
    IntegratorClaim {
        replica,
        seen,
        now: at(second),
        until: at(second + LEASE),
    }
}

async fn begun(store: &dyn LogUnderTest) -> (Arc<dyn LogStore>, i64) {
    let log = store.log();
    log.begin("here/procura/1".to_owned()).await.expect("begun");
    let seen = log.tree().await.expect("tree").fence;
    let fence = log.hold(claim(replica(), seen, 0)).await.expect("asked").expect("held");
    (log, fence)
}

/// What would be integrated next.
async fn next(log: &dyn LogStore, limit: u32) -> Grown {
    let tree = log.tree().await.expect("tree");
    let edge = log.tiles(Tiles::edge(tree.size)).await.expect("tiles");
    let mut growing = Growing::new(tree.size, tree.root, Tiles::new(edge)).expect("whole");
    let waiting = log.waiting(tree.size, limit).await.expect("records");
    for record in &waiting {
        growing.push(record.leaf.as_bytes());
    }
    Grown {
        from: tree.size,
        ids: waiting.iter().map(|record| record.id).collect(),
        root: growing.root().expect("root"),
        tiles: growing.changed(),
    }
}

async fn integrate_all(log: &dyn LogStore, fence: i64) {
    while log.tree().await.expect("tree").waiting {
        assert_eq!(log.integrate(fence, next(log, 100).await).await, Ok(true));
    }
}

/// Records become leaves in one order, each once, with their exact bytes.
pub async fn records_become_leaves_in_one_order_without_gaps(store: &mut impl LogUnderTest) {
    let (log, fence) = begun(store).await;
    assert!(!log.tree().await.expect("tree").waiting);
    let mut all = store.append(3).await;
    assert!(log.tree().await.expect("tree").waiting);
    assert_eq!(log.index_of(all[0]).await, Ok(None), "it has no index yet");
    assert_eq!(log.leaves(0, 10).await, Ok(vec![]));
    integrate_all(&*log, fence).await;
    all.extend(store.append(600).await);
    integrate_all(&*log, fence).await;
    let tree = log.tree().await.expect("tree");
    assert_eq!((tree.size, tree.waiting), (603, false));
    assert_eq!(log.waiting(603, 10).await, Ok(vec![]));
    let leaves = log.leaves(0, 1000).await.expect("leaves");
    let mut ids: Vec<_> = leaves.iter().map(|leaf| leaf.record.id).collect();
    for (index, leaf) in leaves.iter().enumerate().step_by(100) {
        assert_eq!(log.index_of(leaf.record.id).await, Ok(Some(index as u64)));
        assert_eq!(*leaf, store.leaf(leaf.record.id).await);
    }
    assert_eq!(log.leaves(600, 2).await.expect("leaves"), leaves[600..602]);
    ids.sort();
    all.sort();
    assert_eq!(ids, all);
}

/// Only who has the fence writes, and only from the size that there is.
pub async fn a_write_under_another_fence_or_size_changes_nothing(store: &mut impl LogUnderTest) {
    let (log, fence) = begun(store).await;
    store.append(2).await;
    let grown = next(&*log, 1).await;
    let before = log.tree().await.expect("tree");
    let epoch = Epoch {
        number: 2,
        origin: "here/procura/2".to_owned(),
        link: "link".to_owned(),
    };
    for other in [fence - 1, fence + 1] {
        assert_eq!(log.integrate(other, grown.clone()).await, Ok(false));
        assert_eq!(log.publish(other, 0, "note".to_owned()).await, Ok(false));
        assert_eq!(log.begin_epoch(other, epoch.clone()).await, Ok(false));
        log.release(other).await.expect("asked");
    }
    assert_eq!(log.tree().await.expect("tree"), before);
    assert_eq!(log.links().await, Ok(vec![]));
    assert_eq!(log.integrate(fence, grown.clone()).await, Ok(true));
    assert_eq!(log.integrate(fence, grown).await, Ok(false), "it is there already");
    assert_eq!(log.tree().await.expect("tree").size, 1);
}

/// The lease is one replica's until it ends, is given back, or its holder takes it again.
pub async fn a_lease_is_taken_over_only_when_it_has_ended(store: &mut impl LogUnderTest) {
    let log = store.log();
    log.begin("here/procura/1".to_owned()).await.expect("begun");
    let (one, other) = (replica(), replica());
    let seen = log.tree().await.expect("tree").fence;
    let first = log.hold(claim(one, seen, 0)).await.expect("asked").expect("held");
    assert_eq!(log.hold(claim(other, seen, 1)).await, Ok(None), "it saw another fence");
    if log.is_shared() {
        assert_eq!(log.hold(claim(other, first, LEASE - 1)).await, Ok(None));
        // The clocks of two replicas differ by some seconds.
        assert_eq!(log.hold(claim(other, first, LEASE - 60)).await, Ok(None));
    }
    let again = log
        .hold(claim(one, first, LEASE - 1))
        .await
        .expect("asked")
        .expect("its own");
    let taken = log
        .hold(claim(other, again, 2 * LEASE))
        .await
        .expect("asked")
        .expect("ended");
    assert!(first < again && again < taken);
    log.release(taken).await.expect("given back");
    assert!(log.hold(claim(one, taken, 2 * LEASE)).await.expect("asked").is_some());
}

/// A holder whose clock was far ahead and who died keeps nobody out.
pub async fn a_lease_that_no_right_clock_has_given_is_taken_over(store: &mut impl LogUnderTest) {
    let log = store.log();
    log.begin("here/procura/1".to_owned()).await.expect("begun");
    let seen = log.tree().await.expect("tree").fence;
    let ahead = claim(replica(), seen, 24 * 3600);
    let first = log.hold(ahead).await.expect("asked").expect("held");
    assert!(log.hold(claim(replica(), first, 0)).await.expect("asked").is_some());
}

/// Tiles read back as they were kept, and those at the edge grow.
pub async fn tiles_are_kept_and_grow(store: &mut impl LogUnderTest) {
    let (log, fence) = begun(store).await;
    store.append(300).await;
    integrate_all(&*log, fence).await;
    let keys = vec![(0, 0), (0, 1), (1, 0), (1, 1)];
    let tiles = log.tiles(keys).await.expect("tiles");
    let lengths: Vec<_> = tiles.iter().map(|(key, data)| (*key, data.len() / 32)).collect();
    assert_eq!(lengths, [((0, 0), 256), ((0, 1), 44), ((1, 0), 1)]);
    let tree = log.tree().await.expect("tree");
    assert_eq!(Tiles::new(tiles).root(tree.size), Ok(tree.root));
}

/// The last checkpoint is kept, never an older one in its place.
pub async fn what_is_published_never_goes_back(store: &mut impl LogUnderTest) {
    let (log, fence) = begun(store).await;
    store.append(5).await;
    integrate_all(&*log, fence).await;
    assert_eq!(log.publish(fence, 6, "ahead".to_owned()).await, Ok(false));
    assert_eq!(log.publish(fence, 5, "five".to_owned()).await, Ok(true));
    assert_eq!(log.publish(fence, 4, "four".to_owned()).await, Ok(false));
    let tree = log.tree().await.expect("tree");
    assert_eq!(tree.published, Some((5, "five".to_owned())));
    assert!(!tree.is_behind());
    let epoch = |number| Epoch {
        number,
        origin: format!("here/procura/{number}"),
        link: format!("link {number}"),
    };
    assert_eq!(log.begin_epoch(fence, epoch(2)).await, Ok(true));
    assert_eq!(log.begin_epoch(fence, epoch(2)).await, Ok(false));
    assert_eq!(log.begin_epoch(fence, epoch(3)).await, Ok(true));
    log.begin("other/procura/1".to_owned()).await.expect("there already");
    let tree = log.tree().await.expect("tree");
    assert_eq!(
        (tree.origin.as_str(), tree.epoch, tree.published.clone()),
        ("here/procura/3", 3, None)
    );
    assert!(tree.is_behind() && tree.size == 5);
    assert_eq!(log.links().await, Ok(vec!["link 2".to_owned(), "link 3".to_owned()]));
}

/// Who follows is told each record once, in the order of the tree, whatever its id and its time are.
pub async fn attack_203_whoever_follows_is_told_each_record_once_in_the_order_of_the_tree(
    store: &mut impl LogUnderTest,
) {
    let (log, fence) = begun(store).await;
    store.append(3).await;
    integrate_all(&*log, fence).await;
    store.append(2).await;
    let mut follower = Follower::from_now(&*log).await.expect("read");
    integrate_all(&*log, fence).await;
    assert_eq!(told(&mut follower, &*log).await, [], "those were there before");
    let (mut all, mut seen) = (store.append(250).await, Vec::new());
    assert_eq!(told(&mut follower, &*log).await, [], "not without an index");
    integrate_all(&*log, fence).await;
    seen.extend(told(&mut follower, &*log).await);
    all.extend(store.append(4).await);
    integrate_all(&*log, fence).await;
    seen.extend(told(&mut follower, &*log).await);
    let leaves = log.leaves(5, 1000).await.expect("leaves");
    let order: Vec<_> = leaves.into_iter().map(|leaf| leaf.record.id).collect();
    assert_eq!(seen, order);
    all.sort();
    seen.sort();
    assert_eq!(seen, all);
}

/// After a break it goes on exactly behind the record that was told last.
pub async fn following_goes_on_behind_the_record_that_was_told_last(store: &mut impl LogUnderTest) {
    let (log, fence) = begun(store).await;
    store.append(5).await;
    integrate_all(&*log, fence).await;
    let waiting = store.append(1).await[0];
    assert!(Follower::after(&*log, waiting).await.expect("read").is_none());
    integrate_all(&*log, fence).await;
    let leaves = log.leaves(0, 10).await.expect("leaves");
    let order: Vec<_> = leaves.into_iter().map(|leaf| leaf.record.id).collect();
    for (index, id) in order.iter().enumerate() {
        let mut follower = Follower::after(&*log, *id)
            .await
            .expect("read")
            .expect("it has an index");
        assert_eq!(told(&mut follower, &*log).await, order[index + 1..]);
    }
}

async fn told(follower: &mut Follower, log: &dyn LogStore) -> Vec<IssuanceId> {
    let mut all = Vec::new();
    while let Some(ids) = follower.look(log).await.expect("read") {
        all.extend(ids);
    }
    all
}

/// Who waits learns of an append, also of one before it began to wait.
pub async fn an_append_wakes_the_integrator(store: &mut impl LogUnderTest) {
    let log = store.log();
    store.append(1).await;
    let woken = tokio::time::timeout(Duration::from_secs(30), log.appended()).await;
    woken.expect("woken");
}

/// Makes a test of every behaviour. `$make` is an async function that answers a [`LogUnderTest`].
#[macro_export]
macro_rules! log_tests {
    ($make:path) => {
        $crate::log_tests! { $make:
            records_become_leaves_in_one_order_without_gaps
            a_write_under_another_fence_or_size_changes_nothing
            a_lease_is_taken_over_only_when_it_has_ended
            a_lease_that_no_right_clock_has_given_is_taken_over
            tiles_are_kept_and_grow
            what_is_published_never_goes_back
            attack_203_whoever_follows_is_told_each_record_once_in_the_order_of_the_tree
            following_goes_on_behind_the_record_that_was_told_last
            an_append_wakes_the_integrator
        }
    };
    ($make:path: $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let mut store = $make().await;
                $crate::log_suite::$behaviour(&mut store).await;
            }
        )*
    };
}
