//! Who vouches: issuers that are asked about tokens which are no JWTs, and for each link of a chain.

use std::time::Duration;

use procura_core::{
    catalogue::{Catalogue, Issuer},
    identity::{Link, VerifiedToken},
    judgement::Effect,
    ledger::Ledger,
    trust::{Introspection, IntrospectionMode},
};
use serde_json::{Value, json};

use crate::{
    demands::{corp, tickets, under},
    identity::{link, with},
    world::{BROKER, World, name, token},
};

fn introspects(catalogue: &mut Catalogue, alias: &str) {
    let issuer = Issuer {
        issuer: format!("https://{alias}.example"),
        ..corp(catalogue).clone()
    };
    let issuer = catalogue.issuers.entry(name(alias)).or_insert(issuer);
    issuer.trust.introspection = Some(Introspection {
        client_id: "procura".into(),
        secret: "own:secret".into(),
        endpoint: None,
        mode: IntrospectionMode::Opaque,
    });
}

#[tokio::test]
async fn attack_43_a_token_that_is_no_jwt_is_shown_to_one_issuer_at_most() {
    let opaque = [("subject_token", "opaque")];
    let known = |world: &World| {
        let mut alice = token(&world.clock);
        alice.vouched.introspected = true;
        world.knows("corp asked about opaque", alice);
    };
    let world = World::new();
    known(&world);
    assert_eq!(world.refusal(&opaque).await, "jwt.format", "nobody is asked");

    let world = under(|catalogue| introspects(catalogue, "corp"));
    known(&world);
    let issued = world.exchange(&opaque).await.expect("issued");
    assert_eq!(world.leaf(issued.issuance).await["introspected"], true);

    let two = |catalogue: &mut Catalogue| {
        introspects(catalogue, "corp");
        introspects(catalogue, "other");
    };
    let world = under(two);
    known(&world);
    assert_eq!(world.refusal(&opaque).await, "jwt.format", "which of two nobody knows");
    for (from, expected) in [("corp", "issued"), ("other", "introspect.inactive")] {
        let world = under(|catalogue| {
            two(catalogue);
            tickets(catalogue).subjects.opaque_tokens_from = Some(name(from));
        });
        known(&world);
        let answer = world.exchange(&opaque).await;
        let answer = answer.map_or_else(|refused| refused.reason.code(), |_| "issued");
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn what_an_issuer_says_of_a_token_is_held_to_the_same_rules() {
    let world = under(|catalogue| introspects(catalogue, "corp"));
    let said = |tweak: fn(&mut VerifiedToken)| {
        let mut alice = token(&world.clock);
        tweak(&mut alice);
        world.knows("corp asked about opaque", alice);
    };
    let opaque = [("subject_token", "opaque")];
    said(|token| token.audience = vec!["https://wiki.example/mcp".into()]);
    assert_eq!(world.refusal(&opaque).await, "jwt.audience");
    said(|token| token.expires -= Duration::from_secs(3600));
    assert_eq!(world.refusal(&opaque).await, "jwt.expired");
    said(|token| token.sub = "triage-bot".into());
    assert_eq!(world.refusal(&opaque).await, "name.refused");
}

/// The chain of a record with who asserted each link of it.
async fn chain(world: &World, tweak: &[(&str, &str)]) -> Vec<(String, Value)> {
    let issued = world.exchange(tweak).await.expect("issued");
    let stored = world.ledger.record(issued.issuance).await;
    let (_, clear) = stored.expect("store").expect("recorded").side.expect("kept");
    let clear: Value = serde_json::from_str(clear.get()).expect("JSON");
    let list = |member: &str| clear[member].as_array().cloned().unwrap_or_default();
    let (links, asserted) = (list("chain"), list("chain_asserted"));
    assert_eq!(links.len(), asserted.len());
    let sub = |link: Value| link["sub"].as_str().unwrap_or_default().to_owned();
    links.into_iter().map(sub).zip(asserted).collect()
}

#[tokio::test]
async fn req_028_the_record_says_who_asserted_each_link_of_the_chain() {
    const IDP: &str = "https://id.example";
    let world = World::new();
    world.rules(|rules| rules.act_for = Effect::Permit);
    let by = |by: &str, iss: &str| json!({"by": by, "iss": iss});
    assert_eq!(chain(&world, &[]).await, [("tickets".to_owned(), by("server", BROKER))]);

    let partner = Link {
        iss: Some("https://partner.example".into()),
        ..link("first")
    };
    let mut alice = token(&world.clock);
    alice.act = vec![link("other"), partner];
    world.knows("alice", alice);
    let nested = [
        ("other".to_owned(), by("act", IDP)),
        ("first".to_owned(), by("act", IDP)),
    ];
    assert_eq!(chain(&world, &[]).await, nested);

    let mut bot = token(&world.clock);
    (bot.sub, bot.iss) = ("triage".into(), "https://agents.example".into());
    world.knows("bot", bot);
    let [other, first] = nested;
    let outermost = ("triage".to_owned(), by("actor_token", "https://agents.example"));
    assert_eq!(
        chain(&world, &[("actor_token", "bot")]).await,
        [outermost, other, first]
    );
}

#[tokio::test]
async fn a_suspended_agent_that_is_nested_in_a_chain_decides_nothing() {
    let world = World::new();
    let nested = |token: &mut VerifiedToken| token.act = vec![link("other"), link("triage")];
    assert_eq!(with(&world, nested).await, "issued");
    world.rules(|rules| {
        let bot = rules.catalogue.agents.get_mut("triage-bot").expect("declared");
        bot.suspended = true;
    });
    let withdrawn = procura_core::withdraw::withdraw(&world.ports, None).await;
    withdrawn.expect("looked at");
    let sessions = world.ledger.sessions(Default::default(), None, 10).await;
    assert!(sessions.expect("store").iter().all(|session| session.ended.is_none()));
    assert_eq!(with(&world, nested).await, "issued");
    let outermost = |token: &mut VerifiedToken| token.act = vec![link("triage"), link("other")];
    assert_eq!(with(&world, outermost).await, "actor.suspended");
}
