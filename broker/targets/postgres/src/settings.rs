//! The kind's keys in target files and grants.

use std::collections::BTreeSet;

use procura_core::{
    catalogue::{Grant, Target},
    judgement::Plan,
    kind::{Key, KeyType, Rights, SettingFault},
};
use procura_wire::Name;
use serde_json::{Map, Value};
use sqlx::postgres::PgSslMode;

use crate::quote;

pub(crate) const TARGET_KEYS: &[Key] = &[
    Key {
        name: "host",
        ty: KeyType::Text,
        required: true,
        doc: "Host name or address, as sessions reach it too.",
    },
    Key {
        name: "port",
        ty: KeyType::Int,
        required: false,
        doc: "TCP port; 5432 if unset.",
    },
    Key {
        name: "dbname",
        ty: KeyType::Text,
        required: true,
        doc: "The database that setup.sql was run in.",
    },
    Key {
        name: "sslmode",
        ty: KeyType::Text,
        required: false,
        doc: "verify-full (if unset), verify-ca or require; disable and prefer for a loopback host only.",
    },
    Key {
        name: "ca_file",
        ty: KeyType::Text,
        required: false,
        doc: "PEM file of certificate authorities to trust beside the built-in ones.",
    },
    Key {
        name: "user",
        ty: KeyType::Text,
        required: false,
        doc: "The administrator's role, where the source's secret is only its password.",
    },
    Key {
        name: "set_role",
        ty: KeyType::Text,
        required: false,
        doc: "The administrator, a NOLOGIN role that every connection takes by SET ROLE; the secret names a log-in role that is its member.",
    },
    Key {
        name: "rotate_logins",
        ty: KeyType::Texts,
        required: false,
        doc: "The two log-in roles, members of set_role, that `procura rotate` gives new passwords in turn.",
    },
];

pub(crate) const GRANT_KEYS: &[Key] = &[
    Key {
        name: "member_of",
        ty: KeyType::Texts,
        required: true,
        doc: "Group roles that the log-in role becomes a member of.",
    },
    Key {
        name: "connection_limit",
        ty: KeyType::Int,
        required: true,
        doc: "Most connections at the same time, at least 1.",
    },
];

/// Most connections that a grant may allow.
const MAX_CONNECTIONS: i64 = 1000;

/// A target's own keys.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) dbname: String,
    pub(crate) sslmode: &'static str,
    pub(crate) tls: PgSslMode,
    pub(crate) ca_file: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) set_role: Option<String>,
    pub(crate) logins: Option<[String; 2]>,
    /// Every group role that one of its grants names.
    pub(crate) groups: BTreeSet<String>,
}

impl Settings {
    /// Reads a target; the faults are for its author.
    pub(crate) fn read(target: &Target) -> Result<Self, Vec<SettingFault>> {
        let mut faults = Vec::new();
        let keys = Keys(&target.settings);
        let mut fault = |key, problem: &str| faults.push(own_fault(key, problem));
        let host = keys.text("host").unwrap_or_default();
        if !is_host(&host) {
            fault("host", "is no host name or address; sockets are not supported");
        }
        let port = match target.settings.get("port") {
            None => 5432,
            Some(port) => port.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        };
        if port == 0 {
            fault("port", "is no TCP port (1 to 65535)");
        }
        let dbname = keys.text("dbname").unwrap_or_default();
        if dbname.is_empty() || dbname.len() > quote::MAX_NAME || dbname.contains('\0') {
            fault("dbname", "is no name of a database");
        }
        let (sslmode, tls) = keys
            .text("sslmode")
            .map_or(Some(("verify-full", PgSslMode::VerifyFull)), |mode| ssl_mode(&mode))
            .unwrap_or_else(|| {
                fault("sslmode", "is none of verify-full, verify-ca, require, prefer, disable");
                ("verify-full", PgSslMode::VerifyFull)
            });
        if matches!(tls, PgSslMode::Disable | PgSslMode::Prefer) && !is_loopback(&host) {
            fault(
                "sslmode",
                "may send credentials in clear, which only a loopback host may: use verify-full",
            );
        }
        faults.extend(administrator_faults(&target.settings));
        faults.extend(target.grants.iter().flat_map(|(name, grant)| grant_faults(name, grant)));
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            host,
            port,
            dbname,
            sslmode,
            tls,
            ca_file: keys.text("ca_file"),
            user: keys.text("user"),
            set_role: keys.text("set_role"),
            logins: logins(&target.settings),
            groups: target.grants.values().flat_map(member_of).collect(),
        })
    }
}

