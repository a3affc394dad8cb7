//! What the calling server proves itself with: assertions and DPoP proofs, its certificate.

use std::net::SocketAddr;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use crate::{Fault, bundle::SERVER, clock, connect::Tls};

/// How the calling server proves itself.
#[derive(Clone, Copy)]
pub(crate) enum Auth<'a> {
    /// A secret.
    Secret,
    /// `private_key_jwt`
    Key(&'a CallerKey),
    /// `tls_client_auth`
    Certificate,
}

/// A key that signs assertions and proofs, ES256.
pub(crate) struct CallerKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    signed: u64,
}

impl CallerKey {
    pub(crate) fn generate() -> Result<Self, Fault> {
        Ok(Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            random: SystemRandom::new(),
            signed: 0,
        })
    }

    /// Its coordinates, base64url.
    pub(crate) fn coordinates(&self) -> (String, String) {
        let point = self.pair.public_key().as_ref();
        (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]))
    }

    /// An assertion that was never used (RFC 7523 section 3).
    pub(crate) fn assertion(&mut self, issuer: &str) -> Result<String, Fault> {
        let now = clock::unix();
        let claims = json!({
            "iss": SERVER, "sub": SERVER, "aud": issuer, "iat": now, "exp": now + 60, "jti": self.id(),
        });
        self.sign(&json!({ "alg": "ES256" }), &claims)
    }

    /// A proof that was never used (RFC 9449 section 4.2).
    pub(crate) fn proof(&mut self, address: SocketAddr, nonce: &str) -> Result<String, Fault> {
        let (x, y) = self.coordinates();
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y });
        let claims = json!({
            "htm": "POST", "htu": format!("http://{address}/token"), "iat": clock::unix(), "jti": self.id(),
            "nonce": nonce,
        });
        self.sign(&json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk }), &claims)
    }

    fn id(&mut self) -> String {
        self.signed += 1;
        format!("bench-{}", self.signed)
    }

    fn sign(&self, header: &Value, claims: &Value) -> Result<String, Fault> {
        let part = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}

/// The DNS name in the caller's certificate.
pub(crate) const CALLER_NAME: &str = "tickets.example";

/// Vouches for the broker and for its caller.
pub(crate) struct Authority {
    /// Its certificate, PEM.
    pub(crate) certificate: String,
    /// The broker's certificate and key, PEM.
    pub(crate) broker: (String, String),
    caller: (String, String),
}

impl Authority {
    pub(crate) fn new() -> Result<Self, Fault> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let issuer = rcgen::Issuer::new(params, key);
        let issue = |name: &str, usage: ExtendedKeyUsagePurpose| -> Result<_, Fault> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![usage];
            Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        Ok(Self {
            broker: issue("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth)?,
            caller: issue(CALLER_NAME, ExtendedKeyUsagePurpose::ClientAuth)?,
            certificate,
        })
    }

    /// What the caller connects with; with its certificate, where it is to show one.
    pub(crate) fn tls(&self, own: bool) -> Tls {
        Tls {
            authority: self.certificate.clone(),
            own: own.then(|| self.caller.clone()),
        }
    }
}
