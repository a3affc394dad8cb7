//! What a server file says of certificates, and the thumbprint that keys are compared by.

use std::net::IpAddr;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use procura_wire::Digest;
use serde_json::{Map, Value};

/// Members that only private or symmetric keys have (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The one name that a server's certificates are known by (RFC 8705 section 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateName {
    /// `subject_dn`: the distinguished name as RFC 4514 writes it, in the loader's normal form.
    SubjectDn(String),
    /// `san_dns`, in lower case.
    SanDns(String),
    /// `san_uri`
    SanUri(String),
    /// `san_ip`
    SanIp(IpAddr),
    /// `san_email`
    SanEmail(String),
}

/// A key that a server's certificates may have (RFC 8705 section 2.2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredKey {
    /// Thumbprint of the key (RFC 7638).
    pub key: Digest,
    /// SHA-256 of the one certificate that is accepted, where the JWK has `x5c` or `x5t#S256`.
    pub certificate: Option<Digest>,
}

impl RegisteredKey {
    /// Reads a public JWK (RFC 7517 section 4). The error says what is wrong with it.
    pub fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return Err("this is a private or symmetric key; leave only its public members, and make a new one");
        }
        let key = thumbprint(jwk).ok_or(
            "no public key can be read here; write kty EC (P-256, P-384, P-521), RSA or OKP (Ed25519) with its members",
        )?;
        let hash = jwk.get("x5t#S256").map(|text| {
            let bytes = text.as_str().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
            let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes
                .map(Digest::from_bytes)
                .ok_or("x5t#S256 is the SHA-256 of a certificate in base64url")
        });
        let chain = jwk.get("x5c").map(|chain| {
            let first = chain.get(0).and_then(Value::as_str);
            let der = first.and_then(|text| BASE64_STANDARD.decode(text).ok());
            der.map(|der| Digest::of(&der))
                .ok_or("x5c is a list of certificates in base64")
        });
        let (hash, chain) = (hash.transpose()?, chain.transpose()?);
        match (hash, chain) {
            (Some(hash), Some(chain)) if hash != chain => {
                Err("x5t#S256 and x5c are of two certificates; leave one out")
            }
            _ => Ok(Self {
                key,
                certificate: hash.or(chain),
            }),
        }
    }

    /// Whether a certificate (by its SHA-256) with a key of that thumbprint is the registered one.
    pub fn fits(&self, key: Digest, certificate: Digest) -> bool {
        self.key == key && self.certificate.is_none_or(|known| known == certificate)
    }
}

/// The thumbprint of a public key (RFC 7638, RFC 8037 section 2); `None` where its members are not those of one,
/// or are not written in the one form that they have.
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<Digest> {
    let text = |member: &str| jwk.get(member)?.as_str();
    let bytes = |member: &str| {
        let text = text(member)?;
        Some((text, BASE64_URL_SAFE_NO_PAD.decode(text).ok()?))
    };
    let of_length = |member: &str, length: usize| {
        let (text, bytes) = bytes(member)?;
        (bytes.len() == length).then_some(text)
    };
    let number = |member: &str| {
        let (text, bytes) = bytes(member)?;
        bytes.first().is_some_and(|first| *first != 0).then_some(text)
    };
    let canonical = match (text("kty")?, text("crv")) {
        ("EC", Some(crv)) => {
            let length = match crv {
                "P-256" => 32,
                "P-384" => 48,
                "P-521" => 66,
                _ => return None,
            };
            let (x, y) = (of_length("x", length)?, of_length("y", length)?);
            format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        ("OKP", Some("Ed25519")) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, of_length("x", 32)?),
        ("RSA", _) => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, number("e")?, number("n")?),
        _ => return None,
    };
    Some(Digest::of(canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("object").clone()
    }

    fn p256() -> Value {
        let part = BASE64_URL_SAFE_NO_PAD.encode([7; 32]);
        json!({"kty": "EC", "crv": "P-256", "x": part, "y": part})
    }

    #[test]
    fn the_thumbprint_of_the_rfc_is_found() {
        // RFC 7638 section 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRX\
                 jBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8\
                 KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xB\
                 niIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = map(json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}));
        let found = thumbprint(&key).map(|digest| BASE64_URL_SAFE_NO_PAD.encode(digest.as_bytes()));
        assert_eq!(found.as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    }

    #[test]
    fn a_key_in_another_form_has_no_thumbprint() {
        for (member, value) in [
            ("x", json!("AA")),
            ("x", json!("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")),
            ("crv", json!("secp256k1")),
            ("kty", json!("oct")),
        ] {
            let mut key = p256();
            key[member] = value;
            assert_eq!(thumbprint(&map(key)), None, "{member}");
        }
    }

    #[test]
    fn req_080_a_registered_key_may_name_its_one_certificate() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let mut jwk = p256();
        let any = RegisteredKey::read(&map(jwk.clone())).expect("key");
        assert!(any.fits(any.key, one) && any.fits(any.key, other) && !any.fits(other, one));
        jwk["x5t#S256"] = json!(BASE64_URL_SAFE_NO_PAD.encode(one.as_bytes()));
        let pinned = RegisteredKey::read(&map(jwk.clone())).expect("key");
        assert!(pinned.fits(pinned.key, one) && !pinned.fits(pinned.key, other));
        jwk["x5c"] = json!([BASE64_STANDARD.encode(b"one")]);
        assert_eq!(RegisteredKey::read(&map(jwk.clone())), Ok(pinned));
        jwk["x5c"] = json!([BASE64_STANDARD.encode(b"other")]);
        assert!(RegisteredKey::read(&map(jwk)).is_err());
    }

    #[test]
    fn private_keys_are_refused() {
        let mut jwk = p256();
        jwk["d"] = json!("AA");
        assert!(RegisteredKey::read(&map(jwk)).is_err_and(|problem| problem.contains("private")));
    }
}
