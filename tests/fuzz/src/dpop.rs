//! DPoP proofs.

use std::collections::BTreeSet;

use procura_core::{
    identity::{PresentedProof, Proof},
    ports::TokenVerifier as _,
};
use procura_wire::Secret;
use serde_json::{Map, Value};
use url::Url;

use crate::{
    broker::{BROKER, OURS},
    signed::{b64, is_signed, members, token, x},
};

const METHOD: &str = "POST";
const TOKEN: &str = "a-token";

/// A proof, as `token` makes it of the input, presented without an access token and with one.
///
/// What is accepted is a proof of this request: method, address, time, a nonce of ours, the token's hash; and whoever is named by
/// our key's thumbprint has signed with our key.
pub fn dpop(data: &[u8]) -> bool {
    let Ok(input) = str::from_utf8(data) else {
        return false;
    };
    let proof = token(input);
    let [alone, beside] = [None, Some(TOKEN)].map(|access| {
        let found = prove(&proof, access);
        assert_eq!(found, prove(&proof, access), "the same proof at the same time");
        if let Some(found) = &found {
            check(&proof, found, access);
        }
        found
    });
    if let (Some(alone), Some(beside)) = (&alone, &beside) {
        assert!(alone.jkt == beside.jkt && alone.once.id.id == beside.once.id.id);
    }
    alone.or(beside).is_some()
}

fn prove(proof: &str, access: Option<&str>) -> Option<Proof> {
    let presented = PresentedProof {
        value: Some(Secret::new(proof.to_owned())),
        method: METHOD.to_owned(),
        uri: format!("{OURS}/token"),
    };
    let access = access.map(|access| Secret::new(access.to_owned()));
    BROKER.identity.prove(&presented, access.as_ref(), BROKER.now).ok()
}

fn check(proof: &str, found: &Proof, access: Option<&str>) {
    let [header, claims] = members(proof).expect("a JWS");
    check_key(proof, &header, found);
    assert_eq!(claims["htm"], METHOD);
    assert!(
        is_token_endpoint(claims["htu"].as_str().expect("an address")),
        "{}",
        claims["htu"]
    );
    let distance = claims["iat"].as_i64().expect("a time").abs_diff(BROKER.now.as_second());
    assert!(distance <= if access.is_some() { 300 } else { 60 }, "{distance} s away");
    assert!(claims["jti"].as_str().is_some_and(|jti| !jti.is_empty()));
    assert!(
        access.is_none_or(|access| claims["ath"] == hash(access)),
        "for another token"
    );
    check_nonce(&claims, access.is_some());
}

fn check_key(proof: &str, header: &Map<String, Value>, found: &Proof) {
    assert_eq!(header["typ"], "dpop+jwt");
    assert!(!header.contains_key("crit"));
    let jwk = header["jwk"].as_object().expect("a key");
    assert!(
        !["d", "p", "q", "k"].iter().any(|member| jwk.contains_key(*member)),
        "a private key"
    );
    assert_eq!(found.jkt.len(), 43);
    let ours = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, x());
    if found.jkt == hash(&ours) {
        assert!(is_signed(proof), "our key did not sign this");
    }
}

/// The nonces of the last five minutes, and of the next one.
fn check_nonce(claims: &Map<String, Value>, has_token: bool) {
    let minute = procura_core::Timestamp::from_second;
    let times = (-5..=1).filter_map(|away| minute(BROKER.now.as_second() + 60 * away).ok());
    let ours: BTreeSet<String> = times.filter_map(|time| BROKER.identity.nonce(time)).collect();
    match claims.get("nonce") {
        Some(nonce) => assert!(nonce.as_str().is_some_and(|nonce| ours.contains(nonce)), "{nonce}"),
        None => assert!(has_token, "a proof that is for always"),
    }
}

fn is_token_endpoint(address: &str) -> bool {
    let url = Url::parse(address).expect("an address");
    url.as_str().split(['?', '#']).next() == Some(&format!("{OURS}/token"))
}

/// Base64url of SHA-256.
fn hash(text: &str) -> String {
    b64(procura_wire::Digest::of(text.as_bytes()).as_bytes())
}
