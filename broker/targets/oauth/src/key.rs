//! Private keys of the client: PEM or JWK (RFC 7517, RFC 7518 section 6), for ES256 or RS256.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaPublicKeyComponents},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_wire::Secret;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroize;

/// A key, ready to sign.
pub(crate) struct SigningKey {
    private: Private,
    /// As the JWK names it; the upstream knows the key by that.
    kid: Option<String>,
}

enum Private {
    Es256(EcdsaKeyPair),
    Rs256(rsa::KeyPair),
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
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
}

impl SigningKey {
    /// `None` where the text is neither form of a key that signs ES256 or RS256.
    pub(crate) fn read(secret: &Secret) -> Option<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the key goes into what signs, and nowhere else"
        )]
        let text = secret.expose();
        if let Ok(jwk) = serde_json::from_str::<Jwk>(text) {
            let private = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
                ("EC", Some("P-256")) => Private::Es256(es256(&jwk)?),
                ("RSA", None) => Private::Rs256(rs256(&jwk)?),
                _ => return None,
            };
            return Some(Self { private, kid: jwk.kid });
        }
        let mut der = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
        let private = from_der(&der);
        der.zeroize();
        Some(Self {
            private: private?,
            kid: None,
        })
    }

    /// A compact JWS (RFC 7515 section 7.1) over the claims. `None` where the key cannot sign.
    pub(crate) fn sign(&self, claims: &Value) -> Option<Secret> {
        let alg = match self.private {
            Private::Es256(_) => "ES256",
            Private::Rs256(_) => "RS256",
        };
        let mut header = json!({ "alg": alg, "typ": "JWT" });
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.private {
            Private::Es256(pair) => pair.sign(&random, token.as_bytes()).ok()?.as_ref().to_vec(),
            Private::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature)
                    .ok()?;
                signature
            }
        };
        token.push('.');
        token.push_str(&encode(signature));
        Some(Secret::new(token))
    }
}

fn from_der(der: &PrivateKeyDer<'_>) -> Option<Private> {
    let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
    match der {
        PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der()).map(Private::Rs256).ok(),
        PrivateKeyDer::Sec1(der) => {
            let pair = EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der());
            pair.map(Private::Es256).ok()
        }
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let pair = EcdsaKeyPair::from_pkcs8(curve, der).map(Private::Es256);
            pair.or_else(|_| rsa::KeyPair::from_pkcs8(der).map(Private::Rs256)).ok()
        }
        _ => None,
    }
}

fn es256(jwk: &Jwk) -> Option<EcdsaKeyPair> {
    let (x, y, d) = (public(&jwk.x)?, public(&jwk.y)?, private(&jwk.d)?);
    if [x.len(), y.len(), d.len()] != [32; 3] {
        return None;
    }
    let point = [&[4], x.as_slice(), &y].concat();
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, &point).ok()
}

fn rs256(jwk: &Jwk) -> Option<rsa::KeyPair> {
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
    pair.ok()
}

fn public(member: &Option<String>) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(member.as_ref()?).ok()
}

fn private(part: &Secret) -> Option<Vec<u8>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the part goes into the key that signs, and nowhere else"
    )]
    BASE64_URL_SAFE_NO_PAD.decode(part.expose()).ok()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
