//! A live credential is served again within its session for the same effective grant, and for nothing else.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};

use futures_util::FutureExt;
use procura_core::{
    exchange::Issued,
    ledger::{LeaseState, Ledger},
    params::{ParamSpec, ParamType},
    undo::LAPSED,
    whois::{Clue, Status, whois},
};
use procura_wire::{Reason, RevocationStatus};
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    fakes::{REUSED, Rules},
    identity::link,
    undoing::{end_of, operator, revoke, sweep},
    world::{World, name, token},
};

const ROWS: [(&str, &str); 2] = [("audience", "db"), ("scope", "rows")];

/// The database is of a kind that serves again.
fn reused(rules: &mut Rules) {
    let db = rules.catalogue.targets.get_mut(&name("db")).expect("db");
    db.kind = &REUSED;
}

fn world() -> World {
    let world = World::new();
    world.rules(reused);
    *world.external.lapses.lock().expect("lock") = Some(Duration::ZERO);
    world
}

#[tokio::test]
async fn within_a_session_one_credential_is_served_again_and_each_time_recorded() {
    let world = world();
    let first = world.exchange(&ROWS).await.expect("issued");
    let second = world.exchange(&ROWS).await.expect("issued");
    assert_eq!(world.external.minted(), 1);
    assert_eq!((&first.value, first.session), (&second.value, second.session));
    assert_ne!(first.issuance, second.issuance);
    let (one, two) = (world.leaf(first.issuance).await, world.leaf(second.issuance).await);
    assert_eq!(two["about"], Value::from(first.issuance.to_string()));
    for member in ["handle", "value_sha256", "until", "source_version", "rights"] {
        assert!(!one[member].is_null(), "{member}");
        assert_eq!(one[member], two[member], "{member}");
    }
}

