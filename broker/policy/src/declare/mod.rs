//! What the TOML files declare, read into core's catalogue.

mod agents;
mod client_keys;
mod issuers;
mod limits;
mod proofs;
mod servers;
mod targets;
mod trust;
mod workload;

use std::collections::{BTreeMap, BTreeSet};

use procura_core::{
    catalogue::Catalogue,
    kind::Kind,
    limits::{Dimension, Limits},
    trust::Trust,
};
use procura_wire::{Name, QualifiedId};

use crate::{
    Options,
    bundle::Bundle,
    mistake::{Mistake, plain_text},
    table::{Doc, Item, Seen, Table},
};

/// What readers of single files need to know of the rest of the bundle.
pub(crate) struct Around<'a> {
    pub(crate) kinds: &'a [&'static Kind],
    pub(crate) options: Options,
    pub(crate) issuers: Vec<Name>,
    pub(crate) targets: Vec<Name>,
    pub(crate) servers: Vec<Name>,
    /// Grants of each target whose file could be read.
    pub(crate) grants: BTreeMap<Name, BTreeSet<String>>,
    /// How far each issuer whose file could be read is trusted.
    pub(crate) trusted: BTreeMap<Name, Trust>,
    pub(crate) seen: Seen,
    /// SPIFFE ids of servers read so far.
    pub(crate) workloads: proofs::Workloads,
}

/// The catalogue as far as it could be read, whether that is all of it, and the mistakes.
pub(crate) struct Declared {
    pub(crate) catalogue: Catalogue,
    pub(crate) complete: bool,
    pub(crate) mistakes: Vec<Mistake>,
}

