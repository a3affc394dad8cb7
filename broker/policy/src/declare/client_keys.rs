//! `jwks` and `jwks_uri` of `servers/*.toml`: public keys that a server proves itself by (RFC 7517, RFC 7518
//! section 6). Whether a point is on its curve is seen when the key is used.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::catalogue::ClientKeys;
use serde_json::{Map, Value};

use super::{Around, issuers};
use crate::table::{Item, Table};

const MAX_KEYS: usize = 8;
/// Members that only private or symmetric keys have.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
const EXAMPLE: &str = "write either jwks = { keys = [{ kty = \"EC\", crv = \"P-256\", x = \"…\", y = \"…\" }] }, as \
                       `procura server new-key` prints it, or jwks_uri = \"https://…\"";

/// Either of the two keys of a server's `auth`.
pub(super) fn read(table: &mut Table<'_>, around: &Around<'_>) -> Option<ClientKeys> {
    match (table.take("jwks"), table.take("jwks_uri")) {
        (Some(jwks), None) => inline(jwks, around).map(ClientKeys::Inline),
        (None, Some(uri)) => {
            let text = uri.text()?;
            if let Err(problem) = issuers::web_address(text, around.options) {
                uri.mistake(problem);
            }
            Some(ClientKeys::Uri(text.to_owned()))
        }
        _ => {
            table.mistake(EXAMPLE);
            None
        }
    }
}

fn inline(item: Item<'_>, around: &Around<'_>) -> Option<Value> {
    let mut table = item.table()?;
    let keys = table.need("keys", "[{ kty = \"EC\", crv = \"P-256\", x = \"…\", y = \"…\" }]");
    table.finish();
    let items = keys?.list()?;
    if !(1..=MAX_KEYS).contains(&items.len()) {
        item.mistake("1 to 8 keys are needed; two while one replaces the other");
    }
    let (several, mut kids) = (items.len() > 1, Vec::new());
    let mut keys = Vec::new();
    for item in items {
        let Some(Value::Object(jwk)) = item.table().and_then(|_| item.tree()) else {
            continue;
        };
        if let Some(problem) = problem(&jwk, several) {
            item.mistake(problem);
        }
        if let Some(kid) = text(&jwk, "kid") {
            if kids.iter().any(|earlier| earlier == kid) {
                item.mistake(format!("two keys have the kid `{kid}`; give each its own"));
            }
            kids.push(kid.to_owned());
        }
        if let Some(public) = text(&jwk, "x").or(text(&jwk, "n")) {
            item.unique(&around.seen, "key of a server", public);
        }
        keys.push(Value::Object(jwk));
    }
    Some(serde_json::json!({ "keys": keys }))
}

/// What is wrong with a key. Nothing of it is quoted: somebody may have written a private one.
fn problem(jwk: &Map<String, Value>, several: bool) -> Option<String> {
    if let Some(member) = PRIVATE.iter().find(|member| jwk.contains_key(**member)) {
        return Some(format!(
            "the key holds `{member}`, which only private and symmetric keys have; make a new pair with `procura \
             server new-key`, since this one has been shown, and write its public half"
        ));
    }
    let fitting: &[&str] = match (text(jwk, "kty"), text(jwk, "crv")) {
        (Some("EC"), Some("P-256")) if long(jwk, &["x", "y"], 32) => &["ES256"],
        (Some("EC"), Some("P-384")) if long(jwk, &["x", "y"], 48) => &["ES384"],
        (Some("OKP"), Some("Ed25519")) if long(jwk, &["x"], 32) => &["Ed25519", "EdDSA"],
        (Some("RSA"), None) if sound_rsa(jwk) => &["RS256", "RS384", "PS256", "PS384"],
        _ => {
            return Some(
                "the key must be EC with P-256 or P-384 (x, y), OKP with Ed25519 (x), or RSA of 2048 to 8192 bits (n, \
                 e), its members in base64url without padding"
                    .to_owned(),
            );
        }
    };
    let alg = jwk.get("alg").map(|alg| alg.as_str().unwrap_or_default());
    if alg.is_some_and(|alg| !fitting.contains(&alg)) {
        return Some(format!("`alg` of this key can be {} only", fitting.join(", ")));
    }
    let signs = jwk.get("use").is_none_or(|to| to == "sig");
    let verifies = |ops: &Value| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"));
    if !signs || !jwk.get("key_ops").is_none_or(verifies) {
        return Some("the key is not for signatures; `use` must be \"sig\", `key_ops` must hold \"verify\"".to_owned());
    }
    let kid = jwk.get("kid").map(|kid| kid.as_str().unwrap_or_default());
    if kid.is_none() && several {
        return Some("where there are several keys, each needs a kid".to_owned());
    }
    let fine = |c: u8| c.is_ascii_alphanumeric() || b"_.~:=+/-".contains(&c);
    let plain = |kid: &str| (1..=256).contains(&kid.len()) && kid.bytes().all(fine);
    (!kid.is_none_or(plain)).then(|| "a kid is 1 to 256 letters, digits and characters of _.~:=+/-".to_owned())
}

fn long(jwk: &Map<String, Value>, members: &[&str], length: usize) -> bool {
    members
        .iter()
        .all(|member| bytes(jwk, member).is_some_and(|bytes| bytes.len() == length))
}

fn sound_rsa(jwk: &Map<String, Value>) -> bool {
    let odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let (Some(n), Some(e)) = (bytes(jwk, "n"), bytes(jwk, "e")) else {
        return false;
    };
    let Some(first) = n.first().filter(|first| **first != 0) else {
        return false;
    };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    (2048..=8192).contains(&bits) && odd(&n) && odd(&e) && e != [1] && e.len() <= 4 && e.first() != Some(&0)
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    jwk.get(member)?.as_str()
}

fn bytes(jwk: &Map<String, Value>, member: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text(jwk, member)?).ok()
}
