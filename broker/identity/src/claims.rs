//! The claims of a token whose signature is verified: each has its JSON type, or the token is refused.

use std::collections::BTreeSet;

use procura_core::{
    Timestamp,
    catalogue::Issuer,
    identity::{LogIn, VerifiedToken},
};
use procura_wire::{Name, QualifiedId, Reason};
use serde_json::{Map, Value};

use crate::act;

/// 9999-12-31T23:59:59Z.
const MAX_TIME: i64 = 253_402_300_799;
const MAX_SUB: usize = 255;

/// Reads the claims under the rules of the issuer. What is there with a wrong type is never taken for absent.
pub(crate) fn read(claims: &Map<String, Value>, alias: &Name, issuer: &Issuer) -> Result<VerifiedToken, Reason> {
    // The binding to a key must not be lost on the way (RFC 9449, RFC 8705), and no proof of one is taken.
    if claims.contains_key("cnf") {
        return Err(Reason::PopUnproven);
    }
    let iss = text(claims, "iss")?.ok_or(Reason::JwtClaimMissing)?;
    let act = act::chain(claims.get("act"), &iss)?;
    Ok(VerifiedToken {
        issuer: alias.clone(),
        sub: sub(claims)?,
        audience: audience(claims)?,
        // A token without an end lives longer than any issuer's tokens may.
        expires: time(claims, "exp")?.ok_or(Reason::JwtLifetime)?,
        not_before: time(claims, "nbf")?,
        issued_at: time(claims, "iat")?,
        jti: text(claims, "jti")?,
        sid: text(claims, "sid")?,
        client: client(claims)?,
        scopes: scopes(claims)?,
        groups: groups(claims, alias, issuer)?,
        auth: LogIn {
            acr: text(claims, "acr")?,
            amr: texts(claims, "amr")?.map(str::to_owned).collect(),
            time: time(claims, "auth_time")?,
        },
        act,
        may_act: act::may_act(claims.get("may_act"))?,
        iss,
    })
}

/// Whether an id can be shown and compared: bytes are compared exactly, so nothing in it may be
/// invisible, change the direction of text, or stand unseen at its ends.
pub(crate) fn is_plain_id(id: &str) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    (1..=MAX_SUB).contains(&id.len()) && !id.chars().any(hidden) && id.trim() == id
}

fn sub(claims: &Map<String, Value>) -> Result<String, Reason> {
    let sub = text(claims, "sub")?.ok_or(Reason::JwtClaimMissing)?;
    if sub.is_empty() {
        Err(Reason::JwtClaimType)
    } else if is_plain_id(&sub) {
        Ok(sub)
    } else {
        Err(Reason::NameRefused)
    }
}

pub(crate) fn audience(claims: &Map<String, Value>) -> Result<Vec<String>, Reason> {
    let audience = match claims.get("aud") {
        None => return Err(Reason::JwtClaimMissing),
        Some(Value::String(one)) => vec![one.clone()],
        Some(_) => texts(claims, "aud")?.map(str::to_owned).collect(),
    };
    if audience.is_empty() || audience.iter().any(String::is_empty) {
        return Err(Reason::JwtClaimType);
    }
    Ok(audience)
}

fn client(claims: &Map<String, Value>) -> Result<Option<String>, Reason> {
    let azp = text(claims, "azp")?;
    Ok(text(claims, "client_id")?.or(azp))
}

fn scopes(claims: &Map<String, Value>) -> Result<Option<BTreeSet<String>>, Reason> {
    let scope = text(claims, "scope")?;
    let split = |scope: String| scope.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect();
    Ok(scope.map(split))
}

fn groups(claims: &Map<String, Value>, alias: &Name, issuer: &Issuer) -> Result<BTreeSet<QualifiedId>, Reason> {
    let Some(groups) = &issuer.groups else {
        return Ok(BTreeSet::new());
    };
    let mapped = texts(claims, &groups.claim)?.filter_map(|value| groups.map.get(value));
    Ok(mapped.map(|group| QualifiedId::new(alias.clone(), group)).collect())
}

pub(crate) fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Reason::JwtClaimType),
    }
}

/// Nothing where the claim is absent.
fn texts<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<impl Iterator<Item = &'a str>, Reason> {
    let items = match claims.get(name) {
        None => &[][..],
        Some(value) => value.as_array().ok_or(Reason::JwtClaimType)?,
    };
    if !items.iter().all(Value::is_string) {
        return Err(Reason::JwtClaimType);
    }
    Ok(items.iter().filter_map(Value::as_str))
}

/// A NumericDate (RFC 7519 section 2); fractions are cut off.
pub(crate) fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Reason> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let number = value.as_number().ok_or(Reason::JwtClaimType)?;
    let seconds = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => Some(whole),
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
        (None, Some(float)) if (0.0..=MAX_TIME as f64).contains(&float) => Some(float.floor() as i64),
        _ => None,
    };
    let seconds = seconds.filter(|seconds| (0..=MAX_TIME).contains(seconds));
    // The last day of the year 9999 is beyond what a Timestamp holds in every time zone.
    let time = seconds.map(|seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX));
    time.map(Some).ok_or(Reason::JwtClaimRange)
}
