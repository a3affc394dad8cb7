//! ID-JAGs: their own `typ`, their own claims, from issuers that are trusted with them.

use procura_core::{catalogue::IdJagUse, identity::IdJag, ports::TokenVerifier};
use procura_wire::{Reason, Secret};
use serde_json::{Value, json};

use crate::kit::{NOW, OURS, World};

async fn world() -> World {
    let mut world = World::new().await;
    world.edit(|issuer| issuer.id_jag = Some(IdJagUse::Once));
    world
}

impl World {
    pub(crate) fn granted(&self) -> Value {
        let mut claims = self.claims();
        for (name, value) in [
            ("aud", json!(OURS)),
            ("client_id", json!("tickets")),
            ("jti", json!("1")),
            ("iat", json!(NOW)),
            ("resource", json!("https://api.example/v1")),
            ("scope", json!("read")),
        ] {
            claims[name] = value;
        }
        claims
    }

    pub(crate) async fn id_jag(&self, typ: &str, claims: &Value) -> Result<IdJag, Reason> {
        let header = json!({"alg": "ES256", "kid": "k1", "typ": typ}).to_string();
        let text = Secret::new(self.key.compact(&header, claims.to_string().as_bytes()));
        self.identity.verify_id_jag(&self.catalogue, &text).await
    }
}

#[tokio::test]
async fn req_105_a_valid_one_is_read() {
    let world = world().await;
    let read = world.id_jag("oauth-id-jag+jwt", &world.granted()).await.expect("valid");
    assert_eq!(
        (read.token.sub.as_str(), read.token.client.as_deref()),
        ("alice", Some("tickets"))
    );
    assert_eq!(
        (read.resources, read.details),
        (vec!["https://api.example/v1".to_owned()], None)
    );
    let mut claims = world.granted();
    claims["resource"] = json!(["https://a.example", "https://b.example"]);
    claims["authorization_details"] = json!([{ "type": "jwt" }]);
    let read = world
        .id_jag("application/oauth-id-jag+jwt", &claims)
        .await
        .expect("valid");
    assert_eq!(
        (read.resources.len(), read.details),
        (2, Some(json!([{ "type": "jwt" }])))
    );
}

#[tokio::test]
async fn req_043_req_105_other_tokens_are_none_and_it_is_no_access_token() {
    let world = world().await;
    let claims = world.granted();
    for typ in ["at+jwt", "JWT", "id-jag+jwt", "oauth-id-jag+jwt "] {
        assert_eq!(
            world.id_jag(typ, &claims).await.err(),
            Some(Reason::JwtTypRefused),
            "{typ}"
        );
    }
    let header = json!({"alg": "ES256", "kid": "k1", "typ": "oauth-id-jag+jwt"}).to_string();
    let text = world.key.compact(&header, claims.to_string().as_bytes());
    assert_eq!(world.verify(&text).await.err(), Some(Reason::JwtTypRefused));
}

#[tokio::test]
async fn req_105_req_110_claims_that_it_must_have_and_those_that_nobody_here_knows() {
    let world = world().await;
    for name in ["jti", "client_id", "iat", "sub", "exp", "aud"] {
        let mut claims = world.granted();
        claims.as_object_mut().expect("object").remove(name);
        assert!(world.id_jag("oauth-id-jag+jwt", &claims).await.is_err(), "{name}");
    }
    for (name, value, reason) in [
        ("aud_tenant", json!("acme"), Reason::IdJagTenant),
        ("aud_sub", json!("a"), Reason::IdJagTenant),
        ("jti", json!("j".repeat(257)), Reason::JwtClaimRange),
        ("jti", json!(1), Reason::JwtClaimType),
        ("client_id", json!(["tickets"]), Reason::JwtClaimType),
        ("resource", json!([]), Reason::JwtClaimRange),
        ("resource", json!(vec!["https://a.example"; 9]), Reason::JwtClaimRange),
        ("resource", json!({}), Reason::JwtClaimType),
    ] {
        let mut claims = world.granted();
        claims[name] = value;
        assert_eq!(
            world.id_jag("oauth-id-jag+jwt", &claims).await.err(),
            Some(reason),
            "{name}"
        );
    }
    // `azp` does not stand in for it.
    let mut claims = world.granted();
    claims["azp"] = claims["client_id"].take();
    claims.as_object_mut().expect("object").remove("client_id");
    assert_eq!(
        world.id_jag("oauth-id-jag+jwt", &claims).await.err(),
        Some(Reason::JwtClaimMissing)
    );
}

#[tokio::test]
async fn only_issuers_with_id_jag_make_them_and_a_changed_one_is_none() {
    let world = World::new().await;
    let claims = world.granted();
    let refused = world.id_jag("oauth-id-jag+jwt", &claims).await.err();
    assert_eq!(refused, Some(Reason::JwtIssUntrusted));
    let world = self::world().await;
    let header = json!({"alg": "ES256", "kid": "k1", "typ": "oauth-id-jag+jwt"}).to_string();
    let other = world.dev_key.compact(&header, world.granted().to_string().as_bytes());
    let refused = world
        .identity
        .verify_id_jag(&world.catalogue, &Secret::new(other))
        .await;
    assert_eq!(refused.err(), Some(Reason::JwtSigInvalid));
    let mut ours = world.granted();
    ours["iss"] = json!(OURS);
    let refused = world.id_jag("oauth-id-jag+jwt", &ours).await.err();
    assert_eq!(refused, Some(Reason::SubjectSelfIssued));
}
