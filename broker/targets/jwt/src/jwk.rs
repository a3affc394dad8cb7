//! Private signing keys as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037).

use aws_lc_rs::{
    digest,
    encoding::{AsBigEndian, AsDer, Pkcs8V1Der},
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_wire::{Digest, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a new key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// `ES256`: ECDSA on P-256 with SHA-256.
    Es256,
    /// `EdDSA` with Ed25519.
    Ed25519,
    /// `RS256`: RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits; for resource servers that know nothing else.
    Rs256,
}

/// A key set is not acceptable. Says nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Not JSON, or not a JWK Set whose keys have a `state`.
    #[error("the key set must be a JWK Set whose keys each have a state of next, active or retired")]
    Malformed,
    /// A key of a type or with members that do not fit.
    #[error("key {0} of the set is not a private key for ES256, EdDSA (Ed25519) or RS256 (2048 bits or more)")]
    Key(usize),
    /// The same key twice.
    #[error("key {0} of the set stands there twice")]
    Twice(usize),
    /// Rotation needs exactly one `active` and one `next`.
    #[error("to rotate, the set must hold exactly one active and one next key")]
    States,
    /// The library could not make a key.
    #[error("no key could be made")]
    Generate,
}

/// Where a key is in its life: published, then signing, then kept for what it signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Next,
    Active,
    Retired,
}

/// Members that private keys have and public ones do not.
pub(crate) const PRIVATE: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

/// A private JWK as it is kept.
#[derive(Deserialize)]
pub(crate) struct PrivateJwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Secret,
    p: Option<Secret>,
    q: Option<Secret>,
    dp: Option<Secret>,
    dq: Option<Secret>,
    qi: Option<Secret>,
    /// When it should have been replaced, seconds since 1970; it still signs then.
    pub(crate) exp: Option<i64>,
    pub(crate) state: State,
}

enum Private {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rs256(rsa::KeyPair),
}

/// A key that is ready to sign. Its parts are read once.
pub(crate) struct SigningKey {
    private: Private,
    /// What it tags with: its private part, for messages that say what they are for.
    tagging: hmac::Key,
    /// RFC 7638.
    pub(crate) kid: String,
    /// The public JWK.
    pub(crate) public: Value,
}

impl SigningKey {
    /// `None` where members are missing or do not fit together.
    pub(crate) fn read(jwk: &PrivateJwk) -> Option<Self> {
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => Self::es256(jwk),
            ("OKP", Some("Ed25519")) => Self::ed25519(jwk),
            ("RSA", None) => Self::rs256(jwk),
            _ => None,
        }
    }

    fn es256(jwk: &PrivateJwk) -> Option<Self> {
        let (x, y, d) = (public(&jwk.x)?, public(&jwk.y)?, private(&jwk.d)?);
        if [x.len(), y.len(), d.len()] != [32; 3] {
            return None;
        }
        let point = [&[4], x.as_slice(), &y].concat();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, &point).ok()?;
        Some(Self::new(
            Private::Es256(pair),
            &d,
            json!({"crv": "P-256", "kty": "EC", "x": jwk.x, "y": jwk.y}),
        ))
    }

    fn ed25519(jwk: &PrivateJwk) -> Option<Self> {
        let (x, d) = (public(&jwk.x)?, private(&jwk.d)?);
        if d.len() != 32 {
            return None;
        }
        let pair = Ed25519KeyPair::from_seed_and_public_key(&d, &x).ok()?;
        Some(Self::new(
            Private::Ed25519(pair),
            &d,
            json!({"crv": "Ed25519", "kty": "OKP", "x": jwk.x}),
        ))
    }

    fn rs256(jwk: &PrivateJwk) -> Option<Self> {
        let part = |part: &Option<Secret>| private(part.as_ref()?);
        let pair = rsa::KeyPair::from_components(&rsa::KeyPairComponents {
            public_key: RsaPublicKeyComponents {
                n: public(&jwk.n)?,
                e: public(&jwk.e)?,
            },
            d: private(&jwk.d)?,
            p: part(&jwk.p)?,
            q: part(&jwk.q)?,
            dP: part(&jwk.dp)?,
            dQ: part(&jwk.dq)?,
            qInv: part(&jwk.qi)?,
        });
        Some(Self::new(
            Private::Rs256(pair.ok()?),
            &private(&jwk.d)?,
            json!({"e": jwk.e, "kty": "RSA", "n": jwk.n}),
        ))
    }

    fn new(private: Private, d: &[u8], mut public: Value) -> Self {
        let tagging = hmac::Key::new(hmac::HMAC_SHA256, d);
        let kid = thumbprint(&public);
        public["kid"] = kid.as_str().into();
        public["use"] = "sig".into();
        let mut key = Self {
            private,
            tagging,
            kid,
            public,
        };
        key.public["alg"] = key.alg().into();
        key
    }

    /// The name of its algorithm.
    pub(crate) fn alg(&self) -> &'static str {
        match self.private {
            Private::Es256(_) => "ES256",
            Private::Ed25519(_) => "EdDSA",
            Private::Rs256(_) => "RS256",
        }
    }

    /// HMAC-SHA-256 over the message.
    pub(crate) fn tag(&self, message: &[u8]) -> Option<Digest> {
        let tag = hmac::sign(&self.tagging, message);
        tag.as_ref().try_into().ok().map(Digest::from_bytes)
    }

    /// The raw signature as JWS has it (RFC 7518 section 3).
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Es256(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Private::Ed25519(pair) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
            Private::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}

