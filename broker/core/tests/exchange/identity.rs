//! Subject, actor, may_act, suspension, marks.

use std::time::Duration;

use procura_core::{
    identity::{Link, VerifiedToken},
    judgement::Effect,
};
use procura_wire::Reason;

use crate::world::{BROKER, RESOURCE, World, name, token};

fn link(sub: &str) -> Link {
    Link {
        sub: sub.into(),
        iss: None,
        client_id: None,
    }
}

/// An exchange of alice's token after a tweak to it.
async fn with(world: &World, tweak: impl FnOnce(&mut VerifiedToken)) -> &'static str {
    let mut alice = token(&world.clock);
    tweak(&mut alice);
    world.knows("alice", alice);
    match world.exchange(&[]).await {
        Ok(_) => "issued",
        Err(refused) => {
            world.check_logged(&refused).await;
            refused.reason.code()
        }
    }
}

#[tokio::test]
async fn before_authentication_nothing_is_recorded() {
    let world = World::new();
    let incoming = procura_core::request::Incoming {
        credentials: procura_core::identity::ClientCredentials::None,
        body: Err(procura_wire::FormFault {
            reason: Reason::ParamMalformed,
            param: None,
        }),
        trace_id: String::new(),
        address: None,
    };
    let refused = procura_core::exchange::exchange(&world.ports, incoming)
        .await
        .expect_err("refused");
    assert_eq!(
        (refused.reason, refused.issuance),
        (Reason::ClientUnauthenticated, None)
    );
}

#[tokio::test]
async fn req_115_the_subject_token_must_be_for_the_server_that_presents_it() {
    let world = World::new();
    let aud = async |audiences: &[&str]| {
        let audience = audiences.iter().map(|aud| (*aud).to_owned()).collect();
        with(&world, |token| token.audience = audience).await
    };
    assert_eq!(aud(&["HTTPS://tickets.EXAMPLE/mcp"]).await, "issued");
    assert_eq!(aud(&[RESOURCE, "account"]).await, "issued");
    assert_eq!(aud(&["https://wiki.example/mcp"]).await, "jwt.audience");
    assert_eq!(aud(&[BROKER]).await, "jwt.audience");
    assert_eq!(aud(&["account"]).await, "jwt.audience");
    assert_eq!(aud(&[RESOURCE, "https://wiki.example/mcp"]).await, "jwt.aud_multi");
}

#[tokio::test]
async fn times_are_looked_at_on_each_use() {
    let world = World::new();
    let now = procura_core::ports::Clock::now(&*world.clock);
    let ahead = now + Duration::from_secs(31);
    assert_eq!(with(&world, |token| token.expires = now).await, "jwt.expired");
    assert_eq!(
        with(&world, |token| token.not_before = Some(ahead)).await,
        "jwt.not_yet"
    );
    assert_eq!(with(&world, |token| token.issued_at = Some(ahead)).await, "jwt.not_yet");
    assert_eq!(
        with(&world, |token| token.expires = now + Duration::from_secs(25 * 3600)).await,
        "jwt.lifetime"
    );
    assert_eq!(with(&world, |_| ()).await, "issued");
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(world.refusal(&[]).await, "jwt.expired");
}

#[tokio::test]
async fn only_listed_clients_may_present_tokens_where_the_issuer_lists_them() {
    let world = World::new();
    world.rules(|rules| {
        let issuer = rules.catalogue.issuers.get_mut("corp").expect("declared");
        issuer.clients = Some(["desktop".to_owned()].into());
    });
    assert_eq!(
        with(&world, |token| token.client = Some("desktop".into())).await,
        "issued"
    );
    assert_eq!(with(&world, |_| ()).await, "subject.client_mismatch");
    assert_eq!(
        with(&world, |token| token.client = None).await,
        "subject.client_mismatch"
    );
}

#[tokio::test]
async fn a_user_whose_sub_is_an_agents_name_is_refused() {
    let world = World::new();
    assert_eq!(
        with(&world, |token| token.sub = "triage-bot".into()).await,
        "name.refused"
    );
    assert_eq!(with(&world, |token| token.sub = "triage".into()).await, "issued");
}

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

#[tokio::test]
async fn suspension_holds_for_subject_actor_and_server() {
    let world = World::new();
    let suspend = |agent: &str| {
        let agent = agent.to_owned();
        world.rules(move |rules| {
            rules
                .catalogue
                .agents
                .get_mut(agent.as_str())
                .expect("declared")
                .suspended = true
        });
    };
    suspend("triage-bot");
    assert_eq!(
        with(&world, |token| token.sub = "triage".into()).await,
        "subject.suspended"
    );
    assert_eq!(
        with(&world, |token| token.act = vec![link("triage")]).await,
        "actor.suspended"
    );
    assert_eq!(with(&world, |token| token.act = vec![link("other")]).await, "issued");
    world.rules(|rules| rules.catalogue.servers.get_mut("tickets").expect("declared").suspended = true);
    assert_eq!(with(&world, |_| ()).await, "client.suspended");
}

#[tokio::test]
async fn an_operators_end_of_a_session_refuses_its_tokens_and_not_newer_ones() {
    let world = World::new();
    let session = world.exchange(&[]).await.expect("issued").session;
    let operator = procura_core::operator::Operator {
        subject: procura_core::identity::Subject {
            principal: procura_core::identity::Principal::User(procura_wire::QualifiedId::new(name("corp"), "op")),
            token: token(&world.clock),
        },
    };
    let report = procura_core::operator::end_session(&world.ports, &operator, session, String::new()).await;
    let report = report.expect("permitted").expect("was live");
    assert_eq!(report.credentials.len(), 1);
    assert_eq!(world.refusal(&[]).await, "subject.revoked");
    assert_eq!(world.refusal(&[("session", "new")]).await, "subject.revoked");
    let now = procura_core::ports::Clock::now(&*world.clock);
    assert_eq!(
        with(&world, |token| token.issued_at = Some(now)).await,
        "subject.revoked",
        "the same second"
    );
    assert_eq!(with(&world, |token| token.issued_at = None).await, "subject.revoked");
    world.clock.advance(Duration::from_secs(1));
    let now = procura_core::ports::Clock::now(&*world.clock);
    assert_eq!(with(&world, |token| token.issued_at = Some(now)).await, "issued");
}
