//! Servers that prove themselves by a key of their own: `private_key_jwt`.

use procura_core::{
    Timestamp,
    catalogue::{ClientKeys, ServerAuth},
    identity::{AssertionType, AuthenticatedServer, ClientAuthMethod, ClientCredentials},
    ports::{Clock, TokenVerifier},
};
use procura_wire::{Digest, Reason, Secret};
use serde_json::{Value, json};

use crate::{
    clients::server,
    kit::{Answer, NOW, OURS, TestKey, World, b64},
};

type Authenticated = Result<AuthenticatedServer, Reason>;

fn assertion(id: Option<&str>, text: &str) -> ClientCredentials {
    ClientCredentials::Assertion {
        id: id.map(str::to_owned),
        ty: AssertionType::JwtBearer,
        assertion: Secret::new(text.to_owned()),
    }
}

impl World {
    /// A server whose keys stand in its file.
    fn with_keys(&mut self, name: &str, keys: &[Value]) {
        let keys = ClientKeys::Inline(json!({ "keys": keys }));
        self.register(name, keys, false);
    }

    pub(crate) fn register(&mut self, name: &str, keys: ClientKeys, legacy_audience: bool) {
        let auth = ServerAuth::PrivateKeyJwt { keys, legacy_audience };
        self.catalogue.servers.insert(name.parse().expect("name"), server(auth));
    }

    pub(crate) async fn authenticated(&self, id: Option<&str>, text: &str) -> Authenticated {
        self.identity
            .authenticate(&self.catalogue, &assertion(id, text), None, self.clock.now())
            .await
    }

    pub(crate) async fn refusal(&self, text: &str) -> Option<Reason> {
        self.authenticated(None, text).await.err()
    }
}

/// Claims of a valid assertion of `tickets` with one changed; `null` takes it away.
fn claims(claim: &str, value: Value) -> Value {
    let mut claims = json!({
        "iss": "tickets", "sub": "tickets", "aud": OURS, "exp": NOW + 60, "iat": NOW, "jti": "j1"
    });
    match value {
        Value::Null => drop(claims.as_object_mut().expect("object").remove(claim)),
        value => claims[claim] = value,
    }
    claims
}

fn plain() -> Value {
    claims("iat", json!(NOW))
}

/// A signed assertion; members of the header beside `alg`.
fn signed(key: &TestKey, mut header: Value, claims: &Value) -> String {
    header["alg"] = json!(key.alg());
    key.compact(&header.to_string(), claims.to_string().as_bytes())
}

pub(crate) fn named(key: &TestKey, claims: &Value) -> String {
    signed(key, json!({"kid": "c1"}), claims)
}

/// RFC 7638 by hand.
fn thumbprint(jwk: &Value) -> String {
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    Digest::of(text.as_bytes()).to_string()
}

async fn world() -> (World, TestKey) {
    let (mut world, key) = (World::new().await, TestKey::es256());
    world.with_keys("tickets", &[key.jwk("c1")]);
    (world, key)
}

#[tokio::test]
async fn req_073_a_server_proves_itself_by_its_key_and_the_record_names_it() {
    let (world, key) = world().await;
    for id in [None, Some("tickets")] {
        let found = world.authenticated(id, &named(&key, &plain())).await.expect("proved");
        assert_eq!(
            (found.name.as_str(), found.method),
            ("tickets", ClientAuthMethod::PrivateKeyJwt)
        );
        assert_eq!(found.key, thumbprint(&key.jwk("c1"))[..16]);
        let once = found.once.expect("may be used once");
        assert_eq!(once.replayed, Reason::ClientAssertionReplay);
        assert_eq!(once.id.until, Timestamp::from_second(NOW + 60 + 30).expect("time"));
    }
}

