//! Work that goes through a rotation, whoever changes first: the source or the target.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use procura_core::{
    ports::Clock,
    source::{Attempt, RotationError, SourceSecret, through_rotation},
    staged::{AGAIN, tend},
};
use tokio::task::yield_now;

use crate::bench::Bench;

/// Works at the target with whatever version it takes; answers that version.
async fn work(bench: &Bench) -> Result<String, String> {
    let deadline = bench.clock.monotonic() + Duration::from_secs(5);
    let attempt = async |secret: Arc<SourceSecret>| {
        yield_now().await;
        match bench.minter.does_take(&secret.version) {
            true => Attempt::<_, ()>::Done(secret.version.clone()),
            false => Attempt::SecretRefused(format!("{} is refused", secret.version)),
        }
    };
    match through_rotation(&*bench.staged, &*bench.clock, deadline, attempt).await {
        Ok(version) => Ok(version),
        Err(RotationError::Refused(problem)) => Err(problem),
        Err(_) => Err("another error".to_owned()),
    }
}

/// 32 callers, while time passes.
async fn callers(bench: &Bench) -> Vec<Result<String, String>> {
    let mut work = Box::pin(join_all((0..32).map(|_| work(bench))));
    loop {
        if let std::task::Poll::Ready(done) = futures_util::poll!(&mut work) {
            return done;
        }
        yield_now().await;
        bench.clock.advance(Duration::from_millis(50));
    }
}

async fn all_work_with(bench: &Bench, version: &str) {
    let used: BTreeSet<_> = callers(bench).await.into_iter().collect();
    assert_eq!(used, BTreeSet::from([Ok(version.to_owned())]));
}

#[tokio::test]
async fn a_target_that_changes_first_is_followed_without_a_failure() {
    let bench = Bench::new();
    all_work_with(&bench, "1").await;
    bench.minter.takes(&["2"]);
    bench.source.put("2");
    all_work_with(&bench, "2").await;
    assert_eq!(bench.current().await, "2");
}

#[tokio::test]
async fn a_source_that_changes_first_is_left_alone_until_the_target_follows() {
    let bench = Bench::new();
    all_work_with(&bench, "1").await;
    bench.source.put("2");
    all_work_with(&bench, "1").await;
    tend(&bench.staged, &*bench.minter).await;
    assert!(bench.staged.stage().refused);
    all_work_with(&bench, "1").await;
    // Before the minute is over after which it is proved again.
    bench.minter.takes(&["2"]);
    all_work_with(&bench, "2").await;
    assert_eq!(bench.current().await, "2");
}

#[tokio::test]
async fn a_bad_version_fails_nobody_and_is_not_tried_by_anybody() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    for _ in 0..10 {
        all_work_with(&bench, "1").await;
        tend(&bench.staged, &*bench.minter).await;
        bench.clock.advance(AGAIN);
    }
    assert_eq!(bench.source.reads(), 0, "nobody was refused");
}

#[tokio::test]
async fn each_version_is_tried_once_a_second_where_the_target_takes_none() {
    let bench = Bench::new();
    bench.minter.takes(&["1", "2"]);
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    tend(&bench.staged, &*bench.minter).await;
    bench.source.put("3");
    bench.minter.takes(&[]);
    let (mut tried, deadline) = (Vec::new(), bench.clock.monotonic() + Duration::from_secs(2));
    let attempt = |secret: Arc<SourceSecret>| {
        tried.push(secret.version.clone());
        async { Attempt::<(), ()>::SecretRefused("no".to_owned()) }
    };
    let mut through = Box::pin(through_rotation(&*bench.staged, &*bench.clock, deadline, attempt));
    while futures_util::poll!(&mut through).is_pending() {
        bench.clock.advance(Duration::from_millis(50));
    }
    drop(through);
    assert_eq!(tried, ["2", "3", "1", "3", "2"]);
    let now = bench.clock.monotonic();
    assert!(
        now + Duration::from_millis(500) >= deadline,
        "it waited for another version"
    );
}

#[tokio::test]
async fn a_target_that_takes_no_version_is_not_flooded() {
    let bench = Bench::new();
    all_work_with(&bench, "1").await;
    bench.minter.takes(&[]);
    bench.source.put("2");
    let before = bench.minter.asked();
    let done = callers(&bench).await;
    assert!(done.iter().all(Result::is_err), "{done:?}");
    let asked = bench.minter.asked() - before;
    assert!(
        asked <= 32 + 32 + 2 * 5,
        "each caller's own two, then one of each a second: {asked}"
    );
}

#[tokio::test]
async fn a_hundred_rotations_fail_no_caller() {
    let bench = Bench::new();
    for number in 2..102_u32 {
        let (before, next) = ((number - 1).to_string(), number.to_string());
        match number % 3 {
            // The target first, the source first, or both at once for a time.
            0 => bench.minter.takes(&[&next]),
            1 => bench.minter.takes(&[&before]),
            _ => bench.minter.takes(&[&before, &next]),
        }
        bench.source.put(&next);
        let done = callers(&bench).await;
        assert!(done.iter().all(Result::is_ok), "{number}: {done:?}");
        tend(&bench.staged, &*bench.minter).await;
        bench.minter.takes(&[&next]);
        all_work_with(&bench, &next).await;
    }
}
