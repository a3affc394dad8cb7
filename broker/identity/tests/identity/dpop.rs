//! DPoP proofs (RFC 9449 section 4.3) and nonces (section 8).

use std::sync::Arc;

use procura_core::{
    Timestamp,
    identity::{PresentedProof, Proof},
    ports::TokenVerifier,
};
use procura_identity::Identity;
use procura_wire::{Reason, Secret};
use serde_json::{Value, json};

use crate::kit::{NOW, OURS, TestClock, TestKey, b64, identity, replica};

/// A verifier, a key that proves, and the parts of a valid proof to tweak.
struct Bench {
    identity: Identity,
    key: TestKey,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("time")
}

fn verifier(keys: &[u8]) -> Identity {
    replica(&Arc::new(TestClock::default()), &TestKey::ed25519(), keys)
}

fn jwk(key: &TestKey) -> Value {
    let mut jwk = key.jwk("");
    jwk.as_object_mut().expect("object").remove("kid");
    jwk
}

/// `null` takes the member away.
fn put(object: &mut Value, (member, value): (&str, Value)) {
    if value.is_null() {
        object.as_object_mut().expect("object").remove(member);
    } else {
        object[member] = value;
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            identity: identity(&Arc::new(TestClock::default()), &TestKey::ed25519()),
            key: TestKey::es256(),
        }
    }

    fn nonce(&self) -> String {
        self.identity.nonce(at(NOW)).expect("a nonce")
    }

    fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": self.key.alg(), "jwk": jwk(&self.key)})
    }

    fn claims(&self) -> Value {
        let htu = format!("{OURS}/token");
        json!({"htm": "POST", "htu": htu, "iat": NOW, "jti": "j1", "nonce": self.nonce()})
    }

    fn proof(&self, header: &Value, claims: &Value) -> String {
        self.key.compact(&header.to_string(), claims.to_string().as_bytes())
    }

    fn prove(&self, proof: Option<&str>, token: Option<&str>) -> Result<Proof, Reason> {
        let presented = PresentedProof {
            value: proof.map(|proof| Secret::new(proof.into())),
            method: "POST".into(),
            uri: format!("{OURS}/token"),
        };
        let token = token.map(|token| Secret::new(token.into()));
        self.identity.prove(&presented, token.as_ref(), at(NOW))
    }

    fn with_header(&self, change: (&str, Value)) -> Result<Proof, Reason> {
        let mut header = self.header();
        put(&mut header, change);
        self.prove(Some(&self.proof(&header, &self.claims())), None)
    }

    fn with_claim(&self, change: (&str, Value)) -> Result<Proof, Reason> {
        let mut claims = self.claims();
        put(&mut claims, change);
        self.prove(Some(&self.proof(&self.header(), &claims)), None)
    }

    fn with_token(&self, change: (&str, Value)) -> Result<Proof, Reason> {
        let mut claims = self.claims();
        put(&mut claims, ("nonce", Value::Null));
        put(
            &mut claims,
            ("ath", json!(b64(Secret::new("t".into()).digest().as_bytes()))),
        );
        put(&mut claims, change);
        self.prove(Some(&self.proof(&self.header(), &claims)), Some("t"))
    }
}

#[test]
fn req_084_a_valid_proof_tells_its_key() {
    for key in [TestKey::es256(), TestKey::ed25519(), TestKey::rs256()] {
        let bench = Bench { key, ..Bench::new() };
        let proof = bench.prove(Some(&bench.proof(&bench.header(), &bench.claims())), None);
        let proof = proof.expect("valid");
        assert_eq!(proof.jkt.len(), 43);
        assert_eq!(proof.once.replayed, Reason::DpopReplay);
        let again = bench.with_claim(("jti", json!("j2"))).expect("valid");
        assert_eq!(again.jkt, proof.jkt);
        assert_ne!(again.once.id.id, proof.once.id.id);
    }
}

