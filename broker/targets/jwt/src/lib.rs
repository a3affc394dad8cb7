//! Kind `jwt`: access tokens signed by the broker (RFC 9068), and the keys that sign them.

mod jwk;
mod keyring;
mod minter;

use std::{collections::BTreeSet, time::Duration};

use procura_core::{
    catalogue::{Grant, Target},
    judgement::Plan,
    kind::{Key, KeyType, Kind, Lifetime, Place, Rights, SettingFault},
};
use procura_wire::TokenType;
use serde_json::{Map, Value};

pub use jwk::{KeyringError, SigningAlgorithm};
pub use keyring::{Keyring, due, new_key, new_set, rotate};

/// The kind: tokens for a resource server that checks them offline or asks `/introspect`.
pub static KIND: Kind = Kind {
    name: "jwt",
    target_keys: &[
        Key {
            name: "audience",
            ty: KeyType::Text,
            required: true,
            doc: "`aud` of the tokens: the identifier of the resource server",
        },
        Key {
            name: "plain_subject",
            ty: KeyType::Bool,
            required: false,
            doc: "`sub` without the issuer's alias; only where the bundle trusts one issuer",
        },
    ],
    grant_keys: &[Key {
        name: "scopes",
        ty: KeyType::Texts,
        required: true,
        doc: "scopes that the grant stands for",
    }],
    place_keys: &[],
    needs_source: false,
    issues: TokenType::AccessToken,
    lifetime: Lifetime::Chosen {
        min: Duration::from_secs(5),
        max: Duration::from_secs(60 * 60),
    },
    place: Place::Local,
    lapses: None,
    receipts: false,
    reuses: false,
    forwards: false,
    merges: true,
    binds: true,
    check,
    narrows: |_, _| true,
    rights,
    open: minter::open,
};

fn check(target: &Target) -> Vec<SettingFault> {
    let fault = |grant, key, problem: &str| SettingFault {
        grant,
        key,
        problem: problem.to_owned(),
    };
    let mut faults = Vec::new();
    if !is_audience(audience(target)) {
        let problem = "must be the identifier of a resource server, without spaces and control characters";
        faults.push(fault(None, "audience", problem));
    }
    for (name, grant) in &target.grants {
        let scopes = scopes(grant);
        if scopes.is_empty() {
            let problem = "must name at least one scope";
            faults.push(fault(Some(name.clone()), "scopes", problem));
        } else if !scopes.iter().all(|scope| is_scope_token(scope)) {
            let problem = "each scope is printable ASCII without spaces, quotes and backslashes (RFC 6749 section 3.3)";
            faults.push(fault(Some(name.clone()), "scopes", problem));
        }
    }
    faults
}

fn is_audience(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| matches!(c, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn rights(target: &Target, plan: &Plan) -> Rights {
    let grants = plan.grants.iter().filter_map(|name| target.grants.get(name));
    let scope = grants.flat_map(scopes).map(str::to_owned).collect();
    rights_of(audience(target), scope)
}

fn rights_of(audience: &str, scope: BTreeSet<String>) -> Rights {
    let mut rights = Rights::default();
    rights.sets.insert("audience", BTreeSet::from([audience.to_owned()]));
    rights.sets.insert("scope", scope);
    rights
}

fn audience(target: &Target) -> &str {
    text(&target.settings, "audience")
}

fn text<'a>(settings: &'a Map<String, Value>, key: &str) -> &'a str {
    settings.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn scopes(grant: &Grant) -> Vec<&str> {
    let list = grant.settings.get("scopes").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests;
