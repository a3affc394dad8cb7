//! Who counts what, and when.

use std::time::Duration;

use procura_core::{
    ids::ReplicaId,
    usage::{Usage, UsageFilter},
};

use super::{MEMBERS, UsageUnderTest, append, count, exchanged, next, sums};
use crate::ledger_suite::sample::{at, replica};

/// A position is told with what was counted.
pub async fn what_waits_is_told_and_counted_in_batches(store: &mut impl UsageUnderTest) {
    let usage = store.usage();
    let empty = usage.projected().await.expect("read");
    assert_eq!((empty.records, empty.record, empty.behind), (0, None, false));
    for second in 0..700 {
        append(store, exchanged(second, MEMBERS)).await;
    }
    let me = replica();
    let first = next(&*usage, me, at(0)).await;
    assert!((1..700).contains(&first), "{first}");
    let half = usage.projected().await.expect("read");
    assert_eq!(half.records, first);
    while !usage.projected().await.expect("read").behind {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count(&*usage, 700).await, 700 - first);
    assert_eq!(usage.project(me, at(2_000_000)).await, Ok(0));
    let all = usage.projected().await.expect("read");
    assert_eq!((all.records, all.behind, all.at), (700, false, Some(at(699))));
    assert_eq!(sums(&*usage, UsageFilter::default(), &[]).await[0].issued, 700);
}

/// Two that count at once, and whoever appends meanwhile: nothing is lost, nothing counted twice.
pub async fn each_record_is_counted_once_whoever_counts(store: &mut impl UsageUnderTest) {
    let (one, two) = (store.usage(), store.usage_replica().await);
    let (mine, theirs) = (replica(), replica());
    // Claims are over at once for both.
    let counting = async |usage: &dyn Usage, me: ReplicaId| {
        for round in 0..400 {
            usage.project(me, at(1_000 * round)).await.expect("counted");
            tokio::task::yield_now().await;
        }
    };
    let appending = async {
        for second in 0..200 {
            append(store, exchanged(second, MEMBERS)).await;
        }
    };
    futures_util::future::join3(counting(&*one, mine), counting(&*two, theirs), appending).await;
    count(&*one, 200).await;
    assert_eq!(sums(&*two, UsageFilter::default(), &[]).await[0].issued, 200);
    assert_eq!(one.projected().await.expect("read").records, 200);
}

/// The other one does no work while the first is at it, and takes over when it is silent.
pub async fn a_replica_leaves_the_counting_to_the_one_that_counts(store: &mut impl UsageUnderTest) {
    let usage = store.usage();
    let (one, other) = (replica(), replica());
    append(store, exchanged(0, MEMBERS)).await;
    assert_eq!(next(&*usage, one, at(0)).await, 1);
    append(store, exchanged(1, MEMBERS)).await;
    assert_eq!(usage.project(other, at(1)).await, Ok(0));
    assert_eq!(next(&*usage, other, at(60)).await, 1);
    append(store, exchanged(2, MEMBERS)).await;
    assert_eq!(usage.project(one, at(61)).await, Ok(0));
}

/// A process that ends between two batches loses nothing and counts nothing again.
pub async fn what_was_counted_stays_after_a_restart(store: &mut impl UsageUnderTest) {
    for second in 0..600 {
        append(store, exchanged(second, MEMBERS)).await;
    }
    let first = next(&*store.usage(), replica(), at(0)).await;
    assert!(first < 600);
    store.reopen().await;
    assert_eq!(count(&*store.usage(), 600).await, 600 - first);
    assert_eq!(sums(&*store.usage(), UsageFilter::default(), &[]).await[0].issued, 600);
}
