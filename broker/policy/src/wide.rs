//! Forbids over action groups, which every request of the group meets: tried as one before each is asked.

use cedar_policy::{Authorizer, Effect, Entities, Policy, PolicyId, PolicySet, Request};
use serde_json::{Value, json};

use crate::{names::Unusable, rules::Rule, slices::Matches};

/// Each rule costs the engine more than its condition does: from so many on they are tried as one.
const WORTH: usize = 4;

/// A set of forbids.
#[derive(Debug, Default)]
pub(crate) struct Wide {
    each: PolicySet,
    /// One forbid whose condition is that one of theirs holds. Where it neither matches nor fails, none of them does.
    any: Option<PolicySet>,
}

impl Wide {
    pub(crate) fn new(forbids: &[&Rule]) -> Result<Self, Unusable> {
        let policies = || forbids.iter().map(|rule| &rule.policy);
        let any = match forbids.len() >= WORTH {
            true => Some(PolicySet::from_policies([any_of(policies())?])?),
            false => None,
        };
        Ok(Self {
            each: PolicySet::from_policies(policies().cloned())?,
            any,
        })
    }

    /// Adds those that match and those that fail.
    pub(crate) fn matches(&self, engine: &Authorizer, request: &Request, entities: &Entities, matches: &mut Matches) {
        let none = |any| {
            let response = engine.is_authorized(request, any, entities);
            let mut found = response.diagnostics().reason();
            let mut failed = response.diagnostics().errors();
            found.next().is_none() && failed.next().is_none()
        };
        if !self.any.as_ref().is_some_and(none) {
            matches.add(engine, request, &self.each, entities);
        }
    }
}

/// In Cedar's JSON form (<https://docs.cedarpolicy.com/policies/json-format.html>), where scope and conditions become one
/// expression: `||` stops at the first that holds or fails, so a forbid that is false was asked about all.
fn any_of<'p>(forbids: impl Iterator<Item = &'p Policy>) -> Result<Policy, Unusable> {
    let mut conditions = Vec::new();
    for forbid in forbids {
        debug_assert_eq!(forbid.effect(), Effect::Forbid);
        conditions.push(condition(&forbid.to_json()?)?);
    }
    let anything = json!({"op": "All"});
    let rule = json!({
        "effect": "forbid",
        "principal": anything,
        "action": anything,
        "resource": anything,
        "conditions": [{"kind": "when", "body": halved("||", &conditions)}],
    });
    Ok(Policy::from_json(Some(PolicyId::new("any")), rule)?)
}

/// When a rule matches: its scope, then its conditions.
fn condition(rule: &Value) -> Result<Value, Unusable> {
    let mut all = Vec::new();
    for variable in ["principal", "action", "resource"] {
        all.extend(constraint(variable, &rule[variable])?);
    }
    for condition in rule["conditions"].as_array().into_iter().flatten() {
        let body = condition["body"].clone();
        match condition["kind"].as_str() {
            Some("when") => all.push(body),
            Some("unless") => all.push(json!({"!": {"arg": body}})),
            _ => return Err(unknown()),
        }
    }
    Ok(all
        .into_iter()
        .reduce(|left, right| json!({"&&": {"left": left, "right": right}}))
        .unwrap_or_else(|| json!({"Value": true})))
}

/// A scope's constraint as an expression; `None` for any.
fn constraint(variable: &str, scope: &Value) -> Result<Option<Value>, Unusable> {
    let var = json!({"Var": variable});
    let entity = |entity: &Value| json!({"Value": {"__entity": entity}});
    let right = match (&scope["entity"], scope["entities"].as_array()) {
        (_, Some(entities)) => json!({"Set": entities.iter().map(entity).collect::<Vec<_>>()}),
        (one, None) => entity(one),
    };
    Ok(match scope["op"].as_str() {
        Some("All") => None,
        Some(op @ ("==" | "in")) => Some(json!({op: {"left": var, "right": right}})),
        Some("is") => {
            let mut is = json!({"left": var, "entity_type": scope["entity_type"]});
            if let Some(within) = scope.get("in") {
                is["in"] = entity(&within["entity"]);
            }
            Some(json!({"is": is}))
        }
        _ => return Err(unknown()),
    })
}

fn unknown() -> Unusable {
    Unusable("a rule has a form that is not known".to_owned())
}

/// A chain of thousands would be as deep as it is long.
fn halved(operator: &str, parts: &[Value]) -> Value {
    match parts {
        [one] => one.clone(),
        [] => json!({"Value": false}),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            json!({operator: {"left": halved(operator, left), "right": halved(operator, right)}})
        }
    }
}
