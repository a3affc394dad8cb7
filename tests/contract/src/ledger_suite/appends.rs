//! Records, their conditions, durability.

use futures_util::future::join_all;
use procura_core::ledger::{AppendError, Conditions, EndedBy, Event, Outcome};
use procura_wire::Digest;

use super::{LedgerUnderTest, sample::*};

/// Bytes and columns come back.
pub async fn a_record_reads_back_as_it_was_appended(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let mut entry = issued(&opened(&*ledger, session(0)).await, 1);
    entry.index.about = Some(super::sample::entry(0).id);
    entry.index.reason = Some("made.up".to_owned());
    ledger
        .append(entry.clone(), Conditions::default())
        .await
        .expect("appended");
    let stored = ledger.record(entry.id).await.expect("read").expect("there");
    assert_eq!((stored.leaf.get(), &stored.index), (entry.leaf.as_str(), &entry.index));
    let (salt, clear) = stored.side.expect("side");
    assert_eq!(
        (salt, clear.get(), stored.revoked),
        (entry.salt, entry.clear.as_str(), None)
    );

    let mut bare = other(Event::Use, Outcome::Reported, 2);
    bare.index.grants = Vec::new();
    (bare.index.server, bare.index.tool, bare.index.target) = (None, None, None);
    (bare.index.subject, bare.index.actor, bare.index.source_version) = (None, None, None);
    ledger
        .append(bare.clone(), Conditions::default())
        .await
        .expect("appended");
    let stored = ledger.record(bare.id).await.expect("read").expect("there");
    assert_eq!(stored.index, bare.index);
    assert!(ledger.record(super::sample::entry(0).id).await.expect("read").is_none());
}

/// A second append of an id changes nothing, and nothing beside it.
pub async fn a_record_that_is_there_is_not_written_again(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let entry = entry(1);
    ledger
        .append(entry.clone(), Conditions::default())
        .await
        .expect("appended");
    let mut again = entry.clone();
    again.leaf = "{}".to_owned();
    let neighbours = (2..10).map(|second| ledger.append(super::sample::entry(second), Conditions::default()));
    let (refused, others) = tokio::join!(ledger.append(again, burning(&["x"])), join_all(neighbours));
    assert_eq!(refused, Err(AppendError::Superseded));
    assert!(others.iter().all(Result::is_ok));
    let stored = ledger.record(entry.id).await.expect("read").expect("there");
    assert_eq!(stored.leaf.get(), entry.leaf);
    ledger
        .append(super::sample::entry(20), burning(&["x"]))
        .await
        .expect("x was not burnt");
}

/// The others of the batch pass.
pub async fn one_replayed_id_among_64_refuses_one_caller(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    ledger.append(entry(0), burning(&["id-7"])).await.expect("first use");
    let ids: Vec<String> = (0..64).map(|n| format!("id-{n}")).collect();
    let results = join_all(ids.iter().map(|id| ledger.append(entry(1), burning(&[id])))).await;
    for (n, result) in results.into_iter().enumerate() {
        let expected = if n == 7 { Err(AppendError::Replayed) } else { Ok(()) };
        assert_eq!(result, expected, "{n}");
    }
    assert_eq!(ledger.records(Default::default(), ALL).await.expect("read").len(), 64);
}

/// Within a batch the first wins.
pub async fn one_id_presented_64_times_at_once_passes_once(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let results = join_all((0..64).map(|_| ledger.append(entry(1), burning(&["same"])))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == Err(AppendError::Replayed))
            .count(),
        63
    );
    assert_eq!(ledger.records(Default::default(), ALL).await.expect("read").len(), 1);
}

/// One-time ids of a refused row may still be used by another, whatever it was refused for.
pub async fn what_is_refused_burns_nothing(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    ledger.append(entry(0), burning(&["used"])).await.expect("first use");
    let refused = entry(1);
    let result = ledger.append(refused.clone(), burning(&["fresh", "used"])).await;
    assert_eq!(result, Err(AppendError::Replayed));
    assert!(ledger.record(refused.id).await.expect("read").is_none());
    let unopened = session(0);
    let mut conditions = guarded(&unopened, 0);
    conditions.burn = replay_ids(&["fresh"]);
    assert_eq!(
        ledger.append(issued(&unopened, 2), conditions).await,
        Err(AppendError::SessionEnded)
    );
    let mut conditions = going_live(&entry(0), replica());
    conditions.burn = replay_ids(&["fresh"]);
    assert_eq!(ledger.append(entry(3), conditions).await, Err(AppendError::Superseded));
    ledger
        .append(entry(4), burning(&["fresh"]))
        .await
        .expect("not burnt yet");
    assert_eq!(
        ledger.append(entry(5), burning(&["fresh"])).await,
        Err(AppendError::Replayed)
    );
}

/// The guard is each row's own.
pub async fn an_ended_session_refuses_its_own_rows_only(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let live = opened(&*ledger, session(0)).await;
    let mut ended = session(0);
    ended.key.sid = None;
    let ended = opened(&*ledger, ended).await;
    let record = other(Event::SessionEnd, Outcome::Done, 1);
    ledger
        .end_session(ended.id, EndedBy::Server, record)
        .await
        .expect("ended")
        .expect("was live");
    let results = join_all((0..64).map(|n| {
        let session = if n % 8 == 3 { &ended } else { &live };
        ledger.append(issued(session, 2), guarded(session, 0))
    }))
    .await;
    for (n, result) in results.into_iter().enumerate() {
        let expected = if n % 8 == 3 {
            Err(AppendError::SessionEnded)
        } else {
            Ok(())
        };
        assert_eq!(result, expected, "{n}");
    }
    assert_eq!(ledger.held(ended.id, at(3)).await.expect("read"), []);
    assert_eq!(ledger.held(live.id, at(3)).await.expect("read").len(), 56);
}

