//! ATTACKS.md section 3: discovery and key sets over HTTP.

use std::sync::Arc;

use futures_util::future::{Either, join_all, select};
use procura_core::identity::PresentedToken;
use procura_core::ports::{Clock, Role, TokenVerifier};
use procura_identity::{HttpOptions, Identity, IdentityOptions};
use procura_wire::{Reason, Secret, TokenType};
use serde_json::{Value, json};

use crate::kit::{Answer, OURS, TestKey, World};

fn metadata(issuer: &str, jwks_uri: &str) -> Answer {
    Answer::json(&json!({"issuer": issuer, "jwks_uri": jwks_uri}))
}

#[tokio::test]
async fn a_thousand_misses_are_one_fetch() {
    let world = World::new().await;
    let tokens: Vec<_> = (0..1000).map(|n| world.with("jti", json!(n.to_string()))).collect();
    let results = join_all(tokens.iter().map(|token| world.verify(token))).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(world.idp.fetches(), 1);
}

#[tokio::test]
async fn attack_49_unknown_key_ids_cause_one_fetch_in_thirty_seconds() {
    let world = World::new().await;
    assert_eq!(world.reason(&world.valid()).await, None);
    let flood: Vec<_> = (0..100)
        .map(|n| world.key.token(&format!("x{n}"), &world.claims()))
        .collect();
    for results in [
        join_all(flood.iter().map(|token| world.reason(token))).await,
        join_all(flood.iter().map(|token| world.reason(token))).await,
    ] {
        assert!(results.iter().all(|reason| *reason == Some(Reason::JwksMiss)));
    }
    assert_eq!(world.idp.fetches(), 2);
    world.clock.advance(29);
    world.reason(&flood[0]).await;
    assert_eq!(world.idp.fetches(), 2);
    world.clock.advance(1);
    world.reason(&flood[0]).await;
    assert_eq!(world.idp.fetches(), 3);
}

#[tokio::test]
async fn attack_50_a_rotation_is_followed() {
    let world = World::new().await;
    assert_eq!(world.reason(&world.valid()).await, None);
    let next = TestKey::ed25519();
    let early = next.token("k2", &world.claims());
    assert_eq!(
        world.reason(&early).await,
        Some(Reason::JwksMiss),
        "used before it is published"
    );
    world.idp.publish(&[next.jwk("k2")]);
    world.clock.advance(30);
    assert_eq!(world.reason(&early).await, None);
    let old = world.with("jti", json!("2"));
    assert_eq!(world.reason(&old).await, Some(Reason::JwksMiss), "the old key is gone");
}

#[tokio::test]
async fn a_set_is_fetched_again_after_five_minutes() {
    let world = World::new().await;
    for (seconds, fetches) in [(0, 1), (299, 1), (1, 2), (299, 2)] {
        world.clock.advance(seconds);
        assert_eq!(world.reason(&world.valid()).await, None);
        assert_eq!(world.idp.fetches(), fetches);
    }
}

#[tokio::test]
async fn a_usable_set_is_used_while_another_request_fetches() {
    let world = World::new().await;
    assert_eq!(world.reason(&world.valid()).await, None);
    world.clock.advance(300);
    world.idp.jwks(Answer {
        status: 200,
        headers: vec![("content-type", "application/json".into())],
        body: None,
    });
    let (first, second) = (world.valid(), world.with("jti", json!("2")));
    // The first is polled first, so it is the one that fetches and waits for a body without end.
    let race = select(Box::pin(world.reason(&first)), Box::pin(world.reason(&second))).await;
    assert!(matches!(race, Either::Right((None, _))));
}

#[tokio::test]
async fn the_last_good_set_is_kept_for_an_hour() {
    let world = World::new().await;
    assert_eq!(world.reason(&world.valid()).await, None);
    world.idp.jwks(Answer::status(500));
    world.clock.advance(3599);
    assert_eq!(world.reason(&world.valid()).await, None);
    assert_eq!(world.idp.fetches(), 2);
    assert_eq!(world.reason(&world.valid()).await, None);
    assert_eq!(world.idp.fetches(), 2, "not at once again after a failure");
    world.clock.advance(1);
    assert_eq!(world.reason(&world.valid()).await, Some(Reason::IssuerUnavailable));
    world.idp.publish(&[world.key.jwk("k1")]);
    world.clock.advance(5);
    assert_eq!(world.reason(&world.valid()).await, None);
}

#[tokio::test]
async fn an_issuer_that_fails_is_not_asked_by_everyone() {
    let world = World::new().await;
    world.idp.jwks(Answer::status(503));
    let token = world.valid();
    let results = join_all((0..50).map(|_| world.reason(&token))).await;
    assert!(results.iter().all(|reason| *reason == Some(Reason::IssuerUnavailable)));
    assert_eq!(world.idp.fetches(), 1);
}

