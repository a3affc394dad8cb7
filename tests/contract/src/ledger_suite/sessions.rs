//! Opening, joining, ending.

use futures_util::future::join_all;
use procura_core::{
    identity::Principal,
    ledger::{AppendError, Conditions, EndedBy, Event, Held, LeaseState, Ledger, Outcome, Session},
};

use super::{LedgerUnderTest, sample::*};

/// On two replicas at once, too.
pub async fn the_loser_of_a_race_takes_the_winners_session(store: &mut impl LedgerUnderTest) {
    let (ledger, replica) = (store.ledger(), store.replica().await);
    let sessions = join_all((0..32).map(|n| {
        let ledger = if n % 2 == 0 { &ledger } else { &replica };
        ledger.open_session(session(0))
    }))
    .await;
    let ids: Vec<_> = sessions
        .into_iter()
        .map(|session| session.expect("opened").id)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let found = ledger
        .find_session(session(0).key, at(1))
        .await
        .expect("read")
        .expect("live");
    assert_eq!(found.id, ids[0]);
    assert_eq!(
        ledger.sessions(Default::default(), None, 10).await.expect("read"),
        [found]
    );
}

/// Absent equals absent; pinned ones are joined by nobody.
pub async fn sessions_are_joined_by_all_four_parts_of_the_key(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let base = opened(&*ledger, session(0)).await;
    let tweaks: [fn(&mut Session); 6] = [
        |s| s.key.server = name("mail"),
        |s| s.key.subject = Principal::User(qualified("corp/bob")),
        |s| s.key.subject = Principal::Agent(qualified("corp/alice")),
        |s| s.key.actor = None,
        |s| s.key.sid = None,
        |s| s.pinned = true,
    ];
    for (n, tweak) in tweaks.iter().enumerate() {
        let mut other = session(0);
        tweak(&mut other);
        let own = opened(&*ledger, other.clone()).await;
        assert_eq!(own.id, other.id, "{n}");
        let found = ledger
            .find_session(other.key.clone(), at(1))
            .await
            .expect("read")
            .expect("live");
        assert_eq!(found.id, if other.pinned { base.id } else { other.id }, "{n}");
        assert_eq!(ledger.session(other.id).await.expect("read"), Some(other), "{n}");
    }
    let mut absent = session(0);
    absent.key.sid = None;
    assert_ne!(opened(&*ledger, absent.clone()).await.id, absent.id);
    assert_eq!(opened(&*ledger, session(0)).await, base);
}

/// A dead one does not stand in the way.
pub async fn a_dead_session_is_ended_by_time_when_another_is_opened(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let idle = opened(&*ledger, session(0)).await;
    assert_eq!(ledger.find_session(idle.key.clone(), at(1800)).await, Ok(None));
    let next = opened(&*ledger, session(1800)).await;
    assert_ne!(next.id, idle.id);
    let idle = ledger.session(idle.id).await.expect("read").expect("there");
    assert_eq!(idle.ended, Some((at(1800), EndedBy::Time)));
    assert_eq!(ledger.find_session(next.key.clone(), at(1801)).await, Ok(Some(next)));
}

/// Records are revoked, live leases queued, an intended one is refused by its own append.
pub async fn ending_a_session_ends_what_it_holds(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let us = replica();
    let plain = issued(&session, 1);
    ledger
        .append(plain.clone(), guarded(&session, 0))
        .await
        .expect("issued");
    let live = leased(&*ledger, &session, 2, us).await;
    let minting = issued(&session, 3);
    ledger.intend(intent(&minting, us)).await.expect("intended");
    let mut expired = issued(&session, 4);
    expired.index.until = Some(at(5));
    ledger
        .append(expired.clone(), Conditions::default())
        .await
        .expect("issued");

    let mut end = other(Event::SessionEnd, Outcome::Done, 6);
    end.index.session = Some(session.id);
    let held = ledger
        .end_session(session.id, EndedBy::Operator, end.clone())
        .await
        .expect("ended");
    let expected = |entry: &procura_core::ledger::Entry, leased: bool| Held {
        id: entry.id,
        target: name("github"),
        until: entry.index.until.expect("until"),
        lease: leased.then_some(entry.id),
    };
    assert_eq!(held, Some(vec![expected(&live, true), expected(&plain, false)]));
    let revoked = async |id| ledger.record(id).await.expect("read").expect("there").revoked;
    assert_eq!(
        (revoked(plain.id).await, revoked(live.id).await),
        (Some(at(6)), Some(at(6)))
    );
    let lease = ledger.lease(live.id).await.expect("read").expect("there");
    assert_eq!((lease.state, lease.next_attempt), (LeaseState::Undoing, Some(at(6))));
    let lease = ledger.lease(minting.id).await.expect("read").expect("there");
    assert_eq!(lease.state, LeaseState::Intended);
    let mut conditions = going_live(&minting, us);
    conditions.guard = guarded(&session, 0).guard;
    assert_eq!(ledger.append(minting, conditions).await, Err(AppendError::SessionEnded));
    assert!(ledger.record(end.id).await.expect("read").is_some());
    assert_eq!(ledger.held(session.id, at(6)).await, Ok(Vec::new()));
    assert_eq!(ledger.find_session(session.key.clone(), at(6)).await, Ok(None));
    let ended = ledger.session(session.id).await.expect("read").expect("there");
    assert_eq!(ended.ended, Some((at(6), EndedBy::Operator)));

    let again = other(Event::SessionEnd, Outcome::Done, 7);
    assert_eq!(
        ledger.end_session(session.id, EndedBy::Server, again.clone()).await,
        Ok(None)
    );
    assert!(ledger.record(again.id).await.expect("read").is_none());
}

