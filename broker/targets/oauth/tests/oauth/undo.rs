//! How tokens end.

use procura_core::kind::UndoError;
use serde_json::json;

use crate::bed::{Bed, grant};

#[tokio::test]
async fn attack_151_a_revoked_token_is_gone_and_stays_so() {
    let bed = Bed::new();
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    for _ in 0..2 {
        let receipt = minted.receipt.as_ref();
        bed.minter.undo(asked.undoable(receipt)).await.expect("undone");
        assert_eq!(bed.upstream.live(), 0);
    }
    let form = bed.upstream.heard().pop().expect("a request").form;
    assert_eq!(form["token_type_hint"], "access_token");
}

#[tokio::test]
async fn what_nothing_takes_back_says_so() {
    let bed = Bed::new();
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(matches!(
        bed.minter.undo(asked.undoable(None)).await,
        Err(UndoError::Never)
    ));
    bed.upstream
        .break_path("/revoke", 400, json!({ "error": "unsupported_token_type" }));
    let undone = bed.minter.undo(asked.undoable(minted.receipt.as_ref())).await;
    assert!(matches!(undone, Err(UndoError::Never)), "{undone:?}");
    let again = bed.mint(&bed.asked()).await.expect("minted");
    assert!(again.end > minted.end, "nothing is promised that was refused once");
    assert_eq!(bed.minter.inventory().await.expect("a list"), []);

    let bed = Bed::with(&grant(), |own, _| own["revokes"] = json!(false));
    let minted = bed.mint(&bed.asked()).await.expect("minted");
    let undone = bed.minter.undo(asked.undoable(minted.receipt.as_ref())).await;
    assert!(matches!(undone, Err(UndoError::Never)), "{undone:?}");
    assert!(bed.minter.probe().await.is_ok());
}

#[tokio::test]
async fn what_the_upstream_does_not_confirm_is_not_undone() {
    for (status, body) in [
        (503, json!({})),
        (302, json!({})),
        (400, json!({ "error": "invalid_request" })),
    ] {
        let bed = Bed::new();
        let asked = bed.asked();
        let minted = bed.mint(&asked).await.expect("minted");
        bed.upstream.break_path("/revoke", status, body);
        let undone = bed.minter.undo(asked.undoable(minted.receipt.as_ref())).await;
        assert!(matches!(undone, Err(UndoError::Failed(_))), "{status}: {undone:?}");
    }
}