#[tokio::test]
async fn attack_52_oversized_and_odd_key_sets_are_refused() {
    let many: Vec<_> = (0..65).map(|n| json!({"kty": "oct", "kid": n.to_string()})).collect();
    let key = json!({"kty": "oct", "kid": "x"});
    let padded = json!({"keys": [key], "pad": "x".repeat(256 * 1024)});
    let typed = |content_type: &str, body: &[u8]| Answer {
        status: 200,
        headers: vec![("content-type", content_type.to_owned())],
        body: Some(body.to_vec()),
    };
    let gzip = Answer {
        status: 200,
        headers: vec![
            ("content-type", "application/json".into()),
            ("content-encoding", "gzip".into()),
        ],
        body: Some(vec![0x1f, 0x8b, 8, 0]),
    };
    let endless = Answer {
        status: 200,
        headers: vec![("content-type", "application/json".into())],
        body: None,
    };
    for (name, answer) in [
        ("65 keys", Answer::json(&json!({ "keys": many }))),
        ("too large", Answer::json(&padded)),
        ("no keys", Answer::json(&json!({}))),
        ("a key that is none", Answer::json(&json!({"keys": [1]}))),
        ("a member twice", typed("application/json", br#"{"keys":[],"keys":[]}"#)),
        ("not JSON", typed("application/json", b"<html>")),
        ("another type", typed("text/html", br#"{"keys":[]}"#)),
        ("no type", typed("", br#"{"keys":[]}"#)),
        ("gzip", gzip),
        ("endless", endless),
    ] {
        let world = World::new().await;
        world.idp.jwks(answer);
        assert_eq!(world.reason(&world.valid()).await, Some(Reason::JwksRefused), "{name}");
    }
    let world = World::new().await;
    let set = json!({"keys": [world.key.jwk("k1")]}).to_string();
    world
        .idp
        .jwks(typed("application/jwk-set+json; charset=utf-8", set.as_bytes()));
    assert_eq!(world.reason(&world.valid()).await, None);
}

#[tokio::test]
async fn attack_53_redirects_are_not_followed() {
    for target in [
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "/jwks",
        "https://evil.example/",
    ] {
        let redirect = Answer {
            status: 302,
            headers: vec![("location", target.to_owned())],
            body: Some(Vec::new()),
        };
        let world = World::new().await;
        world.idp.jwks(redirect.clone());
        assert_eq!(
            world.reason(&world.valid()).await,
            Some(Reason::JwksRedirect),
            "{target}"
        );
        let world = World::new().await;
        world.idp.discovery(redirect);
        assert_eq!(
            world.reason(&world.valid()).await,
            Some(Reason::JwksRedirect),
            "{target}"
        );
    }
}

#[tokio::test]
async fn req_062_attack_44_metadata_of_another_issuer_is_refused() {
    for issuer in [json!("https://other.example"), json!(1), Value::Null] {
        let world = World::new().await;
        let document = json!({"issuer": issuer, "jwks_uri": format!("{}/jwks", world.idp.url)});
        world.idp.discovery(Answer::json(&document));
        assert_eq!(world.reason(&world.valid()).await, Some(Reason::DiscoIssuerMismatch));
        assert_eq!(world.idp.fetches(), 0);
    }
}

#[tokio::test]
async fn req_064_keys_elsewhere_are_refused() {
    for uri in [
        "http://169.254.169.254/jwks",
        "https://evil.example/jwks",
        "file:///jwks",
        "jwks",
        "http://localhost/jwks",
    ] {
        let world = World::new().await;
        world.idp.discovery(metadata(&world.idp.url, uri));
        assert_eq!(world.reason(&world.valid()).await, Some(Reason::JwksRefused), "{uri}");
    }
}

#[tokio::test]
async fn req_061_metadata_of_rfc_8414_is_the_second_try() {
    let world = World::new().await;
    let url = world.idp.url.clone();
    world.idp.discovery(Answer::status(404));
    assert_eq!(world.reason(&world.valid()).await, Some(Reason::IssuerUnavailable));
    world.idp.rfc8414(metadata(&url, &format!("{url}/jwks")));
    world.clock.advance(5);
    assert_eq!(world.reason(&world.valid()).await, None);
}

#[tokio::test]
async fn req_127_loopback_and_http_are_not_reached_unless_allowed() {
    let world = World::new().await;
    for allow_private in [vec![], vec!["127.0.0.1".to_owned()]] {
        let identity = Identity::new(IdentityOptions {
            issuer: OURS.into(),
            http: HttpOptions {
                allow_private,
                ..HttpOptions::default()
            },
            builtin: None,
            dev_secrets: Default::default(),
            signer: Arc::new(crate::kit::Tagger(vec![1])),
            vouchers: Default::default(),
            clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        })
        .expect("identity");
        let token = PresentedToken {
            value: Secret::new(world.valid()),
            declared: TokenType::AccessToken,
        };
        let reason = identity.verify(&world.catalogue, &token, Role::Subject).await.err();
        assert_eq!(reason, Some(Reason::JwksRefused), "http stays refused");
    }
    assert_eq!(world.idp.fetches(), 0);
}

#[tokio::test]
async fn attack_56_an_issuer_without_acceptable_tls_is_unavailable() {
    let mut world = World::new().await;
    let https = world.idp.url.replace("http:", "https:");
    world.edit(|issuer| issuer.issuer = https.clone());
    let token = world.with("iss", json!(https));
    assert_eq!(world.reason(&token).await, Some(Reason::IssuerUnavailable));
    assert_eq!(world.idp.fetches(), 0);
}
