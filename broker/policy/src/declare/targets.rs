//! `targets/*.toml`

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use procura_core::{
    catalogue::{Grant, Risk, Target},
    kind::{Key, KeyType, Kind, Lifetime},
    params::{ParamSpec, ParamType, Pattern},
};
use procura_wire::Name;
use serde_json::{Map, Value};

use super::{Around, limits, trust};
use crate::table::{Item, Table};

pub(crate) const RISKS: [(&str, Risk); 3] = [
    ("read", Risk::Read),
    ("write", Risk::Write),
    ("destructive", Risk::Destructive),
];

/// Where settings stand, to name the place of what the kind itself refuses.
type Places<'d> = BTreeMap<(Option<Name>, &'static str), Item<'d>>;

/// The target, if it could be read, and the names of its grants.
pub(super) fn read(table: &mut Table<'_>, around: &Around<'_>) -> Option<(Option<Target>, BTreeSet<String>)> {
    let kind = table.need("kind", "\"jwt\"").and_then(|item| kind_of(item, around));
    let owner = table.need("owner", "\"platform@example.com\"").and_then(Item::filled);
    let source = table.take("source");
    let resource = table.take("resource").and_then(|item| resource(item, around));
    let grants = table.named("grants");
    let names = grants.iter().map(|(name, _)| (*name).to_owned()).collect();
    if grants.is_empty() {
        table.mistake("a target without grants is of no use; add a [grants.NAME]");
    }
    let Some(kind) = kind else {
        // What the other keys mean depends on the kind.
        table.leave_open();
        return Some((None, names));
    };
    let source = source_of(source, kind, table);
    let mut places = Places::new();
    let settings = settings(table, kind.target_keys, None, &mut places);
    let read: Vec<_> = grants
        .into_iter()
        .map(|(name, item)| grant(name, item, kind, &mut places))
        .collect();
    let whole = read.iter().all(Option::is_some);
    let target = Target {
        kind,
        owner: owner.unwrap_or_default().to_owned(),
        resource,
        source,
        settings: settings.clone().unwrap_or_default(),
        grants: read.into_iter().flatten().collect(),
    };
    if whole && settings.is_some() {
        for fault in (kind.check)(&target) {
            match places.get(&(fault.grant.clone(), fault.key)) {
                Some(item) => item.mistake(fault.problem),
                None => table.mistake(format!("`{}`: {}", fault.key, fault.problem)),
            }
        }
    }
    Some((whole.then_some(target), names))
}

fn kind_of(item: Item<'_>, around: &Around<'_>) -> Option<&'static Kind> {
    let known: Vec<_> = around.kinds.iter().map(|kind| (kind.name, *kind)).collect();
    item.one_of(&known)
}

fn resource(item: Item<'_>, around: &Around<'_>) -> Option<String> {
    let uri = item.text()?;
    if let Err(problem) = super::resource(uri) {
        item.mistake(problem);
    }
    item.unique(&around.seen, "resource of a target", uri);
    Some(uri.to_owned())
}

fn source_of(item: Option<Item<'_>>, kind: &Kind, table: &Table<'_>) -> Option<String> {
    match (item, kind.needs_source) {
        (None, true) => {
            let text =
                "`source` is missing; write where the target's own credential is kept: source = \"vault:kv/prod/name\"";
            table.mistake(text);
            None
        }
        (Some(item), false) => {
            item.mistake(format!("the kind {} needs no source; remove it", kind.name));
            None
        }
        (item, _) => super::reference(item?).map(str::to_owned),
    }
}

/// Reads a kind's own keys; `None` where one is missing or of the wrong type.
fn settings<'d>(
    table: &mut Table<'d>,
    keys: &'static [Key],
    grant: Option<&Name>,
    places: &mut Places<'d>,
) -> Option<Map<String, Value>> {
    let mut settings = Some(Map::new());
    for key in keys {
        let item = if key.required {
            table.need(key.name, example(key.ty))
        } else {
            table.take(key.name)
        };
        let value = item.and_then(|item| setting(item, key.ty));
        if let Some(item) = item {
            places.insert((grant.cloned(), key.name), item);
        }
        match value {
            Some(value) => drop(settings.as_mut().map(|all| all.insert(key.name.to_owned(), value))),
            None if item.is_some() || key.required => settings = None,
            None => (),
        }
    }
    settings
}

fn example(ty: KeyType) -> &'static str {
    match ty {
        KeyType::Text => "\"…\"",
        KeyType::Int => "1",
        KeyType::Bool => "true",
        KeyType::Texts => "[\"…\"]",
        KeyType::Map => "{ name = \"…\" }",
        KeyType::Tables => "[{ … }]",
    }
}

fn setting(item: Item<'_>, ty: KeyType) -> Option<Value> {
    match ty {
        KeyType::Text => item.filled().map(Value::from),
        KeyType::Int => item.int().map(Value::from),
        KeyType::Bool => item.bool().map(Value::from),
        KeyType::Texts => item
            .texts()
            .map(|texts| texts.into_iter().map(|(text, _)| text).collect()),
        KeyType::Map => {
            let entries = item.table()?.entries().into_iter();
            let texts: Option<Map<_, _>> = entries
                .map(|(name, item)| Some((name.to_owned(), item.filled()?.into())))
                .collect();
            texts.map(Value::Object)
        }
        KeyType::Tables => {
            let tables = item.list()?.into_iter();
            tables.map(|item| item.table().and_then(|_| item.tree())).collect()
        }
    }
}

