//! The catalogue of servers, as far as the reader may see their targets.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::{
    extract::{Path, RawQuery},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::{
    catalogue::{Catalogue, Risk, Server},
    ledger::{Event, Filter, Outcome, Page, Stored},
};
use procura_wire::{Name, QualifiedId};

use super::{
    answer::{Frame, Stop, answer, html, stop},
    guard::Reader,
    query::{Asked, pair},
    show::{plain, span, time},
};
use crate::http::Door;

/// Servers of a page.
const MAX_SERVERS: usize = 50;
/// Records that say when a server was last used.
const LOOKED_AT: u32 = 50;
/// The same for each of its grants.
const LOOKED_THROUGH: u32 = 300;

/// A server in the list.
struct ServerRow {
    name: String,
    owner: String,
    version: String,
    deployment: String,
    targets: Vec<String>,
    grants: usize,
    suspended: bool,
    used: String,
}

#[derive(Template)]
#[template(path = "servers.html")]
struct ServersPage {
    frame: Frame,
    rows: Vec<ServerRow>,
    more: Option<String>,
}

/// `GET /ui/servers`, by name.
pub(super) async fn list(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let snapshot = door.app.ports.active.snapshot();
        let asked = Asked::read(Some(&query));
        let after = asked.get("after");
        let servers = snapshot.judge.catalogue().servers.iter();
        let readable = servers.filter(|(name, server)| name.as_str() > after && is_seen(&reader, server));
        let readable: Vec<_> = readable.take(MAX_SERVERS + 1).collect();
        let mut rows = Vec::new();
        for (name, server) in readable.iter().take(MAX_SERVERS) {
            let newest = newest(&door, &reader, name, LOOKED_AT).await?;
            rows.push(row(&reader, name, server, &newest));
        }
        let more = (readable.len() > MAX_SERVERS).then(|| rows.last().map(|last| pair("after", &last.name)));
        let page = ServersPage {
            frame: reader.frame(&door, "servers", "Servers"),
            rows,
            more: more.flatten(),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some(&format!("/servers?{query}")), work.await)
}

fn row(reader: &Reader, name: &Name, server: &Server, newest: &Newest) -> ServerRow {
    let grants = grants(reader, server);
    let targets: BTreeSet<_> = grants.iter().map(|grant| grant.qualifier.to_string()).collect();
    let used = newest.records.iter().find(|record| is_issued(record));
    ServerRow {
        name: name.to_string(),
        owner: plain(&server.owner),
        version: server.version.as_deref().map(plain).unwrap_or_default(),
        deployment: server.deployment.as_deref().map(plain).unwrap_or_default(),
        targets: targets.into_iter().collect(),
        grants: grants.len(),
        suspended: server.suspended,
        used: match used {
            Some(record) => time(record.index.at),
            None if newest.is_cut => "not lately".to_owned(),
            None => "never".to_owned(),
        },
    }
}

/// The grants that it may reach, of targets that the reader may see.
fn grants<'a>(reader: &Reader, server: &'a Server) -> BTreeSet<&'a QualifiedId> {
    let all = server.grants.iter().chain(server.tools.values().flatten());
    let seen = |grant: &&QualifiedId| {
        reader
            .targets()
            .is_none_or(|targets| targets.contains(&grant.qualifier))
    };
    all.filter(seen).collect()
}

/// Whoever reads all sees those that reach nothing, too.
fn is_seen(reader: &Reader, server: &Server) -> bool {
    reader.targets().is_none() || !grants(reader, server).is_empty()
}

/// Its newest records that the reader may read, of so many that are looked at.
struct Newest {
    records: Vec<Stored>,
    /// There are more than were looked at.
    is_cut: bool,
}

