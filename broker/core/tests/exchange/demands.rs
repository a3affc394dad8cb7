//! What tokens must show beyond being valid: organisation, log-in, scopes; ID tokens.

use std::time::Duration;

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, Grant, Issuer, Server},
    exchange::Refused,
    identity::{PresentedToken, VerifiedToken},
    judgement::Effect,
    ports::Clock,
    trust::{LogInRule, Tenant},
};
use procura_wire::{Needs, Reason, Secret, TokenType};

use crate::{
    fakes::Rules,
    identity::{link, with},
    world::{BROKER, World, token},
};

pub(crate) fn corp(catalogue: &mut Catalogue) -> &mut Issuer {
    catalogue.issuers.get_mut("corp").expect("declared")
}

pub(crate) fn tickets(catalogue: &mut Catalogue) -> &mut Server {
    catalogue.servers.get_mut("tickets").expect("declared")
}

fn read(catalogue: &mut Catalogue) -> &mut Grant {
    let api = catalogue.targets.get_mut("api").expect("declared");
    api.grants.get_mut("read").expect("declared")
}

pub(crate) fn under(change: impl FnOnce(&mut Catalogue)) -> World {
    let world = World::new();
    world.rules(|rules| change(&mut rules.catalogue));
    world
}

fn of_organisation(tenant: &str) -> impl FnOnce(&mut VerifiedToken) {
    let tenant = Some(tenant.to_owned());
    move |token| token.vouched.tenant = tenant
}

#[tokio::test]
async fn attack_40_a_server_serves_subjects_of_its_own_organisations_only() {
    let of_many = |catalogue: &mut Catalogue| {
        corp(catalogue).trust.tenant = Some(Tenant {
            claim: "org".into(),
            value: None,
        });
    };
    let world = under(of_many);
    assert_eq!(with(&world, of_organisation("acme")).await, "subject.tenant_mismatch");
    let world = under(|catalogue| {
        of_many(catalogue);
        tickets(catalogue).subjects.tenants = ["corp/acme".parse().expect("id")].into();
    });
    assert_eq!(with(&world, of_organisation("acme")).await, "issued");
    assert_eq!(with(&world, of_organisation("ACME")).await, "subject.tenant_mismatch");
    assert_eq!(with(&world, of_organisation("other")).await, "subject.tenant_mismatch");
    assert_eq!(with(&world, |_| ()).await, "subject.tenant_mismatch", "of none");
    let world = under(|catalogue| tickets(catalogue).subjects.tenants = ["corp/acme".parse().expect("id")].into());
    assert_eq!(
        with(&world, |_| ()).await,
        "subject.tenant_mismatch",
        "its issuer tells none"
    );
}

#[tokio::test]
async fn attack_40_an_issuer_of_one_organisation_vouches_for_no_other() {
    let world = under(|catalogue| {
        corp(catalogue).trust.tenant = Some(Tenant {
            claim: "tid".into(),
            value: Some("acme".into()),
        });
    });
    assert_eq!(with(&world, of_organisation("acme")).await, "issued");
    assert_eq!(with(&world, of_organisation("other")).await, "subject.tenant_mismatch");
    assert_eq!(with(&world, |_| ()).await, "subject.tenant_mismatch");
    let issued = {
        let mut alice = token(&world.clock);
        alice.vouched.tenant = Some("acme".into());
        world.knows("alice", alice);
        world.exchange(&[]).await.expect("issued")
    };
    assert_eq!(world.leaf(issued.issuance).await["tenant"], "acme");
}

#[tokio::test]
async fn attack_40_an_agent_of_another_organisation_does_not_act_here() {
    let world = under(|catalogue| {
        corp(catalogue).trust.tenant = Some(Tenant {
            claim: "org".into(),
            value: None,
        });
        tickets(catalogue).subjects.tenants = ["corp/acme".parse().expect("id")].into();
    });
    let mut alice = token(&world.clock);
    alice.vouched.tenant = Some("acme".into());
    alice.may_act = Some(link("triage"));
    world.knows("alice", alice.clone());
    for (tenant, expected) in [("acme", None), ("other", Some(Reason::SubjectTenantMismatch))] {
        let mut bot = VerifiedToken {
            sub: "triage".into(),
            may_act: None,
            ..alice.clone()
        };
        bot.vouched.tenant = Some(tenant.into());
        world.knows("bot", bot);
        let refused = world.exchange(&[("actor_token", "bot")]).await.err();
        assert_eq!(refused.map(|refused| refused.reason), expected, "{tenant}");
    }
}