/// Each tweak is one difference that must not share.
#[tokio::test]
async fn no_two_sessions_agents_users_or_narrowings_share_a_credential() {
    let world = world();
    world.rules(narrowable);
    let mut bob = token(&world.clock);
    bob.sub = "bob".into();
    world.knows("bob", bob);
    let details = |team: &str| format!(r#"[{{"type":"aws","team":"{team}"}}]"#);
    let (red, blue) = (details("red"), details("blue"));
    let asks: [&[(&str, &str)]; 5] = [
        &[],
        &[("session", "new")],
        &[("subject_token", "bob")],
        &[("authorization_details", &red)],
        &[("authorization_details", &blue)],
    ];
    let mut values = Vec::new();
    for _ in 0..2 {
        for ask in asks {
            let ask = [&ROWS[..], ask].concat();
            values.push(world.exchange(&ask).await.expect("issued"));
        }
    }
    let distinct = |issued: &[Issued]| {
        let all = issued.iter().map(|issued| issued.value.digest());
        all.collect::<HashSet<_>>().len()
    };
    assert_eq!(distinct(&values[..5]), 5);
    // The second round finds all but that of another new session.
    assert_eq!((distinct(&values), world.external.minted()), (6, 6));
}

/// Who asks for what: user, agent, narrowing, definition.
type Ask = (bool, bool, u8, bool);

fn ask_of((bob, bot, team, changed): Ask) -> impl Fn(&World) -> Option<String> {
    move |world| {
        world.rules(|rules| {
            narrowable(rules);
            if changed {
                rows(rules).settings.insert("statements".into(), "less".into());
            }
        });
        let user = format!("{}{}", if bob { "bob" } else { "alice" }, if bot { "+bot" } else { "" });
        let details = format!(r#"[{{"type":"aws","team":"{team}"}}]"#);
        let ask = [
            &ROWS[..],
            &[("subject_token", &user), ("authorization_details", &details)],
        ]
        .concat();
        let issued = world.exchange(&ask).now_or_never().expect("nothing here waits");
        issued.ok().map(|issued| issued.value.digest().to_string())
    }
}

proptest! {
    /// Two exchanges are served the same credential if and only if everything that it depends on is the same.
    #[test]
    fn a_credential_belongs_to_one_effective_grant_of_one_user_and_agent(
        asks in prop::collection::vec((any::<bool>(), any::<bool>(), 0..3_u8, any::<bool>()), 1..12)
    ) {
        let world = world();
        for (user, sub) in [("alice", "alice"), ("bob", "bob")] {
            let mut plain = token(&world.clock);
            plain.sub = sub.into();
            world.knows(user, plain.clone());
            plain.act = vec![link("triage")];
            world.knows(&format!("{user}+bot"), plain);
        }
        let mut served = HashMap::new();
        for ask in asks {
            let value = ask_of(ask)(&world).expect("issued");
            prop_assert_eq!(served.entry(ask).or_insert_with(|| value.clone()), &value);
        }
        let distinct: HashSet<_> = served.values().collect();
        prop_assert_eq!(distinct.len(), served.len());
    }
}

fn narrowable(rules: &mut Rules) {
    reused(rules);
    let ty = ParamType::String(None);
    rows(rules)
        .params
        .insert("team".into(), ParamSpec { ty, required: false });
}

#[tokio::test]
async fn a_changed_definition_never_serves_the_older_credential() {
    let world = world();
    let first = world.exchange(&ROWS).await.expect("issued");
    let settings: [fn(&mut Rules); 4] = [
        |rules| drop(db(rules).settings.insert("region".into(), "eu".into())),
        |rules| db(rules).source = Some("vault:kv/other".into()),
        |rules| drop(rows(rules).settings.insert("statements".into(), "less".into())),
        |_| {},
    ];
    let mut seen = vec![first.value.digest()];
    for change in settings {
        world.rules(|rules| {
            reused(rules);
            change(rules);
        });
        let next = world.exchange(&ROWS).await.expect("issued").value.digest();
        seen.push(next);
    }
    assert_eq!(
        seen.pop(),
        Some(first.value.digest()),
        "the definition is the first again"
    );
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 4);
}

fn db(rules: &mut Rules) -> &mut procura_core::catalogue::Target {
    rules.catalogue.targets.get_mut(&name("db")).expect("db")
}

fn rows(rules: &mut Rules) -> &mut procura_core::catalogue::Grant {
    db(rules).grants.get_mut(&name("rows")).expect("rows")
}

#[tokio::test]
async fn each_tool_has_its_own_credential_and_one_per_call_is_never_served_again() {
    let world = world();
    let tools = |rules: &mut Rules| {
        reused(rules);
        let server = rules.catalogue.servers.get_mut(&name("tickets")).expect("tickets");
        for tool in ["one", "two"] {
            server.tools.insert(tool.into(), server.grants.clone());
        }
    };
    world.rules(tools);
    let by = async |tool: &str| {
        let ask = [&ROWS[..], &[("tool", tool)]].concat();
        world.exchange(&ask).await.expect("issued").value
    };
    assert!(by("one").await == by("one").await && by("one").await != by("two").await);
    world.rules(|rules| {
        tools(rules);
        rows(rules).per_call = true;
    });
    assert_ne!(by("one").await, by("one").await);
}

#[tokio::test]
async fn whoever_asks_for_one_that_was_served_again_learns_what_became_of_the_one_credential() {
    let world = world();
    world.exchange(&ROWS).await.expect("issued");
    let second = world.exchange(&ROWS).await.expect("issued").issuance;
    let status = async || {
        let clue = Clue::Issuance(second, None);
        whois(&world.ports, &operator(&world), clue)
            .await
            .expect("found")
            .status
    };
    assert_eq!(status().await, Status::Live);
    let form = format!("token={second}&token_type_hint=issuance");
    assert_eq!(revoke(&world, "tickets", &form).await, Some(RevocationStatus::Done));
    assert_eq!(status().await, Status::Ended);
}

#[tokio::test]
async fn parameters_that_the_kind_cannot_narrow_by_are_refused_before_anything_is_asked() {
    let world = world();
    world.rules(narrowable);
    let ask = [
        &ROWS[..],
        &[("authorization_details", r#"[{"type":"aws","team":"*"}]"#)],
    ]
    .concat();
    assert_eq!(world.refusal(&ask).await, "policy.rar");
    assert_eq!(world.external.minted(), 0);
}

#[tokio::test]
async fn one_that_is_half_over_or_would_end_too_late_is_not_served_again() {
    let world = world();
    let first = world.exchange(&ROWS).await.expect("issued");
    world.clock.advance(Duration::from_secs(300));
    assert_eq!(world.exchange(&ROWS).await.expect("issued").value, first.value);
    let short = [&ROWS[..], &[("requested_expires_in", "200")]].concat();
    let shorter = world.exchange(&short).await.expect("issued");
    assert_ne!(shorter.value, first.value, "it would outlive what was asked");
    world.clock.advance(Duration::from_secs(1));
    // The shorter one has less than half of what is planned now.
    let fresh = world.exchange(&ROWS).await.expect("issued");
    assert!(fresh.value != first.value && fresh.value != shorter.value);
}

#[tokio::test]
async fn what_was_undone_is_not_served_again_and_undoing_one_undoes_all_that_share_it() {
    let world = world();
    let first = world.exchange(&ROWS).await.expect("issued");
    let second = world.exchange(&ROWS).await.expect("issued");
    let form = format!("token={}&token_type_hint=issuance", second.issuance);
    assert_eq!(revoke(&world, "tickets", &form).await, Some(RevocationStatus::Done));
    assert_eq!(world.external.alive(), 0);
    let third = world.exchange(&ROWS).await.expect("issued");
    assert_ne!(third.value, first.value);
    let fourth = world.exchange(&ROWS).await.expect("issued");
    assert_eq!(fourth.value, third.value);
    let report = end_of(&world, third.session).await;
    let ids: Vec<_> = report.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [fourth.issuance, third.issuance]);
    assert!(report.iter().all(|(_, status)| *status == RevocationStatus::Done));
    assert_eq!(world.external.alive(), 0);
}

#[tokio::test]
async fn what_nothing_takes_back_is_reported_with_its_end_and_goes_by_itself() {
    let world = world();
    world.external.never.store(true, Ordering::SeqCst);
    let issued = world.exchange(&ROWS).await.expect("issued");
    let report = end_of(&world, issued.session).await;
    assert_eq!(report, [(issued.issuance, RevocationStatus::Until)]);
    let form = format!("token={}&token_type_hint=issuance", issued.issuance);
    assert_eq!(
        revoke(&world, "tickets", &form).await,
        Some(RevocationStatus::Until),
        "told again"
    );
    sweep(&world, Duration::from_secs(5)).await;
    let lease = async || {
        world
            .ledger
            .lease(issued.issuance)
            .await
            .expect("store")
            .expect("lease")
    };
    let before = lease().await;
    assert_eq!(
        (before.state, before.next_attempt),
        (LeaseState::Undoing, before.kept.lapses.map(|lapses| lapses + LAPSED))
    );
    world.clock.advance(Duration::from_secs(600));
    sweep(&world, Duration::from_secs(1)).await;
    assert_eq!(lease().await.state, LeaseState::Undoing, "clocks differ");
    world.clock.advance(LAPSED);
    sweep(&world, Duration::from_secs(1)).await;
    assert_eq!(lease().await.state, LeaseState::Gone);
}

#[tokio::test]
async fn an_interrupted_mint_that_nothing_takes_back_goes_by_itself() {
    let world = world();
    world.external.never.store(true, Ordering::SeqCst);
    *world.external.mint.lock().expect("lock") = crate::fakes::Mint::IsLost;
    let refused = world.exchange(&ROWS).await.expect_err("lost");
    assert_eq!(refused.reason, Reason::MintUncertain);
    let id = refused.issuance.expect("recorded");
    let state = async || world.ledger.lease(id).await.expect("store").expect("lease").state;
    sweep(&world, Duration::from_secs(60)).await;
    assert_eq!(state().await, LeaseState::Undoing);
    world.clock.advance(Duration::from_secs(3600) + LAPSED);
    sweep(&world, Duration::from_secs(1)).await;
    assert_eq!(state().await, LeaseState::Gone);
}

#[tokio::test]
async fn a_receipt_is_sealed_in_the_store_and_comes_back_to_who_undoes() {
    let world = World::new();
    *world.external.receipts.lock().expect("lock") = Some([].into());
    let issued = world.exchange(&ROWS).await.expect("issued");
    let lease = world
        .ledger
        .lease(issued.issuance)
        .await
        .expect("store")
        .expect("lease");
    let sealed = lease.kept.sealed.expect("kept");
    assert!(!String::from_utf8_lossy(&sealed).contains("receipt of"));
    assert_eq!(end_of(&world, issued.session).await.len(), 1);
    let seen = world.external.receipts.lock().expect("lock").clone().expect("receipts");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [lease.handle]);
}