#[test]
fn req_088_one_id_of_two_keys_or_endpoints_are_two() {
    let (one, other) = (Bench::new(), Bench::new());
    let id = |bench: &Bench| bench.with_claim(("jti", json!("j"))).expect("valid").once.id.id;
    assert_eq!(id(&one), id(&one));
    assert_ne!(id(&one), id(&other));
}

#[test]
fn req_084_attack_98_the_header_must_be_that_of_a_proof() {
    let bench = Bench::new();
    let refused = |member, value| bench.with_header((member, value)).err();
    for typ in [json!("JWT"), json!("at+jwt"), json!("dpop+JWT"), json!(1), Value::Null] {
        assert_eq!(refused("typ", typ.clone()), Some(Reason::DpopHeader), "{typ}");
    }
    for alg in ["none", "HS256", "RS1", "es256", ""] {
        assert_eq!(refused("alg", json!(alg)), Some(Reason::DpopHeader), "{alg}");
    }
    assert_eq!(refused("alg", Value::Null), Some(Reason::DpopHeader));
    assert_eq!(refused("crit", json!(["exp"])), Some(Reason::DpopHeader));
    assert_eq!(refused("jwk", Value::Null), Some(Reason::DpopHeader));
    assert_eq!(
        refused("alg", json!("RS256")),
        Some(Reason::DpopKey),
        "another key's algorithm"
    );
}

#[test]
fn req_084_attack_98_a_key_with_a_private_part_or_a_symmetric_one_is_refused() {
    let bench = Bench::new();
    let mut private = jwk(&bench.key);
    private["d"] = json!(b64(bench.key.private()));
    let mut short = jwk(&bench.key);
    short["x"] = json!("AA");
    for jwk in [
        private,
        short,
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "EC"}),
        json!({}),
        json!("x"),
        json!([]),
    ] {
        let refused = bench.with_header(("jwk", jwk.clone())).err();
        assert_eq!(refused, Some(Reason::DpopKey), "{jwk}");
    }
}

