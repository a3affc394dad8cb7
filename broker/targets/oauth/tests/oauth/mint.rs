//! What is asked for, what is made of the answer, and what goes wrong.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use procura_core::{
    identity::VerifiedToken,
    kind::{MintError, Rights},
    ports::Clock,
};
use procura_wire::{Secret, TOKEN_EXCHANGE};
use serde_json::{Value, json};

use crate::bed::{Bed, exchange, grant};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

#[tokio::test]
async fn a_token_has_the_grants_scopes_and_ends_with_the_plan() {
    let bed = Bed::new();
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted), "{:?}", minted.rights);
    assert_eq!(minted.end, asked.plan.end);
    assert_eq!(minted.lapses, Some(bed.clock.now() + Duration::from_secs(3600)));
    assert!(minted.receipt.as_ref() == Some(&minted.value));
    assert_eq!(minted.source_version.as_deref(), Some("1"));
    let heard = bed.upstream.heard();
    let form = &heard.last().expect("a request").form;
    let fields: Vec<_> = form
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(fields, [("grant_type", "client_credentials"), ("scope", "read write")]);
}

#[tokio::test]
async fn a_request_narrows_the_scopes_and_never_widens_them() {
    let bed = Bed::new();
    let asked = bed.asked().with("scopes", &["read"]);
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted));
    assert!(minted.rights.sets["scope"].iter().eq(["read"]));
    assert_eq!(minted.details["scopes"], json!(["read"]));
    for scopes in [&["read", "admin"][..], &["read write"], &[]] {
        let asked = bed.asked().with("scopes", scopes);
        let refused = bed.mint(&asked).await;
        assert!(matches!(refused, Err(MintError::Failed(_))), "{scopes:?}");
        assert_eq!((bed.target.kind.rights)(&bed.target, &asked.plan), Rights::default());
    }
    assert_eq!(bed.upstream.live(), 1);
}

#[tokio::test]
async fn attack_146_more_than_was_asked_is_reported_as_it_is() {
    let day = json!({ "expires_in": 24 * 60 * 60 + 1 });
    for odd in [json!({ "scope": "read write admin" }), day] {
        let bed = Bed::new();
        bed.upstream.answer_with(odd.clone());
        let asked = bed.asked();
        let minted = bed.mint(&asked).await.expect("minted");
        assert!(!asked.is_within(&minted), "{odd}");
        let receipt = minted.receipt.as_ref();
        bed.minter.undo(asked.undoable(receipt)).await.expect("undone");
        assert_eq!(bed.upstream.live(), 0);
    }
}

#[tokio::test]
async fn fewer_scopes_and_none_said_are_taken_as_they_are() {
    for (scope, expected) in [(json!("read"), &["read"][..]), (Value::Null, &["read", "write"])] {
        let bed = Bed::new();
        bed.upstream.answer_with(json!({ "scope": scope }));
        let minted = bed.mint(&bed.asked()).await.expect("minted");
        assert!(minted.rights.sets["scope"].iter().eq(expected));
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_handed_on_is_revoked_at_once() {
    for odd in [
        json!({ "token_type": "DPoP" }),
        json!({ "token_type": null }),
        json!({ "expires_in": null }),
        json!({ "expires_in": 0 }),
        json!({ "expires_in": "3600" }),
        json!({ "scope": ["read"] }),
    ] {
        let bed = Bed::new();
        bed.upstream.answer_with(odd.clone());
        let refused = bed.mint(&bed.asked()).await;
        assert!(matches!(refused, Err(MintError::Failed(_))), "{odd}: {refused:?}");
        assert_eq!(bed.upstream.live(), 0, "{odd}");
    }
    let bed = Bed::with(&grant(), |own, _| own["revokes"] = json!(false));
    bed.upstream.answer_with(json!({ "token_type": "DPoP" }));
    let refused = bed.mint(&bed.asked()).await;
    assert!(
        matches!(refused, Err(MintError::Uncertain(_))),
        "it lives on: {refused:?}"
    );
}

#[tokio::test]
async fn a_refresh_token_is_dropped() {
    let bed = Bed::new();
    bed.upstream.answer_with(json!({ "refresh_token": "to be used again" }));
    let minted = bed.mint(&bed.asked()).await.expect("minted");
    assert!(minted.value == Secret::new("token-3".to_owned()) && minted.receipt.as_ref() == Some(&minted.value));
}

#[tokio::test]
async fn without_revocation_the_upstreams_end_counts() {
    let bed = Bed::with(&grant(), |own, _| own["revokes"] = json!(false));
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    assert_eq!(minted.end, bed.clock.now() + Duration::from_secs(3600));
    assert!(!asked.is_within(&minted));
    bed.upstream.answer_with(json!({ "expires_in": 60 }));
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted) && minted.end < asked.plan.end);
}

fn forwarded(bed: &Bed, iss: &str) -> procura_contract::asked::Asked {
    let mut asked = bed.asked();
    let token = &*asked.caller.subject.token;
    asked.caller.subject.token = Arc::new(VerifiedToken {
        iss: iss.to_owned(),
        ..token.clone()
    });
    asked.forward = Some(Secret::new("the.subject.token".to_owned()));
    asked
}

