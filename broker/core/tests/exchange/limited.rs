//! Rate limits on the way of a request, and between replicas.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use procura_core::{
    judgement::Effect,
    ledger::{Filter, Ledger, Page},
    limits::{Dimension, EVERY, Limiter, Limits, Rate, admit_peer, run, share},
    ports::{Active, Clock, Ports, Snapshot},
};
use procura_wire::Reason;

use crate::world::{World, name};

fn rate(count: u32) -> Rate {
    let per = Duration::from_secs(60);
    Rate { count, per }
}

fn limits(dimension: Dimension, count: u32) -> Limits {
    BTreeMap::from([(dimension, rate(count))])
}

fn limited(world: &World, dimension: Dimension, count: u32) {
    world.rules(|rules| rules.catalogue.limits = limits(dimension, count));
}

/// How many of so many exchanges are issued.
async fn issued(world: &World, server: &str, times: usize) -> usize {
    let mut issued = 0;
    for _ in 0..times {
        issued += usize::from(world.exchange_as(server, &[]).await.is_ok());
    }
    issued
}

async fn records(world: &World) -> usize {
    let page = Page {
        before: None,
        limit: 100,
    };
    world.ledger.records(Filter::default(), page).await.expect("read").len()
}

#[tokio::test]
async fn req_017_the_first_refusal_of_a_window_is_recorded_and_the_rest_are_counted() {
    let world = World::new();
    limited(&world, Dimension::Server, 2);
    assert_eq!(issued(&world, "tickets", 2).await, 2);
    let first = world.exchange(&[]).await.expect_err("beyond the limit");
    world.check_logged(&first).await;
    assert_eq!((first.reason, first.retry_after), (Reason::LimitServer, Some(60)));
    world.clock.advance(Duration::from_millis(100));
    let before = records(&world).await;
    for _ in 0..5 {
        let next = world.exchange(&[]).await.expect_err("beyond the limit");
        assert_eq!((next.issuance, next.retry_after), (None, Some(60)));
    }
    assert_eq!(records(&world).await, before);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(issued(&world, "tickets", 3).await, 2, "a new window");
    assert_eq!(records(&world).await, before + 3, "with a first refusal of its own");
}

#[tokio::test]
async fn each_dimension_has_its_reason() {
    let world = World::new();
    for (dimension, code) in [
        (Dimension::Server, "limit.server"),
        (Dimension::Subject, "limit.subject"),
        (Dimension::Session, "limit.session"),
        (Dimension::Grant, "limit.grant"),
    ] {
        limited(&world, dimension, 1);
        assert_eq!(issued(&world, "tickets", 1).await, 1, "{code}");
        let minted = world.local.minted();
        assert_eq!(world.refusal(&[]).await, code);
        assert_eq!(world.local.minted(), minted, "{code}");
    }
}

#[tokio::test]
async fn a_limit_of_a_grant_stands_before_the_servers_and_that_before_the_bundles() {
    let world = World::new();
    let set = |server: Option<u32>, grant: Option<u32>| {
        world.rules(|rules| {
            rules.catalogue.limits = limits(Dimension::Grant, 1);
            let tickets = rules.catalogue.servers.get_mut(&name("tickets")).expect("server");
            tickets.limits = server.map_or_else(BTreeMap::new, |count| limits(Dimension::Grant, count));
            let api = rules.catalogue.targets.get_mut(&name("api")).expect("target");
            api.grants.get_mut(&name("read")).expect("grant").limit = grant.map(rate);
        });
    };
    set(None, None);
    assert_eq!(issued(&world, "tickets", 9).await, 1);
    set(Some(2), None);
    assert_eq!(issued(&world, "tickets", 9).await, 2);
    set(Some(2), Some(3));
    // The bundle's and the grant's own count the same grant over all servers: one is used up.
    assert_eq!(issued(&world, "tickets", 9).await, 2);
    let other = world.exchange(&[("scope", "write")]).await;
    assert!(other.is_ok(), "another grant has its own");
}

#[tokio::test]
async fn a_new_session_has_a_count_of_its_own_and_the_subject_has_one_for_all() {
    let world = World::new();
    limited(&world, Dimension::Session, 1);
    for _ in 0..3 {
        assert!(world.exchange(&[("session", "new")]).await.is_ok());
    }
    limited(&world, Dimension::Subject, 1);
    assert!(world.exchange(&[("session", "new")]).await.is_ok());
    let refused = world
        .exchange(&[("session", "new")])
        .await
        .expect_err("beyond the limit");
    assert_eq!(refused.reason, Reason::LimitSubject);
}

#[tokio::test]
async fn who_is_not_permitted_learns_nothing_of_a_grants_limit() {
    let world = World::new();
    let denied = |rules: &mut crate::fakes::Rules, effect| {
        rules.catalogue.limits = limits(Dimension::Grant, 1);
        rules.effect = effect;
    };
    world.rules(|rules| denied(rules, Effect::Permit));
    assert_eq!(issued(&world, "tickets", 1).await, 1);
    world.rules(|rules| denied(rules, Effect::Deny));
    assert_eq!(world.refusal(&[]).await, "policy.denied");
    world.rules(|rules| denied(rules, Effect::Permit));
    assert_eq!(world.refusal(&[]).await, "limit.grant");
}

#[tokio::test]
async fn attack_073_a_peer_is_counted_before_anybody_is_authenticated() {
    let world = World::new();
    limited(&world, Dimension::Address, 1);
    let peer = |text: &str| Some(text.parse().expect("address"));
    assert_eq!(admit_peer(&world.ports, peer("192.0.2.1")), Ok(()));
    let refused = admit_peer(&world.ports, peer("192.0.2.1")).expect_err("beyond the limit");
    assert_eq!(refused.reason, Reason::LimitAddress);
    assert_eq!(admit_peer(&world.ports, peer("192.0.2.2")), Ok(()));
    assert_eq!(records(&world).await, 0);
}