/// By the index of servers alone, so that no more is read than is looked at.
async fn newest(door: &Door, reader: &Reader, server: &Name, limit: u32) -> Result<Newest, Stop> {
    let filter = Filter {
        server: Some(server.clone()),
        ..Filter::default()
    };
    let ports = &door.app.ports;
    let mut records = ports.ledger.records(filter, Page { before: None, limit }).await?;
    let is_cut = u32::try_from(records.len()).is_ok_and(|count| count == limit);
    records.retain(|record| reader.reads(ports, record.index.target.as_ref()));
    Ok(Newest { records, is_cut })
}

fn is_issued(record: &Stored) -> bool {
    (record.index.event, record.index.outcome) == (Event::Exchange, Outcome::Issued)
}

/// A grant of a tool, or of the server itself.
struct GrantRow {
    tool: String,
    target: String,
    grant: String,
    risk: &'static str,
    max_ttl: String,
    used: String,
}

#[derive(Template)]
#[template(path = "server.html")]
struct ServerPage {
    frame: Frame,
    server: ServerRow,
    resource: String,
    session_ttl: String,
    grants: Vec<GrantRow>,
    /// How many records were looked through, where that is not all.
    looked_through: Option<u32>,
    query: String,
}

/// `GET /ui/servers/{name}`
pub(super) async fn one(door: Door, headers: HeaderMap, Path(name): Path<String>) -> Response {
    let path = format!("/servers/{name}");
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        let snapshot = door.app.ports.active.snapshot();
        let catalogue = snapshot.judge.catalogue();
        let found = catalogue.servers.get_key_value(name.as_str());
        let Some((name, server)) = found.filter(|(_, server)| is_seen(&reader, server)) else {
            let text = "There is no such server, or it is not for you.";
            return Ok(stop(&door, Some(&reader), StatusCode::NOT_FOUND, text));
        };
        let newest = newest(&door, &reader, name, LOOKED_THROUGH).await?;
        let page = ServerPage {
            frame: reader.frame(&door, "servers", format!("Server {name}")),
            server: row(&reader, name, server, &newest),
            resource: plain(&server.resource),
            session_ttl: span(server.session_ttl.as_secs()),
            grants: grant_rows(catalogue, &reader, server, &newest),
            looked_through: newest.is_cut.then_some(LOOKED_THROUGH),
            query: pair("server", name.as_str()),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some(&path), work.await)
}

fn grant_rows(catalogue: &Catalogue, reader: &Reader, server: &Server, newest: &Newest) -> Vec<GrantRow> {
    // The newest comes first, so the first of each is the last use.
    let mut used = BTreeMap::new();
    for record in newest.records.iter().filter(|record| is_issued(record)) {
        for grant in &record.index.grants {
            let key = (record.index.tool.clone(), record.index.target.clone(), grant.clone());
            used.entry(key).or_insert(record.index.at);
        }
    }
    let seen = grants(reader, server);
    let own = server.grants.iter().map(|grant| (None, grant));
    let of_tools = server
        .tools
        .iter()
        .flat_map(|(tool, grants)| grants.iter().map(move |grant| (Some(tool), grant)));
    let row = |(tool, id): (Option<&String>, &QualifiedId)| {
        let name: Option<Name> = id.local.parse().ok();
        let target = catalogue.targets.get(&id.qualifier);
        let grant = target.and_then(|target| target.grants.get(name.as_ref()?));
        let key = (tool.cloned(), Some(id.qualifier.clone()), name?);
        Some(GrantRow {
            tool: tool.map(|tool| plain(tool)).unwrap_or_default(),
            target: id.qualifier.to_string(),
            grant: plain(&id.local),
            risk: grant.map(|grant| risk(grant.risk)).unwrap_or_default(),
            max_ttl: grant.map(|grant| span(grant.max_ttl.as_secs())).unwrap_or_default(),
            used: used.get(&key).map(|at| time(*at)).unwrap_or_else(|| "never".to_owned()),
        })
    };
    own.chain(of_tools)
        .filter(|(_, grant)| seen.contains(grant))
        .filter_map(row)
        .collect()
}

fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::Read => "read",
        Risk::Write => "write",
        Risk::Destructive => "destructive",
    }
}