#[tokio::test]
async fn req_073_every_claim_that_must_be_there_is_and_names_one_party() {
    let (mut world, key) = world().await;
    world.with_keys("wiki", &[TestKey::es256().jwk("w")]);
    for (claim, value) in [
        ("sub", Value::Null),
        ("exp", Value::Null),
        ("jti", Value::Null),
        ("iss", Value::Null),
        ("sub", json!("wiki")),
        ("sub", json!(["tickets"])),
        ("jti", json!("")),
        ("jti", json!("x".repeat(257))),
        ("jti", json!(7)),
    ] {
        let text = named(&key, &claims(claim, value.clone()));
        assert_eq!(
            world.refusal(&text).await,
            Some(Reason::ClientAssertionInvalid),
            "{claim} {value}"
        );
    }
    let text = named(&key, &plain());
    let other = world.authenticated(Some("wiki"), &text).await.err();
    assert_eq!(other, Some(Reason::ClientAssertionInvalid));
    assert_eq!(
        world
            .refusal(&named(&key, &claims("jti", json!("x".repeat(256)))))
            .await,
        None
    );
}

#[tokio::test]
async fn req_073_times_are_near() {
    let (world, key) = world().await;
    for (claim, value, valid) in [
        ("exp", NOW, false),
        ("exp", NOW + 1, true),
        ("exp", NOW + 330, true),
        ("exp", NOW + 331, false),
        ("iat", NOW + 30, true),
        ("iat", NOW + 31, false),
        ("nbf", NOW + 30, true),
        ("nbf", NOW + 31, false),
    ] {
        let refusal = world.refusal(&named(&key, &claims(claim, json!(value)))).await;
        let expected = (!valid).then_some(Reason::ClientAssertionInvalid);
        assert_eq!(refusal, expected, "{claim} {}", value - NOW);
    }
}

#[tokio::test]
async fn req_074_attack_83_the_audience_is_the_issuer_alone() {
    let (mut world, key) = world().await;
    let endpoint = format!("{OURS}/token");
    assert_eq!(world.refusal(&named(&key, &claims("aud", json!([OURS])))).await, None);
    let wrong = [
        json!(endpoint),
        json!([endpoint]),
        json!("https://other.example.com"),
        json!([OURS, "https://other.example.com"]),
        json!([OURS, OURS]),
        json!(format!("{OURS}/")),
        json!([]),
        json!(1),
        Value::Null,
    ];
    for aud in &wrong {
        let refusal = world.refusal(&named(&key, &claims("aud", aud.clone()))).await;
        assert_eq!(refusal, Some(Reason::ClientAud), "{aud}");
    }
    let keys = ClientKeys::Inline(json!({"keys": [key.jwk("c1")]}));
    world.register("tickets", keys, true);
    for (at, aud) in wrong.iter().enumerate() {
        let refusal = world.refusal(&named(&key, &claims("aud", aud.clone()))).await;
        assert_eq!(
            refusal.is_none(),
            at < 2,
            "{aud} where the token endpoint is accepted too"
        );
    }
    assert_eq!(world.refusal(&named(&key, &plain())).await, None);
}

#[tokio::test]
async fn req_075_attack_82_the_id_is_one_for_each_server_and_key() {
    let (mut world, key) = world().await;
    let second = TestKey::ed25519();
    world.with_keys("tickets", &[key.jwk("c1"), second.jwk("c2")]);
    world.with_keys("wiki", &[key.jwk("c1")]);
    let wiki = json!({"iss": "wiki", "sub": "wiki", "aud": OURS, "exp": NOW + 60, "jti": "j1"});
    let mut ids = Vec::new();
    for text in [
        named(&key, &plain()),
        signed(&second, json!({"kid": "c2"}), &plain()),
        named(&key, &wiki),
        named(&key, &claims("jti", json!("j2"))),
    ] {
        let once = world.authenticated(None, &text).await.expect("proved").once;
        ids.push(once.expect("once").id.id);
    }
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id), "{at}");
    }
    let again = world.authenticated(None, &named(&key, &plain())).await.expect("proved");
    assert_eq!(
        again.once.map(|once| once.id.id),
        ids.first().copied(),
        "signed again, the id is the same"
    );
}

