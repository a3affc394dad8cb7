//! Tokens as cases describe them, and the keys that sign them.

use std::collections::BTreeMap;

use aws_lc_rs::{
    digest,
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256,
    },
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64},
};
use procura_e2e::Fault;
use rcgen::KeyPair;
use serde_json::{Map, Value, json};

use super::{
    case::Token,
    presented::Kind,
    text::{Words, fill},
};

/// A key of the stand-in's issuers.
enum Key {
    /// The same private key for either form of the signature, and for certificates (PKCS #8).
    P256(EcdsaKeyPair, EcdsaKeyPair, Vec<u8>),
    Ed25519(Ed25519KeyPair),
    Rsa(rsa::KeyPair),
}

/// Every key by its id.
pub(super) struct Keys(Vec<(&'static str, Key)>);

impl Keys {
    pub(super) fn new() -> Result<Self, Fault> {
        Ok(Self(vec![
            ("es256", p256()?),
            ("other", p256()?),
            ("unpublished", p256()?),
            ("server", p256()?),
            ("legacy", p256()?),
            ("dpop", p256()?),
            ("certificate", p256()?),
            ("workload", p256()?),
            ("ed25519", Key::Ed25519(Ed25519KeyPair::generate()?)),
            ("rs256", Key::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048)?)),
        ]))
    }

    /// The key of that name as those of certificates are.
    pub(super) fn of_certificates(&self, name: &str) -> Result<KeyPair, Fault> {
        match self.get(name)? {
            Key::P256(.., document) => Ok(KeyPair::try_from(document.as_slice())?),
            _ => Err("certificates have keys on P-256".into()),
        }
    }

    fn get(&self, name: &str) -> Result<&Key, Fault> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        Ok(&found.ok_or_else(|| format!("no key is called {name}"))?.1)
    }

    /// A public key as a JWK.
    pub(super) fn jwk(&self, name: &str) -> Result<Value, Fault> {
        let mut jwk = self.get(name)?.jwk();
        jwk["kid"] = name.into();
        jwk["use"] = "sig".into();
        Ok(jwk)
    }

    /// Names with their JWKs, whole and without the braces.
    pub(super) fn words(&self, words: &mut Words) -> Result<(), Fault> {
        for (name, _) in &self.0 {
            let text = self.jwk(name)?.to_string();
            words.insert(format!("key:{name}"), text.clone().into_bytes());
            words.insert(format!("key-members:{name}"), bare(&text));
            let bare = self.get(name)?.jwk();
            for member in ["x", "y"] {
                let text = bare[member].as_str().unwrap_or_default();
                words.insert(format!("{member}:{name}"), text.into());
            }
            // RFC 7638: the required members, which these are, sorted.
            let sorted: BTreeMap<_, _> = bare.as_object().into_iter().flatten().collect();
            words.insert(format!("jkt:{name}"), hash(&serde_json::to_vec(&sorted)?));
        }
        Ok(())
    }

    /// Makes the token.
    pub(super) fn token(&self, token: &Token, kind: Kind, words: &Words) -> Result<Vec<u8>, Fault> {
        let mut words = words.clone();
        let (name, issuer) = (kind.key(token), kind.issuer(token, &words)?);
        let key = self.get(name)?;
        words.insert("issuer".into(), issuer);
        words.insert("alg".into(), key.algorithm().into());
        words.insert("kid".into(), name.into());
        words.insert("jwk".into(), key.jwk().to_string().into());
        let [header, claims] = kind.usual(&words)?;
        let header = part(
            (header, &token.header, &token.drop_header),
            &token.header_text,
            &mut words,
        )?;
        let payload = part((claims, &token.claims, &token.drop), &token.payload_text, &mut words)?;
        let [header, payload] = [header, payload].map(|part| BASE64.encode(part));
        let signed = [header.as_bytes(), b".", payload.as_bytes()].concat();
        let signature = self.signature((token, name), &signed, &words)?;
        words.insert("header".into(), header.into_bytes());
        words.insert("payload".into(), payload.into_bytes());
        words.insert("signature".into(), BASE64.encode(signature).into_bytes());
        fill(token.text.as_deref().unwrap_or(kind.text()), &words)
    }

    fn signature(&self, (token, name): (&Token, &str), signed: &[u8], words: &Words) -> Result<Vec<u8>, Fault> {
        let key = self.get(name)?;
        let mut good = key.sign(signed)?;
        let hmac = |secret: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, signed).as_ref().to_vec()
        };
        Ok(match token.signature.as_str() {
            "good" => good,
            "none" => Vec::new(),
            "flipped" => {
                good[10] ^= 1;
                good
            }
            "short" => good[..good.len() - 1].to_vec(),
            "long" => [good, vec![0]].concat(),
            "asn1" => match key {
                Key::P256(_, der, _) => der.sign(&SystemRandom::new(), signed)?.as_ref().to_vec(),
                _ => return Err("only P-256 signs in ASN.1".into()),
            },
            "hmac-of-der" => hmac(&key.der()?),
            "hmac-of-pem" => hmac(pem(&key.der()?).as_bytes()),
            "hmac-of-jwk" => hmac(self.jwk(name)?.to_string().as_bytes()),
            text => fill(text, words)?,
        })
    }
}

