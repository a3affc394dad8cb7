//! What is not used, each with the edit that takes it out.

use std::{collections::BTreeSet, time::Duration};

use procura_core::{
    catalogue::{Catalogue, Grant, Target},
    judgement::Judge,
    kind::Lifetime,
    report::{Life, Seen},
};
use procura_wire::{Name, QualifiedId};

use super::{Found, Idle, edit::Edit};
use crate::{Bundle, Loaded, declare, mistake::Mistake};

/// So many reported uses say how long a grant is used.
const SAMPLES: u64 = 20;
/// A lifetime that is so many times the longest use is far above it; the patch leaves half of that.
const FAR: u64 = 4;
/// Shorter lifetimes are left alone, seconds.
const SHORT: u64 = 60;

pub(super) fn find(bundle: &Bundle, loaded: &Loaded, seen: &Seen) -> Vec<Found> {
    let finder = Finder {
        bundle,
        catalogue: loaded.catalogue(),
        seen,
    };
    let mut found = finder.rules(loaded);
    found.extend(finder.tools());
    found.extend(finder.grants());
    found.extend(finder.groups());
    found.extend(finder.people());
    found
}

struct Finder<'a> {
    bundle: &'a Bundle,
    catalogue: &'a Catalogue,
    seen: &'a Seen,
}

impl Finder<'_> {
    fn idle(&self, kind: &'static str, name: String, (file, mark): (String, &str), why: &str) -> Idle {
        let text = self.bundle.file(&file).unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        let line = text.lines().position(|line| !mark.is_empty() && line.contains(mark));
        Idle {
            kind,
            name,
            file,
            line: line.map_or(1, |line| line + 1),
            in_patch: false,
            why: why.to_owned(),
        }
    }

    /// What operators' rules and rules of `act_for` decided stands in no record of an exchange.
    fn rules(&self, loaded: &Loaded) -> Vec<Found> {
        let about_grants = |(rule, facts): &(&crate::rules::Rule, _)| {
            let facts: &procura_core::judgement::RuleFacts = facts;
            (!facts.grants.is_empty() || !rule.actions.risks.is_empty()) && !self.seen.rules.contains(&rule.id)
        };
        let rules = loaded.rules.iter().zip(loaded.rules()).filter(about_grants);
        let idle = |(rule, facts): (&crate::rules::Rule, procura_core::judgement::RuleFacts)| {
            let place = Mistake::at(&rule.file, source(self.bundle, &rule.file), rule.start, "");
            let (kind, why, edit) = match facts.permits {
                true => ("rule", "it never decided", Some(Edit::Rule(rule.id.clone()))),
                false => (
                    "forbid",
                    "it never forbade anything; that may be because everybody knows it, so it is not proposed",
                    None,
                ),
            };
            let idle = self.idle(kind, rule.id.clone(), (rule.file.clone(), ""), why);
            (
                Idle {
                    line: place.line,
                    ..idle
                },
                edit,
            )
        };
        rules.map(idle).collect()
    }

    fn tools(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for (server, file) in &self.catalogue.servers {
            for tool in file.tools.keys() {
                if self.seen.tools.contains(&(server.to_string(), tool.clone())) {
                    continue;
                }
                let place = (format!("servers/{server}.toml"), format!("tools.{tool}"));
                let idle = self.idle(
                    "tool",
                    format!("{server}/{tool}"),
                    (place.0, &place.1),
                    "it got nothing",
                );
                found.push((idle, Some(Edit::Tool(server.clone(), tool.clone()))));
            }
        }
        found
    }

    fn grants(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for (target, file) in &self.catalogue.targets {
            for (grant, declared) in &file.grants {
                let id = QualifiedId::new(target.clone(), grant.as_str());
                found.extend(self.grant(id, (file, declared)));
            }
        }
        found
    }

    fn grant(&self, id: QualifiedId, (target, grant): (&Target, &Grant)) -> Option<Found> {
        let place = (format!("targets/{}.toml", id.qualifier), format!("grants.{}", id.local));
        let Some(life) = self.seen.grants.get(&id) else {
            let idle = self.idle("grant", id.to_string(), (place.0, &place.1), "nobody asked for it");
            return Some((idle, Some(Edit::Grant(id))));
        };
        let shorter = shorter(life, grant.max_ttl, target)?;
        let why = format!(
            "max_ttl is {} s; of {} reported uses the last ended {} s after its issuance, so {shorter} s suffice",
            grant.max_ttl.as_secs(),
            life.samples,
            life.used
        );
        let idle = self.idle("lifetime", id.to_string(), (place.0, &place.1), &why);
        Some((idle, Some(Edit::Lifetime(id, shorter))))
    }

    fn groups(&self) -> Vec<Found> {
        let idle = |group: QualifiedId| {
            let place = (format!("issuers/{}.toml", group.qualifier), group.local.clone());
            let idle = self.idle("group", group.to_string(), (place.0, &place.1), "nobody of it was seen");
            (idle, Some(Edit::Group(group)))
        };
        let declared: BTreeSet<QualifiedId> = declare::groups(self.catalogue).into_iter().collect();
        let unseen = declared
            .into_iter()
            .filter(|group| !self.seen.groups.contains(&group.to_string()));
        unseen.map(idle).collect()
    }

    fn people(&self) -> Vec<Found> {
        let server = |name: &Name| {
            let path = format!("servers/{name}.toml");
            let idle = self.idle("server", name.to_string(), (path.clone(), ""), "it was not seen");
            (idle, Some(Edit::File(path)))
        };
        // Without its file an agent's tokens would be a user's: who is suspended would be let in again.
        let agent = |name: &Name| {
            let why = "it was not seen; without its file its tokens would be taken for a user's, so it is not proposed";
            let path = format!("agents/{name}.toml");
            (self.idle("agent", name.to_string(), (path, ""), why), None)
        };
        // What is suspended is quiet because of that.
        let servers = self.catalogue.servers.iter();
        let servers = servers.filter(|(name, server)| !server.suspended && !self.seen.servers.contains(name.as_str()));
        let unseen = |(name, agent): &(&Name, &procura_core::catalogue::Agent)| {
            let id = QualifiedId::new(agent.issuer.clone(), name.as_str());
            !agent.suspended && !self.seen.principals.contains(&id.to_string())
        };
        let agents = self.catalogue.agents.iter().filter(unseen);
        let servers = servers.map(|(name, _)| server(name));
        servers.chain(agents.map(|(name, _)| agent(name))).collect()
    }
}

fn source<'b>(bundle: &'b Bundle, file: &str) -> &'b str {
    std::str::from_utf8(bundle.file(file).unwrap_or_default()).unwrap_or_default()
}

/// Twice the longest use in whole minutes, where the lifetime is far above it.
fn shorter(life: &Life, max_ttl: Duration, target: &Target) -> Option<u64> {
    let Lifetime::Chosen { min, .. } = target.kind.lifetime;
    let max = max_ttl.as_secs();
    let shorter = (2 * life.used).div_ceil(60).max(1) * 60;
    let shorter = shorter.max(min.as_secs());
    let far = life.samples >= SAMPLES && max > (FAR * life.used).max(SHORT);
    (far && shorter < max).then_some(shorter)
}
