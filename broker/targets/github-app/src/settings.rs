//! The kind's keys in target files and grants.

use std::collections::{BTreeMap, BTreeSet};

use procura_core::{
    catalogue::{Grant, Target},
    judgement::Plan,
    kind::{Key, KeyType, Rights, SettingFault},
    params::{ParamType, ParamValue},
};
use procura_wire::Name;
use serde_json::Value;
use url::{Host, Url};

pub(crate) const TARGET_KEYS: &[Key] = &[
    Key {
        name: "app_id",
        ty: KeyType::Int,
        required: true,
        doc: "The App's id.",
    },
    Key {
        name: "installation_id",
        ty: KeyType::Int,
        required: true,
        doc: "Id of its installation in one account or organisation.",
    },
    Key {
        name: "api",
        ty: KeyType::Text,
        required: false,
        doc: "Base of the REST API; https://api.github.com if unset.",
    },
];

pub(crate) const GRANT_KEYS: &[Key] = &[
    Key {
        name: "permissions",
        ty: KeyType::Map,
        required: true,
        doc: "Permissions of the token: read, write or admin by name.",
    },
    Key {
        name: "repository_ids",
        ty: KeyType::Texts,
        required: false,
        doc: "Ids of the repositories that a token may reach at most.",
    },
];

/// The parameter by which a request says which repositories it needs.
const REPOSITORIES: &str = "repositories";
/// Most repositories of one token.
const MAX_REPOSITORIES: usize = 500;
const GITHUB: &str = "https://api.github.com";
const LEVELS: [&str; 3] = ["read", "write", "admin"];
/// GitHub adds it to whatever is asked for.
const ALWAYS: &str = "metadata:read";

/// A target's own keys.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) app_id: u64,
    pub(crate) installation_id: u64,
    /// Without a slash at its end.
    pub(crate) api: String,
    /// What its grants need, by name.
    pub(crate) permissions: BTreeSet<(String, String)>,
}

impl Settings {
    /// Reads a target; the faults are for its author.
    pub(crate) fn read(target: &Target) -> Result<Self, Vec<SettingFault>> {
        let mut faults = Vec::new();
        let mut id = |key: &'static str| {
            let id = target.settings.get(key).and_then(Value::as_u64).filter(|id| *id > 0);
            if id.is_none() {
                faults.push(fault(None, key, "is no id: GitHub's are whole numbers above 0"));
            }
            id.unwrap_or_default()
        };
        let (app_id, installation_id) = (id("app_id"), id("installation_id"));
        let api = target.settings.get("api").and_then(Value::as_str).unwrap_or(GITHUB);
        if !is_base(api) {
            let problem = "is no base of an API: write https://HOST/PATH; plain http is for a loopback host only";
            faults.push(fault(None, "api", problem));
        }
        faults.extend(target.grants.iter().flat_map(|(name, grant)| grant_faults(name, grant)));
        if !faults.is_empty() {
            return Err(faults);
        }
        let permissions = target.grants.values().flat_map(permissions);
        Ok(Self {
            app_id,
            installation_id,
            api: api.trim_end_matches('/').to_owned(),
            permissions: permissions
                .map(|(name, level)| (name.to_owned(), level.to_owned()))
                .collect(),
        })
    }
}

/// What a token is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    pub(crate) permissions: BTreeMap<&'a str, &'a str>,
    /// Ids; never empty, which at GitHub would mean all of them.
    pub(crate) repositories: BTreeSet<u64>,
}

/// What the plan asks for, or why nothing may be asked.
pub(crate) fn wanted<'a>(target: &'a Target, plan: &Plan) -> Result<Wanted<'a>, String> {
    let [grant] = plan.grants.as_slice() else {
        return Err("a token is of one grant".to_owned());
    };
    let grant = target
        .grants
        .get(grant)
        .ok_or_else(|| format!("there is no grant {grant}"))?;
    let ceiling = ceiling(grant);
    let named = match plan.params.get(REPOSITORIES) {
        None => ceiling.clone().unwrap_or_default(),
        Some(ParamValue::Set(named)) => named.iter().map(String::as_str).collect(),
        Some(_) => BTreeSet::new(),
    };
    let outside = |id: &&&str| ceiling.as_ref().is_some_and(|ceiling| !ceiling.contains(**id));
    if let Some(id) = named.iter().find(outside) {
        return Err(format!("repository {id:?} is not among the grant's repository_ids"));
    }
    let ids = named.iter().map(|id| repository_id(id).ok_or(*id));
    let repositories = ids.collect::<Result<BTreeSet<_>, _>>();
    let repositories =
        repositories.map_err(|id| format!("{id:?} is no repository id: ids are numbers, names change"))?;
    if repositories.is_empty() || repositories.len() > MAX_REPOSITORIES {
        return Err(format!(
            "{} repositories: a token is for 1 to {MAX_REPOSITORIES}",
            repositories.len()
        ));
    }
    Ok(Wanted {
        permissions: permissions(grant).collect(),
        repositories,
    })
}

