//! A case of the corpus as its file has it; `tests/attacks/README.md` describes every key.

use std::{collections::BTreeMap, fs, path::Path};

use procura_e2e::Fault;
use serde::{Deserialize, de::DeserializeOwned};

/// A case with the name that it is called by: its file's path without the ending.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) case: Case,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// What is tried, as a sentence.
    pub(super) title: String,
    /// Row of the catalogue that it belongs to; inputs of our own have none.
    #[serde(default, rename = "row")]
    _row: Option<u16>,
    #[serde(default)]
    pub(super) subject: Token,
    pub(super) actor: Option<Token>,
    /// The grant in place of an exchange.
    pub(super) id_jag: Option<Token>,
    /// How the server proves itself in place of a secret.
    pub(super) assertion: Option<Token>,
    /// The same by a JWT-SVID.
    pub(super) svid: Option<Token>,
    /// The same by a certificate.
    pub(super) certificate: Option<Certificate>,
    /// The request goes to the broker that speaks TLS; with an SVID or a certificate it does anyway.
    #[serde(default)]
    pub(super) tls: bool,
    /// What the issuer says when it is asked about the subject token, which is opaque then.
    pub(super) answer: Option<Said>,
    /// The DPoP proof.
    pub(super) proof: Option<Token>,
    /// The request is sent twice; this is what the first answer must be.
    pub(super) first: Option<Expect>,
    /// What the second request presents again; all else is made anew.
    #[serde(default)]
    pub(super) again: Vec<String>,
    #[serde(default)]
    pub(super) request: Request,
    /// A bundle to be checked in place of a request.
    pub(super) bundle: Option<Bundle>,
    pub(super) expect: Expect,
}

/// What a token differs in from a good one.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Token {
    pub(super) issuer: Option<String>,
    pub(super) key: Option<String>,
    pub(super) header: toml::Table,
    pub(super) claims: toml::Table,
    pub(super) drop_header: Vec<String>,
    pub(super) drop: Vec<String>,
    pub(super) header_text: String,
    pub(super) payload_text: String,
    pub(super) signature: String,
    pub(super) text: Option<String>,
}

impl Default for Token {
    fn default() -> Self {
        Self {
            issuer: None,
            key: None,
            header: toml::Table::new(),
            claims: toml::Table::new(),
            drop_header: Vec::new(),
            drop: Vec::new(),
            header_text: "{{{members}}}".into(),
            payload_text: "{{{members}}}".into(),
            signature: "good".into(),
            text: None,
        }
    }
}

/// What a client certificate differs in from a good one.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Certificate {
    /// The authority, or `itself`.
    pub(super) by: String,
    pub(super) key: String,
    /// Kinds (`O`, `CN`) and values, the outermost first.
    pub(super) subject: Vec<(String, String)>,
    pub(super) dns: Vec<String>,
    pub(super) uri: Vec<String>,
    pub(super) email: Vec<String>,
    pub(super) ip: Vec<String>,
    pub(super) ca: bool,
    pub(super) usage: Vec<Usage>,
    pub(super) purpose: Purpose,
    /// The years at whose beginnings it begins and ends.
    pub(super) years: (i32, i32),
    /// Whether the connection shows it.
    pub(super) shown: bool,
}

impl Default for Certificate {
    fn default() -> Self {
        Self {
            by: "clients".into(),
            key: "certificate".into(),
            subject: vec![("O".into(), "Example".into()), ("CN".into(), "certified".into())],
            dns: vec!["certified.example".into()],
            uri: Vec::new(),
            email: Vec::new(),
            ip: Vec::new(),
            ca: false,
            usage: vec![Usage::Sign],
            purpose: Purpose::Client,
            years: (2020, 2100),
            shown: true,
        }
    }
}

/// What its key may be used for.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Usage {
    Sign,
    Encipher,
    Certificates,
    Revocations,
}

/// Whom it is for.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    Client,
    Server,
}

/// What an issuer's answer about a token differs in from a good one.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) claims: toml::Table,
    pub(super) drop: Vec<String>,
    pub(super) text: String,
    pub(super) pace: Pace,
}

