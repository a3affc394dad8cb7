//! Signing keys: formats, rotation, what is shown.

use procura_core::ports::Signer;
use procura_wire::Secret;
use serde_json::{Value, json};

use super::{clear, verify};
use crate::{Keyring, KeyringError, SigningAlgorithm, jwk::thumbprint, new_key, new_set, rotate};

fn parsed(secret: &Secret) -> Value {
    serde_json::from_str(clear(secret)).expect("JSON")
}

#[test]
fn thumbprint_is_that_of_rfc_7638() {
    // RFC 7638 section 3.1.
    let key = json!({
        "e": "AQAB",
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4\
              n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ\
              Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8\
              awapJzKnqDKgw"
    });
    assert_eq!(thumbprint(&key), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn req_078_of_a_new_key_only_the_private_half_is_a_secret() {
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::Ed25519,
        SigningAlgorithm::Rs256,
    ] {
        let (private, public) = new_key(algorithm).expect("key");
        let private = parsed(&private);
        let members: Vec<_> = private.as_object().into_iter().flatten().collect();
        let secret = ["d", "p", "q", "dp", "dq", "qi"];
        assert!(private["d"].is_string());
        for (name, value) in members {
            let shown = if secret.contains(&name.as_str()) {
                &Value::Null
            } else {
                value
            };
            assert_eq!(&public[name], shown, "{name}");
        }
    }
}

#[test]
fn req_045_every_algorithm_signs_what_its_public_key_verifies() {
    for (algorithm, alg) in [
        (SigningAlgorithm::Es256, "ES256"),
        (SigningAlgorithm::Ed25519, "EdDSA"),
        (SigningAlgorithm::Rs256, "RS256"),
    ] {
        let set = new_set(algorithm).expect("set");
        let keyring = Keyring::parse(&set).expect("keyring");
        let token = keyring.sign("at+jwt", b"{\"sub\":\"x\"}").expect("token");
        let (header, claims) = verify(&keyring, clear(&token)).expect("a valid signature");
        assert_eq!((&header["typ"], &claims["sub"]), (&json!("at+jwt"), &json!("x")));
        assert_eq!(
            (header["alg"].as_str(), &header["kid"]),
            (Some(alg), &parsed(&set)["keys"][0]["kid"])
        );
    }
}

#[test]
fn a_rotation_keeps_what_was_signed_verifiable() {
    let first = new_set(SigningAlgorithm::Es256).expect("set");
    let keyring = Keyring::parse(&first).expect("keyring");
    let old = keyring.sign("at+jwt", b"{}").expect("token");
    let announced = keyring.public_jwks();
    let second = rotate(&first, SigningAlgorithm::Ed25519).expect("rotated");
    keyring.replace(&second).expect("replaced");
    let new = keyring.sign("at+jwt", b"{}").expect("token");
    assert!(verify(&keyring, clear(&old)).is_some() && verify(&keyring, clear(&new)).is_some());
    let kid = |token: &Secret| jsonwebtoken::decode_header(clear(token)).expect("header").kid;
    assert_ne!(kid(&old), kid(&new));
    let was_announced = announced["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .any(|key| key["kid"].as_str() == kid(&new).as_deref());
    assert!(was_announced, "a key is published before it signs");
    let states: Vec<_> = parsed(&second)["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| key["state"].clone())
        .collect();
    assert_eq!(states, ["retired", "active", "next"]);
}

#[test]
fn retired_keys_do_not_pile_up() {
    let mut set = new_set(SigningAlgorithm::Ed25519).expect("set");
    let mut before = Value::Null;
    for _ in 0..20 {
        before = parsed(&set)["keys"].clone();
        set = rotate(&set, SigningAlgorithm::Ed25519).expect("rotated");
    }
    let keys = parsed(&set)["keys"].as_array().expect("keys").clone();
    assert_eq!(keys.len(), 10);
    let last = before
        .as_array()
        .and_then(|keys| keys.iter().find(|key| key["state"] == "active").cloned());
    assert!(
        keys.iter()
            .any(|key| Some(&key["kid"]) == last.as_ref().map(|key| &key["kid"])),
        "the newest are kept"
    );
}

#[test]
fn the_public_set_and_debug_show_no_private_part() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::Rs256] {
        let set = new_set(algorithm).expect("set");
        let keyring = Keyring::parse(&set).expect("keyring");
        let (shown, public) = (format!("{keyring:?}"), keyring.public_jwks().to_string());
        for key in parsed(&set)["keys"].as_array().expect("keys") {
            for member in ["d", "p", "q", "dp", "dq", "qi"] {
                let Some(part) = key[member].as_str() else { continue };
                assert!(!shown.contains(part) && !public.contains(part), "{member}");
            }
        }
        for key in keyring.public_jwks()["keys"].as_array().expect("keys") {
            assert_eq!(key["use"], "sig");
            assert!(["d", "p", "state"].iter().all(|member| key.get(member).is_none()));
        }
    }
}

#[test]
fn nothing_is_signed_without_exactly_one_active_key() {
    let set = parsed(&new_set(SigningAlgorithm::Ed25519).expect("set"));
    for states in [["next", "next"], ["retired", "next"], ["active", "active"]] {
        let mut set = set.clone();
        for (at, state) in states.iter().enumerate() {
            set["keys"][at]["state"] = json!(state);
        }
        let set = Secret::new(set.to_string());
        let keyring = Keyring::parse(&set).expect("keyring");
        assert!(keyring.sign("at+jwt", b"{}").is_err(), "{states:?}");
        let rotated = rotate(&set, SigningAlgorithm::Ed25519).err();
        assert_eq!(rotated, Some(KeyringError::States));
    }
    assert!(
        Keyring::parse(&Secret::new(r#"{"keys":[]}"#.into()))
            .expect("keyring")
            .sign("x", b"{}")
            .is_err()
    );
}

#[test]
fn unacceptable_sets_are_refused_and_the_old_one_stays() {
    let good = new_set(SigningAlgorithm::Es256).expect("set");
    let keyring = Keyring::parse(&good).expect("keyring");
    let with = |member: &str, value: Value| {
        let mut set = parsed(&good);
        set["keys"][1][member] = value;
        set.to_string()
    };
    let mut twice = parsed(&good);
    twice["keys"][1] = twice["keys"][0].clone();
    let other = parsed(&new_set(SigningAlgorithm::Es256).expect("set"));
    for (text, error) in [
        (String::new(), KeyringError::Malformed),
        ("{}".into(), KeyringError::Malformed),
        (with("state", json!("other")), KeyringError::Malformed),
        (with("state", Value::Null), KeyringError::Malformed),
        (with("d", Value::Null), KeyringError::Malformed),
        (with("kty", json!("oct")), KeyringError::Key(1)),
        (with("crv", json!("P-384")), KeyringError::Key(1)),
        (with("x", other["keys"][0]["x"].clone()), KeyringError::Key(1)),
        (with("d", other["keys"][0]["d"].clone()), KeyringError::Key(1)),
        (twice.to_string(), KeyringError::Twice(1)),
    ] {
        assert_eq!(keyring.replace(&Secret::new(text)).err(), Some(error));
    }
    assert!(keyring.sign("at+jwt", b"{}").is_ok());
}

#[test]
fn req_086_replicas_know_each_others_tags_before_and_after_a_rotation() {
    for algorithm in [
        SigningAlgorithm::Es256,
        SigningAlgorithm::Ed25519,
        SigningAlgorithm::Rs256,
    ] {
        let first = new_set(algorithm).expect("set");
        let [old, restarted] = [(); 2].map(|()| Keyring::parse(&first).expect("keyring"));
        let second = rotate(&first, algorithm).expect("rotated");
        let rotated = Keyring::parse(&second).expect("keyring");
        let active = |ring: &Keyring| ring.tags(b"m")[0];
        assert_eq!(old.tags(b"m"), restarted.tags(b"m"));
        assert_ne!(active(&old), active(&rotated));
        assert!(rotated.tags(b"m").contains(&active(&old)) && old.tags(b"m").contains(&active(&rotated)));
        assert!(!old.tags(b"n").contains(&active(&old)));
    }
}
