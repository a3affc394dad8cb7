//! DPoP proofs (RFC 9449): that whoever asks, and whoever uses what was issued, holds one key.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    rand::{self, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use procura_wire::{Digest, Secret};
use serde_json::json;

use crate::{error::Error, session::Session};

/// A key that proofs are signed with, ES256. What the broker signs itself it binds to this key.
pub struct ProofKey {
    pair: EcdsaKeyPair,
    /// The header of every proof, base64url.
    header: String,
    thumbprint: String,
}

impl ProofKey {
    /// A new key, for the life of this process.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the system has no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        pair.ok().and_then(Self::of).ok_or_else(|| unusable("cannot be made"))
    }

    /// A key that was made before: PKCS #8, DER, on P-256.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where it is no such key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der);
        pair.ok()
            .and_then(Self::of)
            .ok_or_else(|| unusable("is no PKCS #8 of a key on P-256"))
    }

    fn of(pair: EcdsaKeyPair) -> Option<Self> {
        let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
        let (x, y) = (BASE64.encode(x), BASE64.encode(y));
        // RFC 7638: the required members in this order.
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let header = format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#);
        Some(Self {
            pair,
            header: BASE64.encode(header),
            thumbprint: BASE64.encode(Digest::of(jwk.as_bytes()).as_bytes()),
        })
    }

    /// Its RFC 7638 thumbprint, as `cnf.jkt` has it.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// A proof for one request with that method to that URI; with the token that goes along, and with the nonce that
    /// the other end asked for last. Each request needs its own.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the system has no randomness.
    pub fn proof(&self, method: &str, uri: &str, token: Option<&Secret>, nonce: Option<&str>) -> Result<Secret, Error> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| unusable("cannot sign"))?;
        let mut claims = json!({"jti": BASE64.encode(id), "htm": method, "htu": uri, "iat": now()});
        if let Some(token) = token {
            claims["ath"] = BASE64.encode(token.digest().as_bytes()).into();
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let signed = format!("{}.{}", self.header, BASE64.encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| unusable("cannot sign"))?;
        Ok(Secret::new(format!("{signed}.{}", BASE64.encode(signature))))
    }
}

/// Shows the thumbprint only.
impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProofKey").field(&self.thumbprint).finish()
    }
}

fn unusable(problem: &str) -> Error {
    Error::Setting(format!("the proof key {problem}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a proof says when it was made; who takes it compares the clocks"
)]
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The key of a client and the nonce that its broker gave last.
pub(crate) struct Proofs {
    pub(crate) key: ProofKey,
    nonce: Mutex<Option<String>>,
}

impl Proofs {
    pub(crate) fn new(key: ProofKey) -> Self {
        Self {
            key,
            nonce: Mutex::default(),
        }
    }

    /// A proof for a request to the broker.
    pub(crate) fn next(&self, method: &str, uri: &str) -> Result<Secret, Error> {
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.key.proof(method, uri, None, nonce.as_deref())
    }

    pub(crate) fn remember(&self, nonce: &str) {
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
    }
}

impl Session {
    /// A proof for one request that uses a token which is bound to this client's key: the header `DPoP`, beside
    /// `Authorization: DPoP`. The nonce is the one that the resource server asked for last.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the client has no [`ProofKey`].
    pub fn proof(&self, method: &str, uri: &str, token: &Secret, nonce: Option<&str>) -> Result<Secret, Error> {
        let proofs = self.client.broker.proofs.as_ref();
        let proofs =
            proofs.ok_or_else(|| Error::Setting("give the client a key with Builder::proof_key".to_owned()))?;
        proofs.key.proof(method, uri, Some(token), nonce)
    }
}
