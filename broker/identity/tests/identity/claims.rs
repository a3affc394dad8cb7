//! Claims: types, ranges, names, groups, chains.

use std::collections::BTreeMap;

use procura_core::{catalogue::Groups, identity::Confirmation};
use procura_wire::Reason;
use serde_json::{Value, json};

use crate::kit::{NOW, World};

#[tokio::test]
async fn a_full_token_is_read() {
    let mut world = World::new().await;
    let map = BTreeMap::from([("8d6f".to_owned(), "support".to_owned())]);
    world.edit(|issuer| {
        issuer.groups = Some(Groups {
            claim: "groups".into(),
            map,
        })
    });
    let mut claims = world.claims();
    for (name, value) in [
        ("aud", json!(["https://tickets.example.com/mcp", "account"])),
        ("nbf", json!(NOW - 1)),
        ("jti", json!("j1")),
        ("sid", json!("s1")),
        ("azp", json!("other")),
        ("scope", json!("read  write")),
        ("acr", json!("2")),
        ("amr", json!(["pwd", "otp"])),
        ("auth_time", json!(NOW - 60)),
        ("groups", json!(["8d6f", "unmapped"])),
        (
            "act",
            json!({"sub": "bot", "exp": 1, "aud": [1], "act": {"sub": "front", "iss": "https://x", "client_id": "f"}}),
        ),
        ("may_act", json!({"sub": "bot"})),
    ] {
        claims[name] = value;
    }
    let token = world.verify(&world.key.token("k1", &claims)).await.expect("verified");
    assert_eq!(token.sub, "alice");
    assert_eq!(token.audience, ["https://tickets.example.com/mcp", "account"]);
    assert_eq!(token.expires.as_second(), NOW + 300);
    assert_eq!(token.client.as_deref(), Some("agent-ui"));
    assert_eq!(token.scopes.iter().flatten().collect::<Vec<_>>(), ["read", "write"]);
    assert_eq!(
        token.groups.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["corp/support"]
    );
    assert_eq!(token.auth.time.map(|time| time.as_second()), Some(NOW - 60));
    let subs: Vec<_> = token.act.iter().map(|link| link.sub.as_str()).collect();
    assert_eq!(subs, ["bot", "front"]);
    let issuers: Vec<_> = token.act.iter().map(|link| link.iss.as_deref()).collect();
    assert_eq!(
        issuers,
        [Some(token.iss.as_str()), Some("https://x")],
        "a link without an issuer is the token's"
    );
    assert_eq!(token.may_act.as_ref().map(|link| link.sub.as_str()), Some("bot"));
}

/// The payload with the raw text of one claim replaced.
fn raw(world: &World, claim: &str, text: &str) -> String {
    let mut claims = world.claims();
    claims[claim] = json!("@");
    let payload = claims.to_string().replace("\"@\"", text);
    let header = json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"});
    world.key.compact(&header.to_string(), payload.as_bytes())
}

#[tokio::test]
async fn attack_25_times_outside_the_range_are_refused() {
    let world = World::new().await;
    for claim in ["exp", "nbf", "iat", "auth_time"] {
        for text in [
            "1e309",
            "1e30",
            "-1",
            "-0.5",
            "9223372036854775808",
            "253402300800",
            "253402300799.5",
        ] {
            let reason = world.reason(&raw(&world, claim, text)).await;
            assert_eq!(reason, Some(Reason::JwtClaimRange), "{claim} {text}");
        }
        assert_eq!(
            world.reason(&raw(&world, claim, "NaN")).await,
            Some(Reason::JwtJson),
            "{claim}"
        );
        for text in ["\"1\"", "true", "[1]", "{}", "null"] {
            let reason = world.reason(&raw(&world, claim, text)).await;
            assert_eq!(reason, Some(Reason::JwtClaimType), "{claim} {text}");
        }
    }
    for (text, second) in [("1.5", 1), ("0", 0), ("4102444800", 4_102_444_800), ("1e3", 1000)] {
        let token = world.verify(&raw(&world, "exp", text)).await.expect("verified");
        assert_eq!(token.expires.as_second(), second, "{text}");
    }
    assert_eq!(world.reason(&raw(&world, "exp", "253402300799")).await, None);
}

#[tokio::test]
async fn a_claim_of_the_wrong_type_is_never_taken_for_absent() {
    let world = World::new().await;
    for claim in ["sub", "jti", "sid", "client_id", "azp", "scope", "acr"] {
        for value in [json!(1), json!(["x"]), json!({}), json!(true)] {
            let reason = world.reason(&world.with(claim, value)).await;
            assert_eq!(reason, Some(Reason::JwtClaimType), "{claim}");
        }
        assert_eq!(
            world.reason(&raw(&world, claim, "null")).await,
            Some(Reason::JwtClaimType),
            "{claim}"
        );
    }
    for (claim, value) in [
        ("aud", json!([])),
        ("aud", json!("")),
        ("aud", json!([1])),
        ("aud", json!({})),
        ("amr", json!("pwd")),
        ("amr", json!([1])),
        ("sub", json!("")),
        ("may_act", json!("bot")),
        ("may_act", json!({})),
        ("may_act", json!({"sub": 1})),
    ] {
        let reason = world.reason(&world.with(claim, value.clone())).await;
        assert_eq!(reason, Some(Reason::JwtClaimType), "{claim} {value}");
    }
}

