//! Taking back, with a receipt and without.

use serde_json::{Value, json};

use crate::{
    bed::{Bed, undo},
    on_both,
};

on_both! {
    a_token_is_gone_when_it_is_undone_and_stays_so,
    what_an_interrupted_mint_made_is_found_by_its_handle_alone,
    the_inventory_is_what_is_there_of_this_installation,
    the_token_of_somebody_else_is_left_alone,
    a_receipt_or_handle_of_another_kind_is_an_error,
}

fn token(document: &Value) -> &str {
    document["token"].as_str().expect("a token")
}

async fn a_token_is_gone_when_it_is_undone_and_stays_so(bed: &Bed) {
    let target = bed.target(json!({}));
    let (asked, other, minter) = (bed.ask(&target), bed.ask(&target), bed.open(&target));
    let (minted, document) = bed.minted(&asked, &*minter).await;
    let (_, stays) = bed.minted(&other, &*minter).await;
    assert!(bed.is_good(token(&document)).await);
    for _ in 0..2 {
        undo(&*minter, asked.undoable(minted.receipt.as_ref())).await;
        assert!(!bed.is_good(token(&document)).await);
    }
    assert!(bed.is_good(token(&stays)).await);
}

async fn what_an_interrupted_mint_made_is_found_by_its_handle_alone(bed: &Bed) {
    let target = bed.target(json!({}));
    let (asked, other, minter) = (bed.ask(&target), bed.ask(&target), bed.open(&target));
    undo(&*minter, asked.undoable(None)).await;
    let (_, document) = bed.minted(&asked, &*minter).await;
    let (_, stays) = bed.minted(&other, &*minter).await;
    for _ in 0..2 {
        undo(&*minter, asked.undoable(None)).await;
        assert!(!bed.is_good(token(&document)).await);
    }
    assert!(bed.is_good(token(&stays)).await);
}

async fn the_inventory_is_what_is_there_of_this_installation(bed: &Bed) {
    let target = bed.target(json!({}));
    let (one, two, minter) = (bed.ask(&target), bed.ask(&target), bed.open(&target));
    assert_eq!(minter.inventory().await.expect("a list"), []);
    let (first, _) = bed.minted(&one, &*minter).await;
    bed.minted(&two, &*minter).await;
    let both = [one.undoable(None).handle.clone(), two.undoable(None).handle.clone()];
    assert_eq!(minter.inventory().await.expect("a list"), both);
    undo(&*minter, one.undoable(first.receipt.as_ref())).await;
    assert_eq!(minter.inventory().await.expect("a list"), both[1..]);
}

async fn the_token_of_somebody_else_is_left_alone(bed: &Bed) {
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let handle = asked.undoable(None).handle.to_string();
    let body = json!({ "policies": [bed.child()], "ttl": "600s", "meta": { "procura": handle } });
    let answer = bed.post("auth/token/create", body).await;
    let theirs = answer["auth"]["client_token"].as_str().expect("a token");
    undo(&*minter, asked.undoable(None)).await;
    assert!(
        bed.is_good(theirs).await,
        "it was not made through the broker's token role"
    );
    assert_eq!(minter.inventory().await.expect("a list"), []);
}

async fn a_receipt_or_handle_of_another_kind_is_an_error(bed: &Bed) {
    use procura_core::{ids::Handle, kind::Undoable};
    use procura_wire::Secret;
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let odd = Secret::new("one two three four".to_owned());
    assert!(minter.undo(asked.undoable(Some(&odd))).await.is_err());
    let foreign = Handle::from_kept("pother123_0".to_owned());
    assert!(minter.undo(Undoable::by(&foreign)).await.is_err());
}
