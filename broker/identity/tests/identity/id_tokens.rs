//! ID tokens, and that they are not access tokens nor the other way round.

use procura_core::{
    catalogue::TokenTyp,
    identity::{PresentedToken, VerifiedToken},
    ports::{Role, TokenVerifier},
    trust::Tenant,
};
use procura_wire::{Reason, Secret, TokenType};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::kit::World;

async fn world() -> World {
    let mut world = World::new().await;
    world.edit(|issuer| {
        issuer.trust.id_tokens = true;
        issuer.clients = Some(["agent-ui".to_owned()].into());
        issuer.token_types = [TokenTyp::AtJwt, TokenTyp::Jwt].into();
    });
    world
}

/// An ID token with one claim changed; `null` takes it away.
fn id_token(world: &World, typ: Option<&str>, (claim, value): (&str, Value)) -> String {
    let mut claims = world.claims();
    claims["aud"] = json!("agent-ui");
    claims["nonce"] = json!("n");
    claims.as_object_mut().expect("object").remove("client_id");
    if value.is_null() {
        claims.as_object_mut().expect("object").remove(claim);
    } else {
        claims[claim] = value;
    }
    let mut header = json!({"alg": "ES256", "kid": "k1"});
    if let Some(typ) = typ {
        header["typ"] = json!(typ);
    }
    world.key.compact(&header.to_string(), claims.to_string().as_bytes())
}

async fn verify(world: &World, token: &str, declared: TokenType, role: Role) -> Result<Arc<VerifiedToken>, Reason> {
    let token = PresentedToken {
        value: Secret::new(token.to_owned()),
        declared,
    };
    world.identity.verify(&world.catalogue, &token, role).await
}

async fn reason(world: &World, token: &str) -> Option<Reason> {
    verify(world, token, TokenType::IdToken, Role::Subject).await.err()
}

#[tokio::test]
async fn an_id_token_is_one_of_its_client() {
    let world = world().await;
    for typ in [None, Some("JWT")] {
        let token = id_token(&world, typ, ("azp", json!("agent-ui")));
        let verified = verify(&world, &token, TokenType::IdToken, Role::Subject).await;
        let verified = verified.expect("an ID token");
        assert!(verified.vouched.id_token);
        assert_eq!(verified.client.as_deref(), Some("agent-ui"));
    }
    let scoped = id_token(&world, Some("JWT"), ("scope", json!("tickets:use")));
    let verified = verify(&world, &scoped, TokenType::IdToken, Role::Subject).await;
    assert_eq!(
        verified.expect("an ID token").scopes,
        None,
        "it carries none, whatever it says"
    );
    let keycloaks = id_token(&world, Some("JWT"), ("typ", json!("ID")));
    assert_eq!(reason(&world, &keycloaks).await, None);
    for (claim, value, expected) in [
        ("aud", json!(["agent-ui", "other"]), Reason::JwtAudMulti),
        ("azp", json!("other"), Reason::SubjectClientMismatch),
        ("iat", Value::Null, Reason::JwtClaimMissing),
        ("exp", Value::Null, Reason::JwtLifetime),
        ("events", json!({}), Reason::JwtTypRefused),
        ("typ", json!("Bearer"), Reason::JwtTypRefused),
        ("typ", json!("Logout"), Reason::JwtTypRefused),
    ] {
        let token = id_token(&world, Some("JWT"), (claim, value));
        assert_eq!(reason(&world, &token).await, Some(expected), "{claim}");
    }
}

#[tokio::test]
async fn attack_29_an_id_token_is_no_access_token_and_the_other_way_round() {
    let world = world().await;
    let token = id_token(&world, Some("JWT"), ("jti", json!("1")));
    for declared in [TokenType::AccessToken, TokenType::Jwt] {
        let refused = verify(&world, &token, declared, Role::Subject).await.err();
        assert_eq!(refused, Some(Reason::JwtTypRefused));
    }
    assert_eq!(
        reason(&world, &world.valid()).await,
        Some(Reason::JwtTypRefused),
        "at+jwt"
    );
    for typ in ["at+jwt", "logout+jwt", "dpop+jwt", "application/secevent+jwt"] {
        let token = id_token(&world, Some(typ), ("jti", json!("1")));
        assert_eq!(reason(&world, &token).await, Some(Reason::JwtTypRefused), "{typ}");
    }
}

