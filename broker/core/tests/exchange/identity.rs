//! Subject, actor, may_act, suspension, marks.

use std::time::Duration;

use procura_core::{
    identity::{Link, VerifiedToken},
    ledger::{EndedBy, Ledger},
};
use procura_wire::Reason;

use crate::world::{BROKER, RESOURCE, World, name, token};

pub(crate) fn link(sub: &str) -> Link {
    Link {
        sub: sub.into(),
        iss: None,
        client_id: None,
    }
}

pub(crate) fn bearer(token: &procura_core::identity::PresentedToken) -> procura_core::possession::Presented<'_> {
    procura_core::possession::Presented {
        token,
        dpop: false,
        proof: None,
        certificates: None,
    }
}

/// An exchange of alice's token after a tweak to it.
pub(crate) async fn with(world: &World, tweak: impl FnOnce(&mut VerifiedToken)) -> &'static str {
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
        certificates: None,
        proof: None,
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
async fn nobody_acts_for_oneself() {
    let world = World::new();
    assert_eq!(
        with(&world, |token| token.act = vec![link("alice")]).await,
        "actor.self"
    );
    let other = Link {
        iss: Some("https://elsewhere.example".into()),
        ..link("alice")
    };
    assert_eq!(with(&world, |token| token.act = vec![other]).await, "actor.chain");
}

#[tokio::test]
async fn an_operators_token_with_an_actor_is_refused() {
    let world = World::new();
    let presented = procura_core::identity::PresentedToken {
        value: procura_wire::Secret::new("operator".into()),
        declared: procura_wire::TokenType::AccessToken,
    };
    for (act, admitted) in [(vec![], true), (vec![link("triage")], false)] {
        let operator = VerifiedToken {
            audience: vec![format!("{BROKER}/v1")],
            act,
            ..token(&world.clock)
        };
        world.knows("operator", operator);
        let operator = procura_core::operator::authenticate(&world.ports, bearer(&presented)).await;
        assert_eq!(operator.is_ok(), admitted);
    }
}

#[tokio::test]
async fn sessions_of_who_was_suspended_are_ended_by_policy() {
    let world = World::new();
    assert_eq!(with(&world, |_| ()).await, "issued");
    assert_eq!(with(&world, |token| token.sub = "triage".into()).await, "issued");
    assert_eq!(with(&world, |token| token.act = vec![link("triage")]).await, "issued");
    let ended = async || {
        procura_core::withdraw::withdraw(&world.ports, None)
            .await
            .expect("ended");
        let sessions = world.ledger.sessions(Default::default(), None, 10).await;
        let by = sessions
            .expect("store")
            .into_iter()
            .map(|session| session.ended.map(|(_, by)| by));
        by.filter(|by| *by == Some(EndedBy::Policy)).count()
    };
    assert_eq!(ended().await, 0);
    world.rules(|rules| drop(rules.catalogue.servers.remove("tickets")));
    assert_eq!(ended().await, 0, "another replica may know it");
    world.rules(|rules| {
        let bot = rules.catalogue.agents.get_mut("triage-bot").expect("declared");
        bot.suspended = true;
    });
    assert_eq!(ended().await, 2, "as subject and as actor");
    world.rules(|rules| rules.catalogue.servers.get_mut("tickets").expect("declared").suspended = true);
    assert_eq!(ended().await, 3);
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
    let operator = crate::whois::operator(&world);
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

#[tokio::test]
async fn operators_are_held_to_their_issuers_clients_and_to_suspension() {
    let world = World::new();
    let mut bot = token(&world.clock);
    bot.sub = "triage".into();
    bot.audience = vec![format!("{BROKER}/v1")];
    world.knows("bot", bot);
    let presented = procura_core::identity::PresentedToken {
        value: procura_wire::Secret::new("bot".into()),
        declared: procura_wire::TokenType::AccessToken,
    };
    let authenticate = async || {
        let operator = procura_core::operator::authenticate(&world.ports, bearer(&presented)).await;
        operator.map(|_| "operator").unwrap_or_else(|reason| reason.code())
    };
    assert_eq!(authenticate().await, "operator");
    for (client, expected) in [("agent", "operator"), ("another", "v1.unauthenticated")] {
        world.rules(|rules| {
            let issuer = rules.catalogue.issuers.get_mut(&name("corp")).expect("declared");
            issuer.clients = Some([client.to_owned()].into());
        });
        assert_eq!(authenticate().await, expected, "{client}");
    }
    world.rules(|rules| {
        let bot = rules.catalogue.agents.get_mut(&name("triage-bot")).expect("declared");
        bot.suspended = true;
    });
    assert_eq!(authenticate().await, "v1.unauthenticated");
}

#[tokio::test]
async fn a_refusal_whose_details_are_too_long_for_a_record_is_recorded_without_them() {
    let world = World::new();
    let scopes = (0..9000).map(|n| format!("scope-{n}")).collect();
    assert_eq!(
        with(&world, |token| token.scopes = Some(scopes)).await,
        "param.too_large"
    );
    assert_eq!(world.local.minted(), 1, "minted in memory and never seen");
}
