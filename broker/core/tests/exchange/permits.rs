//! Target, grant, parameters, lifetime, session.

use std::time::Duration;

use procura_core::{
    judgement::Effect,
    ledger::{Filter, Ledger, Outcome, Page},
};

use crate::world::{World, name};

#[tokio::test]
async fn issues_and_records_who_what_and_why() {
    let world = World::new();
    let issued = world
        .exchange(&[("tool", "list"), ("tool_call_id", "17")])
        .await
        .expect("issued");
    assert_eq!(issued.expires_in, 600);
    let leaf = world.leaf(issued.issuance).await;
    for (member, value) in [
        ("outcome", "issued"),
        ("server", "tickets"),
        ("tool", "list"),
        ("tool_call", "17"),
        ("target", "api"),
        ("actor_asserted_by", "server"),
        ("value_sha256", &issued.value.digest().to_string()),
        ("session", &issued.session.to_string()),
    ] {
        assert_eq!(leaf[member], value, "{member}");
    }
    assert_eq!(leaf["rules"], serde_json::json!(["the-rule"]));
    assert_eq!(leaf["granted"], serde_json::json!({"ttl": 600, "scope": ["read"]}));
}

#[tokio::test]
async fn denies_when_no_rule_permits_and_when_a_rule_errors() {
    let world = World::new();
    world.rules(|rules| rules.effect = Effect::Deny);
    assert_eq!(world.refusal(&[]).await, "policy.denied");
    world.rules(|rules| rules.effect = Effect::Error);
    assert_eq!(world.refusal(&[]).await, "policy.error");
    assert_eq!(world.local.minted(), 0);
}

#[tokio::test]
async fn unknown_unlisted_and_denied_grants_look_the_same() {
    let world = World::new();
    let unknown = world
        .exchange(&[("scope", "nothing")])
        .await
        .expect_err("refused")
        .reason;
    let unlisted = world
        .exchange(&[("scope", "unlisted")])
        .await
        .expect_err("refused")
        .reason;
    world.rules(|rules| rules.effect = Effect::Deny);
    let denied = world.exchange(&[]).await.expect_err("refused").reason;
    assert_eq!(
        (unknown.code(), unlisted.code(), denied.code()),
        ("grant.unknown", "grant.unlisted", "policy.denied")
    );
    assert!(
        [unknown, unlisted, denied]
            .iter()
            .all(|reason| reason.on_the_wire() == unknown.on_the_wire())
    );
}

#[tokio::test]
async fn req_021_one_exchange_serves_one_target() {
    let world = World::new();
    assert!(world.exchange(&[("resource", "HTTPS://api.example/v1")]).await.is_ok());
    assert_eq!(world.refusal(&[("audience", "nowhere")]).await, "target.not_available");
    assert_eq!(
        world
            .refusal(&[("audience", "db"), ("resource", "https://api.example/v1")])
            .await,
        "policy.target"
    );
    world.rules(|rules| {
        let server = rules.catalogue.servers.get_mut("tickets").expect("declared");
        server.grants.clear();
        server.tools.clear();
    });
    assert_eq!(world.refusal(&[]).await, "target.not_available");
}

#[tokio::test]
async fn a_tool_must_be_declared_and_reach_the_grant() {
    let world = World::new();
    assert_eq!(world.refusal(&[("tool", "List")]).await, "tool.not_declared");
    assert_eq!(
        world.refusal(&[("tool", "list"), ("scope", "write")]).await,
        "grant.unlisted"
    );
}

#[tokio::test]
async fn grants_merge_only_where_the_kind_can_and_their_parameters_are_the_same() {
    let world = World::new();
    let issued = world.exchange(&[("scope", "read write")]).await.expect("issued");
    assert_eq!(issued.scope, [name("read"), name("write")]);
    assert_eq!(world.refusal(&[("scope", "read team")]).await, "grant.not_mergeable");
}

