//! Which issuer a token is of, and what it is trusted with.

use procura_core::{
    identity::PresentedToken,
    ports::{Role, TokenVerifier},
};
use procura_wire::{Reason, Secret, TokenType};
use serde_json::{Value, json};

use crate::kit::{DEV, NOW, OURS, World, issuer};

#[tokio::test]
async fn req_040_attack_38_only_the_exact_identifier_is_the_issuer() {
    let world = World::new().await;
    let url = &world.idp.url;
    let port = url.rsplit_once(':').expect("port").1;
    for iss in [
        format!("{url}/"),
        url.to_uppercase(),
        url.replace("http:", "https:"),
        format!("http://evil@127.0.0.1:{port}"),
        format!("{url}.evil.example"),
        format!("http://127.0.0.1:0{port}"),
        format!("http://localhost:{port}"),
        "builtin:dev".into(),
        String::new(),
    ] {
        let token = world.with("iss", json!(iss));
        assert_eq!(world.reason(&token).await, Some(Reason::JwtIssUntrusted), "{iss}");
    }
    assert_eq!(
        world.reason(&world.with("iss", json!(1))).await,
        Some(Reason::JwtClaimType)
    );
    assert_eq!(
        world.reason(&world.with("iss", Value::Null)).await,
        Some(Reason::JwtClaimMissing)
    );
    assert_eq!(world.idp.fetches(), 0);
}

#[tokio::test]
async fn attack_31_our_own_tokens_are_nobodys_subject() {
    let mut world = World::new().await;
    world
        .catalogue
        .issuers
        .insert("self".parse().expect("name"), issuer(OURS));
    let token = world.with("iss", json!(OURS));
    assert_eq!(world.reason(&token).await, Some(Reason::SubjectSelfIssued));
}

#[tokio::test]
async fn the_builtin_issuer_is_known_by_its_real_identifier() {
    let mut world = World::new().await;
    let claims = json!({"iss": DEV, "sub": "alice", "aud": "x", "exp": NOW + 60});
    let token = world.dev_key.token("dev", &claims);
    assert_eq!(
        world.reason(&token).await,
        Some(Reason::JwtIssUntrusted),
        "not in the catalogue"
    );
    let mut dev = issuer("builtin:dev");
    dev.operators = true;
    world.catalogue.issuers.insert("dev".parse().expect("name"), dev);
    let verified = world.verify(&token).await.expect("verified");
    assert_eq!((verified.issuer.as_str(), verified.iss.as_str()), ("dev", DEV));
    let mut claims = claims;
    claims["iss"] = json!("builtin:dev");
    let named = world.dev_key.token("dev", &claims);
    assert_eq!(
        world.reason(&named).await,
        Some(Reason::JwtIssUntrusted),
        "not by its name in the catalogue"
    );
}

#[tokio::test]
async fn operators_come_from_marked_issuers_only() {
    let mut world = World::new().await;
    let token = world.valid();
    let reason = world.verify_as(&token, Role::Operator).await.err();
    assert_eq!(reason, Some(Reason::JwtIssUntrusted));
    world.edit(|issuer| issuer.operators = true);
    assert!(world.verify_as(&token, Role::Operator).await.is_ok());
}

#[tokio::test]
async fn req_020_a_type_that_nobody_may_present_is_refused() {
    let world = World::new().await;
    let presented = |declared| PresentedToken {
        value: Secret::new(world.valid()),
        declared,
    };
    let postgres = presented(TokenType::Postgres);
    let reason = world
        .identity
        .verify(&world.catalogue, &postgres, Role::Subject)
        .await
        .err();
    assert_eq!(reason, Some(Reason::TokenTypeUnsupported));
    let jwt = presented(TokenType::Jwt);
    assert!(
        world
            .identity
            .verify(&world.catalogue, &jwt, Role::Subject)
            .await
            .is_ok()
    );
}