/// SHA-256 in base64url, as thumbprints and `ath` have it.
pub(super) fn hash(text: &[u8]) -> Vec<u8> {
    BASE64.encode(digest::digest(&digest::SHA256, text)).into_bytes()
}

fn p256() -> Result<Key, Fault> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let from = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref());
    let (fixed, asn1) = (
        from(&ECDSA_P256_SHA256_FIXED_SIGNING),
        from(&ECDSA_P256_SHA256_ASN1_SIGNING),
    );
    let rejected = |_| "a key that was just made is rejected";
    Ok(Key::P256(
        fixed.map_err(rejected)?,
        asn1.map_err(rejected)?,
        document.as_ref().to_vec(),
    ))
}

impl Key {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(..) => "ES256",
            Self::Ed25519(_) => "EdDSA",
            Self::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self) -> Value {
        match self {
            Self::P256(key, ..) => {
                // An uncompressed point: 4, x, y.
                let point = key.public_key().as_ref();
                let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(key.public_key().as_ref())})
            }
            Self::Rsa(key) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let text = |bytes: &[u8]| BASE64.encode(bytes);
                json!({
                    "kty": "RSA", "n": text(n.big_endian_without_leading_zero()),
                    "e": text(e.big_endian_without_leading_zero()),
                })
            }
        }
    }

    fn der(&self) -> Result<Vec<u8>, Fault> {
        Ok(match self {
            Self::P256(key, ..) => AsDer::as_der(key.public_key())?.as_ref().to_vec(),
            Self::Rsa(key) => AsDer::as_der(key.public_key())?.as_ref().to_vec(),
            Self::Ed25519(key) => AsDer::as_der(key.public_key())?.as_ref().to_vec(),
        })
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, Fault> {
        let random = SystemRandom::new();
        Ok(match self {
            Self::P256(key, ..) => key.sign(&random, signed)?.as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(signed).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature)?;
                signature
            }
        })
    }
}

/// Header, payload or answer: the usual members with those of the case, as text.
pub(super) fn part(
    (mut members, changes, drop): (Value, &toml::Table, &[String]),
    text: &str,
    words: &mut Words,
) -> Result<Vec<u8>, Fault> {
    for (name, value) in changes {
        members[name] = json_of(value, words)?;
    }
    if let Some(members) = members.as_object_mut() {
        members.retain(|name, _| !drop.contains(name));
    }
    words.insert("members".into(), bare(&members.to_string()));
    fill(text, words)
}

fn bare(object: &str) -> Vec<u8> {
    object.as_bytes()[1..object.len() - 1].to_vec()
}

fn number(text: &str, words: &Words) -> Result<i64, Fault> {
    Ok(super::text::fill_text(text, words)?.parse()?)
}

/// A claim: texts are filled in, and `{{now…}}` alone is a number.
fn json_of(value: &toml::Value, words: &Words) -> Result<Value, Fault> {
    Ok(match value {
        toml::Value::String(text) if text.starts_with("{{now") => number(text, words)?.into(),
        toml::Value::String(text) => super::text::fill_text(text, words)?.into(),
        toml::Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| json_of(item, words)).collect();
            items?.into()
        }
        toml::Value::Table(members) => {
            let read = |(name, value): (&String, &toml::Value)| Ok::<_, Fault>((name.clone(), json_of(value, words)?));
            members.iter().map(read).collect::<Result<Map<_, _>, _>>()?.into()
        }
        other => serde_json::to_value(other)?,
    })
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}
