//! What goes wrong on the way, as only the fake can show it.

use std::time::Duration;

use procura_core::kind::MintError;
use serde_json::json;

use crate::bed::{Bed, undo};

#[tokio::test]
async fn an_answer_that_does_not_come_leaves_the_outcome_open() {
    let bed = Bed::fake().await;
    let target = bed.target(json!({}));
    let (mut asked, minter) = (bed.ask(&target), bed.open(&target));
    asked.budget = Duration::from_millis(500);
    let fake = bed.fake.as_ref().expect("the fake");
    fake.hold(true);
    let error = bed.mint(&asked, &*minter).await.expect_err("late");
    assert!(matches!(error, MintError::Uncertain(_)), "{error:?}");
    fake.hold(false);
    undo(&*minter, asked.undoable(None)).await;
    assert_eq!(minter.inventory().await.expect("a list"), []);
}

#[tokio::test]
async fn what_the_server_says_tells_whether_something_may_be_there() {
    let bed = Bed::fake().await;
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let fake = bed.fake.as_ref().expect("the fake");
    for (status, made, words) in [
        (307, false, "redirects"),
        (400, false, "400"),
        (429, false, "429"),
        (503, false, "sealed"),
        (500, true, "500"),
        (502, true, "502"),
    ] {
        fake.break_with(Some(status));
        let error = bed.mint(&asked, &*minter).await.expect_err("broken");
        assert_eq!(matches!(error, MintError::Uncertain(_)), made, "{status}: {error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            minter.undo(asked.undoable(None)).await.is_err(),
            "{status} confirms nothing"
        );
    }
    fake.break_with(None);
}

#[tokio::test]
async fn a_server_that_is_away_made_nothing() {
    let mut bed = Bed::fake().await;
    bed.fake = None;
    let target = bed.target(json!({}));
    let error = bed
        .mint(&bed.ask(&target), &*bed.open(&target))
        .await
        .expect_err("away");
    assert!(matches!(error, MintError::Failed(_)), "{error:?}");
}

#[tokio::test]
async fn an_undo_is_confirmed_by_the_server_alone() {
    let bed = Bed::fake().await;
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let (minted, _) = bed.minted(&asked, &*minter).await;
    let fake = bed.fake.as_ref().expect("the fake");
    fake.break_with(Some(404));
    // What answers this to everything is no Vault.
    for receipt in [None, minted.receipt.as_ref()] {
        assert!(minter.undo(asked.undoable(receipt)).await.is_err());
    }
    fake.break_with(None);
    undo(&*minter, asked.undoable(minted.receipt.as_ref())).await;
}

#[tokio::test]
async fn whose_a_token_is_is_asked_once() {
    let bed = Bed::fake().await;
    let target = bed.target(json!({}));
    let minter = bed.open(&target);
    minter.inventory().await.expect("a list");
    let fake = bed.fake.as_ref().expect("the fake");
    let looks = fake.requests("lookup-accessor");
    minter.inventory().await.expect("a list");
    assert_eq!(fake.requests("lookup-accessor"), looks);
}