#[tokio::test]
async fn a_subject_token_is_exchanged_at_its_issuer() {
    let bed = Bed::with(&exchange(), |_, _| ());
    let asked = forwarded(&bed, &bed.upstream.issuer());
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted));
    let heard = bed.upstream.heard();
    let form = &heard.last().expect("a request").form;
    let fields: Vec<_> = form
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("audience", "api"),
        ("grant_type", TOKEN_EXCHANGE),
        ("requested_token_type", ACCESS_TOKEN),
        ("resource", "https://api.test/"),
        ("scope", "read"),
        ("subject_token", "the.subject.token"),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    assert_eq!(fields, expected);

    bed.upstream
        .answer_with(json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:id_token" }));
    assert!(matches!(bed.mint(&asked).await, Err(MintError::Failed(_))));
    assert_eq!(bed.upstream.live(), 1);
}

#[tokio::test]
async fn a_subject_token_is_never_handed_to_another_party() {
    let bed = Bed::with(&exchange(), |_, _| ());
    let issuer = bed.upstream.issuer();
    let like_it = [
        format!("{issuer}/"),
        issuer.to_uppercase(),
        format!("{issuer}.evil.test"),
        String::new(),
    ];
    for iss in like_it.iter().map(String::as_str).chain(["https://id.test"]) {
        let refused = bed.mint(&forwarded(&bed, iss)).await;
        assert!(matches!(refused, Err(MintError::Failed(_))), "{iss}");
    }
    let mut without = forwarded(&bed, &issuer);
    without.forward = None;
    assert!(matches!(bed.mint(&without).await, Err(MintError::Failed(_))));
    assert!(bed.upstream.heard().iter().all(|heard| heard.form.is_empty()));

    // Nor does metadata that names another issuer get it.
    let base = issuer.trim_end_matches("/tenant");
    let metadata = json!({ "issuer": "https://id.test", "token_endpoint": format!("{base}/token") });
    let bed = Bed::with(&exchange(), |_, _| ());
    bed.upstream
        .break_path("/.well-known/oauth-authorization-server/tenant", 200, metadata);
    let refused = bed.mint(&forwarded(&bed, &bed.upstream.issuer())).await;
    assert!(matches!(refused, Err(MintError::Failed(_))));
    assert!(bed.upstream.heard().iter().all(|heard| heard.form.is_empty()));
}

#[tokio::test]
async fn endpoints_that_are_written_down_are_not_discovered() {
    let given = |own: &mut Value, issuer: &str| {
        let base = issuer.trim_end_matches("/tenant");
        own["issuer"] = Value::Null;
        own["token_endpoint"] = json!(format!("{base}/token"));
        own["revocation_endpoint"] = json!(format!("{base}/revoke"));
    };
    let bed = Bed::with(&grant(), given);
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted));
    assert_eq!(bed.upstream.heard().len(), 1);
}

#[tokio::test]
async fn metadata_serves_for_ten_minutes() {
    let bed = Bed::new();
    let looked = || {
        bed.upstream
            .heard()
            .iter()
            .filter(|heard| heard.path.contains("well-known"))
            .count()
    };
    for _ in 0..2 {
        bed.mint(&bed.asked()).await.expect("minted");
        assert_eq!(looked(), 2, "at both places");
    }
    bed.clock.advance(Duration::from_secs(600));
    bed.mint(&bed.asked()).await.expect("minted");
    assert_eq!(looked(), 4);
}

#[tokio::test]
async fn endpoints_that_secrets_may_not_be_sent_to_are_refused() {
    for endpoint in [json!("http://id.test/token"), json!("/token"), json!(7), Value::Null] {
        let bed = Bed::new();
        let metadata = json!({ "issuer": bed.upstream.issuer(), "token_endpoint": endpoint });
        bed.upstream
            .break_path("/.well-known/oauth-authorization-server/tenant", 200, metadata);
        let refused = bed.mint(&bed.asked()).await;
        let names_it = |problem: &str| problem.contains("token_endpoint");
        assert!(
            matches!(&refused, Err(MintError::Failed(problem)) if names_it(problem)),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn attack_145_an_error_after_the_deed_and_no_answer_in_time_are_uncertain() {
    let bed = Bed::new();
    bed.upstream.break_path("/token", 502, json!({}));
    let failed = bed.mint(&bed.asked()).await;
    assert!(matches!(failed, Err(MintError::Uncertain(_))), "{failed:?}");
    bed.upstream.break_path("/token", 200, json!({ "scope": "read" }));
    let failed = bed.mint(&bed.asked()).await;
    assert!(matches!(failed, Err(MintError::Uncertain(_))), "{failed:?}");

    bed.upstream.hold(true);
    let before = bed.upstream.heard().len();
    let asked = bed.asked();
    let late = async {
        while bed.upstream.heard().len() == before {
            tokio::task::yield_now().await;
        }
        bed.clock.advance(asked.budget);
    };
    let (late, ()) = join(bed.mint(&asked), late).await;
    assert!(matches!(late, Err(MintError::Uncertain(_))), "{late:?}");
    bed.upstream.hold(false);
}

#[tokio::test]
async fn refusals_are_told_in_our_words() {
    let secret = "<b>Ihr Passwort</b>";
    for (status, error, hint) in [
        (400, "invalid_scope", "assign them"),
        (400, "unauthorized_client", "allow it"),
        (400, "invalid_target", "resource or audience"),
        (400, "invalid_grant", "refuses the request"),
        (400, secret, "400"),
        (429, "", "too many"),
        (302, "", "redirects"),
    ] {
        let bed = Bed::new();
        let body = json!({ "error": error, "error_description": secret });
        bed.upstream.break_path("/token", status, body);
        let failed = bed.mint(&bed.asked()).await;
        let Err(MintError::Failed(problem)) = failed else {
            panic!("{error}: {failed:?}");
        };
        assert!(problem.contains(hint) && !problem.contains(secret), "{problem}");
        assert!(bed.upstream.heard().iter().all(|heard| heard.path != "/elsewhere"));
    }
}