#[tokio::test]
async fn req_076_a_typ_is_that_of_client_assertions() {
    let (world, key) = world().await;
    for (typ, valid) in [
        ("JWT", true),
        ("jwt", true),
        ("client-authentication+jwt", true),
        ("application/client-authentication+jwt", true),
        ("dpop+jwt", false),
        ("at+jwt", false),
        ("oauth-authz-req+jwt", false),
        ("oauth-id-jag+jwt", false),
        ("", false),
    ] {
        let refusal = world
            .refusal(&signed(&key, json!({"kid": "c1", "typ": typ}), &plain()))
            .await;
        assert_eq!(refusal, (!valid).then_some(Reason::ClientAssertionInvalid), "{typ}");
    }
}

#[tokio::test]
async fn req_078_attack_85_only_registered_keys_count_and_a_kid_names_one_of_them() {
    let (mut world, key) = world().await;
    let stranger = TestKey::es256();
    assert_eq!(
        world.refusal(&named(&stranger, &plain())).await,
        Some(Reason::ClientKey)
    );
    assert_eq!(
        world.refusal(&signed(&key, json!({"kid": "c2"}), &plain())).await,
        Some(Reason::ClientKey)
    );
    for (member, value) in [
        ("jwk", stranger.jwk("c1")),
        ("jku", json!("https://keys.example.com")),
        ("x5c", json!(["MAA="])),
    ] {
        let text = signed(&stranger, json!({"kid": "c1", member: value}), &plain());
        assert_eq!(
            world.refusal(&text).await,
            Some(Reason::ClientAssertionInvalid),
            "{member}"
        );
    }
    // A retired key is one that is not registered any more.
    world.with_keys("tickets", &[stranger.jwk("c1")]);
    assert_eq!(world.refusal(&named(&key, &plain())).await, Some(Reason::ClientKey));
    assert_eq!(world.refusal(&named(&stranger, &plain())).await, None);
}

#[tokio::test]
async fn without_a_kid_only_one_key_may_fit() {
    let (mut world, key) = world().await;
    let bare = |key: &TestKey| signed(key, json!({}), &plain());
    assert_eq!(world.refusal(&bare(&key)).await, None);
    let (second, third) = (TestKey::ed25519(), TestKey::es256());
    world.with_keys("tickets", &[key.jwk("c1"), second.jwk("c2")]);
    assert_eq!(world.refusal(&bare(&key)).await, None);
    assert_eq!(world.refusal(&bare(&second)).await, None);
    world.with_keys("tickets", &[key.jwk("c1"), third.jwk("c3")]);
    assert_eq!(world.refusal(&bare(&key)).await, Some(Reason::ClientKey));
    assert_eq!(world.refusal(&named(&key, &plain())).await, None);
    let mut nameless = key.jwk("x");
    nameless.as_object_mut().expect("object").remove("kid");
    world.with_keys("tickets", &[nameless]);
    assert_eq!(world.refusal(&bare(&key)).await, None);
    assert_eq!(world.refusal(&named(&key, &plain())).await, Some(Reason::ClientKey));
}

#[tokio::test]
async fn req_078_no_algorithm_stands_in_for_the_keys_own() {
    let (world, key) = world().await;
    let payload = plain().to_string();
    let forged = |alg: &str, signature: &[u8]| {
        let header = json!({"alg": alg, "kid": "c1"}).to_string();
        format!("{}.{}.{}", b64(header), b64(&payload), b64(signature))
    };
    for alg in ["none", "HS256", "es256"] {
        let refusal = world.refusal(&forged(alg, &[1; 64])).await;
        assert_eq!(refusal, Some(Reason::ClientAssertionInvalid), "{alg}");
    }
    for alg in ["ES384", "RS256", "PS256", "EdDSA", "ES256"] {
        for signature in [&[][..], &[0; 64], &[1; 64]] {
            assert_eq!(
                world.refusal(&forged(alg, signature)).await,
                Some(Reason::ClientKey),
                "{alg}"
            );
        }
    }
    assert_eq!(world.refusal(&named(&key, &plain())).await, None);
}

