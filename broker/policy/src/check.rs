//! Rules against the catalogue: Cedar's validator, and what it cannot know.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use cedar_policy::{
    EntityUid, Policy, PolicySet, ResourceConstraint, Schema, ValidationError, ValidationMode, ValidationWarning,
    Validator, ffi::DetailedError,
};
use procura_core::catalogue::{Catalogue, Risk, Target};
use procura_wire::{Name, QualifiedId};
use serde_json::{Value, json};

use crate::{
    bundle::Bundle,
    meant::meant,
    mistake::Mistake,
    names::ACT_FOR,
    rules::Rule,
    schema::{self, NOTHING},
};

/// Every mistake of the rules as such; the catalogue is complete.
pub(crate) fn rules(rules: &[Rule], schema: Schema, catalogue: &Catalogue, bundle: &Bundle) -> Vec<Mistake> {
    let own = |rule| {
        own_mistakes(rule, catalogue)
            .into_iter()
            .map(|text| Rule::mistake(rule, bundle, text))
    };
    let mut mistakes: Vec<_> = rules.iter().flat_map(own).collect();
    mistakes.extend(with_room(|| validate(rules, schema, catalogue, bundle)));
    mistakes
}

/// Stack for the deepest rule that is let in, several times over.
const STACK: usize = 16 << 20;

/// Cedar's validator passes over what is too deep for the stack that it has, without a word.
fn with_room(work: impl FnOnce() -> Vec<Mistake> + Send) -> Vec<Mistake> {
    let done = thread::scope(|scope| {
        let validating = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        validating.ok().and_then(|validating| validating.join().ok())
    });
    done.unwrap_or_else(|| vec![Mistake::of_file("rules", "the rules could not be validated; try again")])
}

/// Grants of one schema. Cedar's validator looks at every action for each rule, so that rules which
/// name their grants are validated against those and not against all.
const PART: usize = 16;

fn validate(rules: &[Rule], schema: Schema, catalogue: &Catalogue, bundle: &Bundle) -> Vec<Mistake> {
    let mut rest: Vec<&Rule> = rules.iter().collect();
    let mut mistakes = Vec::new();
    for part in parts(catalogue) {
        let only: BTreeSet<_> = grants(&part).collect();
        let named = |rule: &&Rule| rule.actions.names_only(&only);
        let (mine, others) = rest.into_iter().partition(named);
        rest = others;
        match Schema::from_cedarschema_str(&schema::text(&part)) {
            Ok((schema, _)) => mistakes.extend(against(schema, &mine, rules, (catalogue, bundle))),
            Err(error) => return vec![Mistake::of_file("bundle.toml", format!("schema: {error}"))],
        }
    }
    mistakes.extend(against(schema, &rest, rules, (catalogue, bundle)));
    mistakes
}

/// The catalogue with a few of its grants each, where it has many.
fn parts(catalogue: &Catalogue) -> Vec<Catalogue> {
    let all: Vec<String> = grants(catalogue).collect();
    if all.len() <= PART {
        return Vec::new();
    }
    let part = |kept: &[String]| {
        let kept: BTreeSet<&String> = kept.iter().collect();
        let mut part = catalogue.clone();
        for (name, target) in &mut part.targets {
            target
                .grants
                .retain(|grant, _| kept.contains(&format!("{name}/{grant}")));
        }
        part
    };
    all.chunks(PART).map(part).collect()
}

fn grants(catalogue: &Catalogue) -> impl Iterator<Item = String> {
    let of = |(name, target): (&Name, &Target)| {
        let ids: Vec<_> = target.grants.keys().map(|grant| format!("{name}/{grant}")).collect();
        ids
    };
    catalogue.targets.iter().flat_map(of)
}

fn against(schema: Schema, some: &[&Rule], rules: &[Rule], (catalogue, bundle): (&Catalogue, &Bundle)) -> Vec<Mistake> {
    let set = match PolicySet::from_policies(some.iter().map(|rule| rule.policy.clone())) {
        Ok(set) => set,
        Err(error) => return vec![Mistake::of_file("rules", error.to_string())],
    };
    let validator = Validator::new(schema);
    let result = validator.validate(&set, ValidationMode::Strict);
    let errors = result.validation_errors().filter_map(|error| {
        let rule = by_id(rules, error.policy_id())?;
        let idle = matches!(error, ValidationError::InvalidActionApplication(_)) && waits(rule, catalogue);
        (!idle).then(|| (rule, rule.complaint(bundle, &told(error, validator.schema()))))
    });
    // The same words may be wrong for each of many grants: once is enough. What is wrong also makes a
    // rule impossible, so warnings are told of rules without errors. Cedar goes through grants in no order: the first word by the
    // alphabet is told.
    let mut found = BTreeMap::new();
    for (rule, mistake) in errors {
        let place = (&rule.id, mistake.line, mistake.column);
        let told: &mut Mistake = found.entry(place).or_insert_with(|| mistake.clone());
        if mistake < *told {
            *told = mistake;
        }
    }
    let warnings = result.validation_warnings().filter_map(|warning| {
        let rule = by_id(rules, warning.policy_id())?;
        let idle = matches!(
            warning,
            ValidationWarning::InvalidActionApplication(_) | ValidationWarning::ImpossiblePolicy(_)
        ) && waits(rule, catalogue);
        let told = idle || found.keys().any(|(id, _, _)| **id == rule.id);
        (!told).then(|| rule.complaint(bundle, &DetailedError::from(warning)))
    });
    let warnings: Vec<_> = warnings.collect();
    found.into_values().chain(warnings).collect()
}

