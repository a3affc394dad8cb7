//! Edits of a bundle's files that keep comments and order.

use procura_wire::{Name, QualifiedId};
use toml_edit::{Array, DocumentMut, Item, TableLike, value};

use super::{Files, cedar};

/// What is taken out, or shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// A permit by its id.
    Rule(String),
    /// A grant, with what names it.
    Grant(QualifiedId),
    /// A tool of a server.
    Tool(Name, String),
    /// `max_ttl` of a grant, seconds.
    Lifetime(QualifiedId, u64),
    /// A group of an issuer.
    Group(QualifiedId),
    /// A whole file.
    File(String),
}

impl Edit {
    /// The files after the edit. The error says what is in the way.
    pub(super) fn apply(&self, mut files: Files) -> Result<Files, String> {
        match self {
            Self::Rule(id) => cedar::cut_rule(&mut files, id),
            Self::Grant(id) => grant(&mut files, id)?,
            Self::Tool(server, tool) => toml(&mut files, &format!("servers/{server}.toml"), |doc| {
                remove(doc.as_table_mut(), "tools", tool);
            })?,
            Self::Lifetime(id, seconds) => lifetime(&mut files, id, *seconds)?,
            Self::Group(group) => toml(&mut files, &format!("issuers/{}.toml", group.qualifier), |doc| {
                let groups = doc.get_mut("groups").and_then(Item::as_table_like_mut);
                if let Some(groups) = groups {
                    let allow = groups.get_mut("allow").and_then(Item::as_array_mut);
                    allow.into_iter().for_each(|allow| without(allow, &group.local));
                    let map = groups.get_mut("map").and_then(Item::as_table_like_mut);
                    map.into_iter().for_each(|map| unmapped(map, &group.local));
                }
            })?,
            Self::File(path) => drop(files.remove(path)),
        }
        Ok(files)
    }
}

/// Edits a file, if it is there still.
fn toml(files: &mut Files, path: &str, change: impl FnOnce(&mut DocumentMut)) -> Result<(), String> {
    let Some(text) = files.get_mut(path) else { return Ok(()) };
    let mut doc: DocumentMut = text.parse().map_err(|error| format!("{path}: {error}"))?;
    change(&mut doc);
    *text = doc.to_string();
    Ok(())
}

/// A grant's own table, its place in every server's lists, and its action in rules.
fn grant(files: &mut Files, id: &QualifiedId) -> Result<(), String> {
    let path = format!("targets/{}.toml", id.qualifier);
    let mut left = true;
    toml(files, &path, |doc| {
        remove(doc.as_table_mut(), "grants", &id.local);
        let grants = doc.get("grants").and_then(Item::as_table_like);
        left = grants.is_some_and(|grants| !grants.is_empty());
    })?;
    if !left {
        files.remove(&path);
    }
    let name = id.to_string();
    let servers: Vec<String> = files
        .keys()
        .filter(|path| path.starts_with("servers/"))
        .cloned()
        .collect();
    for server in servers {
        toml(files, &server, |doc| unlisted(doc, &name))?;
    }
    cedar::cut_action(files, &name)
}

fn unlisted(doc: &mut DocumentMut, grant: &str) {
    let own = doc.get_mut("grants").and_then(Item::as_array_mut);
    own.into_iter().for_each(|grants| without(grants, grant));
    let tools = doc.get_mut("tools").and_then(Item::as_table_like_mut);
    for (_, tool) in tools.into_iter().flat_map(|tools| tools.iter_mut()) {
        let grants = tool.get_mut("grants").and_then(Item::as_array_mut);
        grants.into_iter().for_each(|grants| without(grants, grant));
    }
}

fn lifetime(files: &mut Files, id: &QualifiedId, seconds: u64) -> Result<(), String> {
    let text = match seconds % 60 {
        0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    };
    toml(files, &format!("targets/{}.toml", id.qualifier), |doc| {
        let grant = doc.get_mut("grants").and_then(|grants| grants.get_mut(&id.local));
        if let Some(grant) = grant.and_then(Item::as_table_like_mut) {
            set(grant, "max_ttl", &text);
            // What is taken where nobody asks is `max_ttl` then.
            grant.remove("ttl");
        }
    })
}

/// Keeps the comment behind the value.
fn set(table: &mut dyn TableLike, key: &str, text: &str) {
    let Some(item) = table.get_mut(key) else { return };
    let decor = item.as_value().map(|value| value.decor().clone());
    *item = value(text);
    if let (Some(value), Some(decor)) = (item.as_value_mut(), decor) {
        *value.decor_mut() = decor;
    }
}

fn remove(table: &mut dyn TableLike, under: &str, key: &str) {
    if let Some(tables) = table.get_mut(under).and_then(Item::as_table_like_mut) {
        tables.remove(key);
    }
}

fn without(texts: &mut Array, gone: &str) {
    texts.retain(|text| text.as_str() != Some(gone));
    // The first one takes over the place of the one before it.
    if let Some(first) = texts.get_mut(0)
        && first.decor().prefix().and_then(|prefix| prefix.as_str()) == Some(" ")
    {
        first.decor_mut().set_prefix("");
    }
}

fn unmapped(map: &mut dyn TableLike, gone: &str) {
    let keys: Vec<String> = map
        .iter()
        .filter(|(_, group)| group.as_str() == Some(gone))
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in keys {
        map.remove(&key);
    }
}
