//! How a target takes a new version of its secret over.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod bench;
mod laws;
mod rotation;

use std::time::Duration;

use procura_core::{
    kind::ProofError,
    source::Source,
    staged::{AGAIN, Due, GRACE, PROOF, Stage, tend},
};

use crate::bench::{Bench, Proof};

fn refused() -> Result<(), ProofError> {
    Err(ProofError::Refused("no".to_owned()))
}

#[tokio::test]
async fn the_first_version_is_in_use_at_once() {
    let bench = Bench::new();
    assert_eq!(bench.current().await, "1");
    assert!(bench.staged.due().is_none());
}

#[tokio::test]
async fn a_new_version_serves_nobody_before_it_is_proved() {
    let bench = Bench::new();
    assert_eq!(bench.current().await, "1");
    bench.source.put("2");
    assert_eq!(bench.current().await, "1");
    assert!(matches!(bench.staged.due(), Some(Due::Prove(secret)) if secret.version == "2"));
    bench.staged.proved("2", Ok(()));
    assert_eq!(bench.current().await, "2");
    assert_eq!(bench.staged.stage().fallback.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_version_that_the_target_refuses_is_tried_again_each_minute_and_serves_nobody() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.staged.proved("2", refused());
    assert!(bench.staged.due().is_none());
    assert_eq!(bench.current().await, "1");
    let stage = bench.staged.stage();
    assert_eq!((stage.refused, stage.problem.as_deref()), (true, Some("no")));
    bench.clock.advance(AGAIN);
    assert!(
        matches!(bench.staged.due(), Some(Due::Prove(_))),
        "the target may have followed"
    );
    bench.staged.proved("2", Ok(()));
    assert_eq!(bench.current().await, "2");
    assert!(!bench.staged.stage().refused);
}

#[tokio::test]
async fn yet_another_version_is_tried_at_once() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.staged.proved("2", refused());
    bench.source.put("3");
    bench.current().await;
    assert!(matches!(bench.staged.due(), Some(Due::Prove(secret)) if secret.version == "3"));
    bench.staged.proved("2", Ok(()));
    assert_eq!(
        bench.current().await,
        "1",
        "a proof of what is not there any more counts for nothing"
    );
}

#[tokio::test]
async fn a_source_that_is_put_back_leaves_nothing_to_prove() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.staged.proved("2", refused());
    bench.source.put("1");
    assert_eq!(bench.current().await, "1");
    assert_eq!(
        bench.staged.stage(),
        Stage {
            active: Some("1".to_owned()),
            ..Stage::default()
        }
    );
}

#[tokio::test]
async fn a_target_that_is_away_is_asked_again_after_one_two_and_four_seconds() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        bench.staged.proved("2", Err(ProofError::Failed("away".to_owned())));
        bench
            .clock
            .advance(Duration::from_secs(seconds) - Duration::from_millis(1));
        assert!(bench.staged.due().is_none(), "{seconds}");
        bench.clock.advance(Duration::from_millis(1));
        assert!(bench.staged.due().is_some(), "{seconds}");
        assert_eq!(bench.current().await, "1");
        assert!(!bench.staged.stage().refused, "it was not refused");
    }
}

#[tokio::test]
async fn the_version_before_serves_within_the_grace_time_and_is_retired_after_it() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.staged.proved("2", Ok(()));
    assert_eq!(bench.refused("2").await.expect("a secret").version, "1");
    assert!(bench.refused("2").await.is_err(), "one caller tries it for all");
    bench.clock.advance(GRACE);
    assert!(bench.refused("2").await.is_err(), "there is no other");
    let due = bench.staged.due();
    let Some(Due::Retire { old, active }) = due else {
        panic!("not due")
    };
    assert_eq!((old.version.as_str(), active.version.as_str()), ("1", "2"));
    bench.staged.retired("1", Err(ProofError::Failed("away".to_owned())));
    assert!(bench.staged.due().is_none());
    assert!(bench.refused("2").await.is_err(), "it serves no longer, retired or not");
    bench.clock.advance(AGAIN);
    tend(&bench.staged, &*bench.minter).await;
    assert_eq!(bench.minter.retired(), ["1"]);
    assert!(bench.staged.due().is_none());
}

#[tokio::test]
async fn what_works_after_a_refusal_is_in_use_from_then_on() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    let other = bench.refused("1").await.expect("a secret");
    assert_eq!((other.version.as_str(), bench.current().await.as_str()), ("2", "1"));
    bench.staged.works("2");
    assert_eq!(bench.current().await, "2");
}

#[tokio::test]
async fn work_that_ends_late_takes_nothing_back() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.staged.proved("2", Ok(()));
    bench.staged.works("1");
    assert_eq!(bench.current().await, "2");
}

#[tokio::test]
async fn a_version_that_is_refused_in_use_gives_way_to_the_one_before() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.staged.proved("2", Ok(()));
    let other = bench.refused("2").await.expect("a secret");
    bench.staged.works(&other.version);
    assert_eq!(bench.current().await, "1");
    let stage = bench.staged.stage();
    assert_eq!((stage.candidate.as_deref(), stage.refused), (Some("2"), true));
    bench.clock.advance(AGAIN);
    assert!(matches!(bench.staged.due(), Some(Due::Prove(secret)) if secret.version == "2"));
}

#[tokio::test]
async fn a_source_that_is_away_takes_no_fallback_away() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.staged.proved("2", Ok(()));
    bench.source.away();
    assert_eq!(bench.refused("2").await.expect("a secret").version, "1");
    bench.clock.advance(GRACE);
    assert!(bench.refused("2").await.is_err());
    assert!(
        bench.staged.current().await.is_err(),
        "what the source does not give serves nobody"
    );
}

#[tokio::test]
async fn a_proof_that_hangs_is_given_up() {
    let bench = Bench::new();
    bench.current().await;
    bench.source.put("2");
    bench.current().await;
    bench.minter.answers(Proof::Hangs);
    let mut proof = Box::pin(tend(&bench.staged, &*bench.minter));
    assert!(futures_util::poll!(&mut proof).is_pending());
    bench.clock.advance(PROOF);
    proof.await;
    let stage = bench.staged.stage();
    assert_eq!((stage.active.as_deref(), stage.refused), (Some("1"), false));
    assert!(stage.problem.is_some());
}

#[tokio::test]
async fn a_version_that_the_source_has_no_longer_serves_where_the_target_has_come_to_it() {
    let bench = Bench::new();
    bench.current().await;
    for version in ["2", "3"] {
        bench.source.put(version);
        bench.current().await;
        bench.staged.proved(version, refused());
    }
    let tried = ["1", "3"].map(str::to_owned).into();
    let other = bench.staged.refused("1", &tried).await.expect("a secret");
    assert_eq!(other.version, "2");
    bench.staged.works("2");
    assert_eq!(bench.current().await, "2");
    assert_eq!(bench.staged.stage().candidate.as_deref(), Some("3"));
}

#[tokio::test]
async fn few_versions_are_kept() {
    let bench = Bench::new();
    for version in 1..10_u32 {
        bench.source.put(&version.to_string());
        bench.current().await;
        bench.staged.proved(&version.to_string(), Ok(()));
    }
    let mut given = vec!["9".to_owned()];
    while let Ok(other) = bench.refused(&given[given.len() - 1]).await {
        given.push(other.version.clone());
    }
    assert_eq!(given, ["9", "8", "7", "6"]);
}
