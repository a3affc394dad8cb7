//! Intents, leases, undoing.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use procura_core::ledger::{AppendError, Conditions, Kept, LeaseState, LeaseStep, Undone};

use super::{LedgerUnderTest, sample::*};

/// `intended → live`, in the record's transaction.
pub async fn a_lease_goes_live_with_its_record(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let us = replica();
    let entry = issued(&session, 1);
    let intent = intent(&entry, us);
    ledger.intend(intent.clone()).await.expect("intended");
    let lease = ledger.lease(entry.id).await.expect("read").expect("there");
    assert_eq!((lease.state, lease.owner), (LeaseState::Intended, first(us)));
    assert_eq!(
        (&lease.handle, &lease.target, &lease.place, lease.session),
        (&intent.handle, &intent.target, &intent.place, session.id)
    );
    assert_eq!(
        (lease.deadline, lease.until, &lease.aborted),
        (at(11), None, &Some(intent.aborted))
    );
    let lapses = Kept {
        lapses: Some(at(10_000_011)),
        ..Kept::default()
    };
    assert_eq!(lease.kept, lapses);

    ledger
        .append(entry.clone(), going_live(&entry, us))
        .await
        .expect("live");
    let lease = ledger.lease(entry.id).await.expect("read").expect("there");
    assert_eq!(
        (lease.state, lease.until, lease.aborted),
        (LeaseState::Live, Some(at(301)), None)
    );
    assert_eq!(
        (lease.source_version.as_deref(), lease.attempts, lease.next_attempt),
        (Some("7"), 0, None)
    );
    assert_eq!(lease.kept, kept(&entry));
    assert_eq!(ledger.held(session.id, at(2)).await.expect("read").len(), 1);
}

/// Neither another replica nor an older fence moves it; the record is not there.
pub async fn a_lease_that_was_taken_over_refuses_its_first_owner(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let (us, them) = (replica(), replica());
    let taken = entry(1);
    let other = entry(2);
    ledger.intend(intent(&taken, us)).await.expect("intended");
    ledger.intend(intent(&other, us)).await.expect("intended");
    assert_eq!(
        ledger
            .take_due(name("github"), claim(them, 16), 1)
            .await
            .expect("taken")
            .len(),
        1
    );
    let stranger = ledger.append(other.clone(), going_live(&other, them)).await;
    assert_eq!(stranger, Err(AppendError::Superseded));
    let (late, fine) = tokio::join!(
        ledger.append(taken.clone(), going_live(&taken, us)),
        ledger.append(other.clone(), going_live(&other, us)),
    );
    assert_eq!((late, fine), (Err(AppendError::Superseded), Ok(())));
    assert!(ledger.record(taken.id).await.expect("read").is_none());

    let (gone, undoing) = (entry(3), entry(4));
    let undo = |at| Conditions {
        lease: Some(LeaseStep::Undo {
            owner: first(us),
            at,
            kept: kept(&undoing),
        }),
        ..Conditions::default()
    };
    for entry in [&gone, &undoing] {
        ledger.intend(intent(entry, us)).await.expect("intended");
    }
    ledger.append(undoing.clone(), undo(at(9))).await.expect("handed on");
    let lease = ledger.lease(undoing.id).await.expect("read").expect("there");
    assert_eq!(
        (lease.state, lease.next_attempt, lease.aborted),
        (LeaseState::Undoing, Some(at(9)), None)
    );
    assert_eq!(lease.kept, kept(&undoing));
    let step = Conditions {
        lease: Some(LeaseStep::Gone(first(us))),
        ..Conditions::default()
    };
    ledger.append(gone.clone(), step.clone()).await.expect("gone");
    let lease = ledger.lease(gone.id).await.expect("read").expect("there");
    assert_eq!(
        (lease.state, lease.aborted, lease.kept.sealed),
        (LeaseState::Gone, None, None)
    );
    let nothing = ledger.append(entry(5), step).await;
    assert_eq!(nothing, Err(AppendError::Superseded), "there is no lease");
}

/// With the first durable write; a burnt one refuses the intent.
pub async fn an_intent_burns_its_one_time_ids(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let with = |id: &str| {
        let mut intent = intent(&entry(1), replica());
        intent.burn = replay_ids(&[id]);
        intent
    };
    ledger.intend(with("one")).await.expect("first use");
    let (again, appended) = (with("one"), ledger.append(entry(2), burning(&["one"])));
    assert_eq!(appended.await, Err(AppendError::Replayed));
    assert_eq!(ledger.intend(again.clone()).await, Err(AppendError::Replayed));
    assert_eq!(ledger.lease(again.id).await, Ok(None));
    let both = tokio::join!(ledger.intend(with("two")), ledger.append(entry(3), burning(&["two"])));
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
}