/// The error with a proposal of ours for names that it does not know: Cedar's is another one each time where several are as near.
fn told(error: &ValidationError, schema: &Schema) -> DetailedError {
    let mut told = DetailedError::from(error);
    let name = told.message.rsplit('`').nth(1).unwrap_or_default();
    let proposal = match error {
        ValidationError::UnrecognizedActionId(_) => meant(name, schema.actions()),
        ValidationError::UnrecognizedEntityType(_) => meant(name, schema.entity_types()),
        _ => return told,
    };
    told.help = proposal.map(|name| format!("did you mean `{name}`?"));
    told
}

fn by_id<'r>(rules: &'r [Rule], id: &cedar_policy::PolicyId) -> Option<&'r Rule> {
    rules.get(id.to_string().parse::<usize>().ok()?)
}

/// A forbid over risks that no grant has yet: it waits for the first one.
fn waits(rule: &Rule, catalogue: &Catalogue) -> bool {
    let used = |risk: &Risk| {
        let grants = catalogue.targets.values().flat_map(|target| target.grants.values());
        grants.into_iter().any(|grant| grant.risk == *risk)
    };
    let over_risks = !rule.actions.all && rule.actions.ids.is_empty();
    !rule.permits && over_risks && !rule.actions.risks.iter().any(used)
}

fn own_mistakes(rule: &Rule, catalogue: &Catalogue) -> Vec<String> {
    let mut found = Vec::new();
    if rule.permits && rule.actions.all {
        found.push(
            "a permit for every action is refused; name the grant: action == Action::\"target/grant\"".to_owned(),
        );
    }
    found.extend(resource(rule));
    found.extend(
        rule.policy
            .entity_literals()
            .iter()
            .filter_map(|uid| undeclared(uid, catalogue)),
    );
    if asks_for_actors_groups(&rule.policy) {
        found.push("the groups of an actor are not known, so this never matches; name the agent itself".to_owned());
    }
    let in_group = rule
        .principal
        .as_ref()
        .is_some_and(|uid| uid.type_name().basename() == "Group");
    if in_group && rule.actions.ids.contains(ACT_FOR) {
        found.push(
            "the groups of an agent that acts are not known, so this never matches; name the agent itself".to_owned(),
        );
    }
    found
}

/// A rule about grants must be about their own target.
fn resource(rule: &Rule) -> Option<String> {
    let grants: Vec<QualifiedId> = rule.actions.ids.iter().filter_map(|id| id.parse().ok()).collect();
    if rule.permits && (!grants.is_empty() || !rule.actions.risks.is_empty()) {
        let exact = matches!(rule.policy.resource_constraint(), ResourceConstraint::Eq(_));
        if !exact || rule.target.is_none() {
            let target = grants.first().map_or("NAME", |id| id.qualifier.as_str());
            return Some(format!(
                "a permit for a grant names its target; write: resource == Target::\"{target}\""
            ));
        }
    }
    let named = rule.target.as_ref()?;
    let stranger = grants.iter().find(|id| id.qualifier.as_str() != named)?;
    let target = &stranger.qualifier;
    Some(format!(
        "`{stranger}` is a grant of Target::\"{target}\", not of Target::\"{named}\"; this never matches"
    ))
}

/// Ids that the schema cannot enumerate, and the one that it has only because it must have one.
fn undeclared(uid: &EntityUid, catalogue: &Catalogue) -> Option<String> {
    let id = uid.id().unescaped();
    let parts: Option<QualifiedId> = id.parse().ok();
    match uid.type_name().basename() {
        "User" => {
            let known = |alias: &Name| catalogue.issuers.contains_key(alias);
            (!parts.is_some_and(|id| known(&id.qualifier)))
                .then(|| format!("`{uid}`: no issuer is declared under that alias; write User::\"issuer/name\""))
        }
        "Agent" => {
            let known = |id: &QualifiedId| {
                let agent = catalogue.agents.get(id.local.as_str());
                agent.is_some_and(|agent| agent.issuer == id.qualifier)
            };
            (!parts.as_ref().is_some_and(known))
                .then(|| format!("`{uid}` is not declared; write Agent::\"issuer/file\" for a file under agents/"))
        }
        "Action" | "Log" => None,
        _ => (id == NOTHING).then(|| format!("`{uid}` is not declared")),
    }
}

fn asks_for_actors_groups(policy: &Policy) -> bool {
    if !policy
        .entity_literals()
        .iter()
        .any(|uid| uid.type_name().basename() == "Group")
    {
        return false;
    }
    policy.to_json().is_ok_and(|rule| has_actor_in(&rule))
}

fn has_actor_in(value: &Value) -> bool {
    let actor = json!({ ".": { "left": { "Var": "context" }, "attr": "actor" } });
    match value {
        Value::Object(members) => {
            let left = |test: &'static str| members.get(test).and_then(|test| test.get("left")) == Some(&actor);
            let is_in = left("is") && members.get("is").is_some_and(|test| test.get("in").is_some());
            left("in") || is_in || members.values().any(has_actor_in)
        }
        Value::Array(items) => items.iter().any(has_actor_in),
        _ => false,
    }
}
