//! Leases: nothing outlives its record, its session or its end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, future::join};
use procura_core::{
    Timestamp,
    identity::{Principal, Subject},
    ids::{IssuanceId, SessionId},
    ledger::{Claim, LeaseFilter, LeaseState, Ledger, Page, Undone},
    operator::{self, Operator},
    ports::Clock,
    undo,
};
use procura_wire::{FormFault, Reason, RevocationStatus};

use crate::{
    fakes::{Mint, Rules},
    world::{World, name, token},
};

const ROWS: [(&str, &str); 2] = [("audience", "db"), ("scope", "rows")];

/// Runs the sweeper while this time passes, in steps that let it work.
pub(crate) async fn sweep(world: &World, time: Duration) {
    let (stop, stopped) = futures_util::future::abortable(std::future::pending::<()>());
    let step = Duration::from_millis(250);
    let passing = async {
        for _ in 0..time.as_millis() / step.as_millis() {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            world.clock.advance(step);
        }
        stopped.abort();
        for _ in 0..50 {
            tokio::task::yield_now().await;
            world.clock.advance(Duration::ZERO);
        }
    };
    join(undo::run(Arc::clone(&world.ports), stop.map(|_| ()).boxed()), passing).await;
}

async fn state(world: &World) -> LeaseState {
    let leases = world
        .ledger
        .leases(
            LeaseFilter::default(),
            Page {
                before: None,
                limit: 10,
            },
        )
        .await
        .expect("store");
    assert_eq!(leases.len(), 1);
    leases[0].state
}

#[tokio::test]
async fn a_lease_is_undone_at_its_end_and_asked_again_until_confirmed() {
    let world = World::new();
    world.exchange(&ROWS).await.expect("issued");
    assert_eq!((world.external.alive(), state(&world).await), (1, LeaseState::Live));
    *world.external.undo_fails.lock().expect("lock") = true;
    world.clock.advance(Duration::from_secs(600));
    sweep(&world, Duration::from_secs(5)).await;
    assert_eq!((world.external.alive(), state(&world).await), (1, LeaseState::Undoing));
    *world.external.undo_fails.lock().expect("lock") = false;
    sweep(&world, Duration::from_secs(61)).await;
    assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Gone));
}

#[tokio::test]
async fn another_place_is_never_asked_whether_a_credential_is_gone() {
    let at = |host: &'static str| {
        move |rules: &mut Rules| {
            let db = rules.catalogue.targets.get_mut(&name("db")).expect("db");
            db.settings.insert("host".into(), host.into());
        }
    };
    let away = |rules: &mut Rules| drop(rules.catalogue.targets.remove(&name("db")));
    for away in [&at("new") as &dyn Fn(&mut Rules), &away] {
        let world = World::new();
        world.rules(at("old"));
        let id = world.exchange(&ROWS).await.expect("issued").issuance;
        world.rules(away);
        let form = format!("token={id}&token_type_hint=issuance");
        assert_eq!(revoke(&world, "tickets", &form).await, Some(RevocationStatus::Queued));
        sweep(&world, Duration::from_secs(5)).await;
        assert_eq!((world.external.alive(), state(&world).await), (1, LeaseState::Undoing));
        world.rules(at("old"));
        sweep(&world, Duration::from_secs(61)).await;
        assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Gone));
    }
}

#[tokio::test]
async fn neither_a_clock_that_is_behind_nor_a_session_that_cannot_be_ended_stops_the_undoing() {
    let world = World::new();
    world.exchange(&ROWS).await.expect("issued");
    let ahead = Clock::now(&*world.clock) + Duration::from_secs(3600);
    world.ledger.set_durable_time(ahead);
    assert!(world.ports.now().is_err(), "nothing is issued");
    sweep(&world, Duration::from_secs(2)).await;
    assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Gone));
}

#[tokio::test]
async fn an_undo_that_panics_ends_no_other_and_is_done_again() {
    let world = World::new();
    world.exchange(&ROWS).await.expect("issued");
    world.external.undo_panics.store(true, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(600));
    sweep(&world, Duration::from_secs(5)).await;
    assert_eq!((world.external.alive(), state(&world).await), (1, LeaseState::Undoing));
    sweep(&world, Duration::from_secs(31)).await;
    assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Gone));
}

#[tokio::test]
async fn wider_or_longer_than_asked_is_undone_and_refused() {
    for how in [Mint::Wider, Mint::Longer] {
        let world = World::new();
        *world.external.mint.lock().expect("lock") = how;
        assert_eq!(world.refusal(&ROWS).await, "mint.scope_mismatch");
        assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Gone));
        *world.local.mint.lock().expect("lock") = how;
        assert_eq!(world.refusal(&[]).await, "mint.scope_mismatch");
    }
}

