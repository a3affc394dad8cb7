//! What the real issuers put into their tokens: the broker's tests build on it.

use procura_e2e::{
    Testbed,
    harness::Outcome,
    http::{unverified_claims, unverified_header},
    keycloak::{ALICE, RESOURCE, TRIAGE_BOT},
    oidc_provider::Format,
};
use serde_json::json;

pub(crate) async fn keycloak_vouches_for_alice_at_the_mcp_server(testbed: &Testbed) -> Outcome {
    let keycloak = testbed.keycloak().await?;
    let claims = unverified_claims(&keycloak.user_token("alice").await?)?;
    assert_eq!(claims["iss"], keycloak.issuer);
    assert_eq!(claims["sub"], ALICE);
    assert_eq!(claims["azp"], "agent");
    assert_eq!(claims["typ"], "Bearer");
    assert_eq!(claims["aud"], json!([RESOURCE, "account"]));
    assert_eq!(claims["groups"], json!(["secret-project", "support"]));
    assert!(claims["sid"].is_string());
    let claims = unverified_claims(&keycloak.agent_token().await?)?;
    assert_eq!(claims["sub"], TRIAGE_BOT);
    assert_eq!(claims["aud"], json!([RESOURCE, "account"]));
    Ok(())
}

pub(crate) async fn keycloak_signs_with_a_new_key_after_a_rotation(testbed: &Testbed) -> Outcome {
    let keycloak = testbed.keycloak().await?;
    let before = unverified_header(&keycloak.user_token("bob").await?)?;
    keycloak.rotate_key("rotated").await?;
    let after = unverified_header(&keycloak.user_token("bob").await?)?;
    assert_eq!((&before["alg"], &before["typ"]), (&json!("ES256"), &json!("JWT")));
    assert_eq!(after["alg"], "ES256");
    assert_ne!(before["kid"], after["kid"]);
    Ok(())
}

pub(crate) async fn oidc_provider_vouches_in_either_form(testbed: &Testbed) -> Outcome {
    let issuer = testbed.oidc_provider().await?;
    let token = issuer.token("alice", RESOURCE, Format::Jwt).await?;
    assert_eq!(unverified_header(&token)?["typ"], "at+jwt");
    let claims = unverified_claims(&token)?;
    assert_eq!(
        (&claims["iss"], &claims["sub"]),
        (&json!(issuer.issuer), &json!("alice"))
    );
    assert_eq!(claims["aud"], RESOURCE);
    let token = issuer.token("alice", RESOURCE, Format::Opaque).await?;
    assert!(!token.contains('.'));
    let answer = issuer.introspect(&token).await?;
    assert_eq!(
        (&answer.body["active"], &answer.body["sub"]),
        (&json!(true), &json!("alice"))
    );
    Ok(())
}