fn grant<'d>(name: &str, item: Item<'d>, kind: &'static Kind, places: &mut Places<'d>) -> Option<(Name, Grant)> {
    let parsed: Result<Name, _> = name.parse();
    if let Err(problem) = &parsed {
        item.mistake(format!("`{name}` cannot be a grant: {problem}"));
    }
    let mut table = item.table()?;
    let risk = table.need("risk", "\"read\"").and_then(|item| item.one_of(&RISKS));
    let max_ttl = table.need("max_ttl", "\"15m\"").and_then(|item| lifetime(item, kind));
    let ttl = table.take("ttl").and_then(|item| {
        let ttl = lifetime(item, kind)?;
        if max_ttl.is_some_and(|max| ttl > max) {
            item.mistake("it is longer than max_ttl; it can never be given");
        }
        Some(ttl)
    });
    let outlives_subject = table.flag("outlives_subject");
    let per_call = table.flag("per_call");
    let limit = table.take("limit").and_then(limits::rate);
    let forward = table.take("forward_subject");
    if let Some(item) = forward
        && !kind.forwards
    {
        item.mistake(format!(
            "the kind {} has no use for the subject token; remove it",
            kind.name
        ));
    }
    let requires = trust::of_grant(&mut table);
    let declared = table.named("params");
    let count = declared.len();
    let params: BTreeMap<_, _> = declared
        .into_iter()
        .filter_map(|(name, item)| param(name, item))
        .collect();
    let name = parsed.ok();
    let settings = settings(&mut table, kind.grant_keys, name.as_ref(), places);
    table.finish();
    if params.len() != count {
        return None;
    }
    let grant = Grant {
        risk: risk?,
        ttl,
        max_ttl: max_ttl.unwrap_or_default(),
        outlives_subject,
        per_call,
        forward_subject: forward.and_then(Item::bool).unwrap_or(false),
        requires,
        params,
        limit,
        settings: settings?,
    };
    Some((name?, grant))
}

/// A lifetime that the kind can keep.
fn lifetime(item: Item<'_>, kind: &Kind) -> Option<Duration> {
    let time = item.duration()?;
    let Lifetime::Chosen { min, max } = kind.lifetime;
    if time < min || time > max {
        let (kind, min, max) = (kind.name, min.as_secs(), max.as_secs());
        item.mistake(format!(
            "credentials of kind {kind} live {min}s to {max}s; this can never be kept"
        ));
    }
    Some(time)
}

#[derive(Clone, Copy)]
enum Ty {
    String,
    Enum,
    Set,
    Int,
    Bool,
}

const TYPES: [(&str, Ty); 5] = [
    ("string", Ty::String),
    ("enum", Ty::Enum),
    ("set", Ty::Set),
    ("int", Ty::Int),
    ("bool", Ty::Bool),
];

fn param(name: &str, item: Item<'_>) -> Option<(String, ParamSpec)> {
    let inside = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    if !(1..=40).contains(&name.len()) || !name.bytes().all(inside) || name.starts_with(|c: char| c.is_ascii_digit()) {
        item.mistake(format!(
            "`{name}` cannot be a parameter; use 1 to 40 of A-Z, a-z, 0-9 and _, no digit first"
        ));
    }
    if name == "type" {
        item.mistake("`type` names the kind in authorization_details (RFC 9396); choose another name");
    }
    let mut table = item.table()?;
    let ty = table.need("type", "\"set\"").and_then(|item| item.one_of(&TYPES));
    let required = table.flag("required");
    let ty = ty.and_then(|ty| param_type(ty, &mut table));
    if ty.is_some() {
        table.finish();
    }
    Some((name.to_owned(), ParamSpec { ty: ty?, required }))
}

fn param_type(ty: Ty, table: &mut Table<'_>) -> Option<ParamType> {
    let pattern = |table: &mut Table<'_>| match table.take("pattern") {
        None => Some(None),
        Some(item) => Pattern::new(item.text()?)
            .map_err(|error| {
                let text = error.to_string();
                let problem = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                item.mistake(format!("the pattern is not usable: {problem}"));
            })
            .ok()
            .map(Some),
    };
    match ty {
        Ty::String => pattern(table).map(ParamType::String),
        Ty::Set => pattern(table).map(ParamType::Set),
        Ty::Bool => Some(ParamType::Bool),
        Ty::Enum => {
            let item = table.need("values", "[\"open\", \"closed\"]")?;
            let values: BTreeSet<_> = item.texts()?.into_iter().map(|(text, _)| text.to_owned()).collect();
            if values.is_empty() {
                item.mistake("an enum without values takes nothing; name at least one");
            }
            Some(ParamType::Enum(values))
        }
        Ty::Int => {
            let min = table.need("min", "1").and_then(Item::int);
            let item = table.need("max", "100");
            let (min, max) = (min?, item?.int()?);
            if min > max {
                item?.mistake("max is smaller than min; no number fits");
            }
            Some(ParamType::Int { min, max })
        }
    }
}