/// Another process on the same store, with the same bundle in force.
fn replica(world: &World, limiter: Limiter) -> World {
    let (ports, snapshot) = (&world.ports, world.ports.active.snapshot());
    let ports = Ports {
        clock: Arc::clone(&ports.clock),
        entropy: Arc::clone(&ports.entropy),
        tokens: Arc::clone(&ports.tokens),
        ledger: Arc::clone(&ports.ledger),
        sealer: Arc::clone(&ports.sealer),
        reuse: procura_core::exchange::Reuse::default(),
        limiter,
        active: Active::new(Snapshot {
            judge: Arc::clone(&snapshot.judge),
            minters: snapshot.minters.clone(),
            staged: BTreeMap::new(),
        }),
        replica: ports.replica,
        installation: ports.installation.clone(),
        issuer: ports.issuer.clone(),
        mint_budget: ports.mint_budget,
    };
    World {
        clock: Arc::clone(&world.clock),
        tokens: Arc::clone(&world.tokens),
        ledger: Arc::clone(&world.ledger),
        local: Arc::clone(&world.local),
        external: Arc::clone(&world.external),
        ports: Arc::new(ports),
    }
}

#[tokio::test]
async fn attack_212_replicas_together_exceed_a_limit_by_one_interval_at_most() {
    let one = World::new();
    limited(&one, Dimension::Server, 10);
    let other = replica(&one, Limiter::default());
    assert_eq!(issued(&one, "tickets", 6).await, 6);
    share(&one.ports).await;
    assert_eq!(issued(&other, "tickets", 3).await, 3, "not told of the six yet");
    share(&other.ports).await;
    assert_eq!(issued(&other, "tickets", 9).await, 1, "nine were counted");
    share(&other.ports).await;
    assert_eq!(
        issued(&one, "tickets", 9).await,
        4,
        "it has not heard of the four: the error of one interval"
    );
    share(&one.ports).await;
    assert_eq!(issued(&one, "tickets", 9).await, 0);
    assert_eq!(issued(&other, "tickets", 9).await, 0);
}

#[tokio::test]
async fn attack_212_a_restart_does_not_begin_anew() {
    let world = World::new();
    limited(&world, Dimension::Server, 3);
    assert_eq!(issued(&world, "tickets", 2).await, 2);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    stop.send(()).expect("listened to");
    run(Arc::clone(&world.ports), Box::pin(async move { drop(stopped.await) })).await;
    let limiter = Limiter::open(&*world.ledger, world.clock.now()).await.expect("read");
    let restarted = replica(&world, limiter);
    assert_eq!(issued(&restarted, "tickets", 9).await, 1);
}

#[tokio::test]
async fn counts_go_to_the_store_once_in_an_interval_and_not_at_all_without_limits() {
    let world = World::new();
    let now = || world.clock.now();
    let work = async {
        assert_eq!(issued(&world, "tickets", 2).await, 2);
        let tick = async || {
            while world.clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
            world.clock.advance(EVERY);
            while world.clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tick().await;
        assert_eq!(world.ledger.counted(now(), 9).await, Ok(vec![]));
        limited(&world, Dimension::Server, 9);
        assert_eq!(issued(&world, "tickets", 2).await, 2);
        assert_eq!(
            world.ledger.counted(now(), 9).await,
            Ok(vec![]),
            "no request waits for that"
        );
        tick().await;
        let counted = world.ledger.counted(now(), 9).await.expect("read");
        assert_eq!(counted.iter().map(|counted| counted.count).collect::<Vec<_>>(), [2]);
    };
    tokio::select! {
        () = run(Arc::clone(&world.ports), Box::pin(std::future::pending())) => {}
        () = work => {}
    }
}

#[tokio::test]
async fn limits_hold_while_the_store_is_away() {
    let world = World::new();
    limited(&world, Dimension::Address, 3);
    let peer = Some("192.0.2.1".parse().expect("address"));
    let admitted = |times: usize| (0..times).filter(|_| admit_peer(&world.ports, peer).is_ok()).count();
    assert_eq!(admitted(2), 2);
    world.ledger.fail(true);
    share(&world.ports).await;
    assert_eq!(admitted(9), 1);
    world.ledger.fail(false);
    share(&world.ports).await;
    let counted = world.ledger.counted(world.clock.now(), 9).await.expect("read");
    assert_eq!(counted[0].count, 3, "nothing is lost");
}

#[tokio::test]
async fn req_124_a_changed_definition_of_a_tool_stops_minting() {
    let world = World::new();
    let digest = |text: &str| procura_wire::Digest::of(text.as_bytes());
    world.rules(|rules| {
        let tickets = rules.catalogue.servers.get_mut(&name("tickets")).expect("server");
        tickets.definitions.insert("list".into(), digest("reviewed"));
    });
    let (reviewed, other) = (digest("reviewed").to_string(), digest("other").to_string());
    assert_eq!(world.refusal(&[("tool", "list")]).await, "tool.definition_missing");
    let changed = [("tool", "list"), ("tool_definition_sha256", other.as_str())];
    assert_eq!(world.refusal(&changed).await, "tool.definition_changed");
    let malformed = [("tool", "list"), ("tool_definition_sha256", "x")];
    assert_eq!(world.refusal(&malformed).await, "param.malformed");
    assert_eq!(world.local.minted(), 0);
    let same = [("tool", "list"), ("tool_definition_sha256", reviewed.as_str())];
    let issued = world.exchange(&same).await.expect("issued");
    assert_eq!(world.leaf(issued.issuance).await["tool_definition_sha256"], reviewed);
}