/// RFC 7638: SHA-256 over the required members of a public JWK, sorted by name, without spaces.
pub(crate) fn thumbprint(required: &Value) -> String {
    let members = required.as_object().into_iter().flatten();
    let sorted: std::collections::BTreeMap<_, _> = members.collect();
    let text: Vec<_> = sorted
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    let text = format!("{{{}}}", text.join(","));
    encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// A new private JWK without `state`.
pub(crate) fn generate(algorithm: SigningAlgorithm) -> Result<Value, KeyringError> {
    let made = match algorithm {
        SigningAlgorithm::Es256 => generate_es256(),
        SigningAlgorithm::Ed25519 => generate_ed25519(),
        SigningAlgorithm::Rs256 => generate_rs256(),
    };
    let (mut jwk, private) = made.ok_or(KeyringError::Generate)?;
    jwk["kid"] = thumbprint(&jwk).into();
    jwk["use"] = "sig".into();
    for (member, value) in private {
        jwk[member] = value.into();
    }
    Ok(jwk)
}

/// The required public members, and what stands beside them.
type Made = (Value, Vec<(&'static str, String)>);

fn generate_es256() -> Option<Made> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok()?;
    let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
    let d = pair.private_key().as_be_bytes().ok()?;
    let jwk = json!({"crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y)});
    Some((jwk, vec![("alg", "ES256".to_owned()), ("d", encode(d.as_ref()))]))
}

fn generate_ed25519() -> Option<Made> {
    let pair = Ed25519KeyPair::generate().ok()?;
    let d = pair.seed().ok()?.as_be_bytes().ok()?;
    let jwk = json!({"crv": "Ed25519", "kty": "OKP", "x": encode(pair.public_key().as_ref())});
    Some((jwk, vec![("alg", "EdDSA".to_owned()), ("d", encode(d.as_ref()))]))
}

fn generate_rs256() -> Option<Made> {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).ok()?;
    let document: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    // RFC 5208 section 5: version, algorithm, the key; in it RFC 8017 appendix A.1.2: version, then the numbers.
    let (info, _) = der(document.as_ref())?;
    let (_, rest) = der(info)?;
    let (_, rest) = der(rest)?;
    let (key, _) = der(der(rest)?.0)?;
    let (_, mut rest) = der(key)?;
    let mut numbers = Vec::new();
    for member in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        let (number, next) = der(rest)?;
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        numbers.push((member, encode(&number[zeros..])));
        rest = next;
    }
    let mut private = numbers.split_off(2);
    private.push(("alg", "RS256".to_owned()));
    let jwk = json!({"e": numbers[1].1, "kty": "RSA", "n": numbers[0].1});
    Some((jwk, private))
}

/// Content of the first DER element, and what follows it.
fn der(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    if first & 0x80 == 0 {
        return rest.split_at_checked(usize::from(*first));
    }
    let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn public(member: &Option<String>) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(member.as_ref()?).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the part goes into the key that signs, and nowhere else"
)]
fn private(part: &Secret) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(part.expose()).ok()
}
