//! What the log has seen of what a bundle declares.

use std::collections::{BTreeMap, BTreeSet};

use procura_wire::{Name, QualifiedId};
use serde::Serialize;

use super::{Counted, Readers, counted, list, text};
use crate::{
    ledger::StoreError,
    usage::{Day, Dimension, UsageFilter},
};

/// Most combinations that are read.
const COMBINATIONS: u32 = 50_000;

/// What was seen since a day.
#[derive(Debug, Clone)]
pub struct Seen {
    /// From this day on.
    pub since: Day,
    /// The first day that anything was seen on; younger than `since` where the log is.
    pub first: Option<Day>,
    /// More combinations were used than were read: what is not here may have been seen.
    pub more: bool,
    /// Rules that decided.
    pub rules: BTreeSet<String>,
    /// Grants that were asked for, with how long they lived and were used.
    pub grants: BTreeMap<QualifiedId, Life>,
    /// Tools that got something, as server and tool.
    pub tools: BTreeSet<(String, String)>,
    /// Servers that asked.
    pub servers: BTreeSet<String>,
    /// Groups of subjects.
    pub groups: BTreeSet<String>,
    /// Agents that acted, for others or for themselves, and users.
    pub principals: BTreeSet<String>,
    /// How far the sums count.
    pub counted: Counted,
}

/// How a grant was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Life {
    /// Credentials issued.
    pub issued: u64,
    /// Times that one was used after its issuance, which the longest time is the longest of.
    pub samples: u64,
    /// Longest lifetime granted, seconds.
    pub granted: u64,
    /// Longest time from an issuance to the end of a use of it, seconds.
    pub used: u64,
}

/// What was seen at the targets that the reader may see.
pub async fn seen(readers: Readers<'_>, since: Day, readable: Option<Vec<Name>>) -> Result<Seen, StoreError> {
    let all = readable.is_none();
    let filter = UsageFilter {
        since: Some(since),
        targets: readable,
        ..UsageFilter::default()
    };
    use Dimension as D;
    let by = vec![D::Server, D::Tool, D::Target, D::Grants, D::Rules, D::Groups];
    let sums = readers.usage.sums(filter.clone(), by, COMBINATIONS).await?;
    let mut seen = Seen {
        since,
        first: sums.iter().map(|sum| Day::of(sum.first)).min(),
        more: full(sums.len()),
        rules: BTreeSet::new(),
        grants: BTreeMap::new(),
        tools: BTreeSet::new(),
        servers: BTreeSet::new(),
        groups: BTreeSet::new(),
        principals: BTreeSet::new(),
        counted: counted(readers.usage, all).await?,
    };
    for sum in &sums {
        let server = text(sum, 0).unwrap_or_default().to_owned();
        if let (Some(tool), true) = (text(sum, 1), sum.issued + sum.reported > 0) {
            seen.tools.insert((server.clone(), tool.to_owned()));
        }
        seen.servers.insert(server);
        seen.rules.extend(list(sum, 4));
        seen.groups.extend(list(sum, 5));
        let Some(target) = text(sum, 2).and_then(|target| target.parse::<Name>().ok()) else {
            continue;
        };
        for grant in list(sum, 3) {
            let life = seen.grants.entry(QualifiedId::new(target.clone(), grant)).or_default();
            life.issued += sum.issued;
            life.samples += sum.reported;
            life.granted = life.granted.max(sum.granted.unwrap_or(0));
            life.used = life.used.max(sum.used.unwrap_or(0));
        }
    }
    for person in [D::Subject, D::Actor] {
        let people = readers.usage.sums(filter.clone(), vec![person], COMBINATIONS).await?;
        seen.more |= full(people.len());
        seen.principals
            .extend(people.iter().filter_map(|sum| text(sum, 0).map(str::to_owned)));
    }
    Ok(seen)
}

fn full(count: usize) -> bool {
    u32::try_from(count).is_ok_and(|count| count >= COMBINATIONS)
}
