//! What lives now of what was issued, by target: leases, and values that end by themselves.

use std::collections::{BTreeMap, BTreeSet};

use procura_wire::{Name, QualifiedId};
use serde::{Deserialize, Serialize};

use super::Readers;
use crate::{
    Timestamp,
    catalogue::Catalogue,
    ids::IssuanceId,
    ledger::{Event, Filter, Lease, LeaseFilter, LeaseState, Outcome, Page, StoreError, Stored},
};

/// Leases or records that are read at once.
const AT_ONCE: u32 = 1000;
/// How often, for each target and state: more is said to be there and not looked at.
const PAGES: u32 = 20;

/// What lives at one target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LiveAt {
    /// The target.
    pub target: String,
    /// Leases that are live: `procura lease undo` takes them back.
    pub leases: u64,
    /// Leases that are being undone already.
    pub undoing: u64,
    /// Values that nothing takes back from whoever checks them offline.
    pub values: u64,
    /// When the last of them ends. Of what lives until it is undone there is no end.
    pub until: Option<Timestamp>,
    /// One of them has no end of its own.
    pub endless: bool,
}

/// Which of what lives.
#[derive(Default)]
pub(super) struct Living {
    /// At these targets; `None` is all.
    pub(super) targets: Option<BTreeSet<Name>>,
    pub(super) source_version: Option<String>,
    pub(super) subject: Option<QualifiedId>,
    pub(super) actor: Option<QualifiedId>,
    pub(super) server: Option<Name>,
    /// The subject's issuer, for records that an index finds by it; leases are tested by their leaf.
    pub(super) issuer: Option<Name>,
    /// What the record's leaf must say.
    pub(super) leaf: Option<LeafTest>,
}

/// What a leaf must say; only one of them is given.
#[derive(Clone)]
pub(super) enum LeafTest {
    Issuer(Name),
    Source(String),
    /// The broker's key, or an issuer's.
    Key(String),
}

#[derive(Deserialize, Default)]
struct Leaf {
    issuer: Option<String>,
    source: Option<String>,
    signing_key: Option<String>,
    token_key: Option<String>,
    handle: Option<String>,
}

impl LeafTest {
    fn fits(&self, leaf: &Leaf) -> bool {
        let is = |member: &Option<String>, wanted: &str| member.as_deref() == Some(wanted);
        match self {
            Self::Issuer(issuer) => is(&leaf.issuer, issuer.as_str()),
            // Records from before the member do not say; the version and the target tell them.
            Self::Source(source) => leaf.source.is_none() || is(&leaf.source, source),
            Self::Key(key) => is(&leaf.signing_key, key) || is(&leaf.token_key, key),
        }
    }
}

/// By target; and whether there may be more than was looked at.
pub(super) async fn live(readers: Readers<'_>, living: &Living) -> Result<(Vec<LiveAt>, bool), StoreError> {
    let mut found = Found {
        now: readers.ports.now().map_err(|_| StoreError::Unavailable)?,
        at: BTreeMap::new(),
        more: false,
    };
    let targets: Vec<Option<Name>> = match &living.targets {
        None => vec![None],
        Some(targets) => targets.iter().cloned().map(Some).collect(),
    };
    for target in targets {
        for state in [LeaseState::Live, LeaseState::Undoing] {
            found.leases(readers, living, (target.clone(), state)).await?;
        }
        found.values(readers, living, target).await?;
    }
    Ok((found.at.into_values().collect(), found.more))
}

struct Found {
    now: Timestamp,
    at: BTreeMap<Name, LiveAt>,
    more: bool,
}

/// The pages that are read, each from where the one before it ended.
struct Pages {
    left: u32,
    page: Page,
}

impl Pages {
    fn new() -> Self {
        let page = Page {
            before: None,
            limit: AT_ONCE,
        };
        Self { left: PAGES, page }
    }

    /// Whether another is read after this one, which ended with that id; `Err` where there may be more than is read.
    fn next(&mut self, count: usize, last: Option<IssuanceId>) -> Result<bool, More> {
        if count < AT_ONCE as usize {
            return Ok(false);
        }
        self.page.before = last;
        self.left -= 1;
        if self.left == 0 { Err(More) } else { Ok(true) }
    }
}

