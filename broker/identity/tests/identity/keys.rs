//! What keys of an issuer's set are acceptable, and whose they are.

use procura_wire::Reason;
use serde_json::{Value, json};

use crate::kit::{Idp, TestKey, World, b64, issuer};

async fn with_key(world: &World, jwk: Value) -> Option<Reason> {
    world.idp.publish(&[jwk, TestKey::es256().jwk("k2")]);
    // Older than the set is kept fresh, so that it is fetched again.
    world.clock.advance(301);
    world.reason(&world.valid()).await
}

#[tokio::test]
async fn req_045_verifies_each_algorithm() {
    let world = World::new().await;
    let (rsa, ed) = (TestKey::rs256(), TestKey::ed25519());
    world.idp.publish(&[world.key.jwk("k1"), rsa.jwk("k2"), ed.jwk("k3")]);
    assert_eq!(world.reason(&world.valid()).await, None);
    assert_eq!(world.reason(&rsa.token("k2", &world.claims())).await, None);
    assert_eq!(world.reason(&ed.token("k3", &world.claims())).await, None);
    let named = json!({"alg": "Ed25519", "kid": "k3", "typ": "at+jwt"});
    let named = ed.compact(&named.to_string(), world.claims().to_string().as_bytes());
    assert_eq!(world.reason(&named).await, None);
    let (signed, signature) = named.rsplit_once('.').expect("three parts");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let broken = format!("{signed}.{other}{}", &signature[1..]);
    assert_eq!(world.reason(&broken).await, Some(Reason::JwtSigInvalid));
}

#[tokio::test]
async fn attack_55_keys_that_are_not_public_signing_keys_are_not_used() {
    let world = World::new().await;
    let with = |member: &str, value: Value| {
        let mut jwk = world.key.jwk("k1");
        jwk[member] = value;
        jwk
    };
    for jwk in [
        with("use", json!("enc")),
        with("use", json!(1)),
        with("key_ops", json!(["sign"])),
        with("key_ops", json!([])),
        with("key_ops", json!("verify")),
        with("d", json!(b64(world.key.private()))),
        with("k", json!("x")),
        with("crv", json!("P-384")),
        with("crv", json!("secp256k1")),
        with("x", json!(b64([1; 32]))),
        with("x", json!(b64([1; 31]))),
        with("kty", json!("oct")),
        json!({"kty": "oct", "kid": "k1", "k": "c2VjcmV0"}),
    ] {
        assert_eq!(
            with_key(&world, jwk.clone()).await,
            Some(Reason::JwksKeyRefused),
            "{jwk}"
        );
    }
    for jwk in [
        with("use", json!("sig")),
        with("key_ops", json!(["verify"])),
        with("alg", json!("ES256")),
    ] {
        assert_eq!(with_key(&world, jwk.clone()).await, None, "{jwk}");
    }
}

#[tokio::test]
async fn attack_7_weak_rsa_keys_are_not_used() {
    let world = World::new().await;
    let good = TestKey::rs256();
    let token = good.token("k1", &world.claims());
    let n = good.jwk("k1")["n"].as_str().expect("n").to_owned();
    let modulus = {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        BASE64_URL_SAFE_NO_PAD.decode(&n).expect("base64")
    };
    let mut even = modulus.clone();
    *even.last_mut().expect("bytes") &= 0xfe;
    for (name, n, e) in [
        ("1024 bits", b64(&modulus[..128]), "AQAB"),
        ("2047 bits", b64([&[0x7f], &modulus[1..]].concat()), "AQAB"),
        ("even modulus", b64(even), "AQAB"),
        ("leading zero", b64([&[0], &modulus[..]].concat()), "AQAB"),
        ("e = 1", n.clone(), "AQ"),
        ("e = 2", n.clone(), "Ag"),
        ("e empty", n.clone(), ""),
    ] {
        world.idp.publish(&[json!({"kty": "RSA", "kid": "k1", "n": n, "e": e})]);
        world.clock.advance(301);
        assert_eq!(world.reason(&token).await, Some(Reason::JwksKeyRefused), "{name}");
    }
    world.idp.publish(&[good.jwk("k1")]);
    world.clock.advance(301);
    assert_eq!(world.reason(&token).await, None);
}

#[tokio::test]
async fn req_035_attack_2_one_key_has_one_algorithm() {
    let world = World::new().await;
    for alg in ["RS256", "ES384", "ECDH-ES", "es256", ""] {
        let mut jwk = world.key.jwk("k1");
        jwk["alg"] = json!(alg);
        assert_eq!(with_key(&world, jwk).await, Some(Reason::JwtAlgKeyMismatch), "{alg}");
    }
    let ed = TestKey::ed25519();
    assert_eq!(with_key(&world, ed.jwk("k1")).await, Some(Reason::JwtAlgKeyMismatch));
}