#[tokio::test]
async fn req_041_attack_35_required_claims_are_there() {
    let world = World::new().await;
    for (claim, reason) in [
        ("sub", Reason::JwtClaimMissing),
        ("aud", Reason::JwtClaimMissing),
        ("exp", Reason::JwtLifetime),
    ] {
        assert_eq!(
            world.reason(&world.with(claim, Value::Null)).await,
            Some(reason),
            "{claim}"
        );
    }
    assert_eq!(world.reason(&world.with("iat", Value::Null)).await, None);
}

#[tokio::test]
async fn attack_124_names_with_hidden_parts_are_refused() {
    let world = World::new().await;
    for sub in [
        "a\nb",
        "a\0",
        "alice ",
        " alice",
        "al\u{200d}ice",
        "\u{202e}ecila",
        "a\u{feff}",
        "alice\u{a0}",
        &"x".repeat(256),
    ] {
        assert_eq!(
            world.reason(&world.with("sub", json!(sub))).await,
            Some(Reason::NameRefused),
            "{sub:?}"
        );
    }
    for sub in ["аlice", "a/b", "..", "admin'--", "josé", &"x".repeat(255)] {
        let token = world.verify(&world.with("sub", json!(sub))).await.expect("verified");
        assert_eq!(token.sub, sub, "bytes stay as they are");
    }
}

#[tokio::test]
async fn groups_are_a_list_of_strings_or_the_token_is_refused() {
    let mut world = World::new().await;
    let map = BTreeMap::from([("sre".to_owned(), "sre".to_owned())]);
    world.edit(|issuer| {
        issuer.groups = Some(Groups {
            claim: "groups".into(),
            map,
        })
    });
    for value in [json!("sre"), json!(["sre", 1]), json!({"sre": true})] {
        assert_eq!(
            world.reason(&world.with("groups", value)).await,
            Some(Reason::JwtClaimType)
        );
    }
    let token = world.verify(&world.valid()).await.expect("verified");
    assert!(token.groups.is_empty());
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, n| {
        let mut act = json!({"sub": format!("a{n}")});
        if !inner.is_null() {
            act["act"] = inner;
        }
        act
    })
}

#[tokio::test]
async fn req_028_attack_112_chains_that_are_malformed_deep_or_looping_are_refused() {
    let world = World::new().await;
    let url = &world.idp.url;
    for act in [
        nested(9),
        json!("bot"),
        json!(["bot"]),
        json!({}),
        json!({"sub": 1}),
        json!({"sub": ""}),
        json!({"sub": "a", "iss": 1}),
        json!({"sub": "a", "act": "b"}),
        json!({"sub": "a", "act": {"sub": "b", "act": {"sub": "a"}}}),
        json!({"sub": "a", "act": {"sub": "a", "iss": url}}),
    ] {
        assert_eq!(
            world.reason(&world.with("act", act.clone())).await,
            Some(Reason::ActorChain),
            "{act}"
        );
    }
    let token = world.verify(&world.with("act", nested(8))).await.expect("verified");
    assert_eq!(token.act.len(), 8);
    let two = json!({"sub": "a", "act": {"sub": "a", "iss": "https://other"}});
    assert!(world.verify(&world.with("act", two)).await.is_ok());
}

#[tokio::test]
async fn req_089_what_a_token_is_bound_to_is_read_and_nothing_of_it_is_lost() {
    let world = World::new().await;
    let thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    for (member, bound) in [
        ("jkt", Confirmation::Jkt(thumbprint.into())),
        ("x5t#S256", Confirmation::X5tS256(thumbprint.into())),
    ] {
        let token = world.verify(&world.with("cnf", json!({member: thumbprint}))).await;
        assert_eq!(token.map(|token| token.confirmation.clone()), Ok(Some(bound)));
    }
    let keycloaks = json!({"jkt": thumbprint, "kc-jkt-type": "DPoP"});
    assert_eq!(world.reason(&world.with("cnf", keycloaks)).await, None);
    for odd in [
        json!({}),
        json!({"jwk": {}}),
        json!({"kid": "k"}),
        json!({"jkt": 1}),
        json!({"jkt": "x"}),
        json!({"jkt": format!("{thumbprint}=")}),
        json!({"jkt": thumbprint, "x5t#S256": thumbprint}),
        json!({"jkt": thumbprint, "osc": {}}),
        json!({"jkt": thumbprint, "kc-jkt-type": "attestation"}),
        json!({"jkt": thumbprint, "kc-jkt-type": "DPoP", "osc": {}}),
        json!({"kc-jkt-type": "DPoP"}),
        json!({"x5t#S256": thumbprint, "kc-jkt-type": "DPoP"}),
        json!("jkt"),
        json!([]),
    ] {
        let token = world.with("cnf", odd.clone());
        assert_eq!(world.reason(&token).await, Some(Reason::PopUnsupported), "{odd}");
    }
}
