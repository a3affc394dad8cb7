//! What a grant asks of the server.

use std::collections::{BTreeMap, BTreeSet};

use procura_core::{
    catalogue::{Grant, Target},
    judgement::Plan,
    kind::{Key, KeyType, Rights, SettingFault},
    params::{ParamSpec, ParamType, ParamValue, Params},
};
use procura_wire::Name;
use serde_json::{Map, Value, json};

use crate::settings::is_path;

pub(crate) const GRANT_KEYS: &[Key] = &[
    Key {
        name: "policies",
        ty: KeyType::Texts,
        required: true,
        doc: "Policies of the token, never `default`; allowed_policies of the token role has each.",
    },
    Key {
        name: "path",
        ty: KeyType::Text,
        required: false,
        doc: "What the token reads or writes once; the answer is issued in place of the token.",
    },
    Key {
        name: "method",
        ty: KeyType::Text,
        required: false,
        doc: "read (if unset) or write.",
    },
    Key {
        name: "data",
        ty: KeyType::Map,
        required: false,
        doc: "Members of what is written, beside those that the parameters give by their names.",
    },
    Key {
        name: "extensions",
        ty: KeyType::Texts,
        required: false,
        doc: "Extensions that an SSH certificate may carry, such as permit-pty; none if unset.",
    },
];

/// Paths that make tokens, change the server, or hold what belongs to one token.
const CLOSED: [&str; 3] = ["auth", "sys", "cubbyhole"];
/// What says how long a certificate lives; the broker does.
const TIMES: [&str; 2] = ["ttl", "not_after"];
const PRINCIPALS: &str = "valid_principals";

/// What the token does once.
pub(crate) struct Request {
    pub(crate) path: String,
    /// The members of what is written; `None` for a read.
    pub(crate) body: Option<Map<String, Value>>,
    /// The engine makes a certificate, which ends by itself and is not taken back.
    pub(crate) certifies: bool,
}

pub(crate) fn policies(grant: &Grant) -> BTreeSet<String> {
    texts(grant, "policies")
}

pub(crate) fn path(grant: &Grant) -> Option<&str> {
    grant.settings.get("path")?.as_str()
}

fn texts(grant: &Grant, key: &str) -> BTreeSet<String> {
    let listed = grant.settings.get(key).and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    listed.map(str::to_owned).collect()
}

fn data(grant: &Grant) -> Option<&Map<String, Value>> {
    grant.settings.get("data")?.as_object()
}

/// The one before the last segment of a path, which says what an engine does.
fn verb(grant: &Grant) -> Option<&str> {
    path(grant)?.rsplit('/').nth(1)
}

fn gives(grant: &Grant, name: &str) -> bool {
    grant.params.contains_key(name) || data(grant).is_some_and(|data| data.contains_key(name))
}

fn certifies(grant: &Grant) -> bool {
    matches!(verb(grant), Some("sign" | "issue"))
}

/// Whether it is for the SSH engine: the PKI engine needs a name or a request to sign.
fn is_ssh(grant: &Grant) -> bool {
    certifies(grant) && !gives(grant, "common_name") && !gives(grant, "csr")
}

/// What may stand for one principal: never empty, never all, never two.
fn is_principal(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    !text.is_empty() && text.bytes().all(plain)
}

/// The most that a credential of this plan may carry.
pub(crate) fn rights(target: &Target, plan: &Plan) -> Rights {
    let mut sets = BTreeMap::from([("policies", BTreeSet::new())]);
    for grant in plan.grants.iter().filter_map(|name| target.grants.get(name)) {
        sets.insert("policies", policies(grant));
        if let Some(path) = path(grant) {
            sets.insert("path", BTreeSet::from([path.to_owned()]));
        }
        if is_ssh(grant) {
            sets.insert("principals", principals(grant, &plan.params).unwrap_or_default());
            sets.insert("extensions", texts(grant, "extensions"));
        }
    }
    Rights {
        sets,
        numbers: BTreeMap::new(),
    }
}

/// Whom an SSH certificate is for; `None` where that is nobody in particular.
fn principals(grant: &Grant, params: &Params) -> Option<BTreeSet<String>> {
    let fixed = data(grant).and_then(|data| data.get(PRINCIPALS)?.as_str());
    let names: BTreeSet<String> = match (fixed, params.get(PRINCIPALS)) {
        (Some(fixed), _) => fixed.split(',').map(str::to_owned).collect(),
        (None, Some(ParamValue::Text(text))) => BTreeSet::from([text.clone()]),
        (None, Some(ParamValue::Set(set))) => set.clone(),
        (None, _) => return None,
    };
    (!names.is_empty() && names.iter().all(|name| is_principal(name))).then_some(names)
}

/// What is asked with the token; `Ok(None)` where the token itself is what is issued.
pub(crate) fn request(grant: &Grant, params: &Params) -> Result<Option<Request>, String> {
    let Some(path) = path(grant) else {
        return Ok(None);
    };
    let mut body = data(grant).cloned().unwrap_or_default();
    for (name, value) in params {
        let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
        body.insert(name.clone(), value);
    }
    if is_ssh(grant) {
        let names = principals(grant, params).ok_or("a principal is not a plain name (A-Z a-z 0-9 . _ - @)")?;
        // The engine takes one text.
        body.insert(PRINCIPALS.to_owned(), Vec::from_iter(names).join(",").into());
        let extensions = texts(grant, "extensions");
        if !extensions.is_empty() {
            let extensions = extensions.into_iter().map(|name| (name, json!("")));
            body.insert("extensions".to_owned(), Value::Object(extensions.collect()));
        }
    }
    Ok(Some(Request {
        path: path.to_owned(),
        body: writes(grant).then_some(body),
        certifies: certifies(grant),
    }))
}

