//! Tokens that their issuer is asked about: ATTACKS.md rows 43, 58 and 59, RFC 7662.

use std::sync::atomic::Ordering;

use futures_util::future::{join, join_all};
use procura_core::{catalogue::IdJagUse, trust::IntrospectionMode};
use procura_wire::Reason;
use serde_json::{Value, json};

use crate::{
    desk::{Desk, active, ask, ask_of, asked_at, world},
    kit::{Answer, NOW, RESOURCE, identity, issuer},
};

/// `procura:s%3Acret` in Base64: both parts are form-encoded first.
const BASIC: &str = "Basic cHJvY3VyYTpzJTNBY3JldA==";
/// `procura:newer`
const NEWER: &str = "Basic cHJvY3VyYTpuZXdlcg==";

#[tokio::test]
async fn req_051_the_issuer_is_asked_by_a_form_as_a_client_that_it_knows() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    let token = ask(&world, "a+b/c==").await.expect("active");
    assert_eq!(
        (token.issuer.as_str(), token.iss.as_str()),
        ("corp", world.idp.url.as_str())
    );
    assert_eq!(
        (token.sub.as_str(), &token.audience[..]),
        ("alice", &[RESOURCE.to_owned()][..])
    );
    assert!(token.vouched.introspected && !token.vouched.id_token);
    let questions = desk.shared.questions.lock().expect("lock").clone();
    let form = "token=a%2Bb%2Fc%3D%3D&token_type_hint=access_token".to_owned();
    assert_eq!(questions, [(BASIC.to_owned(), form)]);
}

#[tokio::test]
async fn req_053_an_answer_is_held_to_the_rules_of_a_jwt() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    for (member, value, expected) in [
        ("iss", json!("https://other.example"), Reason::IntrospectUntrusted),
        ("iss", json!(1), Reason::IntrospectUntrusted),
        ("aud", Value::Null, Reason::JwtClaimType),
        ("exp", json!("soon"), Reason::JwtClaimType),
        ("exp", json!(1e30), Reason::JwtClaimRange),
        ("sub", json!(7), Reason::JwtClaimType),
        ("sub", json!("al\u{200b}ice"), Reason::NameRefused),
        ("act", json!([]), Reason::ActorChain),
        ("token_type", json!("refresh_token"), Reason::JwtTypRefused),
        ("token_type", json!(["Bearer"]), Reason::JwtClaimType),
        ("typ", json!("Refresh"), Reason::JwtTypRefused),
        ("nonce", json!("n"), Reason::JwtTypRefused),
        ("active", json!("true"), Reason::IntrospectInactive),
    ] {
        desk.says(active(&world, |answer| answer[member] = value.clone()));
        let token = format!("{member}-{}", desk.asked());
        assert_eq!(ask(&world, &token).await.err(), Some(expected), "{member}: {value}");
    }
    for (member, expected) in [
        ("aud", Some(Reason::JwtClaimMissing)),
        ("exp", Some(Reason::JwtLifetime)),
        ("sub", Some(Reason::JwtClaimMissing)),
        ("iss", None),
        ("token_type", None),
    ] {
        desk.says(active(&world, |answer| {
            drop(answer.as_object_mut().expect("object").remove(member))
        }));
        let token = format!("without-{member}");
        assert_eq!(ask(&world, &token).await.err(), expected, "{member}");
    }
}

#[tokio::test]
async fn req_055_what_was_answered_counts_for_30_seconds_and_no_longer() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    assert!(ask(&world, "token").await.is_ok());
    desk.says(Answer::json(&json!({"active": false})));
    world.clock.advance(29);
    assert!(ask(&world, "token").await.is_ok());
    assert_eq!(desk.asked(), 1);
    world.clock.advance(1);
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::IntrospectInactive));
    assert_eq!(desk.asked(), 2);
}

#[tokio::test]
async fn req_055_only_positive_answers_are_kept_and_never_past_a_failure() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    desk.says(Answer::json(&json!({"active": false})));
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::IntrospectInactive));
    desk.says(active(&world, |_| ()));
    assert!(ask(&world, "token").await.is_ok(), "it was asked anew");
    world.clock.advance(30);
    desk.says(Answer::status(500));
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::IntrospectUnavailable));
    desk.says(active(&world, |_| ()));
    assert!(ask(&world, "token").await.is_ok());
    assert_eq!(desk.asked(), 4);
}

#[tokio::test]
async fn the_rules_of_the_bundle_count_for_what_was_answered_before() {
    let (mut world, desk) = world(IntrospectionMode::Opaque).await;
    desk.says(active(&world, |answer| answer["groups"] = json!(["staff"])));
    assert!(ask(&world, "token").await.expect("active").groups.is_empty());
    world.edit(|issuer| {
        issuer.groups = Some(procura_core::catalogue::Groups {
            claim: "groups".into(),
            map: [("staff".to_owned(), "support".to_owned())].into(),
        });
    });
    let groups = ask(&world, "token").await.expect("active").groups.clone();
    assert_eq!(groups, ["corp/support".parse().expect("id")].into());
    world.edit(|issuer| issuer.trust.introspection = None);
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::JwtFormat));
    assert_eq!(desk.asked(), 1);
}

