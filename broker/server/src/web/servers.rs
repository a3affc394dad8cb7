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
    report,
    usage::{Day, Dimension, Sum, UsageFilter},
};
use procura_wire::{Name, QualifiedId};

use super::{
    answer::{Frame, Stop, answer, html, stop},
    guard::Reader,
    query::{Asked, pair},
    show::{counted, plain, span},
};
use crate::http::Door;

/// Servers of a page.
const MAX_SERVERS: usize = 50;
/// Most sums that are read: one for each server, or for each tool and grants of one.
const SUMS: u32 = 10_000;
/// Days that they are read of, today is the last.
const DAYS: u32 = 90;

/// When something was last issued, or reported as used, and how often something was issued, of the days that are read.
#[derive(Clone, Copy, Default)]
struct Used {
    day: Option<Day>,
    issued: u64,
}

impl Used {
    fn add(&mut self, sum: &Sum) {
        self.day = self.day.max(sum.used_on);
        self.issued += sum.issued;
    }

    /// The day, in UTC.
    fn shown(self) -> String {
        self.day.map_or_else(
            || format!("not in {DAYS} days"),
            |day| day.begins().strftime("%Y-%m-%d").to_string(),
        )
    }
}

/// The sums of the last days and of those targets that the reader may read, by these dimensions.
async fn sums(door: &Door, reader: &Reader, server: Option<&Name>, by: &[Dimension]) -> Result<Vec<Sum>, Stop> {
    let filter = UsageFilter {
        targets: reader.targets().map(<[Name]>::to_vec),
        server: server.cloned(),
        since: Some(Day::of(door.app.ports.now()?).before(DAYS - 1)),
        ..UsageFilter::default()
    };
    Ok(door.app.usage.sums(filter, by.to_vec(), SUMS).await?)
}

/// Of which days the sums are, how far they count, and whether there are more than were read.
async fn how_far(door: &Door, reader: &Reader, sums: &[Sum]) -> Result<String, Stop> {
    let counted = counted(&report::counted(&*door.app.usage, reader.targets().is_none()).await?);
    let more = match sums.len() < SUMS as usize {
        true => "",
        false => " There are more sums than were read: what is said not to have been used may have been.",
    };
    Ok(format!("Of the last {DAYS} days of UTC. {counted}{more}"))
}

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
    issued: u64,
}

#[derive(Template)]
#[template(path = "servers.html")]
struct ServersPage {
    frame: Frame,
    rows: Vec<ServerRow>,
    more: Option<String>,
    counted: String,
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
        let mut used: BTreeMap<String, Used> = BTreeMap::new();
        let sums = sums(&door, &reader, None, &[Dimension::Server]).await?;
        for sum in &sums {
            let name = sum.of.first().cloned().flatten().unwrap_or_default();
            used.entry(name).or_default().add(sum);
        }
        let used = |name: &Name| used.get(name.as_str()).copied().unwrap_or_default();
        let shown = readable.iter().take(MAX_SERVERS);
        let rows: Vec<_> = shown
            .map(|(name, server)| row(&reader, name, server, used(name)))
            .collect();
        let more = (readable.len() > MAX_SERVERS).then(|| rows.last().map(|last| pair("after", &last.name)));
        let page = ServersPage {
            frame: reader.frame(&door, "servers", "Servers"),
            counted: how_far(&door, &reader, &sums).await?,
            rows,
            more: more.flatten(),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some(&format!("/servers?{query}")), work.await)
}

fn row(reader: &Reader, name: &Name, server: &Server, used: Used) -> ServerRow {
    let grants = grants(reader, server);
    let targets: BTreeSet<_> = grants.iter().map(|grant| grant.qualifier.to_string()).collect();
    ServerRow {
        name: name.to_string(),
        owner: plain(&server.owner),
        version: server.version.as_deref().map(plain).unwrap_or_default(),
        deployment: server.deployment.as_deref().map(plain).unwrap_or_default(),
        targets: targets.into_iter().collect(),
        grants: grants.len(),
        suspended: server.suspended,
        used: used.shown(),
        issued: used.issued,
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

/// A grant of a tool, or of the server itself.
struct GrantRow {
    tool: String,
    target: String,
    grant: String,
    risk: &'static str,
    max_ttl: String,
    used: String,
    issued: u64,
}

#[derive(Template)]
#[template(path = "server.html")]
struct ServerPage {
    frame: Frame,
    server: ServerRow,
    resource: String,
    session_ttl: String,
    grants: Vec<GrantRow>,
    query: String,
    counted: String,
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
        use Dimension as D;
        let sums = sums(&door, &reader, Some(name), &[D::Tool, D::Target, D::Grants]).await?;
        let mut used = Used::default();
        sums.iter().for_each(|sum| used.add(sum));
        let page = ServerPage {
            frame: reader.frame(&door, "servers", format!("Server {name}")),
            server: row(&reader, name, server, used),
            resource: plain(&server.resource),
            session_ttl: span(server.session_ttl.as_secs()),
            grants: grant_rows(catalogue, &reader, server, &sums),
            query: pair("server", name.as_str()),
            counted: how_far(&door, &reader, &sums).await?,
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some(&path), work.await)
}

fn grant_rows(catalogue: &Catalogue, reader: &Reader, server: &Server, sums: &[Sum]) -> Vec<GrantRow> {
    let mut used: BTreeMap<(Option<String>, QualifiedId), Used> = BTreeMap::new();
    for sum in sums {
        let [tool, Some(target), Some(grants), ..] = &sum.of[..] else {
            continue;
        };
        let grants: Vec<String> = serde_json::from_str(grants).unwrap_or_default();
        let Ok(target) = target.parse::<Name>() else { continue };
        for grant in grants {
            let key = (tool.clone(), QualifiedId::new(target.clone(), grant));
            used.entry(key).or_default().add(sum);
        }
    }
    let seen = grants(reader, server);
    let own = server.grants.iter().map(|grant| (None, grant));
    let of_tools = server
        .tools
        .iter()
        .flat_map(|(tool, grants)| grants.iter().map(move |grant| (Some(tool), grant)));
    let row = |(tool, id): (Option<&String>, &QualifiedId)| {
        let name: Name = id.local.parse().ok()?;
        let target = catalogue.targets.get(&id.qualifier);
        let grant = target.and_then(|target| target.grants.get(&name));
        let used = used.get(&(tool.cloned(), id.clone())).copied().unwrap_or_default();
        Some(GrantRow {
            tool: tool.map(|tool| plain(tool)).unwrap_or_default(),
            target: id.qualifier.to_string(),
            grant: plain(&id.local),
            risk: grant.map(|grant| risk(grant.risk)).unwrap_or_default(),
            max_ttl: grant.map(|grant| span(grant.max_ttl.as_secs())).unwrap_or_default(),
            used: used.shown(),
            issued: used.issued,
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
