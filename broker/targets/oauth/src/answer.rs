//! What the token endpoint answers (RFC 6749 section 5.1, RFC 8693 section 2.2.1).

use std::{collections::BTreeSet, time::Duration};

use procura_wire::{Secret, TokenType};
use serde_json::Value;

use crate::settings::GrantType;

/// Longest access token.
const MAX_TOKEN: usize = 16 * 1024;

/// A token that was granted.
pub(crate) struct Granted {
    pub(crate) life: Duration,
    /// As the upstream says; `None` where it grants what was asked for.
    pub(crate) scopes: Option<BTreeSet<String>>,
}

/// Takes the access token out. `None` where there is none that a header takes.
pub(crate) fn token(json: &mut Value) -> Option<Secret> {
    match json["access_token"].take() {
        Value::String(token) => {
            let is_token = (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|c| c.is_ascii_graphic());
            is_token.then(|| Secret::new(token))
        }
        _ => None,
    }
}

/// What else the answer says of the token; an error where it is not what the broker can hand on.
pub(crate) fn granted(json: &Value, grant_type: GrantType) -> Result<Granted, &'static str> {
    let text = |name: &str| json[name].as_str().unwrap_or_default();
    if !text("token_type").eq_ignore_ascii_case("Bearer") {
        return Err("the token is no Bearer token: let the upstream issue such to this client");
    }
    let issued = text("issued_token_type");
    if grant_type == GrantType::TokenExchange && issued != TokenType::AccessToken.as_str() {
        return Err("what was issued is no access token (issued_token_type)");
    }
    let life = json["expires_in"]
        .as_u64()
        .filter(|life| (1..=u64::from(u32::MAX)).contains(life));
    let life =
        life.ok_or("the answer does not say when the token ends (expires_in): set its lifetime at the upstream")?;
    let scopes = match &json["scope"] {
        Value::Null => None,
        Value::String(scopes) => Some(scopes.split_ascii_whitespace().map(str::to_owned).collect()),
        _ => return Err("the answer's scope is no text"),
    };
    Ok(Granted {
        life: Duration::from_secs(life),
        scopes,
    })
}
