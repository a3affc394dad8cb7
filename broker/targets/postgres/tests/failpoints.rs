//! What is left when the broker is held up or ends in the middle. Failpoints hold for a whole process, so
//! these are a binary of their own, and one test.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up fails")]

#[path = "target_postgres/bed.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod bed;
#[path = "target_postgres/order.rs"]
mod order;
#[path = "target_postgres/ports.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod ports;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use procura_core::kind::{MintError, Undoable};

use crate::bed::{Bed, Version, log_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_held_up_or_ends_half_way_leaves_nothing() {
    for version in [Version::Fifteen, Version::Newer] {
        let bed = Bed::new(version).await;
        let group = format!("{}_reader", bed.database);
        bed.group(&group).await;
        let target = bed.target(&[&group]);
        let minter = bed.minter(&target);

        // Longer than the server lets a transaction stand idle: the COMMIT that comes late finds nothing.
        fail::cfg("postgres-before-commit", "1*sleep(4500)").expect("set");
        let asked = bed.ask(&target, "alice");
        let outcome = asked.mint(&*minter).await;
        assert!(matches!(&outcome, Err(MintError::Uncertain(_))), "{outcome:?}");
        assert!(bed.is_gone(asked.handle.as_str()).await);
        minter.undo(Undoable::by(&asked.handle)).await.expect("nothing to undo");

        // Gone after COMMIT: the role is there, and the handle finds it.
        fail::cfg("postgres-after-commit", "1*panic").expect("set");
        let asked = bed.ask(&target, "alice");
        assert!(AssertUnwindSafe(asked.mint(&*minter)).catch_unwind().await.is_err());
        assert_eq!(minter.inventory().await.expect("inventory"), vec![asked.handle.clone()]);
        minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
        assert!(bed.is_gone(asked.handle.as_str()).await);

        // Half an undo: nobody can log in, and the next one ends it.
        fail::cfg("postgres-undo-half", "1*panic").expect("set");
        let asked = bed.ask(&target, "alice");
        let minted = asked.mint(&*minter).await.expect("minted");
        assert!(
            AssertUnwindSafe(minter.undo(Undoable::by(&asked.handle)))
                .catch_unwind()
                .await
                .is_err()
        );
        assert!(log_in(&minted.value).await.is_err());
        minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
        assert!(bed.is_gone(asked.handle.as_str()).await);
    }
}
