//! The App's private key and the tokens that it signs (RS256, RFC 7518 section 3.3).

use aws_lc_rs::{rand::SystemRandom, rsa, signature::RSA_PKCS1_SHA256};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::Timestamp;
use procura_wire::Secret;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroize;

/// `iat` lies back by this, for a GitHub whose clock is behind ours.
const BACK: i64 = 60;
/// `exp` from now; GitHub takes 10 minutes at most.
const AHEAD: i64 = 5 * 60;

/// The key, ready to sign.
pub(crate) struct AppKey(rsa::KeyPair);

/// The secret where it is an object.
#[derive(Deserialize)]
struct Fields {
    private_key: Secret,
}

impl AppKey {
    /// Reads a source's secret: PEM (PKCS #1 as GitHub gives it, or PKCS #8), or `{"private_key": PEM}`.
    pub(crate) fn read(secret: &Secret) -> Result<Self, &'static str> {
        let key = match fields(secret) {
            Some(fields) => rsa_key(&fields.private_key),
            None => rsa_key(secret),
        };
        key.map(Self)
            .ok_or("the source's secret is no RSA private key in PEM, nor {\"private_key\"} with one")
    }

    /// A token of the App itself, good for some minutes. `None` where the key cannot sign.
    pub(crate) fn token(&self, app_id: u64, now: Timestamp) -> Option<Secret> {
        let now = now.as_second();
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let claims = json!({ "iss": app_id.to_string(), "iat": now - BACK, "exp": now + AHEAD });
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)
            .ok()?;
        token.push('.');
        token.push_str(&encode(signature));
        Some(Secret::new(token))
    }
}

fn fields(secret: &Secret) -> Option<Fields> {
    #[expect(clippy::disallowed_methods, reason = "taken apart for its private key")]
    serde_json::from_str(secret.expose()).ok()
}

fn rsa_key(pem: &Secret) -> Option<rsa::KeyPair> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the key goes into what signs, and nowhere else"
    )]
    let mut der = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).ok()?;
    let pair = match &der {
        PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(der) => rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        _ => None,
    };
    der.zeroize();
    pair
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