/// Whether the parameters make a request.
pub(crate) fn narrows(target: &Target, plan: &Plan) -> bool {
    let mut grants = plan.grants.iter().filter_map(|name| target.grants.get(name));
    grants.all(|grant| request(grant, &plan.params).is_ok())
}

fn writes(grant: &Grant) -> bool {
    grant.settings.get("method").and_then(Value::as_str) == Some("write")
}

/// What the schema of the keys cannot say.
pub(crate) fn faults(name: &Name, grant: &Grant) -> Vec<SettingFault> {
    let mut faults = policy_faults(grant);
    faults.extend(path_faults(grant));
    if certifies(grant) {
        faults.extend(certificate_faults(grant));
    } else if grant.settings.contains_key("extensions") {
        faults.push((
            "extensions",
            "is for SSH certificates only (path MOUNT/sign/ROLE)".to_owned(),
        ));
    }
    let fault = |(key, problem)| SettingFault {
        grant: Some(name.clone()),
        key,
        problem,
    };
    faults.into_iter().map(fault).collect()
}

type Faults = Vec<(&'static str, String)>;

fn policy_faults(grant: &Grant) -> Faults {
    let policies = policies(grant);
    let plain = |policy: &str| is_path(policy) && !policy.bytes().any(|byte| byte.is_ascii_uppercase());
    let mut faults: Faults = policies
        .iter()
        .filter(|policy| !plain(policy))
        .map(|policy| {
            (
                "policies",
                format!("{policy:?} is no name of a policy (a-z 0-9 . _ - /)"),
            )
        })
        .collect();
    if policies.is_empty() {
        faults.push(("policies", "names no policy: name at least one".to_owned()));
    }
    for policy in ["root", "default"] {
        if policies.contains(policy) {
            faults.push((
                "policies",
                format!("{policy} is never given: name policies of this use alone"),
            ));
        }
    }
    faults
}

fn path_faults(grant: &Grant) -> Faults {
    let mut faults = Faults::new();
    let has_body = !grant.params.is_empty() || data(grant).is_some();
    match path(grant) {
        None if has_body || grant.settings.contains_key("method") => {
            faults.push(("policies", "parameters, `method` and `data` need a `path`".to_owned()));
        }
        Some(path) if !is_path(path) || !path.contains('/') => {
            faults.push((
                "path",
                "is no path below a mount, such as database/creds/reader".to_owned(),
            ));
        }
        Some(path) if CLOSED.contains(&path.split('/').next().unwrap_or_default()) => {
            faults.push(("path", format!("{path} belongs to the server itself, to no engine")));
        }
        _ => {}
    }
    match grant.settings.get("method").and_then(Value::as_str) {
        None | Some("read") if path(grant).is_some() && has_body => {
            faults.push((
                "path",
                "parameters and `data` are sent with method = \"write\" only".to_owned(),
            ));
        }
        None | Some("read" | "write") => {}
        Some(_) => faults.push(("method", "is neither read nor write".to_owned())),
    }
    let twice = data(grant).into_iter().flat_map(Map::keys);
    faults.extend(
        twice
            .filter(|key| grant.params.contains_key(*key))
            .map(|key| ("data", format!("{key} is a parameter too; remove one"))),
    );
    faults
}

fn certificate_faults(grant: &Grant) -> Faults {
    let mut faults = Faults::new();
    if !writes(grant) {
        faults.push(("path", "makes certificates, which takes method = \"write\"".to_owned()));
    }
    for time in TIMES.into_iter().filter(|time| gives(grant, time)) {
        faults.push((
            "path",
            format!("{time} is given by the broker, from the end of the credential"),
        ));
    }
    if gives(grant, "csr") {
        let problem = "a csr carries names of its own, which no rule has seen: use MOUNT/issue/ROLE with common_name";
        faults.push(("path", problem.to_owned()));
    }
    if gives(grant, "extensions") {
        faults.push(("path", "extensions are listed in the key `extensions`".to_owned()));
    }
    if !is_ssh(grant) {
        return faults;
    }
    let declared = grant.params.get(PRINCIPALS);
    let named = match data(grant).is_some_and(|data| data.contains_key(PRINCIPALS)) {
        true => principals(grant, &Params::new()).is_some(),
        false => declared.is_some_and(names_principals),
    };
    if !named {
        let problem = "signs for anybody: give valid_principals in `data` (plain names, no *), or declare it as a \
                       required parameter of type string, enum or set";
        faults.push(("path", problem.to_owned()));
    }
    faults
}

fn names_principals(spec: &ParamSpec) -> bool {
    let plain = match &spec.ty {
        ParamType::String(_) | ParamType::Set(_) => true,
        ParamType::Enum(values) => values.iter().all(|value| is_principal(value)),
        ParamType::Int { .. } | ParamType::Bool => false,
    };
    plain && spec.required
}