#[tokio::test]
async fn a_thousand_requests_with_one_token_are_one_question_and_share_its_failure() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    let all = async || join_all((0..1000).map(|_| ask(&world, "token"))).await;
    assert!(all().await.iter().all(Result::is_ok));
    assert_eq!(desk.asked(), 1);
    world.clock.advance(30);
    desk.says(Answer::status(503));
    let failed = |answer: &Result<_, Reason>| answer.as_ref().err() == Some(&Reason::IntrospectUnavailable);
    assert!(all().await.iter().all(failed));
    assert_eq!(desk.asked(), 2);
}

#[tokio::test]
async fn req_054_whatever_is_no_answer_is_an_issuer_that_is_away() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    let of_type = |ty: &str| Answer {
        headers: vec![("content-type", ty.to_owned())],
        ..active(&world, |_| ())
    };
    let elsewhere = Answer {
        headers: vec![("location", desk.url.clone())],
        ..Answer::status(307)
    };
    let large = active(&world, |answer| answer["padding"] = json!("x".repeat(64 * 1024)));
    for (at, answer) in [
        Answer::status(204),
        Answer::status(400),
        Answer::status(403),
        Answer::status(500),
        Answer::status(200),
        elsewhere,
        large,
        of_type("text/html"),
        of_type("application/jwt"),
        of_type("application/token-introspection+jwt"),
        Answer::json(&json!([])),
        Answer::json(&json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        desk.says(answer);
        let refused = ask(&world, &format!("token-{at}")).await.err();
        assert_eq!(refused, Some(Reason::IntrospectUnavailable), "{at}");
    }
    desk.says(of_type("Application/JSON; charset=utf-8"));
    assert!(ask(&world, "token").await.is_ok());
}

#[tokio::test]
async fn attack_58_who_cannot_prove_to_be_the_issuer_is_not_believed() {
    let (mut world, desk) = world(IntrospectionMode::Opaque).await;
    // It speaks no TLS, so it proves nothing.
    let url = desk.url.replace("http:", "https:");
    world.edit(|issuer| issuer.trust.introspection = Some(asked_at(url, IntrospectionMode::Opaque)));
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::IntrospectUntrusted));
    assert_eq!(desk.asked(), 0);
}

#[tokio::test]
async fn attack_59_one_slow_issuer_holds_up_no_other() {
    let (mut world, slow) = world(IntrospectionMode::Opaque).await;
    let quick = Desk::open().await;
    let mut other = issuer("https://other.example");
    other.trust.introspection = Some(asked_at(quick.url.clone(), IntrospectionMode::Opaque));
    world.catalogue.issuers.insert("other".parse().expect("name"), other);
    quick.says(active(&world, |answer| answer["iss"] = json!("https://other.example")));
    slow.shared.holds.store(true, Ordering::SeqCst);
    let tokens: Vec<_> = (0..16).map(|n| format!("token-{n}")).collect();
    let held = join_all(tokens.iter().map(|token| ask(&world, token)));
    let meanwhile = async {
        slow.until_held(16).await;
        let others = async {
            for token in ["first", "second", "third"] {
                assert!(ask_of(&world, "other", token).await.is_ok());
            }
            world.clock.ring();
        };
        // In this order it gives up before those that are held do, so that no place is free.
        let ((), one_more) = join(others, ask(&world, "one-more")).await;
        assert_eq!(one_more.err(), Some(Reason::IntrospectTimeout));
        assert_eq!(slow.asked(), 16, "it was not asked");
    };
    let ((), answers) = join(meanwhile, held).await;
    let given_up = |answer: &Result<_, Reason>| answer.as_ref().err() == Some(&Reason::IntrospectTimeout);
    assert!(answers.iter().all(given_up));
    slow.shared.holds.store(false, Ordering::SeqCst);
    assert!(ask(&world, "one-more").await.is_ok(), "there is room again");
}

#[tokio::test]
async fn attack_59_an_issuer_that_does_not_answer_in_time_is_given_up() {
    let (world, slow) = world(IntrospectionMode::Opaque).await;
    slow.shared.holds.store(true, Ordering::SeqCst);
    let woken = async {
        slow.until_held(1).await;
        world.clock.ring();
    };
    let (answer, ()) = join(ask(&world, "token"), woken).await;
    assert_eq!(answer.err(), Some(Reason::IntrospectTimeout));
}

#[tokio::test]
async fn a_secret_that_was_rotated_is_fetched_anew() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    *desk.shared.takes.lock().expect("lock") = Some(NEWER);
    assert!(ask(&world, "token").await.is_ok());
    assert_eq!(desk.asked(), 2);
    *desk.shared.takes.lock().expect("lock") = Some("Basic other");
    assert_eq!(ask(&world, "another").await.err(), Some(Reason::IntrospectUnavailable));
    assert_eq!(desk.asked(), 4, "not again and again");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_an_issuer_that_cannot_be_asked() {
    let (mut world, desk) = world(IntrospectionMode::Opaque).await;
    world.edit(|issuer| {
        let introspection = issuer.trust.introspection.as_mut().expect("set");
        introspection.secret = "own:nowhere".into();
    });
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::IntrospectUnavailable));
    world.identity = identity(&world.clock, &world.dev_key);
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::IntrospectUnavailable));
    assert_eq!(desk.asked(), 0);
}