/// Intended ones after their deadline and the margin, live ones at their end, undoing ones at their time.
pub async fn leases_are_taken_when_they_are_due(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let (us, them) = (replica(), replica());
    let margin = Duration::from_secs(5);
    let due = async |second| ledger.due_targets(at(second), margin).await;
    let (none, one) = (Ok(Vec::new()), Ok(vec![name("github")]));
    assert_eq!(due(9000).await, none);
    let live = leased(&*ledger, &session, 0, us).await;
    assert_eq!((due(299).await, due(300).await), (none.clone(), one.clone()));
    let minting = issued(&session, 1);
    ledger.intend(intent(&minting, us)).await.expect("intended");
    assert_eq!((due(15).await, due(16).await), (none.clone(), one.clone()));

    assert_eq!(
        ledger.take_due(name("github"), claim(them, 15), 10).await,
        Ok(Vec::new())
    );
    let taken = ledger
        .take_due(name("github"), claim(them, 16), 10)
        .await
        .expect("taken");
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].id, taken[0].state), (minting.id, LeaseState::Undoing));
    assert_eq!((taken[0].owner.replica, taken[0].owner.fence), (them, 2));
    assert_eq!(taken[0].next_attempt, Some(at(76)));
    assert_eq!(ledger.lease(minting.id).await, Ok(Some(taken[0].clone())));
    assert_eq!((due(75).await, due(76).await), (none, one));
    assert_eq!(ledger.take_due(name("github"), claim(us, 75), 10).await, Ok(Vec::new()));
    let again = ledger.take_due(name("github"), claim(us, 76), 10).await.expect("taken");
    assert_eq!((again[0].id, again[0].owner.fence), (minting.id, 3));
    let ended = ledger.take_due(name("github"), claim(us, 300), 1).await.expect("taken");
    let rest = ledger
        .take_due(name("github"), claim(us, 300), 10)
        .await
        .expect("taken");
    assert_eq!([ended.len(), rest.len()], [1, 1], "the limit holds");
    assert_eq!(
        (ended[0].id, rest[0].id),
        (minting.id, live.id),
        "the longest due comes first"
    );
}

/// A thousand of one target, due for long, and a newer one of each of two others.
pub async fn the_backlog_of_one_target_keeps_no_other_waiting(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let at_target = |target: &str, second| {
        let mut intent = intent(&entry(second), replica());
        intent.target = name(target);
        intent
    };
    let backlog = (0..1000).map(|_| at_target("github", 1));
    let others = ["billing", "wiki"].map(|target| at_target(target, 50));
    let later = at_target("later", 5000);
    let intents: Vec<_> = backlog.chain(others.clone()).chain([later]).collect();
    let intended = join_all(intents.into_iter().map(|intent| ledger.intend(intent))).await;
    assert!(intended.iter().all(Result::is_ok));

    let due = ledger.due_targets(at(100), Duration::from_secs(5)).await;
    assert_eq!(due, Ok(vec![name("billing"), name("github"), name("wiki")]));
    let take = async |target: &str, limit| {
        let claim = claim(replica(), 100);
        let taken = ledger.take_due(name(target), claim, limit).await.expect("taken");
        assert!(taken.iter().all(|lease| lease.target == name(target)), "{target}");
        taken.into_iter().map(|lease| lease.id).collect::<Vec<_>>()
    };
    for other in others {
        assert_eq!(take(other.target.as_str(), 8).await, [other.id]);
    }
    assert_eq!(take("github", 8).await.len(), 8);
    assert_eq!(take("later", 8).await, []);
    let left = ledger.due_targets(at(100), Duration::from_secs(5)).await;
    assert_eq!(left, Ok(vec![name("github")]));
    assert_eq!(take("github", 5000).await.len(), 992);
}

/// By two replicas at once.
pub async fn no_lease_is_handed_out_twice(store: &mut impl LedgerUnderTest) {
    let (ledger, replica) = (store.ledger(), store.replica().await);
    let us = super::sample::replica();
    let intents = join_all((0..40).map(|_| ledger.intend(intent(&entry(1), us)))).await;
    assert!(intents.iter().all(Result::is_ok));
    let taken = join_all((0..20).map(|n| {
        let ledger = if n % 2 == 0 { &ledger } else { &replica };
        ledger.take_due(name("github"), claim(super::sample::replica(), 100), 3)
    }))
    .await;
    let mut taken: Vec<_> = taken.into_iter().flat_map(|leases| leases.expect("taken")).collect();
    // Rows that the other replica was at were skipped, not lost.
    taken.extend(
        ledger
            .take_due(name("github"), claim(us, 100), 100)
            .await
            .expect("taken"),
    );
    let ids: HashSet<_> = taken.iter().map(|lease| lease.id).collect();
    assert_eq!((taken.len(), ids.len()), (40, 40));
    assert!(taken.iter().all(|lease| lease.owner.fence == 2));
}

