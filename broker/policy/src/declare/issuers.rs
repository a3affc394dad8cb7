//! `issuers/*.toml`

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use procura_core::catalogue::{Algorithm, Groups, IdJagUse, Issuer, TokenTyp};

use super::{
    Around, trust,
    workload::{PRESETS, Preset},
};
use crate::{
    Options,
    table::{Item, Table},
};

const DAY: Duration = Duration::from_secs(86400);

const TYPES: [(&str, TokenTyp); 2] = [("at+jwt", TokenTyp::AtJwt), ("JWT", TokenTyp::Jwt)];

const ID_JAG: [(&str, IdJagUse); 2] = [("single-use", IdJagUse::Once), ("until-expiry", IdJagUse::UntilExpiry)];

pub(super) fn read(table: &mut Table<'_>, around: &Around<'_>) -> Option<Issuer> {
    let named = table.take("preset");
    let preset = named.and_then(|item| item.one_of(&PRESETS));
    let fixed = preset.and_then(Preset::issuer);
    let issuer = match fixed {
        Some(_) => table.take("issuer"),
        None => table.need("issuer", "\"https://id.example.com/realms/corp\""),
    };
    let url = issuer.map_or(fixed, Item::text);
    if let (Some(item), Some(url)) = (issuer.or(named), url) {
        if let Err(problem) = identifier(url, around.options) {
            item.mistake(problem);
        }
        item.unique(&around.seen, "issuer", url);
    }
    let algorithms = match preset {
        Some(_) => table.take("algorithms"),
        None => table.need("algorithms", "[\"ES256\"]"),
    };
    let algorithms = algorithms.map(|item| words(item, &Algorithm::NAMES));
    let types = table.take("token_types").map(|item| words(item, &TYPES));
    let extra = table.take("extra_audiences").and_then(strings);
    let groups = table.take("groups").map(|item| {
        let mut table = item.table()?;
        let groups = groups(&mut table);
        table.finish();
        groups
    });
    let from_azp = table.take("actor_from").and_then(|item| item.one_of(&[("azp", ())]));
    let clients = table.take("clients").map(strings);
    let presenters = table
        .take("trusted_presenters")
        .and_then(Item::texts)
        .unwrap_or_default();
    let presenters = presenters
        .into_iter()
        .filter_map(|(_, item)| item.declared(&around.servers, "servers"))
        .collect();
    let lifetime = table.take("max_token_lifetime").and_then(Item::duration);
    let id_jag = table.take("id_jag").and_then(|item| item.one_of(&ID_JAG));
    let operators = table.take("operators");
    let workloads_only = table.take("workloads_only").map(Item::bool);
    let workloads_only = workloads_only.map_or(named.is_some(), |said| said == Some(true));
    let is_of_operators = operators.and_then(Item::bool).unwrap_or(false);
    if let (Some(item), true, true) = (operators, is_of_operators, workloads_only) {
        item.mistake("its tokens are workloads' only; write workloads_only = false if operators log in there");
    }
    let trust = trust::of_issuer(table, around);
    let issuer = Issuer {
        issuer: url.unwrap_or_default().to_owned(),
        algorithms: match algorithms {
            Some(algorithms) => algorithms.unwrap_or_default(),
            None => preset.map(Preset::algorithms).unwrap_or_default(),
        },
        token_types: match types {
            Some(types) => types.unwrap_or_default(),
            None => preset.map_or_else(|| BTreeSet::from([TokenTyp::AtJwt]), Preset::token_types),
        },
        extra_audiences: extra.unwrap_or_default(),
        groups: match groups {
            None => None,
            Some(groups) => Some(groups?),
        },
        actor_from_azp: from_azp.is_some(),
        clients: clients.map(Option::unwrap_or_default),
        trusted_presenters: presenters,
        id_jag,
        max_token_lifetime: lifetime.unwrap_or(preset.map_or(DAY, Preset::max_token_lifetime)),
        operators: is_of_operators,
        workloads_only,
        trust: trust?,
    };
    trust::check(table, &issuer);
    Some(issuer)
}

fn identifier(text: &str, options: Options) -> Result<(), String> {
    if text.starts_with("builtin:") {
        return match (text, options.allow_builtin) {
            ("builtin:dev", true) => Ok(()),
            ("builtin:dev", false) => Err("`builtin:dev` is for `procura dev` only; name a real issuer".to_owned()),
            _ => Err(format!(
                "`{text}` is not known; the only built-in issuer is builtin:dev"
            )),
        };
    }
    web_address(text, options)
}

/// An address that is fetched from: https, or http on loopback where that is allowed.
pub(super) fn web_address(text: &str, options: Options) -> Result<(), String> {
    let url =
        url::Url::parse(text).map_err(|_| format!("`{text}` is no URL; write for example https://id.example.com"))?;
    let bare =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    if !bare || !text.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "`{text}` must have no query, fragment or user (RFC 8414 section 2)"
        ));
    }
    // The library reads `https:/id.example.com` as well, which nobody else takes for the same.
    let begins = text.split_once("://").map(|(scheme, _)| scheme);
    match begins.unwrap_or_default() {
        "https" => Ok(()),
        "http" if options.allow_http_loopback && is_loopback(&url) => Ok(()),
        _ => Err(format!("`{text}` must begin with https://")),
    }
}

fn is_loopback(url: &url::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn words<T: Copy + Ord>(item: Item<'_>, known: &[(&str, T)]) -> Option<BTreeSet<T>> {
    let list = item.list()?;
    if list.is_empty() {
        item.mistake("an empty list trusts nothing; name at least one");
    }
    Some(list.into_iter().filter_map(|item| item.one_of(known)).collect())
}

fn strings(item: Item<'_>) -> Option<BTreeSet<String>> {
    let texts = item.texts()?;
    Some(texts.into_iter().map(|(text, _)| text.to_owned()).collect())
}

/// `allow` takes values of the claim as names, `map` gives them names.
fn groups(table: &mut Table<'_>) -> Option<Groups> {
    let claim = table.need("claim", "\"groups\"").and_then(Item::filled);
    let allow = table.take("allow").map(|item| item.texts().unwrap_or_default());
    let map = table
        .take("map")
        .map(|item| item.table().map(|table| table.entries()).unwrap_or_default());
    let pairs: Vec<(&str, &str, Item<'_>)> = match (allow, map) {
        (Some(allow), None) => allow.into_iter().map(|(name, item)| (name, name, item)).collect(),
        (None, Some(map)) => map
            .into_iter()
            .filter_map(|(value, item)| Some((value, item.filled()?, item)))
            .collect(),
        _ => {
            table.mistake("write either allow = [\"support\"] or map = { \"8d6f\" = \"support\" }, not both");
            return None;
        }
    };
    for (_, name, item) in &pairs {
        if name.chars().any(char::is_control) || name.len() > 256 {
            item.mistake("a group's name is at most 256 bytes without control characters");
        }
    }
    let map: BTreeMap<_, _> = pairs
        .into_iter()
        .map(|(value, name, _)| (value.to_owned(), name.to_owned()))
        .collect();
    Some(Groups {
        claim: claim.unwrap_or_default().to_owned(),
        map,
    })
}
