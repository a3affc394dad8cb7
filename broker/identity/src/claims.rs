//! The claims of a token whose signature is verified: each has its JSON type, or the token is refused.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{
    Timestamp,
    catalogue::Issuer,
    identity::{Confirmation, LogIn, VerifiedToken},
    trust::Vouched,
};
use procura_wire::{Name, QualifiedId, Reason};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::act;

/// 9999-12-31T23:59:59Z.
const MAX_TIME: i64 = 253_402_300_799;
const MAX_SUB: usize = 255;
const JKT_TYPE: &str = "kc-jkt-type";

/// Reads the claims under the rules of the issuer. What is there with a wrong type is never taken for absent.
pub(crate) fn read(claims: &Map<String, Value>, alias: &Name, issuer: &Issuer) -> Result<VerifiedToken, Reason> {
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
        confirmation: confirmation(claims)?,
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
        vouched: Vouched {
            id_token: false,
            introspected: issuer.trust.asks_always(),
            tenant: match &issuer.trust.tenant {
                Some(tenant) => text(claims, &tenant.claim)?,
                None => None,
            },
            key: None,
        },
        iss,
    })
}

/// What is an ID token beyond that (OpenID Connect Core sections 2 and 3.1.3.7): issued to the one client that it is for.
pub(crate) fn id_token(mut token: VerifiedToken, claims: &Map<String, Value>) -> Result<VerifiedToken, Reason> {
    let [client] = &token.audience[..] else {
        return Err(Reason::JwtAudMulti);
    };
    if text(claims, "azp")?.is_some_and(|azp| azp != *client) {
        return Err(Reason::SubjectClientMismatch);
    }
    if token.issued_at.is_none() {
        return Err(Reason::JwtClaimMissing);
    }
    token.client = Some(client.clone());
    // Scopes are what an access token carries; a claim of that name is none of them.
    token.scopes = None;
    token.vouched.id_token = true;
    Ok(token)
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

/// `cnf`: what it holds beside the two known members would be a binding that nobody looks at.
pub(crate) fn confirmation(claims: &Map<String, Value>) -> Result<Option<Confirmation>, Reason> {
    let Some(cnf) = claims.get("cnf") else {
        return Ok(None);
    };
    let mut cnf = cnf.clone();
    // Keycloak's word beside `jkt` for how the key is proved: another way than DPoP is none of ours.
    let by_dpop = cnf.get(JKT_TYPE).is_some_and(|ty| ty == "DPoP") && cnf.get("jkt").is_some();
    if let Some(members) = cnf.as_object_mut().filter(|_| by_dpop) {
        members.remove(JKT_TYPE);
    }
    let known = Confirmation::deserialize(&cnf).map_err(|_| Reason::PopUnsupported)?;
    let (Confirmation::Jkt(thumbprint) | Confirmation::X5tS256(thumbprint)) = &known;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(thumbprint);
    if bytes.is_ok_and(|bytes| bytes.len() == 32) {
        Ok(Some(known))
    } else {
        Err(Reason::PopUnsupported)
    }
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
pub(crate) fn texts<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<impl Iterator<Item = &'a str>, Reason> {
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
