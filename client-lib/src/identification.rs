//! How the server proves to the broker who it is.

use std::path::PathBuf;

use aws_lc_rs::{
    rand::{self, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use procura_wire::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::error::Error;

/// How long an assertion may be used, seconds; it is sent at once.
const LIFE: i64 = 60;

/// What the server has.
pub(crate) enum Identification {
    Secret(Secret),
    Key(PrivateKey),
    /// A file with a token of the platform.
    File(PathBuf),
}

impl Identification {
    /// The assertion for one request; `None` where a secret takes its place.
    pub(crate) async fn assertion(&self, client_id: &str, issuer: &str) -> Result<Option<Secret>, Error> {
        match self {
            Self::Secret(_) => Ok(None),
            Self::Key(key) => key.assertion(client_id, issuer).map(Some),
            Self::File(path) => {
                let read = tokio::fs::read_to_string(path).await;
                let token = read.map_err(|error| Error::Setting(format!("{}: {error}", path.display())))?;
                Ok(Some(Secret::new(token.trim().to_owned())))
            }
        }
    }
}

/// A private key that a server proves itself by. It is in neither Debug nor Display.
pub struct PrivateKey {
    pair: Pair,
    kid: Option<String>,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// RFC 7517, RFC 7518 section 6.2, RFC 8037 section 2.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: Option<String>,
    d: Secret,
    kid: Option<String>,
}

impl PrivateKey {
    /// Reads a private JWK for ES256 or Ed25519, as `procura server new-key` writes it.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where it is none; the error quotes nothing of it.
    pub fn from_jwk(jwk: &Secret) -> Result<Self, Error> {
        let problem = "the key is no private JWK for ES256 or Ed25519; make one with `procura server new-key`";
        read(jwk).ok_or_else(|| Error::Setting(problem.to_owned()))
    }

    /// RFC 7523 section 3.
    fn assertion(&self, client_id: &str, issuer: &str) -> Result<Secret, Error> {
        let failed = |_| Error::Setting("the key cannot sign".to_owned());
        let mut jti = [0; 16];
        rand::fill(&mut jti).map_err(failed)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the library has no clock port; the broker looks at the times"
        )]
        let now = jiff::Timestamp::now().as_second();
        let alg = match self.pair {
            Pair::Es256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        };
        let mut header = json!({"alg": alg, "typ": "client-authentication+jwt"});
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": issuer, "iat": now, "exp": now + LIFE, "jti": BASE64.encode(jti),
        });
        let signed = format!(
            "{}.{}",
            BASE64.encode(header.to_string()),
            BASE64.encode(claims.to_string())
        );
        let signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), signed.as_bytes()),
            Pair::Ed25519(pair) => pair.try_sign(signed.as_bytes()),
        };
        let signature = BASE64.encode(signature.map_err(failed)?.as_ref());
        Ok(Secret::new(format!("{signed}.{signature}")))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the key is read into what signs, and goes nowhere else"
)]
fn read(jwk: &Secret) -> Option<PrivateKey> {
    let jwk: Jwk = serde_json::from_str(jwk.expose()).ok()?;
    let bytes = |text: &str| BASE64.decode(text).ok().filter(|bytes| bytes.len() == 32);
    let (x, d) = (bytes(&jwk.x)?, bytes(jwk.d.expose())?);
    let pair = match (jwk.kty.as_str(), jwk.crv.as_str()) {
        ("EC", "P-256") => {
            let y = bytes(jwk.y.as_deref()?)?;
            let point = [&[4], x.as_slice(), &y].concat();
            let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, &point);
            Pair::Es256(pair.ok()?)
        }
        ("OKP", "Ed25519") => Pair::Ed25519(Ed25519KeyPair::from_seed_and_public_key(&d, &x).ok()?),
        _ => return None,
    };
    Some(PrivateKey { pair, kid: jwk.kid })
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