#[tokio::test]
async fn req_035_each_of_the_longer_algorithms_verifies_and_none_stands_in_for_another() {
    let world = World::new().await;
    let keys = [
        TestKey::es256(),
        TestKey::es384(),
        TestKey::rsa("RS256"),
        TestKey::rsa("RS384"),
        TestKey::rsa("PS256"),
        TestKey::rsa("PS384"),
    ];
    let kid = |at: usize| format!("a{at}");
    let set: Vec<_> = keys.iter().enumerate().map(|(at, key)| key.jwk(&kid(at))).collect();
    world.idp.publish(&set);
    world.clock.advance(301);
    let payload = world.claims().to_string();
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(
            world.reason(&key.token(&kid(at), &world.claims())).await,
            None,
            "{}",
            key.alg()
        );
        for other in &keys {
            // Signed by `key`, under the name of the other's algorithm, and then with the other's signature too.
            let header = json!({"alg": other.alg(), "kid": kid(at), "typ": "at+jwt"}).to_string();
            if other.alg() != key.alg() {
                let expected = Some(Reason::JwtAlgKeyMismatch);
                assert_eq!(world.reason(&key.compact(&header, payload.as_bytes())).await, expected);
                assert_eq!(
                    world.reason(&other.compact(&header, payload.as_bytes())).await,
                    expected
                );
            }
        }
    }
}

#[tokio::test]
async fn req_035_an_rsa_key_signs_in_the_one_way_that_it_says_and_rs256_where_it_says_none() {
    let world = World::new().await;
    for alg in ["RS384", "PS256", "PS384"] {
        let key = TestKey::rsa(alg);
        let mut jwk = key.jwk("k1");
        world.idp.publish(std::slice::from_ref(&jwk));
        world.clock.advance(301);
        let token = key.token("k1", &world.claims());
        assert_eq!(world.reason(&token).await, None, "{alg}");
        // The signature of one scheme under the name of another, which the key says.
        for said in ["RS256", "RS384", "PS256", "PS384"]
            .into_iter()
            .filter(|said| *said != alg)
        {
            jwk["alg"] = json!(said);
            world.idp.publish(std::slice::from_ref(&jwk));
            world.clock.advance(301);
            assert_eq!(
                world.reason(&token).await,
                Some(Reason::JwtAlgKeyMismatch),
                "{alg} for {said}"
            );
            let header = json!({"alg": said, "kid": "k1", "typ": "at+jwt"}).to_string();
            let renamed = key.compact(&header, world.claims().to_string().as_bytes());
            assert_eq!(
                world.reason(&renamed).await,
                Some(Reason::JwtSigInvalid),
                "{alg} as {said}"
            );
        }
        jwk.as_object_mut().expect("object").remove("alg");
        world.idp.publish(std::slice::from_ref(&jwk));
        world.clock.advance(301);
        assert_eq!(
            world.reason(&token).await,
            Some(Reason::JwtAlgKeyMismatch),
            "{alg} of a key that says none"
        );
    }
}

#[tokio::test]
async fn req_038_points_of_p_384_are_on_the_curve_and_have_its_length() {
    let world = World::new().await;
    let key = TestKey::es384();
    let token = key.token("k1", &world.claims());
    let with = |member: &str, value: Value| {
        let mut jwk = key.jwk("k1");
        jwk[member] = value;
        jwk
    };
    for jwk in [
        with("x", json!(b64([1; 48]))),
        with("x", json!(b64([1; 32]))),
        with("crv", json!("P-256")),
        with("crv", json!("P-521")),
    ] {
        world.idp.publish(std::slice::from_ref(&jwk));
        world.clock.advance(301);
        assert_eq!(world.reason(&token).await, Some(Reason::JwksKeyRefused), "{jwk}");
    }
    world.idp.publish(&[key.jwk("k1")]);
    world.clock.advance(301);
    assert_eq!(world.reason(&token).await, None);
}

#[tokio::test]
async fn req_040_attack_10_a_key_of_another_issuer_is_told_apart() {
    let mut world = World::new().await;
    let (other, key) = (Idp::start().await, TestKey::es256());
    other.publish(&[key.jwk("theirs")]);
    let alias = "other".parse().expect("name");
    world.catalogue.issuers.insert(alias, issuer(&other.url));
    let foreign = key.token("theirs", &world.claims());
    assert_eq!(
        world.reason(&foreign).await,
        Some(Reason::JwksMiss),
        "nobody is known to have it yet"
    );
    let mut claims = world.claims();
    claims["iss"] = json!(other.url);
    assert_eq!(world.reason(&key.token("theirs", &claims)).await, None);
    assert_eq!(world.reason(&foreign).await, Some(Reason::JwtKeyWrongIssuer));
    // The same id in both sets: each issuer's own key counts.
    other.publish(&[key.jwk("k1")]);
    assert_eq!(
        world.reason(&key.token("k1", &world.claims())).await,
        Some(Reason::JwtSigInvalid)
    );
}

#[tokio::test]
async fn attack_11_a_set_with_one_id_twice_is_refused_and_the_last_good_kept() {
    let world = World::new().await;
    let twice = [world.key.jwk("k1"), TestKey::es256().jwk("k1")];
    world.idp.publish(&twice);
    assert_eq!(world.reason(&world.valid()).await, Some(Reason::JwksDuplicateKid));
    world.idp.publish(&[world.key.jwk("k1")]);
    world.clock.advance(6);
    assert_eq!(world.reason(&world.valid()).await, None);
    world.idp.publish(&twice);
    world.clock.advance(301);
    assert_eq!(world.reason(&world.valid()).await, None);
}