async fn refused(world: &World, tweak: impl FnOnce(&mut VerifiedToken)) -> Refused {
    let mut alice = token(&world.clock);
    tweak(&mut alice);
    world.knows("alice", alice);
    let refused = world.exchange(&[]).await.expect_err("must be refused");
    world.check_logged(&refused).await;
    assert_eq!(world.local.minted(), 0);
    refused
}

fn strong() -> LogInRule {
    LogInRule {
        acr: vec!["urn:mfa".into(), "urn:gold".into()],
        amr: ["otp".into()].into(),
        max_age: Some(Duration::from_secs(900)),
    }
}

fn needs(refused: Refused) -> Needs {
    *refused.needs.expect("needs")
}

fn log_in(token: &mut VerifiedToken, at: Timestamp) {
    token.auth.acr = Some("urn:gold".into());
    token.auth.amr = ["otp".into(), "pwd".into()].into();
    token.auth.time = Some(at);
}

#[tokio::test]
async fn req_112_a_log_in_that_does_not_suffice_is_told_what_does() {
    let suffices = Needs {
        acr_values: Some("urn:mfa urn:gold".into()),
        max_age: Some(900),
        required_scope: None,
    };
    for world in [
        under(|catalogue| corp(catalogue).trust.log_in = strong()),
        under(|catalogue| read(catalogue).requires.log_in = strong()),
    ] {
        let now = world.clock.now();
        for tweak in [
            |_: &mut VerifiedToken, _: Timestamp| (),
            |token: &mut VerifiedToken, _: Timestamp| token.auth.acr = None,
            |token: &mut VerifiedToken, _: Timestamp| token.auth.acr = Some("urn:silver".into()),
            |token: &mut VerifiedToken, _: Timestamp| token.auth.amr = ["pwd".into()].into(),
            |token: &mut VerifiedToken, now: Timestamp| token.auth.time = Some(now - Duration::from_secs(901)),
        ]
        .into_iter()
        .enumerate()
        {
            let refused = refused(&world, |token| {
                if tweak.0 > 0 {
                    log_in(token, now);
                }
                (tweak.1)(token, now);
            });
            let refused = refused.await;
            assert_eq!(refused.reason, Reason::AuthInsufficient, "{}", tweak.0);
            assert_eq!(needs(refused), suffices);
        }
        assert_eq!(with(&world, |token| log_in(token, now)).await, "issued");
        world.clock.advance(Duration::from_secs(901));
        assert_eq!(
            world.refusal(&[]).await,
            "auth.insufficient",
            "the log-in ages with each use"
        );
    }
}

#[tokio::test]
async fn agents_do_not_log_in_but_have_no_grant_that_requires_it() {
    let world = under(|catalogue| corp(catalogue).trust.log_in = strong());
    assert_eq!(with(&world, |token| token.sub = "triage".into()).await, "issued");
    let world = under(|catalogue| read(catalogue).requires.log_in = strong());
    assert_eq!(
        with(&world, |token| token.sub = "triage".into()).await,
        "auth.insufficient"
    );
}

#[tokio::test]
async fn an_operator_must_have_logged_in_as_the_issuer_wants_it() {
    let world = under(|catalogue| corp(catalogue).trust.log_in = strong());
    let presented = PresentedToken {
        value: Secret::new("operator".into()),
        declared: TokenType::AccessToken,
    };
    let mut operator = token(&world.clock);
    operator.audience = vec![format!("{BROKER}/v1")];
    world.knows("operator", operator.clone());
    let refused = procura_core::operator::authenticate(&world.ports, crate::identity::bearer(&presented))
        .await
        .err();
    assert_eq!(refused, Some(Reason::V1Unauthenticated));
    log_in(&mut operator, world.clock.now());
    world.knows("operator", operator);
    assert!(
        procura_core::operator::authenticate(&world.ports, crate::identity::bearer(&presented))
            .await
            .is_ok()
    );
}

