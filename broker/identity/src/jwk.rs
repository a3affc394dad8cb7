//! Public keys of issuers and servers (RFC 7517), parsed once.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, EcdsaVerificationAlgorithm, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RsaParameters, RsaPublicKeyComponents,
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
    let mut names = Algorithm::NAMES.into_iter();
    names.find(|(known, _)| *known == name).map(|(_, algorithm)| algorithm)
}

/// What an RSA key may be for. One that does not say is for the first of them: a key has one algorithm (RFC 8725
/// section 3.1), and which one must not depend on the token.
const RSA: [Algorithm; 4] = [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Ps256, Algorithm::Ps384];

/// A key that verifies signatures of one algorithm.
pub(crate) struct Key {
    parsed: ParsedPublicKey,
    /// `None` where the key says an algorithm that is not one for its type.
    algorithm: Option<Algorithm>,
    /// Tells two keys apart.
    pub(crate) id: Digest,
    /// RFC 7638.
    pub(crate) thumbprint: Digest,
}

impl Key {
    /// Verifies a signature whose header names that algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), Reason> {
        if !self.is_for(algorithm) {
            return Err(Reason::JwtAlgKeyMismatch);
        }
        self.parsed
            .verify_sig(message, signature)
            .map_err(|_| Reason::JwtSigInvalid)
    }

    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithm == Some(algorithm)
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
        let fitting: &[Algorithm] = match (text(jwk, "kty")?, text(jwk, "crv")) {
            ("EC", Some("P-256")) => &[Algorithm::Es256],
            ("EC", Some("P-384")) => &[Algorithm::Es384],
            ("OKP", Some("Ed25519")) => &[Algorithm::Ed25519],
            ("RSA", _) => &RSA,
            _ => return None,
        };
        let own = match jwk.get("alg") {
            None => fitting.first().copied(),
            Some(name) => name.as_str().and_then(algorithm).filter(|own| fitting.contains(own)),
        };
        let parsed = parse(jwk, own.or(fitting.first().copied())?)?;
        let id = Digest::of_parts([parsed.as_ref(), &[own.map_or(0, |own| own as u8 + 1)]]);
        Some(Self {
            parsed,
            algorithm: own,
            id,
            thumbprint: thumbprint(jwk)?,
        })
    }
}

fn parse(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<ParsedPublicKey> {
    match algorithm {
        Algorithm::Es256 => point(jwk, &ECDSA_P256_SHA256_FIXED, 32),
        Algorithm::Es384 => point(jwk, &ECDSA_P384_SHA384_FIXED, 48),
        Algorithm::Ed25519 => ed25519(jwk),
        Algorithm::Rs256 => rsa(jwk, &RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => rsa(jwk, &RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Ps256 => rsa(jwk, &RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => rsa(jwk, &RSA_PSS_2048_8192_SHA384),
    }
}

/// The hash of the required members, sorted by name (RFC 7638 section 3). Their values were decoded: nothing in
/// them wants escaping.
fn thumbprint(jwk: &Map<String, Value>) -> Option<Digest> {
    let members: &[&str] = match text(jwk, "kty")? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => &["e", "kty", "n"],
    };
    let written = |member: &&str| Some(format!("\"{member}\":\"{}\"", text(jwk, member)?));
    let members: Option<Vec<_>> = members.iter().map(written).collect();
    Some(Digest::of(format!("{{{}}}", members?.join(",")).as_bytes()))
}

fn point(
    jwk: &Map<String, Value>,
    curve: &'static EcdsaVerificationAlgorithm,
    length: usize,
) -> Option<ParsedPublicKey> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != length || y.len() != length {
        return None;
    }
    // The library refuses points that are not on the curve (RFC 8725 section 3.4).
    ParsedPublicKey::new(curve, [&[4], x.as_slice(), &y].concat()).ok()
}

fn ed25519(jwk: &Map<String, Value>) -> Option<ParsedPublicKey> {
    let x = bytes(jwk, "x").filter(|x| x.len() == 32)?;
    ParsedPublicKey::new(&ED25519, x).ok()
}

fn rsa(jwk: &Map<String, Value>, scheme: &'static RsaParameters) -> Option<ParsedPublicKey> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let sound_n = n[0] != 0 && (2048..=8192).contains(&bits) && odd(&n) && !roca::is_weak(&n);
    let sound_e = e.first() != Some(&0) && e.len() <= 4 && odd(&e) && e != [1];
    if !sound_n || !sound_e {
        return None;
    }
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(scheme).ok()
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    jwk.get(member)?.as_str()
}

fn bytes(jwk: &Map<String, Value>, member: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text(jwk, member)?).ok()
}

/// The keys of one issuer or server.
pub(crate) struct KeySet {
    /// By id; `None` for those that are there but not acceptable.
    named: HashMap<String, Option<Arc<Key>>>,
    /// Those without an id; issuers' are not used.
    unnamed: Vec<Arc<Key>>,
}

impl KeySet {
    /// Reads a JWK Set (RFC 7517 section 5). An id that stands twice refuses the whole set.
    pub(crate) fn read(document: &Value) -> Result<Self, Reason> {
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.filter(|keys| keys.len() <= MAX_KEYS).ok_or(Reason::JwksRefused)?;
        let (mut named, mut unnamed) = (HashMap::new(), Vec::new());
        for jwk in keys {
            let jwk = jwk.as_object().ok_or(Reason::JwksRefused)?;
            let key = Key::read(jwk).map(Arc::new);
            match text(jwk, "kid") {
                None => unnamed.extend(key),
                Some(kid) => {
                    if named.insert(kid.to_owned(), key).is_some() {
                        return Err(Reason::JwksDuplicateKid);
                    }
                }
            }
        }
        Ok(Self { named, unnamed })
    }

    pub(crate) fn has(&self, kid: &str) -> bool {
        self.named.contains_key(kid)
    }

    /// The key of a server: that of the id, or without one the only key of the set that is for the algorithm.
    pub(crate) fn of_server(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        if let Some(kid) = kid {
            return self.get(kid).ok();
        }
        let all = self.named.values().flatten().chain(&self.unnamed);
        let mut fitting = all.filter(|key| key.is_for(algorithm));
        let only = fitting.next()?;
        fitting.next().is_none().then(|| Arc::clone(only))
    }

    /// The key of that id.
    pub(crate) fn get(&self, kid: &str) -> Result<Arc<Key>, Reason> {
        match self.named.get(kid) {
            Some(Some(key)) => Ok(Arc::clone(key)),
            Some(None) => Err(Reason::JwksKeyRefused),
            None => Err(Reason::JwksMiss),
        }
    }
}
