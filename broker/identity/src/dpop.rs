//! DPoP proofs (RFC 9449 section 4.3): everything that can be said of one without knowing earlier ones. Pure.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{
    Timestamp,
    catalogue::Algorithm,
    identity::{Once, PresentedProof, Proof},
    ledger::ReplayId,
};
use procura_wire::{Digest, Reason, Secret, json};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    jwk::{self, Key},
    jws::parts,
};

/// Longest proof, bytes: one with a key of 8192 bits fits.
const MAX_PROOF: usize = 8 * 1024;
/// Longest `jti`, bytes.
const MAX_JTI: usize = 256;
/// How far from now `iat` may be where a nonce says that the proof is fresh.
const WINDOW: Duration = Duration::from_secs(60);
/// The same where a token is used, which needs no nonce.
const WINDOW_OF_USE: Duration = Duration::from_secs(5 * 60);

/// A proof that is fine but for its nonce.
pub(crate) struct Verified {
    pub(crate) proof: Proof,
    /// `nonce`, as it says.
    pub(crate) nonce: Option<String>,
}

/// Verifies a proof that comes without a token, or with that one.
pub(crate) fn verify(presented: &PresentedProof, token: Option<&Secret>, now: Timestamp) -> Result<Verified, Reason> {
    let text = presented.value.as_ref().ok_or(Reason::DpopHeader)?;
    #[expect(clippy::disallowed_methods, reason = "the proof is read here, where it is verified")]
    let (claims, jkt) = signed_by_its_key(text.expose())?;
    if claims.get("htm").and_then(Value::as_str) != Some(presented.method.as_str()) {
        return Err(Reason::DpopHtm);
    }
    let htu = claims.get("htu").and_then(Value::as_str);
    if !htu.is_some_and(|htu| is_same(htu, &presented.uri)) {
        return Err(Reason::DpopHtu);
    }
    let window = if token.is_some() { WINDOW_OF_USE } else { WINDOW };
    let issued = claims.get("iat").and_then(Value::as_i64);
    let issued = issued.and_then(|iat| Timestamp::from_second(iat).ok());
    let near = |iat: &Timestamp| now.duration_since(*iat).unsigned_abs() <= window;
    let issued = issued.filter(near).ok_or(Reason::DpopIat)?;
    if token.is_some_and(|token| claims.get("ath").and_then(Value::as_str) != Some(&hash(token))) {
        return Err(Reason::DpopAth);
    }
    let jti = claims.get("jti").and_then(Value::as_str);
    let jti = jti.filter(|jti| (1..=MAX_JTI).contains(&jti.len()));
    let jti = jti.ok_or(Reason::DpopJti)?;
    let nonce = match claims.get("nonce") {
        None => None,
        Some(nonce) => Some(nonce.as_str().ok_or(Reason::DpopNonce)?.to_owned()),
    };
    let parts: [&[u8]; 6] = [
        b"dpop\0",
        jkt.as_bytes(),
        b"\0",
        presented.uri.as_bytes(),
        b"\0",
        jti.as_bytes(),
    ];
    let id = ReplayId {
        id: Digest::of_parts(parts),
        // Twice as long as the proof is taken, so that no clock of a replica outlives the memory of it.
        until: issued + 2 * window,
    };
    let replayed = Reason::DpopReplay;
    let once = Once { id, replayed };
    Ok(Verified {
        proof: Proof { jkt, once },
        nonce,
    })
}

/// The claims of a proof whose form is fine and that the key in its header signed, and that key's thumbprint.
fn signed_by_its_key(text: &str) -> Result<(Map<String, Value>, String), Reason> {
    if text.len() > MAX_PROOF {
        return Err(Reason::DpopHeader);
    }
    let [header, payload, signature] = parts(text).ok_or(Reason::DpopHeader)?;
    let signed = &text.as_bytes()[..header.len() + 1 + payload.len()];
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::DpopHeader);
    let (header, claims) = (object(&decode(header)?)?, object(&decode(payload)?)?);
    let algorithm = algorithm(&header).ok_or(Reason::DpopHeader)?;
    let jwk = header.get("jwk").ok_or(Reason::DpopHeader)?;
    let mut jwk = jwk.as_object().ok_or(Reason::DpopKey)?.clone();
    // One that does not say is for the algorithm of its proof.
    jwk.entry("alg").or_insert_with(|| header["alg"].clone());
    let key = Key::read(&jwk).ok_or(Reason::DpopKey)?;
    let jkt = thumbprint(&jwk).ok_or(Reason::DpopKey)?;
    match key.verify(algorithm, signed, &decode(signature)?) {
        Ok(()) => Ok((claims, jkt)),
        Err(Reason::JwtAlgKeyMismatch) => Err(Reason::DpopKey),
        Err(_) => Err(Reason::DpopSignature),
    }
}

fn object(text: &[u8]) -> Result<Map<String, Value>, Reason> {
    match json::strict(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Reason::DpopHeader),
    }
}

/// `alg` of a header that says what a proof's must say, and names nothing as critical.
fn algorithm(header: &Map<String, Value>) -> Option<Algorithm> {
    let name = header.get("alg")?.as_str()?;
    let is_proof = header.get("typ")? == "dpop+jwt" && !header.contains_key("crit");
    is_proof.then(|| jwk::algorithm(name))?
}

/// RFC 7638: SHA-256 over the required members, sorted by name. Their texts are canonical, or the key was not read.
fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let members: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let required = members.iter().map(|name| Some((*name, jwk.get(*name)?.as_str()?)));
    let required: BTreeMap<_, _> = required.collect::<Option<_>>()?;
    let text = serde_json::to_vec(&required).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(Digest::of(&text).as_bytes()))
}

/// `ath` for a token (RFC 9449 section 4.2).
fn hash(token: &Secret) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(token.digest().as_bytes())
}

/// Whether two URIs are the same after normalisation, query and fragment apart.
fn is_same(htu: &str, uri: &str) -> bool {
    let bare = |text: &str| {
        let mut url = Url::parse(text).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    };
    matches!((bare(htu), bare(uri)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn req_084_uris_compare_after_normalisation_without_query_and_fragment() {
        let ours = "https://b.example.com/a/token";
        for same in [
            ours,
            "https://b.example.com/a/token?x=y#z",
            "HTTPS://B.EXAMPLE.com:443/a/./b/../token",
        ] {
            assert!(is_same(same, ours), "{same}");
        }
        for other in [
            "https://b.example.com/token",
            "https://b.example.com/a/token/",
            "https://b.example.com/a/Token",
            "http://b.example.com/a/token",
            "https://b.example.com:8443/a/token",
            "https://evil@b.example.com/a/token",
            "/a/token",
            "",
        ] {
            assert!(!is_same(other, ours), "{other}");
        }
    }

    #[test]
    fn thumbprints_are_those_of_rfc_7638_and_rfc_8037() {
        let of = |jwk: Value| thumbprint(jwk.as_object().expect("object"));
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let found = of(json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "unimportant"}));
        assert_eq!(found.as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
        assert_eq!(of(json!({"kty": "oct", "k": "AA"})), None);
    }
}