/// What the schema of the keys cannot say.
pub(crate) fn check(target: &Target) -> Vec<SettingFault> {
    Settings::read(target).err().unwrap_or_default()
}

/// Memberships and connections that a credential of this plan may have at most.
pub(crate) fn rights(target: &Target, plan: &Plan) -> Rights {
    let grants: Vec<&Grant> = plan.grants.iter().filter_map(|name| target.grants.get(name)).collect();
    let groups = grants.iter().copied().flat_map(member_of).collect();
    // A plan of no known grant gets no connection.
    let connections = grants.iter().copied().map(connection_limit).min().unwrap_or(0);
    Rights {
        sets: [("member_of", groups)].into(),
        numbers: [("connection_limit", connections)].into(),
    }
}

fn member_of(grant: &Grant) -> BTreeSet<String> {
    let names = grant.settings.get("member_of").and_then(Value::as_array);
    let texts = names.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn connection_limit(grant: &Grant) -> i64 {
    let limit = grant.settings.get("connection_limit").and_then(Value::as_i64);
    limit.unwrap_or(0)
}

fn grant_faults(name: &Name, grant: &Grant) -> Vec<SettingFault> {
    let fault = |key, problem| SettingFault {
        grant: Some(name.clone()),
        key,
        problem,
    };
    let groups = member_of(grant);
    let mut faults: Vec<_> = groups
        .iter()
        .filter_map(|group| Some((group, quote::name_fault(group)?)))
        .map(|(group, problem)| fault("member_of", format!("the role name {group:?} {problem}")))
        .collect();
    if groups.is_empty() {
        faults.push(fault("member_of", "names no role: name at least one".to_owned()));
    }
    if !(1..=MAX_CONNECTIONS).contains(&connection_limit(grant)) {
        faults.push(fault("connection_limit", format!("is not from 1 to {MAX_CONNECTIONS}")));
    }
    faults
}

fn own_fault(key: &'static str, problem: &str) -> SettingFault {
    SettingFault {
        grant: None,
        key,
        problem: problem.to_owned(),
    }
}

/// The two that take turns.
fn logins(settings: &Map<String, Value>) -> Option<[String; 2]> {
    let names = settings
        .get("rotate_logins")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    let names: Vec<String> = names.map(str::to_owned).collect();
    names.try_into().ok()
}

fn administrator_faults(settings: &Map<String, Value>) -> Vec<SettingFault> {
    let mut faults = Vec::new();
    let role = settings.get("set_role").and_then(Value::as_str);
    if let Some(problem) = role.and_then(quote::name_fault) {
        faults.push(own_fault("set_role", problem));
    }
    if settings.contains_key("rotate_logins") {
        let logins = logins(settings).filter(|[one, other]| {
            one != other
                && [one, other]
                    .iter()
                    .all(|name| quote::name_fault(name).is_none() && role != Some(name))
        });
        if logins.is_none() {
            faults.push(own_fault("rotate_logins", "does not name two log-in roles"));
        }
        if role.is_none() {
            faults.push(own_fault(
                "rotate_logins",
                "needs set_role, the role that both are members of",
            ));
        }
        if settings.contains_key("user") {
            faults.push(own_fault(
                "rotate_logins",
                "needs a secret that names the log-in (username): remove the key user",
            ));
        }
    }
    faults
}

struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }
}

fn ssl_mode(text: &str) -> Option<(&'static str, PgSslMode)> {
    match text {
        "disable" => Some(("disable", PgSslMode::Disable)),
        "prefer" => Some(("prefer", PgSslMode::Prefer)),
        "require" => Some(("require", PgSslMode::Require)),
        "verify-ca" => Some(("verify-ca", PgSslMode::VerifyCa)),
        "verify-full" => Some(("verify-full", PgSslMode::VerifyFull)),
        _ => None,
    }
}

/// A DNS name or an IP address without brackets.
fn is_host(text: &str) -> bool {
    let name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    let is_name = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && text.bytes().all(name);
    is_name || text.parse::<std::net::IpAddr>().is_ok()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
