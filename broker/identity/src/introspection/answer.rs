//! What an issuer says of a token, held to the same rules as the claims of a JWT.

use procura_core::{catalogue::Issuer, identity::VerifiedToken, trust::Vouched};
use procura_wire::{Name, Reason};
use serde_json::{Map, Value};

use crate::{claims, jws};

/// Whether a text has the form of an access token (RFC 6750 section 2.1) and not that of a JWS or JWE: what may be
/// verified without asking anybody is, and what may be another issuer's is shown to nobody.
pub(crate) fn is_opaque(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let fine = |c: u8| c.is_ascii_alphanumeric() || b"-._~+/".contains(&c);
    !body.is_empty() && body.bytes().all(fine) && !matches!(token.split('.').count(), 3 | 5)
}

/// The answer as a token of that issuer. An answer that names no issuer is about one of its own.
pub(crate) fn token(answer: &Map<String, Value>, alias: &Name, issuer: &Issuer) -> Result<VerifiedToken, Reason> {
    agree(answer, "iss", &issuer.issuer)?;
    let bearer = match answer.get("token_type") {
        None => true,
        Some(Value::String(ty)) => ["Bearer", "DPoP", "access_token"]
            .iter()
            .any(|known| ty.eq_ignore_ascii_case(known)),
        Some(_) => return Err(Reason::JwtClaimType),
    };
    if !bearer || !jws::looks_like_access_token(answer) {
        return Err(Reason::JwtTypRefused);
    }
    let mut claims = answer.clone();
    claims.entry("iss").or_insert_with(|| issuer.issuer.clone().into());
    let read = claims::read(&claims, alias, issuer)?;
    Ok(VerifiedToken {
        vouched: Vouched {
            introspected: true,
            ..read.vouched
        },
        ..read
    })
}

/// Whether an answer can be about this JWT, whose claims are known already.
pub(crate) fn agrees(answer: &Map<String, Value>, token: &VerifiedToken) -> Result<(), Reason> {
    agree(answer, "iss", &token.iss)?;
    agree(answer, "sub", &token.sub)?;
    // A binding that only the answer knows would be one that nobody proves.
    let same = !answer.contains_key("cnf") || claims::confirmation(answer)? == token.confirmation;
    if same { Ok(()) } else { Err(Reason::IntrospectUntrusted) }
}

fn agree(answer: &Map<String, Value>, member: &str, wanted: &str) -> Result<(), Reason> {
    match answer.get(member) {
        None => Ok(()),
        Some(Value::String(text)) if text == wanted => Ok(()),
        Some(_) => Err(Reason::IntrospectUntrusted),
    }
}

#[cfg(test)]
mod tests {
    use super::is_opaque;

    #[test]
    fn attack_43_only_what_can_be_no_jwt_is_shown_to_an_issuer() {
        for opaque in ["a", "2YotnFZFEjr1zCsicMWpAA", "ya29.a0Af_~+/x==", "a.b.c.d"] {
            assert!(is_opaque(opaque), "{opaque}");
        }
        for other in [
            "",
            "=",
            "a.b.c",
            "..",
            "a.b.c.d.e",
            "a b",
            "a\n",
            "{\"protected\":1}",
            "ä",
            "a=b",
            "a,b",
        ] {
            assert!(!is_opaque(other), "{other}");
        }
    }
}
