//! The kind's keys in target files and grants.

use std::collections::BTreeSet;

use procura_core::{
    catalogue::{Grant, Target},
    judgement::Plan,
    kind::{Key, KeyType, Rights, SettingFault},
    params::{ParamType, ParamValue},
};
use procura_wire::Name;
use serde_json::{Map, Value};
use url::{Host, Url};

const fn key(name: &'static str, ty: KeyType, required: bool, doc: &'static str) -> Key {
    Key {
        name,
        ty,
        required,
        doc,
    }
}

pub(crate) const TARGET_KEYS: &[Key] = &[
    key(
        "issuer",
        KeyType::Text,
        false,
        "The upstream's issuer identifier; its endpoints are discovered from it.",
    ),
    key(
        "token_endpoint",
        KeyType::Text,
        false,
        "URL of the token endpoint; with it nothing is discovered.",
    ),
    key(
        "revocation_endpoint",
        KeyType::Text,
        false,
        "URL of the revocation endpoint beside an explicit token_endpoint.",
    ),
    key("client_id", KeyType::Text, true, "The broker's client there."),
    key(
        "client_auth",
        KeyType::Text,
        true,
        "client_secret_basic, client_secret_post or private_key_jwt.",
    ),
    key(
        "revokes",
        KeyType::Bool,
        false,
        "false where revoking a token does not end it: then it must live no longer than is planned.",
    ),
    key(
        "ca_file",
        KeyType::Text,
        false,
        "PEM file of certificate authorities to trust beside the system's.",
    ),
];

pub(crate) const GRANT_KEYS: &[Key] = &[
    key(
        "grant_type",
        KeyType::Text,
        true,
        "client_credentials or token_exchange.",
    ),
    key("scopes", KeyType::Texts, true, "Scopes that a token may have at most."),
    key(
        "resource",
        KeyType::Text,
        false,
        "URI of the resource server (RFC 8707).",
    ),
    key(
        "audience",
        KeyType::Text,
        false,
        "The audience, where the upstream asks for one.",
    ),
];

/// The parameter by which a request says which scopes it needs.
const SCOPES: &str = "scopes";
/// Scopes that make more than an access token.
const NOT_SCOPES: [&str; 2] = ["openid", "offline_access"];

/// How the broker proves to the upstream which client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    Basic,
    Post,
    PrivateKeyJwt,
}

/// Where the upstream's endpoints are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Where {
    /// In the metadata of this issuer.
    Discovered(String),
    /// Here.
    Given { token: Url, revocation: Option<Url> },
}

/// A target's own keys.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// As its metadata and its tokens have it.
    pub(crate) issuer: Option<String>,
    pub(crate) endpoints: Where,
    pub(crate) client_id: String,
    pub(crate) client_auth: ClientAuth,
    pub(crate) revokes: bool,
    pub(crate) ca_file: Option<String>,
}

impl Settings {
    /// Reads a target; the faults are for its author.
    pub(crate) fn read(target: &Target) -> Result<Self, Vec<SettingFault>> {
        let mut faults = Vec::new();
        let own = &target.settings;
        let issuer = text(own, "issuer");
        if issuer.is_some_and(|issuer| endpoint(issuer).is_none_or(|url| url.query().is_some())) {
            faults.push(fault(
                None,
                "issuer",
                "is no issuer identifier: an https URL without query and fragment",
            ));
        }
        let revokes = own.get("revokes") != Some(&Value::Bool(false));
        let endpoints = read_endpoints(own, revokes, &mut faults);
        let client_id = text(own, "client_id").unwrap_or_default();
        if client_id.is_empty() || !client_id.bytes().all(|c| matches!(c, 0x20..=0x7e)) {
            faults.push(fault(
                None,
                "client_id",
                "is no client id: printable ASCII (RFC 6749 appendix A.1)",
            ));
        }
        let client_auth = match text(own, "client_auth").unwrap_or_default() {
            "client_secret_basic" => ClientAuth::Basic,
            "client_secret_post" => ClientAuth::Post,
            "private_key_jwt" => ClientAuth::PrivateKeyJwt,
            _ => {
                let problem = "is none of client_secret_basic, client_secret_post, private_key_jwt";
                faults.push(fault(None, "client_auth", problem));
                ClientAuth::Basic
            }
        };
        let grants = target.grants.iter();
        faults.extend(grants.flat_map(|(name, grant)| grant_faults(name, grant, issuer.is_some())));
        match endpoints {
            Some(endpoints) if faults.is_empty() => Ok(Self {
                issuer: issuer.map(str::to_owned),
                endpoints,
                client_id: client_id.to_owned(),
                client_auth,
                revokes,
                ca_file: text(own, "ca_file").map(str::to_owned),
            }),
            _ => Err(faults),
        }
    }
}

fn read_endpoints(own: &Map<String, Value>, revokes: bool, faults: &mut Vec<SettingFault>) -> Option<Where> {
    let mut url = |key: &'static str| {
        let url = endpoint(text(own, key)?);
        if url.is_none() {
            faults.push(fault(
                None,
                key,
                "is no https URL; plain http is for a loopback host only",
            ));
        }
        url
    };
    let (token, revocation) = (url("token_endpoint"), url("revocation_endpoint"));
    if revocation.is_some() && !revokes {
        faults.push(fault(
            None,
            "revokes",
            "is false, so that revocation_endpoint is never asked; remove one",
        ));
    }
    match (token, text(own, "issuer")) {
        (Some(token), _) => Some(Where::Given { token, revocation }),
        (None, _) if own.contains_key("token_endpoint") => None,
        (None, Some(_)) if own.contains_key("revocation_endpoint") => {
            let problem = "goes with an explicit token_endpoint; without one both are discovered from issuer";
            faults.push(fault(None, "revocation_endpoint", problem));
            None
        }
        (None, Some(issuer)) => Some(Where::Discovered(issuer.to_owned())),
        (None, None) => {
            faults.push(fault(
                None,
                "issuer",
                "is missing; write it, or token_endpoint where there is no metadata",
            ));
            None
        }
    }
}