#[tokio::test]
async fn attack_76_an_unknown_server_looks_like_a_wrong_key_to_its_caller() {
    let (mut world, _) = world().await;
    let hashes = ServerAuth::ClientSecret(Vec::new());
    world
        .catalogue
        .servers
        .insert("wiki".parse().expect("name"), server(hashes));
    let stranger = TestKey::es256();
    let wrong = world.refusal(&named(&stranger, &plain())).await.expect("refused");
    for name in ["nobody", "wiki"] {
        let text = json!({"iss": name, "sub": name, "aud": OURS, "exp": NOW + 60, "jti": "j"});
        let unknown = world.refusal(&named(&stranger, &text)).await.expect("refused");
        assert_eq!(unknown, Reason::ClientUnauthenticated);
        assert_eq!(unknown.on_the_wire(), wrong.on_the_wire());
        // Whatever is said before a key is looked for is said of every name.
        let mut legacy = text;
        legacy["aud"] = json!(format!("{OURS}/token"));
        assert_eq!(
            world.refusal(&named(&stranger, &legacy)).await,
            Some(Reason::ClientAud),
            "{name}"
        );
    }
    // Nor does it tell of a server that may use it.
    let own = json!({"keys": [TestKey::es256().jwk("c1")]});
    world.register("tickets", ClientKeys::Inline(own), true);
    let legacy = claims("aud", json!(format!("{OURS}/token")));
    for kid in ["c1", "c2"] {
        let text = signed(&stranger, json!({ "kid": kid }), &legacy);
        assert_eq!(world.refusal(&text).await, Some(Reason::ClientAud));
    }
}

#[tokio::test]
async fn a_secret_does_not_open_what_a_key_locks() {
    let (world, _) = world().await;
    for secret in ["", "x"] {
        let credentials = ClientCredentials::Basic {
            id: "tickets".into(),
            secret: Secret::new(secret.into()),
        };
        let refused = world
            .identity
            .authenticate(&world.catalogue, &credentials, None, world.clock.now())
            .await;
        assert_eq!(refused.err(), Some(Reason::ClientUnauthenticated));
    }
}

#[tokio::test]
async fn keys_at_a_uri_are_fetched_once_followed_and_kept() {
    let (mut world, key) = (World::new().await, TestKey::es256());
    world.register("tickets", ClientKeys::Uri(format!("{}/jwks", world.idp.url)), false);
    world.idp.jwks(Answer::status(500));
    assert_eq!(
        world.refusal(&named(&key, &plain())).await,
        Some(Reason::ClientKeysUnavailable)
    );
    world.idp.publish(&[key.jwk("c1")]);
    world.clock.advance(6);
    let valid = |key: &TestKey, kid: &str, after: i64| {
        signed(key, json!({"kid": kid}), &claims("exp", json!(NOW + after + 60)))
    };
    assert_eq!(world.refusal(&valid(&key, "c1", 6)).await, None);
    assert_eq!(world.refusal(&valid(&key, "c1", 6)).await, None);
    assert_eq!(world.idp.fetches(), 2);
    let next = TestKey::ed25519();
    world.idp.publish(&[key.jwk("c1"), next.jwk("c2")]);
    assert_eq!(
        world.refusal(&valid(&next, "c2", 6)).await,
        None,
        "an unknown id causes a fetch"
    );
    assert_eq!(world.refusal(&valid(&next, "c9", 6)).await, Some(Reason::ClientKey));
    assert_eq!(world.idp.fetches(), 3, "and not another one at once");
    world.idp.jwks(Answer::status(500));
    world.clock.advance(301);
    assert_eq!(
        world.refusal(&valid(&key, "c1", 307)).await,
        None,
        "the last good ones serve"
    );
    world.clock.advance(3600);
    assert_eq!(
        world.refusal(&valid(&key, "c1", 3907)).await,
        Some(Reason::ClientKeysUnavailable)
    );
}