/// A retry that waits can be taken, and what is past its end; an attempt under way cannot, until its time is over.
pub async fn one_lease_is_taken_at_once_unless_an_attempt_is_under_way(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let (us, them) = (replica(), replica());
    let live = leased(&*ledger, &session, 0, us).await;
    assert_eq!(ledger.take(live.id, claim(us, 1)).await, Ok(None), "it is live");
    let note = other(
        procura_core::ledger::Event::Revocation,
        procura_core::ledger::Outcome::Done,
        5,
    );
    ledger.revoke(live.id, note).await.expect("revoked").expect("was held");
    let taken = ledger.take(live.id, claim(us, 5)).await.expect("taken").expect("free");
    assert_eq!(
        (taken.owner.replica, taken.owner.fence, taken.next_attempt),
        (us, 2, Some(at(65)))
    );
    assert_eq!(ledger.take(live.id, claim(them, 64)).await, Ok(None));
    let taken = ledger
        .take(live.id, claim(them, 65))
        .await
        .expect("taken")
        .expect("its time is over");
    let retry = Undone::Retry {
        at: at(500),
        problem: "away".to_owned(),
    };
    assert_eq!(ledger.settle(live.id, taken.owner, retry).await, Ok(true));
    let taken = ledger
        .take(live.id, claim(us, 66))
        .await
        .expect("taken")
        .expect("it only waits");
    assert_eq!((taken.owner.replica, taken.owner.fence, taken.attempts), (us, 4, 1));
    assert_eq!(ledger.take(entry(0).id, claim(us, 70)).await, Ok(None));

    let over = leased(&*ledger, &session, 1, us).await;
    assert_eq!(ledger.take(over.id, claim(us, 300)).await, Ok(None), "it is live");
    let taken = ledger.take(over.id, claim(us, 301)).await.expect("taken");
    assert_eq!(taken.map(|lease| lease.state), Some(LeaseState::Undoing));
}

/// Replica and fence must be those of the last claim.
pub async fn only_the_owner_settles_a_lease(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let (us, them) = (replica(), replica());
    let minting = entry(1);
    ledger.intend(intent(&minting, us)).await.expect("intended");
    assert_eq!(
        ledger.settle(minting.id, first(us), Undone::Gone).await,
        Ok(false),
        "it is not undoing"
    );
    let old = ledger
        .take_due(name("github"), claim(us, 20), 1)
        .await
        .expect("taken")
        .remove(0)
        .owner;
    let new = ledger
        .take_due(name("github"), claim(them, 80), 1)
        .await
        .expect("taken")
        .remove(0)
        .owner;
    assert_eq!(ledger.settle(minting.id, old, Undone::Gone).await, Ok(false));
    let retry = Undone::Retry {
        at: at(90),
        problem: "away".to_owned(),
    };
    assert_eq!(ledger.settle(minting.id, new, retry).await, Ok(true));
    let lease = ledger.lease(minting.id).await.expect("read").expect("there");
    assert_eq!((lease.attempts, lease.next_attempt), (1, Some(at(90))));
    let new = ledger
        .take_due(name("github"), claim(them, 90), 1)
        .await
        .expect("taken")
        .remove(0)
        .owner;
    assert_eq!(ledger.settle(minting.id, new, Undone::Gone).await, Ok(true));
    assert_eq!(ledger.settle(minting.id, new, Undone::Gone).await, Ok(false));
    let lease = ledger.lease(minting.id).await.expect("read").expect("there");
    assert_eq!((lease.state, lease.next_attempt), (LeaseState::Gone, None));
    assert_eq!(
        ledger.take_due(name("github"), claim(them, 9000), 1).await,
        Ok(Vec::new())
    );
    assert_eq!(ledger.due_targets(at(9000), Duration::ZERO).await, Ok(Vec::new()));
}

/// Whoever takes it over appends it, once.
pub async fn an_interrupted_mint_hands_its_record_on_until_it_is_there(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let minting = entry(1);
    let intent = intent(&minting, replica());
    ledger.intend(intent.clone()).await.expect("intended");
    let taken = ledger
        .take_due(name("github"), claim(replica(), 20), 1)
        .await
        .expect("taken")
        .remove(0);
    assert_eq!(taken.aborted.as_ref(), Some(&intent.aborted));
    ledger
        .append(intent.aborted.clone(), Conditions::default())
        .await
        .expect("recorded");
    let again = ledger.append(intent.aborted, Conditions::default()).await;
    assert_eq!(again, Err(AppendError::Superseded));
    let taken = ledger
        .take_due(name("github"), claim(replica(), 80), 1)
        .await
        .expect("taken")
        .remove(0);
    assert_eq!(taken.aborted, None);
}