impl Default for Said {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::from([("content-type".into(), "application/json".into())]),
            claims: toml::Table::new(),
            drop: Vec::new(),
            text: "{{{members}}}".into(),
            pace: Pace::Whole,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) drop_headers: Vec<String>,
    /// By default one that fits what the case presents.
    pub(super) client: Option<String>,
    pub(super) secret: String,
    /// By default `assertion` or `id` where the case has an assertion or a certificate, else `basic`.
    pub(super) auth: Option<Auth>,
    pub(super) form: BTreeMap<String, String>,
    pub(super) drop: Vec<String>,
    pub(super) add: Vec<(String, String)>,
    pub(super) only: bool,
    pub(super) body: Option<String>,
    pub(super) raw: Option<String>,
    pub(super) times: u32,
    /// How many DPoP headers it has, all with the proof.
    pub(super) proofs: usize,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "POST".into(),
            path: "/token".into(),
            headers: Vec::new(),
            drop_headers: Vec::new(),
            client: None,
            secret: String::new(),
            auth: None,
            form: BTreeMap::new(),
            drop: Vec::new(),
            add: Vec::new(),
            only: false,
            body: None,
            raw: None,
            times: 1,
            proofs: 1,
        }
    }
}

/// How the caller authenticates.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Auth {
    Basic,
    Post,
    Assertion,
    /// The name alone, beside a certificate.
    Id,
    None,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Bundle {
    pub(super) files: BTreeMap<String, String>,
    pub(super) nodes: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Expect {
    /// 0: the connection ends without an answer.
    pub(super) status: u16,
    pub(super) error: String,
    pub(super) reason: String,
    /// Reason in the record, where it is another one than the caller is told.
    pub(super) log: Option<String>,
    /// What the record has as the cause of a general reason.
    pub(super) cause: Option<String>,
    pub(super) minted: bool,
    /// The HTTP library answers before the broker sees a request: no body is promised.
    pub(super) plain: bool,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: BTreeMap<String, toml::Value>,
    /// Most fetches of the issuer's keys that the case may cause.
    pub(super) fetches: Option<u32>,
    /// Exit code and texts of `procura policy check`.
    pub(super) exit: Option<i32>,
    pub(super) says: Vec<String>,
}

/// An issuer of the stand-in.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Issuer {
    pub(super) keys: Vec<String>,
    pub(super) metadata: String,
    pub(super) jwks: String,
    pub(super) at: String,
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) pace: Pace,
    pub(super) declared: String,
    pub(super) url: String,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            keys: vec!["es256".into()],
            metadata: r#"{"issuer":"{{issuer}}","jwks_uri":"{{issuer}}/keys"}"#.into(),
            jwks: r#"{"keys":[{{keys}}]}"#.into(),
            at: "keys".into(),
            status: 200,
            headers: BTreeMap::new(),
            pace: Pace::Whole,
            declared: String::new(),
            url: "{{issuers}}/{{name}}".into(),
        }
    }
}

/// How a document arrives.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pace {
    #[default]
    Whole,
    /// A byte every 200 ms.
    Drip,
    /// White space without an end.
    Endless,
}

/// Reads one file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// What stands beside the classes: what brokers run with.
const NO_CLASSES: [&str; 2] = ["bundle", "tls"];

/// All cases in the order of their names.
pub(super) fn all(root: &Path) -> Result<Vec<Named>, Fault> {
    let mut cases = Vec::new();
    for section in sorted(root)?
        .into_iter()
        .filter(|path| path.is_dir() && !NO_CLASSES.iter().any(|name| path.ends_with(name)))
    {
        for file in sorted(&section)? {
            let name = file.strip_prefix(root)?.with_extension("");
            cases.push(Named {
                name: name.to_string_lossy().into_owned(),
                case: read(&file)?,
            });
        }
    }
    Ok(cases)
}

fn sorted(dir: &Path) -> Result<Vec<std::path::PathBuf>, Fault> {
    let entries: Result<Vec<_>, _> = fs::read_dir(dir)?.collect();
    let mut paths: Vec<_> = entries?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