#[tokio::test]
async fn what_a_target_may_have_made_is_undone_at_once_and_after_its_deadline() {
    let world = World::new();
    *world.external.mint.lock().expect("lock") = Mint::IsLost;
    assert_eq!(world.refusal(&ROWS).await, "mint.uncertain");
    assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Undoing));
    // It appears late, within the deadline that the target enforces.
    let handle = world
        .ledger
        .leases(LeaseFilter::default(), Page { before: None, limit: 1 })
        .await
        .expect("store");
    world
        .external
        .alive
        .lock()
        .expect("lock")
        .insert(handle[0].handle.clone());
    sweep(&world, Duration::from_secs(16)).await;
    assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Gone));
}

#[tokio::test]
async fn a_target_that_says_no_leaves_nothing_to_undo() {
    let world = World::new();
    *world.external.mint.lock().expect("lock") = Mint::Fails;
    assert_eq!(world.refusal(&ROWS).await, "mint.failed");
    assert_eq!(state(&world).await, LeaseState::Gone);
}

#[tokio::test]
async fn a_target_that_hangs_is_given_up_at_the_deadline() {
    let world = World::new();
    *world.external.mint.lock().expect("lock") = Mint::Hangs;
    let passing = async {
        while world.clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    let (reason, ()) = join(world.refusal(&ROWS), passing).await;
    assert_eq!(reason, "mint.uncertain");
}

#[tokio::test]
async fn an_interrupted_mint_is_left_alone_until_its_deadline_then_recorded_and_undone() {
    let world = World::new();
    *world.external.mint.lock().expect("lock") = Mint::Hangs;
    // The request is dropped in the middle of its mint, as a crash would.
    assert!(world.exchange(&ROWS).now_or_never().is_none());
    assert_eq!(state(&world).await, LeaseState::Intended);
    sweep(&world, Duration::from_secs(14)).await;
    assert_eq!(state(&world).await, LeaseState::Intended);
    sweep(&world, Duration::from_secs(2)).await;
    assert_eq!(state(&world).await, LeaseState::Gone);
    let records = world
        .ledger
        .records(
            Default::default(),
            Page {
                before: None,
                limit: 10,
            },
        )
        .await
        .expect("store");
    assert_eq!(records[0].index.reason.as_deref(), Some("mint.aborted"));
}

#[tokio::test]
async fn a_handle_that_the_store_does_not_know_is_undone_by_inventory() {
    let world = World::new();
    world.exchange(&ROWS).await.expect("issued");
    let stranger = procura_core::ids::Handle::new(&world.ports.installation, IssuanceId(uuid::Uuid::from_u128(99)));
    world.external.alive.lock().expect("lock").insert(stranger.clone());
    sweep(&world, Duration::from_secs(1)).await;
    assert_eq!(world.external.alive(), 1, "what is live stays");
    assert!(!world.external.alive.lock().expect("lock").contains(&stranger));
}

#[tokio::test]
async fn an_idle_session_is_ended_with_what_it_holds() {
    let world = World::new();
    world
        .exchange(&[("requested_expires_in", "600"), ROWS[0], ROWS[1]])
        .await
        .expect("issued");
    world.clock.advance(Duration::from_secs(31 * 60));
    sweep(&world, Duration::from_secs(2)).await;
    assert_eq!((world.external.alive(), state(&world).await), (0, LeaseState::Gone));
    let sessions = world
        .ledger
        .sessions(Default::default(), None, 10)
        .await
        .expect("store");
    assert!(sessions[0].ended.is_some());
}

pub(crate) fn operator(world: &World) -> Operator {
    let token = Arc::new(token(&world.clock));
    let principal = Principal::User("corp/ops".parse().expect("id"));
    let subject = Subject { principal, token };
    Operator::new(world.ports.active.snapshot().judge.catalogue(), subject)
}

/// An operator ends a session; what became of each credential.
pub(crate) async fn end_of(world: &World, id: SessionId) -> Vec<(IssuanceId, RevocationStatus)> {
    let ended = operator::end_session(&world.ports, &operator(world), id, String::new()).await;
    let report = ended.expect("ended").expect("was live");
    report
        .credentials
        .iter()
        .map(|one| (one.issuance, one.status))
        .collect()
}

pub(crate) async fn revoke(world: &World, server: &str, form: &str) -> Option<RevocationStatus> {
    let mut form = procura_wire::Form::decode(form.as_bytes()).expect("form");
    let body: Result<_, FormFault> = procura_core::revoke::RevokeRequest::read(&mut form);
    let secret = procura_wire::Secret::new(String::new());
    let incoming = procura_core::request::Incoming {
        credentials: procura_core::identity::ClientCredentials::Basic {
            id: server.into(),
            secret,
        },
        body,
        trace_id: String::new(),
        address: None,
        certificates: None,
        proof: None,
    };
    procura_core::revoke::revoke(&world.ports, incoming)
        .await
        .expect("answered")
        .revocation_status
}

#[tokio::test]
async fn req_057_only_the_issuing_server_revokes_and_others_learn_nothing() {
    let world = World::new();
    let id = world.exchange(&ROWS).await.expect("issued").issuance;
    let form = format!("token={id}&token_type_hint=issuance");
    assert_eq!(revoke(&world, "wiki", &form).await, None);
    assert_eq!(world.external.alive(), 1);
    let newest = world
        .ledger
        .records(Default::default(), Page { before: None, limit: 1 })
        .await
        .expect("store");
    assert_eq!(newest[0].index.reason.as_deref(), Some(Reason::RevokeNotOwner.code()));
    assert_eq!(revoke(&world, "tickets", &form).await, Some(RevocationStatus::Done));
    assert_eq!(world.external.alive(), 0);
    assert_eq!(
        revoke(&world, "tickets", &form).await,
        Some(RevocationStatus::Done),
        "gone already"
    );
    assert_eq!(revoke(&world, "tickets", "token=nothing").await, None);
}

#[tokio::test]
async fn req_060_a_second_revocation_says_what_is_left() {
    let world = World::new();
    let id = world.exchange(&[]).await.expect("issued").issuance;
    let local = format!("token={id}&token_type_hint=issuance");
    let id = world.exchange(&ROWS).await.expect("issued").issuance;
    let external = format!("token={id}&token_type_hint=issuance");
    *world.external.undo_fails.lock().expect("lock") = true;
    for _ in 0..2 {
        assert_eq!(revoke(&world, "tickets", &local).await, Some(RevocationStatus::Until));
        assert_eq!(
            revoke(&world, "tickets", &external).await,
            Some(RevocationStatus::Queued)
        );
    }
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(revoke(&world, "tickets", &local).await, Some(RevocationStatus::Done));
    assert_eq!(
        revoke(&world, "tickets", &external).await,
        Some(RevocationStatus::Queued),
        "its end is over and it is still there"
    );
    *world.external.undo_fails.lock().expect("lock") = false;
    assert_eq!(revoke(&world, "tickets", &external).await, Some(RevocationStatus::Done));
    assert_eq!(world.external.alive(), 0);
}

#[tokio::test]
async fn req_060_a_revocation_says_done_queued_or_until() {
    let world = World::new();
    let id = world.exchange(&[]).await.expect("issued").issuance;
    let form = format!("token={id}&token_type_hint=issuance");
    assert_eq!(revoke(&world, "tickets", &form).await, Some(RevocationStatus::Until));
    let issued = world.exchange(&ROWS).await.expect("issued");
    *world.external.undo_fails.lock().expect("lock") = true;
    let form = format!("token={}&token_type_hint=session", issued.session);
    let records = || {
        world.ledger.records(
            Default::default(),
            Page {
                before: None,
                limit: 100,
            },
        )
    };
    for _ in 0..2 {
        let before = records().await.expect("store").len();
        assert_eq!(revoke(&world, "tickets", &form).await, Some(RevocationStatus::Queued));
        assert_eq!(records().await.expect("store").len(), before + 1, "each is recorded");
    }
    assert!(
        world.exchange(&[]).await.is_ok(),
        "a server that ends its own session leaves no mark"
    );
    *world.external.undo_fails.lock().expect("lock") = false;
    assert_eq!(
        revoke(&world, "tickets", &form).await,
        Some(RevocationStatus::Until),
        "the role is gone, the token is not"
    );
}

#[tokio::test]
async fn req_060_who_revokes_waits_for_an_undo_that_somebody_else_has_begun() {
    let problem = "it is away".to_owned();
    let at = Timestamp::MAX;
    for undone in [Undone::Gone, Undone::Retry { at, problem }] {
        let world = World::new();
        let id = world.exchange(&ROWS).await.expect("issued").issuance;
        let form = format!("token={id}&token_type_hint=issuance");
        *world.external.undo_fails.lock().expect("lock") = true;
        assert_eq!(revoke(&world, "tickets", &form).await, Some(RevocationStatus::Queued));
        *world.external.undo_fails.lock().expect("lock") = false;
        let now = Clock::now(&*world.clock);
        let claim = Claim {
            replica: world.ports.replica,
            now,
            again: now + Duration::from_secs(30),
            margin: Duration::ZERO,
        };
        let lease = world.ledger.take(id, claim).await.expect("store").expect("undoing");
        let other = async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
                world.clock.advance(Duration::from_millis(50));
            }
            world.ledger.settle(id, lease.owner, undone).await.expect("store");
            for _ in 0..20 {
                tokio::task::yield_now().await;
                world.clock.advance(Duration::from_millis(50));
            }
        };
        let told = join(revoke(&world, "tickets", &form), other).await.0;
        assert_eq!(told, Some(RevocationStatus::Done));
    }
}
