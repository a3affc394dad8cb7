//! Form of a compact JWS (RFC 7515, RFC 8725): what can be said of a token before its key is known.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::catalogue::{Algorithm, Issuer, TokenTyp};
use procura_wire::{
    Reason, TokenType,
    json::{self, JsonFault},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use crate::jwk;

const MAX_KID: usize = 256;
/// Header members that carry or refer to a key.
const OWN_KEYS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];
/// Claims that access tokens do not have: of ID tokens, logout tokens and security events.
const FOREIGN: [&str; 4] = ["nonce", "at_hash", "c_hash", "events"];

/// A token whose form is fine. Nothing in it is verified.
pub(crate) struct Unverified<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    /// `typ` in lower case without `application/`.
    typ: Option<String>,
    pub(crate) payload: Map<String, Value>,
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, Reason> {
        let [header, payload, signature] = parts(token).ok_or_else(|| misformed(token))?;
        let signed = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| misformed(token));
        let [header, payload, signature] = [decode(header)?, decode(payload)?, decode(signature)?];
        let header = header_members(&header)?;
        let algorithm = algorithm(&header)?;
        let kid = kid(&header)?;
        let typ = typ(&header)?;
        Ok(Self {
            algorithm,
            kid,
            typ,
            payload: payload_members(&payload)?,
            signed,
            signature,
        })
    }

    /// `kid` where the token must name its key.
    pub(crate) fn kid(&self) -> Result<&str, Reason> {
        self.kid.as_deref().ok_or(Reason::JwtKidMalformed)
    }

    /// `typ` in lower case without `application/`.
    pub(crate) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// `iss`: only to find the issuer whose key must have signed.
    pub(crate) fn issuer(&self) -> Result<&str, Reason> {
        let iss = self.payload.get("iss").ok_or(Reason::JwtClaimMissing)?;
        iss.as_str().ok_or(Reason::JwtClaimType)
    }

    /// Whether the issuer is trusted with this algorithm.
    pub(crate) fn has_algorithm_of(&self, issuer: &Issuer) -> Result<(), Reason> {
        match issuer.algorithms.contains(&self.algorithm) {
            true => Ok(()),
            false => Err(Reason::JwtAlgRefused),
        }
    }

    /// Whether it reads like an ID token (OpenID Connect Core section 2).
    pub(crate) fn is_id_token(&self) -> bool {
        matches!(self.typ.as_deref(), Some("jwt") | None) && looks_like_id_token(&self.payload)
    }

    /// Whether the issuer is trusted with this algorithm and this `typ`, for what the token is said to be.
    pub(crate) fn obeys(&self, issuer: &Issuer, declared: TokenType) -> Result<(), Reason> {
        self.has_algorithm_of(issuer)?;
        let fits = match self.typ.as_deref() {
            _ if declared == TokenType::IdToken => issuer.trust.id_tokens && self.is_id_token(),
            Some("at+jwt") => issuer.token_types.contains(&TokenTyp::AtJwt),
            Some("jwt") | None => issuer.token_types.contains(&TokenTyp::Jwt) && looks_like_access_token(&self.payload),
            Some(_) => false,
        };
        if fits { Ok(()) } else { Err(Reason::JwtTypRefused) }
    }
}

/// Whether nothing in the claims says that they are of something else.
pub(crate) fn looks_like_access_token(claims: &Map<String, Value>) -> bool {
    let fits = match claims.get("typ") {
        None => true,
        // What Keycloak says of one that is bound to a key.
        Some(typ) => typ == "Bearer" || (typ == "DPoP" && claims.contains_key("cnf")),
    };
    fits && !FOREIGN.iter().any(|claim| claims.contains_key(*claim))
}

/// The same for an ID token. Logout tokens and security events have `events`.
fn looks_like_id_token(claims: &Map<String, Value>) -> bool {
    claims.get("typ").is_none_or(|typ| typ == "ID") && !claims.contains_key("events")
}

pub(crate) fn parts(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// Why a token is not three parts of base64url: only then is it worth a closer look.
fn misformed(token: &str) -> Reason {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let other_base64 = |c: u8| matches!(c, b'=' | b'+' | b'/') || c.is_ascii_whitespace();
    if !token.bytes().all(|c| plain(c) || other_base64(c)) {
        return Reason::JwtFormat;
    }
    match token.split('.').count() {
        3 => Reason::JwtBase64,
        5 => Reason::JwtJweRefused,
        _ => Reason::JwtFormat,
    }
}

fn header_members(text: &[u8]) -> Result<Map<String, Value>, Reason> {
    let header = match json::strict(text) {
        Ok(Value::Object(header)) => header,
        Err(JsonFault::DuplicateKey) if names_alg_twice(text) => return Err(Reason::JwtAlgRefused),
        Err(JsonFault::DuplicateKey) => return Err(Reason::JwtDuplicateKey),
        Ok(_) | Err(JsonFault::Malformed | JsonFault::NumberRange) => return Err(Reason::JwtJson),
    };
    let has = |members: &[&str]| members.iter().any(|member| header.contains_key(*member));
    if has(&OWN_KEYS) {
        Err(Reason::JwtHeaderRefused)
    } else if has(&["crit"]) {
        Err(Reason::JwtCrit)
    } else if has(&["enc", "zip"]) {
        Err(Reason::JwtJweRefused)
    } else {
        Ok(header)
    }
}

/// Two algorithms are a reason of their own.
fn names_alg_twice(header: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct AlgOnce {
        #[serde(rename = "alg")]
        _alg: Option<IgnoredAny>,
    }
    serde_json::from_slice::<AlgOnce>(header).is_err()
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, Reason> {
    match header.get("alg").and_then(Value::as_str) {
        // Published keys are public: none of them is a shared secret (RFC 8725 section 2.1).
        Some("HS256" | "HS384" | "HS512") => Err(Reason::JwtAlgKeyMismatch),
        Some(name) => jwk::algorithm(name).ok_or(Reason::JwtAlgRefused),
        None => Err(Reason::JwtAlgRefused),
    }
}

/// `kid`: it is only ever looked up in a map, and still held to characters that mean nothing elsewhere.
fn kid(header: &Map<String, Value>) -> Result<Option<String>, Reason> {
    let fine = |c: u8| c.is_ascii_alphanumeric() || b"_.~:=+/-".contains(&c);
    let Some(kid) = header.get("kid") else { return Ok(None) };
    match kid.as_str() {
        Some(kid)
            if (1..=MAX_KID).contains(&kid.len())
                && kid.bytes().all(fine)
                && !kid.starts_with('/')
                && !kid.contains("..") =>
        {
            Ok(Some(kid.to_owned()))
        }
        _ => Err(Reason::JwtKidMalformed),
    }
}

fn typ(header: &Map<String, Value>) -> Result<Option<String>, Reason> {
    let Some(typ) = header.get("typ") else {
        return Ok(None);
    };
    let typ = typ.as_str().ok_or(Reason::JwtTypRefused)?.to_ascii_lowercase();
    Ok(Some(match typ.strip_prefix("application/") {
        Some(short) => short.to_owned(),
        None => typ,
    }))
}

fn payload_members(text: &[u8]) -> Result<Map<String, Value>, Reason> {
    match json::strict(text) {
        Ok(Value::Object(payload)) => Ok(payload),
        Ok(_) => Err(Reason::JwtPayloadType),
        Err(JsonFault::Malformed) => Err(Reason::JwtJson),
        Err(JsonFault::DuplicateKey) => Err(Reason::JwtDuplicateKey),
        Err(JsonFault::NumberRange) => Err(Reason::JwtClaimRange),
    }
}