#[tokio::test]
async fn id_tokens_are_subjects_only_and_only_where_the_issuers_file_says_so() {
    let mut world = world().await;
    let token = id_token(&world, Some("JWT"), ("jti", json!("1")));
    for role in [Role::Actor, Role::Operator] {
        let refused = verify(&world, &token, TokenType::IdToken, role).await.err();
        assert_eq!(refused, Some(Reason::TokenTypeUnsupported));
    }
    assert_eq!(reason(&world, &token).await, None);
    world.edit(|issuer| issuer.trust.id_tokens = false);
    assert_eq!(reason(&world, &token).await, Some(Reason::JwtTypRefused));
}

#[tokio::test]
async fn attack_40_the_organisation_is_read_as_the_issuers_file_says() {
    let mut world = World::new().await;
    world.edit(|issuer| {
        issuer.trust.tenant = Some(Tenant {
            claim: "tid".into(),
            value: None,
        });
    });
    let tenant = async |value: Value| {
        let verified = world.verify(&world.with("tid", value)).await;
        verified.map(|token| token.vouched.tenant.clone())
    };
    assert_eq!(tenant(json!("acme")).await, Ok(Some("acme".to_owned())));
    assert_eq!(tenant(Value::Null).await, Ok(None));
    assert_eq!(tenant(json!(["acme"])).await, Err(Reason::JwtClaimType));
}

async fn log_in(world: &World, token: &str, client: &str) -> Option<Reason> {
    let (alias, issuer) = world.catalogue.issuers.iter().next().expect("issuer");
    assert!(!issuer.trust.id_tokens, "which is about exchanges");
    let token = Secret::new(token.to_owned());
    world
        .identity
        .id_token(&world.catalogue, alias, &token, client)
        .await
        .err()
}

#[tokio::test]
async fn attack_211_an_id_token_logs_in_at_the_client_that_it_is_for_where_its_issuer_may_have_operators() {
    let mut world = world().await;
    world.edit(|issuer| {
        issuer.trust.id_tokens = false;
        issuer.operators = true;
    });
    let good = id_token(&world, Some("JWT"), ("azp", json!("agent-ui")));
    assert_eq!(log_in(&world, &good, "agent-ui").await, None);
    assert_eq!(log_in(&world, &good, "other").await, Some(Reason::JwtAudience));
    for (typ, claim, expected) in [
        (Some("JWT"), ("aud", json!(["agent-ui", "x"])), Reason::JwtAudMulti),
        (Some("JWT"), ("azp", json!("other")), Reason::SubjectClientMismatch),
        (
            Some("JWT"),
            ("iss", json!("https://evil.example")),
            Reason::JwtIssUntrusted,
        ),
        (Some("JWT"), ("typ", json!("Bearer")), Reason::JwtTypRefused),
        (Some("JWT"), ("events", json!({})), Reason::JwtTypRefused),
        (Some("at+jwt"), ("azp", json!("agent-ui")), Reason::JwtTypRefused),
        (Some("logout+jwt"), ("azp", json!("agent-ui")), Reason::JwtTypRefused),
    ] {
        let token = id_token(&world, typ, claim.clone());
        assert_eq!(
            log_in(&world, &token, "agent-ui").await,
            Some(expected),
            "{typ:?} {claim:?}"
        );
    }
    let (signed, signature) = good.rsplit_once('.').expect("parts");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{flipped}{}", &signature[1..]);
    assert!(log_in(&world, &forged, "agent-ui").await.is_some());
    world.edit(|issuer| issuer.algorithms = [procura_core::catalogue::Algorithm::Rs256].into());
    assert_eq!(log_in(&world, &good, "agent-ui").await, Some(Reason::JwtAlgRefused));
    world.edit(|issuer| {
        issuer.algorithms = [procura_core::catalogue::Algorithm::Es256].into();
        issuer.operators = false;
    });
    assert_eq!(log_in(&world, &good, "agent-ui").await, Some(Reason::JwtIssUntrusted));
}