/// Reads everything but rules and tests.
pub(crate) fn read(bundle: &Bundle, kinds: &[&'static Kind], options: Options) -> Declared {
    let mut mistakes = layout(bundle);
    let mut around = Around {
        kinds,
        options,
        issuers: names(bundle, "issuers"),
        targets: names(bundle, "targets"),
        servers: names(bundle, "servers"),
        grants: BTreeMap::new(),
        trusted: BTreeMap::new(),
        seen: Seen::default(),
        workloads: proofs::Workloads::default(),
    };
    let (abandoned, limits) = format(bundle, &mut mistakes);
    let mut readable = true;
    let targets = folder(bundle, "targets", &mut mistakes, &mut readable, |table| {
        targets::read(table, &around)
    });
    around.grants = targets
        .iter()
        .map(|(name, (_, grants))| (name.clone(), grants.clone()))
        .collect();
    let issuers = folder(bundle, "issuers", &mut mistakes, &mut readable, |table| {
        issuers::read(table, &around)
    });
    let trusted = |(name, issuer): (&Name, &procura_core::catalogue::Issuer)| (name.clone(), issuer.trust.clone());
    around.trusted = issuers.iter().map(trusted).collect();
    let agents = folder(bundle, "agents", &mut mistakes, &mut readable, |table| {
        agents::read(table, &around)
    });
    let servers = folder(bundle, "servers", &mut mistakes, &mut readable, |table| {
        servers::read(table, &around)
    });
    let complete = readable && targets.values().all(|(target, _)| target.is_some());
    let targets = targets
        .into_iter()
        .filter_map(|(name, (target, _))| Some((name, target?)));
    let catalogue = Catalogue {
        issuers,
        agents,
        servers,
        targets: targets.collect(),
        abandoned,
        limits,
    };
    Declared {
        catalogue,
        complete,
        mistakes,
    }
}

/// The folders of a bundle and how the names of their files end.
pub(crate) const FOLDERS: [(&str, &str); 6] = [
    ("issuers", ".toml"),
    ("agents", ".toml"),
    ("servers", ".toml"),
    ("targets", ".toml"),
    ("rules", ".cedar"),
    ("tests", ".toml"),
];

/// Files that are not where the format has them.
fn layout(bundle: &Bundle) -> Vec<Mistake> {
    let unknown = |path: &str| {
        let known = FOLDERS.map(|(folder, ending)| format!("{folder}/*{ending}")).join(", ");
        let text = format!("no file of this name belongs into a bundle; there are bundle.toml, {known}");
        Mistake::of_file(path, text)
    };
    let fits = |path: &str| {
        let place = |(folder, ending): (&str, &str)| {
            let name = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(ending)?;
            (!name.is_empty() && !name.contains('/')).then_some(())
        };
        path == "bundle.toml" || FOLDERS.into_iter().find_map(place).is_some()
    };
    bundle
        .files()
        .map(|(path, _)| path)
        .filter(|path| !fits(path))
        .map(unknown)
        .collect()
}

/// Checks `bundle.toml`; answers the targets that it abandons and its limits.
fn format(bundle: &Bundle, mistakes: &mut Vec<Mistake>) -> (BTreeSet<Name>, Limits) {
    let Some(bytes) = bundle.file("bundle.toml") else {
        mistakes.push(Mistake::of_file(
            "bundle.toml",
            "the file is missing; write: format = 1",
        ));
        return Default::default();
    };
    let read = file("bundle.toml", bytes, mistakes, |table| {
        if let Some(item) = table.need("format", "1")
            && item.int().is_some_and(|format| format != 1)
        {
            item.mistake("this broker reads format 1; write: format = 1");
        }
        let abandoned = table.take("abandon").and_then(Item::texts).unwrap_or_default();
        let abandoned = abandoned.into_iter().filter_map(|(_, item)| item.parse()).collect();
        let limits = table.take("limits").map(|item| limits::limits(item, &Dimension::ALL));
        Some((abandoned, limits.unwrap_or_default()))
    });
    read.unwrap_or_default()
}

/// Reads one TOML file; whatever `read` leaves over is a mistake.
pub(crate) fn file<T>(
    path: &str,
    bytes: &[u8],
    mistakes: &mut Vec<Mistake>,
    read: impl FnOnce(&mut Table<'_>) -> Option<T>,
) -> Option<T> {
    let text = plain_text(path, bytes).map_err(|mistake| mistakes.push(mistake)).ok()?;
    let doc = Doc::new(path, text);
    let tree = doc.parse();
    let value = tree.as_ref().and_then(|tree| {
        let mut table = Table::root(&doc, tree);
        let value = read(&mut table);
        table.finish();
        value
    });
    drop(tree);
    mistakes.extend(doc.into_mistakes());
    value
}

/// The files directly in a folder with that ending: path, name without ending, bytes.
pub(crate) fn listed<'b>(
    bundle: &'b Bundle,
    folder: &'b str,
    ending: &'b str,
) -> impl Iterator<Item = (&'b str, &'b str, &'b [u8])> {
    bundle.files().filter_map(move |(path, bytes)| {
        let name = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(ending)?;
        (!name.contains('/') && !name.is_empty()).then_some((path, name, bytes))
    })
}

fn names(bundle: &Bundle, folder: &str) -> Vec<Name> {
    listed(bundle, folder, ".toml")
        .filter_map(|(_, name, _)| name.parse().ok())
        .collect()
}

fn folder<T>(
    bundle: &Bundle,
    folder: &str,
    mistakes: &mut Vec<Mistake>,
    readable: &mut bool,
    read: impl Fn(&mut Table<'_>) -> Option<T>,
) -> BTreeMap<Name, T> {
    let mut found = BTreeMap::new();
    for (path, name, bytes) in listed(bundle, folder, ".toml") {
        let name = name.parse::<Name>();
        if let Err(problem) = name {
            mistakes.push(Mistake::of_file(path, format!("rename the file: {problem}")));
        }
        let value = file(path, bytes, mistakes, &read);
        match (name, value) {
            (Ok(name), Some(value)) => drop(found.insert(name, value)),
            _ => *readable = false,
        }
    }
    found
}

/// An absolute URI without fragment and user. Scheme and host compare without case elsewhere, so that they are
/// written in one way here and two names of one thing are found.
pub(crate) fn resource(text: &str) -> Result<(), String> {
    let Ok(url) = url::Url::parse(text) else {
        return Err(format!(
            "`{text}` is no absolute URI; write for example https://tickets.example.com/mcp"
        ));
    };
    let plain = text.bytes().all(|c| c.is_ascii_graphic());
    if !plain || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "`{text}` must have no fragment, no user and only printable ASCII characters"
        ));
    }
    let host = text.find("://").map_or(0, |at| at + 3);
    let end = text[host..].find(['/', '?']).map_or(text.len(), |at| host + at);
    if text[..end].bytes().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("`{text}`: write scheme and host in lower case"));
    }
    if url.has_authority() && !text.starts_with(&format!("{}://", url.scheme())) {
        return Err(format!("`{text}` must begin with {}://", url.scheme()));
    }
    Ok(())
}

/// Where a secret is kept, `NAME:PATH`.
fn reference<'d>(item: Item<'d>) -> Option<&'d str> {
    let text = item.text()?;
    let fits = text
        .split_once(':')
        .is_some_and(|(name, path)| name.parse::<Name>().is_ok() && !path.is_empty());
    if !fits {
        item.mistake(format!(
            "`{text}` is no reference; write NAME:PATH, for example vault:kv/prod/name"
        ));
    }
    Some(text)
}

/// Every group that some issuer's tokens can carry.
pub(crate) fn groups(catalogue: &Catalogue) -> BTreeSet<QualifiedId> {
    let of = |(alias, issuer): (&Name, &procura_core::catalogue::Issuer)| {
        let names: Vec<_> = issuer
            .groups
            .iter()
            .flat_map(|groups| groups.map.values())
            .cloned()
            .collect();
        let alias = alias.clone();
        names.into_iter().map(move |name| QualifiedId::new(alias.clone(), name))
    };
    catalogue.issuers.iter().flat_map(of).collect()
}
