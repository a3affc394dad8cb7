//! Who acts: actor token, act, azp, the server; may_act and chains.

use procura_core::{
    identity::{Link, VerifiedToken},
    judgement::Effect,
};

use crate::{
    identity::{link, with},
    world::{BROKER, World, token},
};

#[tokio::test]
async fn req_031_an_actor_token_needs_may_act_or_a_rule() {
    let world = World::new();
    world.knows(
        "bot",
        VerifiedToken {
            sub: "triage".into(),
            ..token(&world.clock)
        },
    );
    let actor = [("actor_token", "bot")];
    assert_eq!(world.refusal(&actor).await, "actor.not_permitted");
    world.rules(|rules| rules.act_for = Effect::Permit);
    let issued = world.exchange(&actor).await.expect("a rule permits");
    assert_eq!(world.leaf(issued.issuance).await["actor_asserted_by"], "actor_token");

    let world = World::new();
    world.knows(
        "bot",
        VerifiedToken {
            sub: "triage".into(),
            ..token(&world.clock)
        },
    );
    world.knows(
        "alice",
        VerifiedToken {
            may_act: Some(link("triage")),
            ..token(&world.clock)
        },
    );
    assert!(world.exchange(&actor).await.is_ok(), "may_act names it");
    world.knows(
        "alice",
        VerifiedToken {
            may_act: Some(link("other")),
            ..token(&world.clock)
        },
    );
    assert_eq!(world.refusal(&actor).await, "actor.may_act");
    assert_eq!(
        world.refusal(&[]).await,
        "actor.may_act",
        "the server is not named either"
    );
    world.knows(
        "alice",
        VerifiedToken {
            may_act: Some(link("tickets")),
            ..token(&world.clock)
        },
    );
    assert!(world.exchange(&[]).await.is_ok(), "the server is named");
}

#[tokio::test]
async fn may_act_of_another_issuer_does_not_match() {
    let world = World::new();
    world.rules(|rules| rules.act_for = Effect::Permit);
    world.knows(
        "bot",
        VerifiedToken {
            sub: "triage".into(),
            ..token(&world.clock)
        },
    );
    let may_act = Link {
        iss: Some("https://evil.example".into()),
        ..link("triage")
    };
    world.knows(
        "alice",
        VerifiedToken {
            may_act: Some(may_act),
            ..token(&world.clock)
        },
    );
    assert_eq!(world.refusal(&[("actor_token", "bot")]).await, "actor.may_act");
}

#[tokio::test]
async fn an_actor_token_is_for_the_broker_or_the_server_and_not_the_subject_again() {
    let world = World::new();
    world.rules(|rules| rules.act_for = Effect::Permit);
    let bot = || VerifiedToken {
        sub: "triage".into(),
        ..token(&world.clock)
    };
    let actor = [("actor_token", "bot")];
    world.knows(
        "bot",
        VerifiedToken {
            audience: vec![BROKER.into()],
            ..bot()
        },
    );
    assert!(world.exchange(&actor).await.is_ok());
    world.knows(
        "bot",
        VerifiedToken {
            audience: vec!["https://wiki.example/mcp".into()],
            ..bot()
        },
    );
    assert_eq!(world.refusal(&actor).await, "actor.audience");
    assert_eq!(world.refusal(&[("actor_token", "alice")]).await, "actor.self");
}

#[tokio::test]
async fn req_028_the_new_actor_stands_outermost_and_chains_are_bounded() {
    let world = World::new();
    world.rules(|rules| rules.act_for = Effect::Permit);
    world.knows(
        "bot",
        VerifiedToken {
            sub: "triage".into(),
            ..token(&world.clock)
        },
    );
    let chain = |count: usize| (0..count).map(|link_| link(&format!("a{link_}"))).collect::<Vec<_>>();
    world.knows(
        "alice",
        VerifiedToken {
            act: chain(7),
            ..token(&world.clock)
        },
    );
    assert!(world.exchange(&[("actor_token", "bot")]).await.is_ok());
    world.knows(
        "alice",
        VerifiedToken {
            act: chain(8),
            ..token(&world.clock)
        },
    );
    assert_eq!(world.refusal(&[("actor_token", "bot")]).await, "actor.chain");
}

#[tokio::test]
async fn the_actor_is_found_in_act_then_azp_then_the_server() {
    let world = World::new();
    let asserted = async |tweak: &dyn Fn(&mut VerifiedToken)| {
        let mut alice = token(&world.clock);
        tweak(&mut alice);
        world.knows("alice", alice);
        let issued = world.exchange(&[]).await.expect("issued");
        world.leaf(issued.issuance).await["actor_asserted_by"]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(asserted(&|_| ()).await.as_deref(), Some("server"));
    assert_eq!(
        asserted(&|token| token.act = vec![link("triage")]).await.as_deref(),
        Some("act")
    );
    world.rules(|rules| {
        rules
            .catalogue
            .issuers
            .get_mut("corp")
            .expect("declared")
            .actor_from_azp = true
    });
    assert_eq!(
        asserted(&|token| token.client = Some("triage".into())).await.as_deref(),
        Some("azp")
    );
    assert_eq!(
        asserted(&|token| token.act = vec![link("triage")]).await.as_deref(),
        Some("act")
    );
    assert_eq!(
        with(&world, |token| token.client = Some("stranger".into())).await,
        "actor.unknown"
    );
}