/// Idle for half an hour is over, also where nobody has ended it yet.
pub async fn an_idle_session_refuses(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let late = ledger.append(issued(&session, 1800), guarded(&session, 0)).await;
    assert_eq!(late, Err(AppendError::SessionEnded));
    ledger
        .append(issued(&session, 1799), guarded(&session, 0))
        .await
        .expect("still live");
    ledger
        .append(issued(&session, 1800), guarded(&session, 0))
        .await
        .expect("used since");
}

/// Issued exchanges count; uses move the time only; refusals move nothing.
pub async fn an_issued_exchange_moves_its_session(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let append = |entry| ledger.append(entry, Conditions::default());
    let results = join_all((1..=20).map(|second| append(issued(&session, second)))).await;
    assert!(results.iter().all(Result::is_ok));
    for (event, outcome, second) in [
        (Event::Use, Outcome::Reported, 30),
        (Event::Exchange, Outcome::Refused, 40),
    ] {
        let mut entry = other(event, outcome, second);
        entry.index.session = Some(session.id);
        append(entry).await.expect("appended");
    }
    let moved = ledger.session(session.id).await.expect("read").expect("there");
    assert_eq!((moved.issuances, moved.last_used), (20, at(30)));
    let found = ledger.find_session(session.key.clone(), at(41)).await.expect("read");
    assert_eq!(found, Some(moved.clone()));
    append(issued(&session, 5)).await.expect("an older one");
    let moved = ledger
        .find_session(session.key, at(41))
        .await
        .expect("read")
        .expect("live");
    assert_eq!((moved.issuances, moved.last_used), (21, at(30)));
}

/// It never goes back.
pub async fn durable_time_is_the_highest_of_all_records(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    assert!(ledger.durable_time() < at(0));
    ledger.append(entry(50), Conditions::default()).await.expect("appended");
    ledger.append(entry(20), Conditions::default()).await.expect("appended");
    assert_eq!(ledger.durable_time(), at(50));
    let refused = ledger.append(entry(90), guarded(&session(0), 0)).await;
    assert_eq!(
        (refused, ledger.durable_time()),
        (Err(AppendError::SessionEnded), at(50))
    );
    store.reopen().await;
    assert_eq!(store.ledger().durable_time(), at(50));
}

/// Whatever the wall clock says.
pub async fn one_time_ids_are_forgotten_by_durable_time(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    ledger.append(entry(0), burning(&["id"])).await.expect("first use");
    ledger
        .append(entry(60), Conditions::default())
        .await
        .expect("time goes on");
    ledger.forget_replay_ids().await.expect("forgotten");
    assert_eq!(
        ledger.append(entry(60), burning(&["id"])).await,
        Err(AppendError::Replayed)
    );
    ledger
        .append(entry(61), Conditions::default())
        .await
        .expect("time goes on");
    ledger.forget_replay_ids().await.expect("forgotten");
    ledger.append(entry(62), burning(&["id"])).await.expect("forgotten");
}

/// Nothing that was answered is lost.
pub async fn everything_is_there_after_a_restart(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let installation = ledger.installation().to_owned();
    assert_eq!(installation.len(), 8);
    assert!(
        installation
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    );
    let session = opened(&*ledger, session(0)).await;
    let entry = leased(&*ledger, &session, 1, replica()).await;
    let marked = opened(&*ledger, {
        let mut marked = session.clone();
        (marked.id, marked.pinned) = (super::sample::session(5).id, true);
        marked
    })
    .await;
    ledger
        .append(super::sample::entry(2), burning(&["id"]))
        .await
        .expect("appended");
    ledger.keep_bundle(Digest::of(b"b"), b"b".to_vec()).await.expect("kept");
    let end = other(Event::SessionEnd, Outcome::Done, 3);
    ledger
        .end_session(marked.id, EndedBy::Operator, end)
        .await
        .expect("ended")
        .expect("was live");
    let (lease, before) = (ledger.lease(entry.id).await, ledger.session(session.id).await);
    drop(ledger);

    store.reopen().await;
    let ledger = store.ledger();
    assert_eq!(ledger.installation(), installation);
    assert_eq!(
        ledger.record(entry.id).await.expect("read").expect("there").index,
        entry.index
    );
    assert_eq!(
        (ledger.lease(entry.id).await, ledger.session(session.id).await),
        (lease, before)
    );
    assert_eq!(ledger.held(session.id, at(4)).await.expect("read").len(), 1);
    assert_eq!(
        ledger.append(super::sample::entry(4), burning(&["id"])).await,
        Err(AppendError::Replayed)
    );
    assert!(ledger.is_revoked(token(Some(3))).await.expect("read"));
    assert_eq!(
        ledger.bundle(Digest::of(b"b")).await.expect("read").as_deref(),
        Some(&b"b"[..])
    );
    ledger.check().await.expect("usable");
}
