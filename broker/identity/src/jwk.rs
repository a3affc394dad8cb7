//! Public keys of issuers (RFC 7517), parsed once.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::catalogue::Algorithm;
use procura_wire::{Digest, Reason};
use serde_json::{Map, Value};

use crate::roca;

const MAX_KEYS: usize = 64;
/// Members that only private or symmetric keys have (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The algorithm of that name, exactly.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "ES256" => Some(Algorithm::Es256),
        "RS256" => Some(Algorithm::Rs256),
        "Ed25519" | "EdDSA" => Some(Algorithm::Ed25519),
        _ => None,
    }
}

/// A key that verifies signatures of one algorithm.
pub(crate) struct Key {
    parsed: ParsedPublicKey,
    /// `None` where the key says an algorithm that is not one for its type.
    algorithm: Option<Algorithm>,
    /// Tells two keys apart.
    pub(crate) id: Digest,
}

impl Key {
    /// Verifies a signature whose header names that algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Reason> {
        if self.algorithm != Some(algorithm) {
            return Err(Reason::JwtAlgKeyMismatch);
        }
        self.parsed
            .verify_sig(message, signature)
            .map_err(|_| Reason::JwtSigInvalid)
    }

    /// Reads a JWK; `None` where it is not a public key that signatures may be verified with.
    pub(crate) fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let wrong_use = jwk.get("use").is_some_and(|to| to != "sig");
        let wrong_ops = jwk.get("key_ops").is_some_and(|ops| {
            !ops.as_array()
                .is_some_and(|ops| ops.iter().any(|operation| operation == "verify"))
        });
        if wrong_use || wrong_ops || PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return None;
        }
        let (parsed, natural) = match (text(jwk, "kty")?, text(jwk, "crv")) {
            ("EC", Some("P-256")) => (p256(jwk)?, Algorithm::Es256),
            ("OKP", Some("Ed25519")) => (ed25519(jwk)?, Algorithm::Ed25519),
            ("RSA", _) => (rsa(jwk)?, Algorithm::Rs256),
            _ => return None,
        };
        let own = match jwk.get("alg") {
            None => Some(natural),
            Some(name) => name.as_str().and_then(algorithm).filter(|own| *own == natural),
        };
        let id = Digest::of_parts([parsed.as_ref(), &[own.is_some().into()]]);
        Some(Self {
            parsed,
            algorithm: own,
            id,
        })
    }
}

fn p256(jwk: &Map<String, Value>) -> Option<ParsedPublicKey> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != 32 || y.len() != 32 {
        return None;
    }
    // The library refuses points that are not on the curve (RFC 8725 section 3.4).
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], x.as_slice(), &y].concat()).ok()
}

fn ed25519(jwk: &Map<String, Value>) -> Option<ParsedPublicKey> {
    let x = bytes(jwk, "x").filter(|x| x.len() == 32)?;
    ParsedPublicKey::new(&ED25519, x).ok()
}

fn rsa(jwk: &Map<String, Value>) -> Option<ParsedPublicKey> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let sound_n = n[0] != 0 && (2048..=8192).contains(&bits) && odd(&n) && !roca::is_weak(&n);
    let sound_e = e.first() != Some(&0) && e.len() <= 4 && odd(&e) && e != [1];
    if !sound_n || !sound_e {
        return None;
    }
    RsaPublicKeyComponents { n, e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .ok()
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    jwk.get(member)?.as_str()
}

fn bytes(jwk: &Map<String, Value>, member: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text(jwk, member)?).ok()
}

/// The keys of one issuer by id; `None` for those that are there but not acceptable.
pub(crate) struct KeySet(HashMap<String, Option<Arc<Key>>>);

impl KeySet {
    /// Reads a JWK Set (RFC 7517 section 5). Keys without an id are left out; an id that stands twice
    /// refuses the whole set.
    pub(crate) fn read(document: &Value) -> Result<Self, Reason> {
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.filter(|keys| keys.len() <= MAX_KEYS).ok_or(Reason::JwksRefused)?;
        let mut set = HashMap::new();
        for jwk in keys {
            let jwk = jwk.as_object().ok_or(Reason::JwksRefused)?;
            let Some(kid) = text(jwk, "kid") else { continue };
            let key = Key::read(jwk).map(Arc::new);
            if set.insert(kid.to_owned(), key).is_some() {
                return Err(Reason::JwksDuplicateKid);
            }
        }
        Ok(Self(set))
    }

    pub(crate) fn has(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    /// The key of that id.
    pub(crate) fn get(&self, kid: &str) -> Result<Arc<Key>, Reason> {
        match self.0.get(kid) {
            Some(Some(key)) => Ok(Arc::clone(key)),
            Some(None) => Err(Reason::JwksKeyRefused),
            None => Err(Reason::JwksMiss),
        }
    }
}