/// How a token is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrantType {
    ClientCredentials,
    TokenExchange,
}

/// What a token is asked for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) grant_type: GrantType,
    /// Never empty, which would mean whatever the upstream gives by default.
    pub(crate) scopes: BTreeSet<&'a str>,
    pub(crate) resource: Option<&'a str>,
    pub(crate) audience: Option<&'a str>,
}

/// What the plan asks for, or why nothing may be asked.
pub(crate) fn wanted<'a>(target: &'a Target, plan: &'a Plan) -> Result<Wanted<'a>, String> {
    let [grant] = plan.grants.as_slice() else {
        return Err("a token is of one grant".to_owned());
    };
    let grant = target
        .grants
        .get(grant)
        .ok_or_else(|| format!("there is no grant {grant}"))?;
    let ceiling = scopes(grant);
    let named = match plan.params.get(SCOPES) {
        None => ceiling.clone(),
        Some(ParamValue::Set(named)) => named.iter().map(String::as_str).collect(),
        Some(_) => BTreeSet::new(),
    };
    if let Some(scope) = named.difference(&ceiling).next() {
        return Err(format!("scope {scope:?} is not among the grant's scopes"));
    }
    if named.is_empty() {
        return Err("no scope is left to ask for".to_owned());
    }
    Ok(Wanted {
        grant_type: grant_type(grant).ok_or("the grant has no grant_type")?,
        scopes: named,
        resource: text(&grant.settings, "resource"),
        audience: text(&grant.settings, "audience"),
    })
}

/// The most that a token of this plan may carry.
pub(crate) fn rights(target: &Target, plan: &Plan) -> Rights {
    match wanted(target, plan) {
        Ok(wanted) => rights_of(wanted.scopes.iter().map(|scope| (*scope).to_owned()).collect()),
        Err(_) => Rights::default(),
    }
}

pub(crate) fn rights_of(scopes: BTreeSet<String>) -> Rights {
    Rights {
        sets: [("scope", scopes)].into(),
        ..Rights::default()
    }
}

/// What the schema of the keys cannot say.
pub(crate) fn check(target: &Target) -> Vec<SettingFault> {
    Settings::read(target).err().unwrap_or_default()
}

fn grant_faults(name: &Name, grant: &Grant, has_issuer: bool) -> Vec<SettingFault> {
    let mut faults = Vec::new();
    let mut wrong = |key, problem: &str| faults.push(fault(Some(name), key, problem));
    match (grant_type(grant), grant.forward_subject) {
        (None, _) => wrong("grant_type", "is neither client_credentials nor token_exchange"),
        (Some(GrantType::TokenExchange), false) => {
            wrong(
                "grant_type",
                "token_exchange hands the subject token on: write forward_subject = true",
            );
        }
        (Some(GrantType::TokenExchange), true) if !has_issuer => {
            wrong(
                "grant_type",
                "token_exchange needs the target's issuer, to compare the subject token's with",
            );
        }
        (Some(GrantType::ClientCredentials), true) => {
            wrong(
                "grant_type",
                "client_credentials has no use for the subject token: remove forward_subject",
            );
        }
        _ => (),
    }
    let scopes = scopes(grant);
    if scopes.is_empty() || !scopes.iter().all(|scope| is_scope_token(scope)) {
        wrong(
            "scopes",
            "must name at least one; each is printable ASCII without spaces, quotes and backslashes",
        );
    }
    if let Some(scope) = scopes.iter().find(|scope| NOT_SCOPES.contains(scope)) {
        wrong(
            "scopes",
            &format!("{scope} asks for more than an access token: remove it"),
        );
    }
    if grant
        .params
        .get(SCOPES)
        .is_some_and(|param| !matches!(param.ty, ParamType::Set(_)))
    {
        wrong("scopes", "the parameter scopes narrows it and must be of type set");
    }
    if let Some(other) = grant.params.keys().find(|name| *name != SCOPES) {
        let problem = format!("the parameter {other} narrows nothing: only {SCOPES} does; remove it");
        wrong("scopes", &problem);
    }
    let is_uri = |uri: &str| Url::parse(uri).is_ok_and(|uri| uri.fragment().is_none());
    if text(&grant.settings, "resource").is_some_and(|uri| !is_uri(uri)) {
        wrong("resource", "is no absolute URI without fragment (RFC 8707 section 2)");
    }
    if text(&grant.settings, "audience").is_some_and(str::is_empty) {
        wrong("audience", "is empty: remove it, or name the audience");
    }
    faults
}

fn grant_type(grant: &Grant) -> Option<GrantType> {
    match text(&grant.settings, "grant_type")? {
        "client_credentials" => Some(GrantType::ClientCredentials),
        "token_exchange" => Some(GrantType::TokenExchange),
        _ => None,
    }
}

fn scopes(grant: &Grant) -> BTreeSet<&str> {
    let list = grant.settings.get("scopes").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// RFC 6749 section 3.3.
fn is_scope_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| matches!(c, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

/// A URL that secrets may be sent to: https, or http on loopback.
pub(crate) fn endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let scheme = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    (scheme && plain).then_some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn text<'a>(settings: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    settings.get(key).and_then(Value::as_str)
}

fn fault(grant: Option<&Name>, key: &'static str, problem: &str) -> SettingFault {
    SettingFault {
        grant: grant.cloned(),
        key,
        problem: problem.to_owned(),
    }
}
