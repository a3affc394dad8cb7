//! What is kept of a credential beside its handle, and credentials that are served again.

use procura_core::ledger::{AppendError, Conditions, Entry, Held, LeaseState, LeaseStep, Undone};
use procura_wire::Name;

use super::{LedgerUnderTest, sample::*};

/// What the target calls it leads to the newest lease; a receipt is forgotten with the credential.
pub async fn a_lease_is_found_by_what_the_target_calls_it(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let us = replica();
    let one = leased(&*ledger, &session, 1, us).await;
    let name = format!("database/creds/{}", one.id);
    let found = ledger.lease_known_as(name.clone()).await.expect("read");
    assert_eq!(found.map(|lease| lease.id), Some(one.id));
    assert_eq!(ledger.lease_known_as("database/creds/other".into()).await, Ok(None));
    let taken = ledger.take_due(github(), claim(us, 400), 9).await.expect("taken");
    let owner = taken[0].owner;
    assert_eq!(taken[0].kept, kept(&one), "who undoes it has the receipt");
    assert_eq!(ledger.settle(one.id, owner, Undone::Gone).await, Ok(true));
    let lease = ledger.lease_known_as(name).await.expect("read").expect("still known");
    assert_eq!((lease.state, lease.kept.sealed), (LeaseState::Gone, None));
}

/// A credential that is served again hangs on the lease that made it, which must be live.
pub async fn a_credential_is_served_again_only_while_its_lease_is_live(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let us = replica();
    let first = leased(&*ledger, &session, 1, us).await;
    let again = |second| {
        let mut entry = issued(&session, second);
        entry.index.about = Some(first.id);
        entry
    };
    let shared = || Conditions {
        lease: Some(LeaseStep::Shared(first.id)),
        ..Conditions::default()
    };
    let second = again(2);
    ledger.append(second.clone(), shared()).await.expect("served again");
    let lease = ledger.lease(first.id).await.expect("read").expect("there");
    assert_eq!(
        (lease.state, lease.kept),
        (LeaseState::Live, kept(&first)),
        "it did not move"
    );
    let held = |entry: &Entry| Held {
        id: entry.id,
        target: github(),
        until: entry.index.until.expect("until"),
        lease: Some(first.id),
    };
    let all = ledger.held(session.id, at(3)).await.expect("read");
    assert_eq!(all, vec![held(&second), held(&first)]);
    let revoked = ledger.revoke(first.id, entry(3)).await.expect("written");
    assert_eq!(revoked, Some(held(&first)));
    for entry in [&first, &second] {
        let stored = ledger.record(entry.id).await.expect("read").expect("there");
        assert_eq!(stored.revoked, Some(at(3)), "all that share it are revoked");
    }
    let late = ledger.append(again(4), shared()).await;
    assert_eq!(late, Err(AppendError::Superseded));
    let taken = ledger
        .take(first.id, claim(us, 5))
        .await
        .expect("taken")
        .expect("undoing");
    assert_eq!(ledger.settle(first.id, taken.owner, Undone::Gone).await, Ok(true));
    assert_eq!(ledger.held(session.id, at(6)).await, Ok(Vec::new()), "neither is left");
}

fn github() -> Name {
    name("github")
}