#[tokio::test]
async fn where_to_ask_stands_in_the_metadata_at_the_issuers_own_host() {
    let (mut world, desk) = world(IntrospectionMode::Opaque).await;
    world.edit(|issuer| issuer.trust.introspection.as_mut().expect("set").endpoint = None);
    let metadata = |endpoint: &str, issuer: &str| {
        Answer::json(&json!({
            "issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "introspection_endpoint": endpoint
        }))
    };
    let url = world.idp.url.clone();
    for (endpoint, issuer) in [
        ("https://elsewhere.example/introspect", url.as_str()),
        ("/introspect", url.as_str()),
        (desk.url.as_str(), "https://elsewhere.example"),
    ] {
        world.idp.discovery(metadata(endpoint, issuer));
        let refused = ask(&world, "token").await.err();
        assert_eq!(refused, Some(Reason::IntrospectUnavailable), "{endpoint} {issuer}");
    }
    assert_eq!(desk.asked(), 0);
    world.idp.discovery(metadata(&desk.url, &url));
    assert!(ask(&world, "token").await.is_ok());
}

#[tokio::test]
async fn attack_43_what_may_be_a_jwt_or_no_token_is_shown_to_nobody() {
    let (world, desk) = world(IntrospectionMode::Opaque).await;
    for token in ["a.b.c", "a.b.c.d.e", "{\"protected\":\"x\"}", "a b", ""] {
        assert_eq!(ask(&world, token).await.err(), Some(Reason::JwtFormat), "{token}");
    }
    assert_eq!(ask(&world, &"a".repeat(4097)).await.err(), Some(Reason::ParamTooLarge));
    assert_eq!(
        world.reason("opaque").await,
        Some(Reason::JwtFormat),
        "nor without being told whom to ask"
    );
    assert!(world.verify(&world.valid()).await.is_ok());
    assert_eq!(desk.asked(), 0, "a JWT of an issuer that is asked about others");
}

#[tokio::test]
async fn attack_43_a_revoked_jwt_of_an_issuer_that_is_always_asked_is_refused() {
    let (world, desk) = world(IntrospectionMode::Always).await;
    let (token, revoked) = (world.valid(), world.with("jti", json!("2")));
    assert!(world.verify(&token).await.expect("active").vouched.introspected);
    assert!(world.verify(&token).await.is_ok());
    assert_eq!(desk.asked(), 1, "the answer counts for a while");
    desk.says(Answer::json(&json!({"active": false})));
    assert_eq!(world.reason(&revoked).await, Some(Reason::IntrospectInactive));
    assert_eq!(world.reason(&token).await, None);
    world.clock.advance(30);
    assert_eq!(
        world.reason(&token).await,
        Some(Reason::IntrospectInactive),
        "although its signature is known"
    );
    desk.says(Answer::status(500));
    assert_eq!(world.reason(&token).await, Some(Reason::IntrospectUnavailable));
    desk.says(active(&world, |answer| answer["sub"] = json!("bob")));
    assert_eq!(
        world.reason(&token).await,
        Some(Reason::IntrospectUntrusted),
        "about another one"
    );
    assert!(desk.asked() > 1 && world.reason(&world.with("exp", json!(NOW))).await.is_some());
}

#[tokio::test]
async fn an_issuer_of_workloads_alone_is_asked_about_nobodys_token() {
    let (mut world, desk) = world(IntrospectionMode::Opaque).await;
    world.edit(|issuer| issuer.workloads_only = true);
    assert_eq!(ask(&world, "token").await.err(), Some(Reason::JwtIssUntrusted));
    assert_eq!(desk.asked(), 0);
}

#[tokio::test]
async fn nobody_is_asked_about_an_id_jag_and_it_does_not_say_so() {
    let (mut world, desk) = world(IntrospectionMode::Always).await;
    world.edit(|issuer| issuer.id_jag = Some(IdJagUse::Once));
    let read = world.id_jag("oauth-id-jag+jwt", &world.granted()).await.expect("valid");
    assert!(!read.token.vouched.introspected);
    assert_eq!(desk.asked(), 0);
}

#[tokio::test]
async fn an_answer_that_binds_the_token_to_another_key_is_not_about_it() {
    let (world, desk) = world(IntrospectionMode::Always).await;
    let cnf = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    desk.says(active(&world, |answer| answer["cnf"] = cnf.clone()));
    assert_eq!(world.reason(&world.valid()).await, Some(Reason::IntrospectUntrusted));
    assert_eq!(world.reason(&world.with("cnf", cnf)).await, None);
}