#[tokio::test]
async fn req_098_parameters_must_fit_the_grant() {
    let world = World::new();
    let team = |details: &'static str| [("scope", "team"), ("authorization_details", details)];
    assert!(world.exchange(&team(r#"[{"type":"jwt","team":["a"]}]"#)).await.is_ok());
    for details in [
        "[]",
        r#"[{"type":"jwt"}]"#,
        r#"[{"type":"postgres","team":["a"]}]"#,
        r#"[{"type":"jwt","team":[]}]"#,
        r#"[{"type":"jwt","team":["a"],"more":1}]"#,
    ] {
        assert_eq!(world.refusal(&team(details)).await, "policy.rar", "{details}");
    }
}

#[tokio::test]
async fn req_022_another_token_type_is_refused_and_not_replaced() {
    let world = World::new();
    let jwt = [("requested_token_type", "urn:ietf:params:oauth:token-type:jwt")];
    assert_eq!(world.refusal(&jwt).await, "token_type.mismatch");
}

#[tokio::test]
async fn req_034_the_lifetime_is_the_earliest_of_all_caps() {
    let world = World::new();
    let ttl = async |tweak: &[(&str, &str)]| world.exchange(tweak).await.map(|issued| issued.expires_in);
    assert_eq!(ttl(&[("requested_expires_in", "60")]).await.expect("issued"), 60);
    assert_eq!(ttl(&[("requested_expires_in", "999999")]).await.expect("clamped"), 600);
    world.clock.advance(Duration::from_secs(3500));
    assert_eq!(ttl(&[]).await.expect("cut by the subject token"), 100);
    world.clock.advance(Duration::from_secs(95));
    assert_eq!(world.refusal(&[]).await, "ttl.below_minimum");
    world.rules(|rules| {
        let target = rules.catalogue.targets.get_mut("api").expect("declared");
        target.grants.get_mut("read").expect("declared").outlives_subject = true;
    });
    assert_eq!(ttl(&[]).await.expect("outlives the subject token"), 600);
}

#[tokio::test]
async fn exchanges_of_one_run_share_a_session_and_new_opens_another() {
    let world = World::new();
    let first = world.exchange(&[]).await.expect("issued").session;
    assert_eq!(
        world.exchange(&[("scope", "write")]).await.expect("issued").session,
        first
    );
    let new = world.exchange(&[("session", "new")]).await.expect("issued").session;
    assert_ne!(new, first);
    assert_eq!(
        world
            .exchange(&[])
            .await
            .expect("joins the one that was not pinned")
            .session,
        first
    );
    let pinned = new.to_string();
    assert_eq!(
        world.exchange(&[("session", &pinned)]).await.expect("issued").session,
        new
    );
}

#[tokio::test]
async fn a_session_that_is_unknown_ended_or_anothers_reads_the_same() {
    let world = World::new();
    let session = world.exchange(&[]).await.expect("issued").session.to_string();
    world.knows(
        "bob",
        procura_core::identity::VerifiedToken {
            sub: "bob".into(),
            ..crate::world::token(&world.clock)
        },
    );
    for tweak in [
        [("session", "nonsense"), ("scope", "read")],
        [("session", "01890a5d-ac96-774b-bcce-b302099a8057"), ("scope", "read")],
        [("session", &session), ("subject_token", "bob")],
    ] {
        assert_eq!(world.refusal(&tweak).await, "session.unknown");
    }
}

#[tokio::test]
async fn nothing_is_opened_for_what_is_refused() {
    let world = World::new();
    world.rules(|rules| rules.effect = Effect::Deny);
    world.refusal(&[]).await;
    let sessions = world
        .ledger
        .sessions(Default::default(), None, 10)
        .await
        .expect("store");
    assert_eq!(sessions, []);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_issued() {
    let world = World::new();
    world.exchange(&[]).await.expect("issued");
    world.ledger.fail(true);
    let refused = world
        .exchange(&[("audience", "db"), ("scope", "rows")])
        .await
        .expect_err("no log, no credential");
    assert_eq!((refused.reason.code(), refused.issuance), ("audit.unavailable", None));
    world.ledger.fail(false);
    let filter = Filter {
        outcome: Some(Outcome::Issued),
        ..Filter::default()
    };
    let issued = world
        .ledger
        .records(
            filter,
            Page {
                before: None,
                limit: 10,
            },
        )
        .await
        .expect("store");
    assert_eq!((issued.len(), world.external.alive()), (1, 0));
}

#[tokio::test]
async fn a_clock_behind_the_log_issues_nothing() {
    let world = World::new();
    world
        .ledger
        .set_durable_time(procura_core::ports::Clock::now(&*world.clock) + Duration::from_secs(6));
    assert_eq!(
        world.exchange(&[]).await.expect_err("refused").reason.code(),
        "clock.step"
    );
}
