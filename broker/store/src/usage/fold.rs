//! What records add to the sums.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use procura_core::{Timestamp, ids::IssuanceId, ledger::StoreError, usage::Day};
use procura_wire::Digest;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

/// A record as `next_records` reads it; `number` is its place in the order of appends.
#[derive(FromRow)]
pub(super) struct ProjectableRow {
    pub(super) number: i64,
    pub(super) id: Uuid,
    leaf: String,
    event: String,
    outcome: String,
    pub(super) at: i64,
    server: Option<String>,
    tool: Option<String>,
    target: Option<String>,
    grants: String,
    about: Option<Uuid>,
    until: Option<i64>,
    source_version: Option<String>,
    subject: Option<String>,
    actor: Option<String>,
}

/// What is read of a leaf; records from before a member do not have it.
#[derive(Deserialize)]
struct Leaf<'l> {
    #[serde(borrow, default)]
    issuer: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    source: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    signing_key: Option<Cow<'l, str>>,
    #[serde(borrow, default)]
    token_key: Option<Cow<'l, str>>,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    granted: Option<Granted>,
    #[serde(default)]
    used: Option<UseOf>,
}

#[derive(Deserialize)]
struct Granted {
    ttl: Option<u64>,
}

#[derive(Deserialize)]
struct UseOf {
    started: Timestamp,
    duration_ms: u64,
}

/// What some records add, as the statements read it.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pub(super) persons: BTreeSet<String>,
    pub(super) routes: Vec<Route>,
    pub(super) sums: Vec<NewSum>,
}

/// A row of `route`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Route {
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    server: Option<String>,
    tool: Option<String>,
    target: Option<String>,
    grants: String,
    issuer: Option<String>,
    source: Option<String>,
    source_version: Option<String>,
    signing_key: Option<String>,
    token_key: Option<String>,
    rules: String,
    groups: String,
}

/// What is added to a row of `usage`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NewSum {
    route: String,
    day: i64,
    subject: Option<String>,
    actor: Option<String>,
    issued: u64,
    refused: u64,
    reported: u64,
    first_at: i64,
    last_at: i64,
    until: Option<i64>,
    granted: Option<u64>,
    used: Option<u64>,
    record: String,
}

/// Which sum a record adds to.
type Key = (Route, i64, Option<String>, Option<String>);

impl Fold {
    /// What the records add. Records that are no exchange and no reported use add nothing.
    pub(super) fn of(rows: &[ProjectableRow]) -> Result<Self, StoreError> {
        let mut sums: BTreeMap<Key, NewSum> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.counts()) {
            let leaf: Leaf<'_> = serde_json::from_str(&row.leaf).map_err(|error| {
                tracing::error!(record = %row.id, %error, "a leaf that cannot be read");
                StoreError::Inconsistent
            })?;
            let key = (row.route(&leaf), row.day(), row.subject.clone(), row.actor.clone());
            let one = row.sum(&leaf);
            match sums.get_mut(&key) {
                Some(sum) => sum.add(one),
                None => drop(sums.insert(key, one)),
            }
        }
        let mut fold = Self::default();
        for ((mut route, day, subject, actor), sum) in sums {
            fold.persons.extend(subject.iter().chain(&actor).cloned());
            route.key = digest(&route)?;
            fold.sums.push(NewSum {
                route: route.key.clone(),
                day,
                subject,
                actor,
                ..sum
            });
            if fold.routes.last().is_none_or(|last| last.key != route.key) {
                fold.routes.push(route);
            }
        }
        Ok(fold)
    }
}

/// Of the members, which an empty key is not among.
fn digest(route: &Route) -> Result<String, StoreError> {
    let text = serde_json::to_vec(route).map_err(|_| StoreError::Inconsistent)?;
    Ok(Digest::of(&text).to_string())
}

impl ProjectableRow {
    fn counts(&self) -> bool {
        self.event == "exchange" || self.outcome == "reported"
    }

    fn refused(&self) -> bool {
        self.outcome == "refused"
    }

    fn day(&self) -> i64 {
        Timestamp::from_microsecond(self.at).map_or(0, |at| Day::of(at).0)
    }

    fn route(&self, leaf: &Leaf<'_>) -> Route {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let grants: Vec<&str> = self.grants.split_whitespace().collect();
        Route {
            key: String::new(),
            server: self.server.clone(),
            // What is refused may name any tool, and another one each time.
            tool: self.tool.clone().filter(|_| !self.refused()),
            target: self.target.clone(),
            grants: list(&grants),
            issuer: text(&leaf.issuer),
            source: text(&leaf.source),
            source_version: self.source_version.clone(),
            signing_key: text(&leaf.signing_key),
            token_key: text(&leaf.token_key),
            rules: list(&leaf.rules),
            groups: list(&leaf.groups),
        }
    }

    fn sum(&self, leaf: &Leaf<'_>) -> NewSum {
        let issued = self.outcome == "issued";
        NewSum {
            route: String::new(),
            day: 0,
            subject: None,
            actor: None,
            issued: u64::from(issued),
            refused: u64::from(self.refused()),
            reported: u64::from(self.outcome == "reported"),
            first_at: self.at,
            last_at: self.at,
            until: self.until.filter(|_| issued),
            granted: leaf.granted.as_ref().and_then(|granted| granted.ttl).filter(|_| issued),
            used: self.used(leaf),
            record: IssuanceId(self.id).to_string(),
        }
    }

    /// Seconds from the issuance that it is about, whose id says when that was, to the end of the use. A use that is
    /// said to be later than its report is not.
    fn used(&self, leaf: &Leaf<'_>) -> Option<u64> {
        let (seconds, nanos) = self.about?.get_timestamp()?.to_unix();
        let issued = i64::try_from(seconds).ok()?.checked_mul(1_000_000)? + i64::from(nanos / 1_000);
        let end = match &leaf.used {
            Some(used) => {
                let took = i64::try_from(used.duration_ms).ok()?.saturating_mul(1_000);
                used.started.as_microsecond().saturating_add(took).min(self.at)
            }
            None => self.at,
        };
        u64::try_from((end - issued).max(0) / 1_000_000).ok()
    }
}

impl NewSum {
    fn add(&mut self, other: Self) {
        self.issued += other.issued;
        self.refused += other.refused;
        self.reported += other.reported;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        self.until = self.until.max(other.until);
        self.granted = self.granted.max(other.granted);
        self.used = self.used.max(other.used);
        if other.record < self.record {
            self.record = other.record;
        }
    }
}

fn list(texts: &[impl Serialize]) -> String {
    serde_json::to_string(texts).unwrap_or_default()
}