fn scoped(scope: &[&str]) -> impl FnOnce(&mut VerifiedToken) {
    let scopes = scope.iter().map(|scope| (*scope).to_owned()).collect();
    move |token| token.scopes = Some(scopes)
}

fn requires_scopes(catalogue: &mut Catalogue) {
    read(catalogue).requires.scope = ["issues:read".into()].into();
    let tools = &mut tickets(catalogue).subjects.tool_scopes;
    tools.insert("list".into(), ["tools:list".into()].into());
    let implied = &mut corp(catalogue).trust.scopes_imply;
    implied.insert("issues:write".into(), ["issues:read".into()].into());
}

#[tokio::test]
async fn req_117_a_lack_of_scope_names_every_scope_of_the_operation() {
    let world = under(requires_scopes);
    let without_tool = refused(&world, scoped(&["issues:reader", "issues"])).await;
    assert_eq!(without_tool.reason, Reason::ScopeInsufficient);
    assert_eq!(needs(without_tool).required_scope.as_deref(), Some("issues:read"));
    let tool = [("tool", "list")];
    let half = world.exchange(&tool).await.expect_err("no scope of the tool");
    assert_eq!(needs(half).required_scope.as_deref(), Some("issues:read tools:list"));
    assert_eq!(with(&world, scoped(&["issues:read"])).await, "issued");
    let half = world.exchange(&tool).await.expect_err("the grant's scope alone");
    assert_eq!(half.reason, Reason::ScopeInsufficient);
    with(&world, scoped(&["issues:read", "tools:list"])).await;
    assert!(world.exchange(&tool).await.is_ok());
}

#[tokio::test]
async fn req_118_what_a_scope_implies_suffices() {
    let world = under(requires_scopes);
    assert_eq!(with(&world, scoped(&["issues:write"])).await, "issued");
    assert_eq!(with(&world, scoped(&["issues:writer"])).await, "scope.insufficient");
}

#[tokio::test]
async fn attack_107_a_token_without_scope_is_not_unlimited() {
    let world = under(requires_scopes);
    let refused = refused(&world, |token| token.scopes = None).await;
    assert_eq!(refused.reason, Reason::PolicyScopeUnknown);
    assert_eq!(needs(refused).required_scope.as_deref(), Some("issues:read"));
}

#[tokio::test]
async fn what_a_grant_requires_is_told_only_to_whom_the_rules_permit_it() {
    let world = World::new();
    world.rules(|rules: &mut Rules| {
        requires_scopes(&mut rules.catalogue);
        read(&mut rules.catalogue).requires.log_in = strong();
        rules.effect = Effect::Deny;
    });
    let refused = refused(&world, |_| ()).await;
    assert_eq!((refused.reason, refused.needs), (Reason::PolicyDenied, None));
}

#[tokio::test]
async fn attack_41_an_id_token_needs_its_client_on_the_issuers_list() {
    let id_token = |token: &mut VerifiedToken| {
        token.audience = vec!["agent".into()];
        token.vouched.id_token = true;
    };
    let world = World::new();
    assert_eq!(with(&world, id_token).await, "subject.client_mismatch", "no list");
    let world = under(|catalogue| corp(catalogue).clients = Some(["desktop".into()].into()));
    assert_eq!(with(&world, id_token).await, "subject.client_mismatch");
    let world = under(|catalogue| corp(catalogue).clients = Some(["agent".into()].into()));
    assert_eq!(with(&world, id_token).await, "issued");
    let as_access_token = |token: &mut VerifiedToken| token.audience = vec!["agent".into()];
    assert_eq!(with(&world, as_access_token).await, "jwt.audience");
    with(&world, id_token).await;
    let issued = world.exchange(&[]).await.expect("issued");
    assert_eq!(world.leaf(issued.issuance).await["id_token"], true);
}
