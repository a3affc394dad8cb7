//! What came nearest, for a deny that no rule forbids.

use std::collections::HashSet;

use cedar_policy::Authorizer;
use procura_core::judgement::NearMiss;

use crate::{judge::Asked, rules::Rule};

const SHOWN: usize = 3;
/// A deny must not cost more the more permits a grant has.
const LOOKED_AT: usize = 64;

/// The permits of the grant with the fewest false clauses, each with its first false one.
pub(crate) fn misses(engine: &Authorizer, rules: &[Rule], asked: &Asked<'_>) -> Vec<NearMiss> {
    let permits = asked.slice.permits.iter().filter_map(|index| rules.get(*index));
    let reached = |rule: &&Rule| rule.principal.as_ref().is_none_or(|key| asked.keys.contains(key));
    let (near, far): (Vec<_>, Vec<_>) = permits.partition(reached);
    let mut misses: Vec<_> = near
        .into_iter()
        .chain(far)
        .take(LOOKED_AT)
        .filter_map(|rule| miss(engine, rule, asked))
        .collect();
    misses.sort_by_key(|(distance, _)| *distance);
    misses.into_iter().map(|(_, miss)| miss).take(SHOWN).collect()
}

/// How many clauses of the rule are false, and the first of them.
fn miss(engine: &Authorizer, rule: &Rule, asked: &Asked<'_>) -> Option<(usize, NearMiss)> {
    let response = engine.is_authorized(&asked.request, rule.split(), &asked.entities);
    let held: HashSet<&str> = response.diagnostics().reason().map(AsRef::as_ref).collect();
    let fails = |(index, _): &(usize, _)| !held.contains(index.to_string().as_str());
    let mut failed = rule.clauses.iter().enumerate().filter(fails).map(|(_, clause)| clause);
    let first = failed.next()?;
    let miss = NearMiss {
        rule: rule.id.clone(),
        clause: first.shown(),
    };
    Some((1 + failed.count(), miss))
}
