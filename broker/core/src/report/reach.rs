//! What the bundle in force lets something reach, at most: ceilings of servers and permits, conditions apart. A rule's
//! conditions can only narrow this.

use std::collections::{BTreeMap, BTreeSet};

use procura_wire::{Name, QualifiedId};
use serde::Serialize;

use crate::{
    catalogue::{Catalogue, Risk, Target},
    judgement::{Judge, RuleFacts, Whom},
    kind::Place,
};

/// A grant that can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The target.
    pub target: Name,
    /// The grant.
    pub grant: Name,
    /// `read`, `write` or `destructive`.
    pub risk: &'static str,
    /// Longest lifetime, seconds.
    pub max_ttl: u64,
    /// `undone` at the target, or `by_itself`: whoever checks it offline believes it until then.
    pub ends: &'static str,
    /// Through which servers, and tools as `server/tool`.
    pub through: BTreeSet<String>,
    /// Permits that may give it.
    pub rules: BTreeSet<String>,
}

/// Who and where.
#[derive(Default)]
pub(super) struct Within<'a> {
    /// Through this server only.
    pub(super) server: Option<&'a Name>,
    /// At these targets only.
    pub(super) targets: Option<BTreeSet<Name>>,
    /// By permits that somebody among these matches; those that anybody matches are always in.
    pub(super) whom: Option<WhomFilter<'a>>,
}

/// A test of whom a permit is for.
pub(super) type WhomFilter<'a> = Box<dyn Fn(&Whom) -> bool + Send + 'a>;

/// Every grant that is reached, by target and name.
pub(super) fn reach(judge: &dyn Judge, within: &Within<'_>) -> Vec<Reach> {
    let permits = permits(judge.rules(), within);
    let through = through(judge.catalogue(), within.server);
    let mut found = Vec::new();
    for (name, target) in &judge.catalogue().targets {
        if within.targets.as_ref().is_some_and(|targets| !targets.contains(name)) {
            continue;
        }
        for grant in target.grants.keys() {
            let id = QualifiedId::new(name.clone(), grant.as_str());
            if let (Some(rules), Some(through)) = (permits.get(&id), through.get(&id)) {
                found.push(of(&id, target, (rules, through)));
            }
        }
    }
    found.into_iter().flatten().collect()
}

fn of(id: &QualifiedId, target: &Target, (rules, through): (&BTreeSet<String>, &BTreeSet<String>)) -> Option<Reach> {
    let grant: Name = id.local.parse().ok()?;
    let declared = target.grants.get(&grant)?;
    Some(Reach {
        target: id.qualifier.clone(),
        risk: match declared.risk {
            Risk::Read => "read",
            Risk::Write => "write",
            Risk::Destructive => "destructive",
        },
        max_ttl: declared.max_ttl.as_secs(),
        ends: match target.kind.place {
            Place::External => "undone",
            Place::Local => "by_itself",
        },
        through: through.clone(),
        rules: rules.clone(),
        grant,
    })
}

/// By grant, the ids of permits that may give it.
fn permits(rules: Vec<RuleFacts>, within: &Within<'_>) -> BTreeMap<QualifiedId, BTreeSet<String>> {
    let mut permits: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for rule in rules.into_iter().filter(|rule| rule.permits) {
        let fits = match (&within.whom, &rule.whom) {
            (Some(fits), Some(whom)) => fits(whom),
            _ => true,
        };
        for grant in rule.grants.into_iter().filter(|_| fits) {
            permits.entry(grant).or_default().insert(rule.id.clone());
        }
    }
    permits
}

/// By grant, the servers and tools that list it.
fn through(catalogue: &Catalogue, only: Option<&Name>) -> BTreeMap<QualifiedId, BTreeSet<String>> {
    let mut through: BTreeMap<QualifiedId, BTreeSet<String>> = BTreeMap::new();
    for (name, server) in &catalogue.servers {
        if server.suspended || only.is_some_and(|only| only != name) {
            continue;
        }
        for grant in &server.grants {
            through.entry(grant.clone()).or_default().insert(name.to_string());
        }
        for (tool, grants) in &server.tools {
            for grant in grants {
                through
                    .entry(grant.clone())
                    .or_default()
                    .insert(format!("{name}/{tool}"));
            }
        }
    }
    through
}
