//! How tokens end.

use std::time::Duration;

use procura_core::kind::UndoError;
use procura_wire::Secret;

use crate::bed::Bed;

#[tokio::test]
async fn attack_151_a_revoked_token_is_gone_and_stays_so() {
    let bed = Bed::new();
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    for _ in 0..2 {
        let receipt = minted.receipt.as_ref();
        bed.minter.undo(asked.undoable(receipt)).await.expect("undone");
        assert_eq!(bed.read(&minted.value).await, None);
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_gone() {
    let bed = Bed::new();
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    bed.clock.advance(Duration::from_secs(3601));
    assert_eq!(bed.github.live(), 0);
    assert!(bed.minter.undo(asked.undoable(minted.receipt.as_ref())).await.is_ok());
}

#[tokio::test]
async fn without_the_token_nothing_takes_it_back() {
    let bed = Bed::new();
    let undone = bed.minter.undo(bed.asked().undoable(None)).await;
    assert!(matches!(undone, Err(UndoError::Never)), "{undone:?}");
    assert_eq!(bed.minter.inventory().await.expect("a list"), []);
}

#[tokio::test]
async fn what_github_does_not_confirm_is_not_undone() {
    let Bed {
        github,
        minter,
        clock,
        target,
        ..
    } = Bed::new();
    let asked = procura_contract::asked::Asked::new(&target, procura_core::ports::Clock::now(&*clock));
    let hidden = Secret::new("not a token\n".to_owned());
    assert!(matches!(
        minter.undo(asked.undoable(Some(&hidden))).await,
        Err(UndoError::Failed(_))
    ));
    drop(github);
    let token = Secret::new("ghs_1".to_owned());
    let undone = minter.undo(asked.undoable(Some(&token))).await;
    assert!(
        matches!(&undone, Err(UndoError::Failed(problem)) if !problem.contains("ghs_1")),
        "{undone:?}"
    );
}
