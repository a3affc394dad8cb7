//! Keys that sign what the tests present.

use aws_lc_rs::{
    encoding::AsBigEndian,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RSA_PSS_SHA384,
    },
};
use serde_json::{Value, json};

use crate::kit::b64;

/// A signing key of an issuer.
pub(crate) enum TestKey {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Es384(EcdsaKeyPair),
    /// With the algorithm that it signs with.
    Rsa(Box<rsa::KeyPair>, &'static str),
}

impl TestKey {
    pub(crate) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("key"))
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("key"))
    }

    pub(crate) fn es384() -> Self {
        Self::Es384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("key"))
    }

    pub(crate) fn rs256() -> Self {
        Self::rsa("RS256")
    }

    pub(crate) fn rsa(alg: &'static str) -> Self {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("key");
        Self::Rsa(Box::new(pair), alg)
    }

    pub(crate) fn alg(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
            Self::Es384(_) => "ES384",
            Self::Rsa(_, alg) => alg,
        }
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key())})
            }
            Self::Es384(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-384", "kid": kid, "x": b64(&point[1..49]), "y": b64(&point[49..])})
            }
            // One without `alg` is for RS256.
            Self::Rsa(pair, alg) => {
                let public = pair.public_key();
                let n = b64(public.modulus().big_endian_without_leading_zero());
                let e = b64(public.exponent().big_endian_without_leading_zero());
                let mut jwk = json!({"kty": "RSA", "kid": kid, "n": n, "e": e});
                if *alg != "RS256" {
                    jwk["alg"] = json!(alg);
                }
                jwk
            }
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) | Self::Es384(pair) => pair.sign(&random, message).expect("signature").as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair, alg) => {
                let scheme = match *alg {
                    "RS256" => &RSA_PKCS1_SHA256,
                    "RS384" => &RSA_PKCS1_SHA384,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    other => panic!("{other}"),
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(scheme, &random, message, &mut signature).expect("signature");
                signature
            }
        }
    }

    /// A compact JWS over exactly these texts.
    pub(crate) fn compact(&self, header: &str, payload: &[u8]) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        format!("{signed}.{}", b64(self.sign(signed.as_bytes())))
    }

    /// The same from values, with this key's algorithm and that key id.
    pub(crate) fn token(&self, kid: &str, payload: &Value) -> String {
        let header = json!({"alg": self.alg(), "kid": kid, "typ": "at+jwt"});
        self.compact(&header.to_string(), payload.to_string().as_bytes())
    }

    /// Big-endian private scalar, for keys that a hostile set publishes with it.
    pub(crate) fn private(&self) -> Vec<u8> {
        match self {
            Self::Es256(pair) => pair.private_key().as_be_bytes().expect("scalar").as_ref().to_vec(),
            _ => Vec::new(),
        }
    }
}