async fn end(ledger: &dyn Ledger, session: &Session, by: EndedBy, second: i64) {
    let record = other(Event::SessionEnd, Outcome::Done, second);
    let held = ledger.end_session(session.id, by, record).await.expect("ended");
    assert!(held.is_some(), "was live");
}

/// Same subject, actor and server; a token without `iat` is older than every mark.
pub async fn marks_refuse_tokens_up_to_their_whole_second(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let first = opened(&*ledger, session(0)).await;
    assert_eq!(ledger.is_revoked(token(None)).await, Ok(false));
    end(&*ledger, &first, EndedBy::Operator, 10).await;
    let revoked = async |token| ledger.is_revoked(token).await.expect("read");
    assert!(revoked(token(Some(9))).await && revoked(token(Some(10))).await && revoked(token(None)).await);
    let mut late = token(Some(10));
    late.issued_at = late.issued_at.map(|at| at + std::time::Duration::from_millis(999));
    assert!(revoked(late).await, "within the mark's second");
    assert!(!revoked(token(Some(11))).await);
    let (mut actor, mut server, mut subject) = (token(None), token(None), token(None));
    actor.actor = None;
    server.server = name("mail");
    subject.subject = Principal::Agent(qualified("corp/alice"));
    assert!(!revoked(actor).await && !revoked(server).await && !revoked(subject).await);

    let second = opened(&*ledger, session(12)).await;
    let old = ledger.append(issued(&second, 13), guarded(&second, 10)).await;
    assert_eq!(old, Err(AppendError::SubjectRevoked));
    ledger
        .append(issued(&second, 13), guarded(&second, 11))
        .await
        .expect("a new token");
    end(&*ledger, &second, EndedBy::Policy, 20).await;
    assert!(revoked(token(Some(20))).await && !revoked(token(Some(21))).await);
}

/// A server that ends its own leaves none, time neither.
pub async fn only_operators_and_policy_leave_marks(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    for (by, marks) in [
        (EndedBy::Server, false),
        (EndedBy::Time, false),
        (EndedBy::Policy, true),
    ] {
        let session = opened(&*ledger, session(0)).await;
        end(&*ledger, &session, by, 5).await;
        assert_eq!(ledger.is_revoked(token(Some(0))).await, Ok(marks), "{by:?}");
    }
}

/// Its record says when; a second time there is nothing to revoke.
pub async fn one_credential_is_revoked_alone(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let session = opened(&*ledger, session(0)).await;
    let (one, two) = (
        leased(&*ledger, &session, 1, replica()).await,
        leased(&*ledger, &session, 2, replica()).await,
    );
    let note = |second| other(Event::Revocation, Outcome::Done, second);
    let held = ledger
        .revoke(one.id, note(5))
        .await
        .expect("revoked")
        .expect("was held");
    assert_eq!((held.id, held.lease), (one.id, Some(one.id)));
    let stored = ledger.record(one.id).await.expect("read").expect("there");
    assert_eq!(stored.revoked, Some(at(5)));
    let lease = ledger.lease(one.id).await.expect("read").expect("there");
    assert_eq!((lease.state, lease.next_attempt), (LeaseState::Undoing, Some(at(5))));
    let lease = ledger.lease(two.id).await.expect("read").expect("there");
    assert_eq!(lease.state, LeaseState::Live);
    for (id, second) in [(one.id, 6), (entry(0).id, 7), (two.id, 400)] {
        let note = note(second);
        assert_eq!(ledger.revoke(id, note.clone()).await, Ok(None), "{second}");
        assert!(ledger.record(note.id).await.expect("read").is_some(), "{second}");
    }
}

/// Only those that nobody ended.
pub async fn expired_and_idle_sessions_are_found(store: &mut impl LedgerUnderTest) {
    let ledger = store.ledger();
    let pinned = |second, ends| {
        let mut session = session(second);
        (session.pinned, session.ends) = (true, at(ends));
        session
    };
    let expired = opened(&*ledger, pinned(0, 100)).await;
    let idle = opened(&*ledger, pinned(1, 9000)).await;
    let used = opened(&*ledger, pinned(2, 9000)).await;
    let ended = opened(&*ledger, pinned(3, 100)).await;
    ledger
        .append(issued(&used, 1000), Conditions::default())
        .await
        .expect("used");
    end(&*ledger, &ended, EndedBy::Server, 50).await;
    let found = async |second, limit| {
        let sessions = ledger.expired_sessions(at(second), limit).await.expect("read");
        sessions.into_iter().map(|session| session.id).collect::<Vec<_>>()
    };
    assert_eq!(found(99, 10).await, []);
    assert_eq!(found(100, 10).await, [expired.id]);
    assert_eq!(found(1801, 10).await, [expired.id, idle.id]);
    assert_eq!(found(2800, 10).await, [expired.id, idle.id, used.id]);
    assert_eq!(found(2800, 1).await.len(), 1);
}