/// There may be more.
struct More;

impl Found {
    fn goes_on(&mut self, next: Result<bool, More>) -> bool {
        self.more |= next.is_err();
        next.unwrap_or(false)
    }

    async fn leases(
        &mut self,
        readers: Readers<'_>,
        living: &Living,
        (target, state): (Option<Name>, LeaseState),
    ) -> Result<(), StoreError> {
        let filter = LeaseFilter {
            target,
            source_version: living.source_version.clone(),
            subject: living.subject.clone(),
            actor: living.actor.clone(),
            server: living.server.clone(),
            session: None,
            state: Some(state),
        };
        let ledger = &readers.ports.ledger;
        let mut pages = Pages::new();
        loop {
            let leases = ledger.leases(filter.clone(), pages.page).await?;
            for lease in &leases {
                let fits = match &living.leaf {
                    None => true,
                    Some(test) => ledger
                        .record(lease.id)
                        .await?
                        .is_some_and(|stored| test.fits(&leaf(&stored))),
                };
                if fits {
                    self.lease(lease);
                }
            }
            if !self.goes_on(pages.next(leases.len(), leases.last().map(|lease| lease.id))) {
                return Ok(());
            }
        }
    }

    fn lease(&mut self, lease: &Lease) {
        let at = self.at(&lease.target);
        match lease.state {
            LeaseState::Live => at.leases += 1,
            _ => at.undoing += 1,
        }
        // Undone at its end; where it does not come to that it lives until it lapses.
        let end = match lease.state {
            LeaseState::Live => lease.until.max(lease.kept.lapses),
            _ => lease.kept.lapses,
        };
        at.endless |= end.is_none();
        at.until = at.until.max(end);
    }

    async fn values(&mut self, readers: Readers<'_>, living: &Living, target: Option<Name>) -> Result<(), StoreError> {
        let snapshot = readers.ports.active.snapshot();
        let filter = Filter {
            event: Some(Event::Exchange),
            outcome: Some(Outcome::Issued),
            subject: living.subject.clone(),
            actor: living.actor.clone(),
            server: living.server.clone(),
            issuer: living.issuer.clone(),
            target,
            since: Some(oldest(snapshot.judge.catalogue(), self.now)),
            ..Filter::default()
        };
        let mut pages = Pages::new();
        loop {
            let records = readers.ports.ledger.records(filter.clone(), pages.page).await?;
            for stored in &records {
                self.value(living, stored);
            }
            if !self.goes_on(pages.next(records.len(), records.last().map(|stored| stored.id))) {
                return Ok(());
            }
        }
    }

    fn value(&mut self, living: &Living, stored: &Stored) {
        let (index, leaf) = (&stored.index, leaf(stored));
        let fits = living.leaf.as_ref().is_none_or(|test| test.fits(&leaf))
            && living
                .source_version
                .as_ref()
                .is_none_or(|version| index.source_version.as_ref() == Some(version));
        let (Some(target), Some(until)) = (&index.target, index.until) else {
            return;
        };
        // What has a handle has a lease.
        if fits && until > self.now && leaf.handle.is_none() {
            let at = self.at(target);
            at.values += 1;
            at.until = at.until.max(Some(until));
        }
    }

    fn at(&mut self, target: &Name) -> &mut LiveAt {
        self.at.entry(target.clone()).or_insert_with(|| LiveAt {
            target: target.to_string(),
            ..LiveAt::default()
        })
    }
}

fn leaf(stored: &Stored) -> Leaf {
    serde_json::from_str(stored.leaf.get()).unwrap_or_default()
}

/// Nothing lives that was issued before: the longest lifetime of any grant, and at least a day, for the bundle may have
/// had longer ones before.
fn oldest(catalogue: &Catalogue, now: Timestamp) -> Timestamp {
    let grants = catalogue.targets.values().flat_map(|target| target.grants.values());
    let longest = grants.map(|grant| grant.max_ttl).max().unwrap_or_default();
    now - longest.max(std::time::Duration::from_secs(24 * 60 * 60))
}