#[test]
fn req_084_the_key_in_the_header_must_have_signed() {
    let bench = Bench::new();
    let other = jwk(&TestKey::es256());
    assert_eq!(bench.with_header(("jwk", other)).err(), Some(Reason::DpopSignature));
    let valid = bench.proof(&bench.header(), &bench.claims());
    let (signed, signature) = valid.rsplit_once('.').expect("parts");
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let swapped = format!("{signed}.{other}{}", &signature[1..]);
    for bad in [
        &*swapped,
        &format!("{signed}."),
        signed,
        "",
        "a.b.c",
        "x, y",
        &"a".repeat(9000),
    ] {
        let reason = bench.prove(Some(bad), None).expect_err("refused");
        assert!(
            matches!(reason, Reason::DpopHeader | Reason::DpopSignature),
            "{bad} {reason:?}"
        );
    }
    assert_eq!(
        bench.prove(None, None).err(),
        Some(Reason::DpopHeader),
        "several headers"
    );
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let bench = Bench::new();
    let claims = bench.claims().to_string();
    let twice = claims.replacen('{', r#"{"jti":"other","#, 1);
    let proof = bench.key.compact(&bench.header().to_string(), twice.as_bytes());
    assert_eq!(bench.prove(Some(&proof), None).err(), Some(Reason::DpopHeader));
}

#[test]
fn req_084_attack_97_method_uri_and_time_are_those_of_the_request() {
    let bench = Bench::new();
    for (claim, values, reason) in [
        (
            "htm",
            [json!("GET"), json!("post"), json!(1), Value::Null],
            Reason::DpopHtm,
        ),
        (
            "htu",
            [json!(format!("{OURS}/revoke")), json!("/token"), json!([]), Value::Null],
            Reason::DpopHtu,
        ),
        (
            "iat",
            [json!(NOW - 61), json!(NOW + 61), json!("1"), Value::Null],
            Reason::DpopIat,
        ),
        (
            "jti",
            [json!(""), json!("j".repeat(257)), json!(7), Value::Null],
            Reason::DpopJti,
        ),
    ] {
        for value in values {
            assert_eq!(
                bench.with_claim((claim, value.clone())).err(),
                Some(reason),
                "{claim} {value}"
            );
        }
    }
    for (claim, value) in [
        ("htu", json!(format!("{OURS}:443/token?x#y"))),
        ("iat", json!(NOW - 60)),
        ("iat", json!(NOW + 60)),
        ("jti", json!("j".repeat(256))),
        ("ath", json!("of no token")),
        ("content_digest", json!("sha-256=:x:")),
    ] {
        assert!(bench.with_claim((claim, value.clone())).is_ok(), "{claim} {value}");
    }
}

#[test]
fn req_086_a_token_request_needs_a_nonce_of_the_last_minutes() {
    let bench = Bench::new();
    let with = |nonce: Value| bench.with_claim(("nonce", nonce)).err();
    let made = |second| json!(bench.identity.nonce(at(second)).expect("a nonce"));
    let foreign = verifier(&[9]).nonce(at(NOW)).expect("a nonce");
    for fresh in [NOW, NOW - 60, NOW - 300, NOW + 60] {
        assert_eq!(with(made(fresh)), None, "{fresh}");
    }
    for bad in [
        Value::Null,
        json!(""),
        json!(7),
        json!("x".repeat(54)),
        json!(foreign),
        made(NOW - 360),
        made(NOW + 120),
        json!(bench.nonce().replace(|c: char| c.is_ascii_digit(), "x") + "A"),
    ] {
        assert_eq!(with(bad.clone()), Some(Reason::DpopNonce), "{bad}");
    }
    assert_ne!(made(NOW), made(NOW + 60), "a new one each minute");
    assert_eq!(made(NOW), made(NOW + 59));
}

#[test]
fn req_086_replicas_take_each_others_nonces_also_while_keys_rotate() {
    let nonce = |keys: &[u8]| json!(verifier(keys).nonce(at(NOW)).expect("a nonce"));
    let key = TestKey::es256();
    let rotated = Bench {
        identity: verifier(&[2, 3, 1]),
        key,
    };
    assert!(rotated.with_claim(("nonce", nonce(&[1, 2]))).is_ok(), "one of before");
    assert!(rotated.with_claim(("nonce", nonce(&[2, 3, 1]))).is_ok());
    assert_eq!(
        rotated.with_claim(("nonce", nonce(&[4]))).err(),
        Some(Reason::DpopNonce)
    );
    assert_eq!(verifier(&[]).nonce(at(NOW)), None);
}

#[test]
fn req_084_attack_98_with_a_token_the_proof_must_be_made_for_it() {
    let bench = Bench::new();
    for ath in [Value::Null, json!(1), json!(""), json!(b64(b"another"))] {
        assert_eq!(
            bench.with_token(("ath", ath.clone())).err(),
            Some(Reason::DpopAth),
            "{ath}"
        );
    }
    assert!(bench.with_token(("jti", json!("j"))).is_ok(), "and needs no nonce");
}

#[test]
fn req_090_with_a_token_five_minutes_are_near_and_a_nonce_counts_where_there_is_one() {
    let bench = Bench::new();
    for (iat, fine) in [(-300, true), (300, true), (-301, false), (301, false)] {
        let result = bench.with_token(("iat", json!(NOW + iat)));
        assert_eq!(result.err(), (!fine).then_some(Reason::DpopIat), "{iat}");
    }
    assert!(bench.with_token(("nonce", json!(bench.nonce()))).is_ok());
    assert_eq!(bench.with_token(("nonce", json!("x"))).err(), Some(Reason::DpopNonce));
}

#[test]
fn req_088_a_proof_is_remembered_longer_than_it_is_taken() {
    let bench = Bench::new();
    for iat in [NOW - 60, NOW, NOW + 60] {
        let until = bench.with_claim(("iat", json!(iat))).expect("valid").once.id.until;
        assert!(until >= at(iat + 60 + 5), "{iat}");
    }
}