/// The most that a token of this plan may carry.
pub(crate) fn rights(target: &Target, plan: &Plan) -> Rights {
    let Ok(wanted) = wanted(target, plan) else {
        return Rights::default();
    };
    let levels = wanted.permissions.iter().flat_map(|(name, level)| {
        let up_to = LEVELS.iter().position(|known| known == level).map_or(0, |at| at + 1);
        LEVELS[..up_to].iter().map(move |level| permission(name, level))
    });
    let permissions = levels.chain([ALWAYS.to_owned()]).collect();
    let repositories = wanted.repositories.iter().map(u64::to_string).collect();
    rights_of(permissions, repositories)
}

pub(crate) fn rights_of(permissions: BTreeSet<String>, repositories: BTreeSet<String>) -> Rights {
    Rights {
        sets: [("permission", permissions), ("repository", repositories)].into(),
        ..Rights::default()
    }
}

/// A permission as it stands in rights: `issues:read`.
pub(crate) fn permission(name: &str, level: &str) -> String {
    format!("{name}:{level}")
}

/// Whether a level that is held covers the one that is needed.
pub(crate) fn covers(held: &str, needed: &str) -> bool {
    let rank = |level| LEVELS.iter().position(|known| *known == level);
    rank(held).is_some_and(|held| rank(needed).is_some_and(|needed| held >= needed))
}

/// What the schema of the keys cannot say.
pub(crate) fn check(target: &Target) -> Vec<SettingFault> {
    Settings::read(target).err().unwrap_or_default()
}

fn grant_faults(name: &Name, grant: &Grant) -> Vec<SettingFault> {
    let mut faults = Vec::new();
    let mut wrong = |key, problem: &str| faults.push(fault(Some(name), key, problem));
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
    let is_permission = |(name, level): (&str, &str)| is_name(name) && LEVELS.contains(&level);
    if permissions(grant).next().is_none() || !permissions(grant).all(is_permission) {
        wrong(
            "permissions",
            "names none, or one that is not read, write or admin: permissions = { issues = \"read\" }",
        );
    }
    if let Some(other) = grant.params.keys().find(|name| *name != REPOSITORIES) {
        let problem = format!("the parameter {other} narrows nothing: only {REPOSITORIES} does; remove it");
        wrong("permissions", &problem);
    }
    let param = grant.params.get(REPOSITORIES);
    if param.is_some_and(|param| !matches!(param.ty, ParamType::Set(_))) {
        wrong(
            "repository_ids",
            "the parameter repositories narrows it and must be of type set",
        );
    }
    match ceiling(grant) {
        Some(ids) => {
            if ids.is_empty() || ids.len() > MAX_REPOSITORIES || !ids.iter().all(|id| repository_id(id).is_some()) {
                wrong(
                    "repository_ids",
                    "must be 1 to 500 ids in digits: names change, and an empty list means all",
                );
            }
        }
        None if param.is_some_and(|param| param.required) => (),
        None => wrong(
            "repository_ids",
            "is missing, which at GitHub means all repositories: list ids here, or declare the parameter repositories \
             with type = \"set\" and required = true",
        ),
    }
    faults
}

fn permissions(grant: &Grant) -> impl Iterator<Item = (&str, &str)> {
    let map = grant.settings.get("permissions").and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, level)| (name.as_str(), level.as_str().unwrap_or_default()))
}

/// The grant's `repository_ids`, where it has any.
fn ceiling(grant: &Grant) -> Option<BTreeSet<&str>> {
    let ids = grant.settings.get("repository_ids")?.as_array()?;
    Some(ids.iter().map(|id| id.as_str().unwrap_or_default()).collect())
}

/// Digits as GitHub writes them, so that one id has one text.
fn repository_id(text: &str) -> Option<u64> {
    let id: u64 = text.parse().ok()?;
    (id > 0 && id.to_string() == text).then_some(id)
}

fn fault(grant: Option<&Name>, key: &'static str, problem: &str) -> SettingFault {
    SettingFault {
        grant: grant.cloned(),
        key,
        problem: problem.to_owned(),
    }
}

fn is_base(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    plain && (url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
