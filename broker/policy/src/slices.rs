//! Rules cut by action, and permits by principal, so that the engine sees a handful.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet,
    Request, Schema,
};
use procura_core::{
    catalogue::{Catalogue, Risk},
    judgement::OperatorAction,
};
use procura_wire::Name;

use crate::{
    names::{ACT_FOR, ALL_RISKS, ISSUE, Names, Unusable, group_of},
    rules::{Reads, Rule},
    wide::Wide,
};

/// The rules that can match requests of one action.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) action: EntityUid,
    /// The action with its groups. Cedar takes that hierarchy from here and not from the schema.
    entities: Entities,
    /// Forbids over every action, or every grant of the risk; one set for all such slices.
    wide: Arc<Wide>,
    /// Forbids of the action, and permits that anybody may match.
    own: PolicySet,
    /// Permits by what the subject must be or be in.
    keyed: HashMap<EntityUid, PolicySet>,
    /// Every permit, as an index into the rules.
    pub(crate) permits: Vec<usize>,
    /// What any of them reads.
    pub(crate) reads: Reads,
}

/// Rules that matched, as indices into the rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Matches {
    pub(crate) permits: BTreeSet<usize>,
    pub(crate) forbids: BTreeSet<usize>,
    pub(crate) errors: BTreeSet<usize>,
}

impl Matches {
    /// Adds the answer over one set of rules.
    pub(crate) fn add(&mut self, engine: &Authorizer, request: &Request, rules: &PolicySet, entities: &Entities) {
        if rules.is_empty() {
            return;
        }
        let response = engine.is_authorized(request, rules, entities);
        let index = |id: &PolicyId| AsRef::<str>::as_ref(id).parse::<usize>().ok();
        let reasons = response.diagnostics().reason().filter_map(index);
        match response.decision() {
            Decision::Allow => self.permits.extend(reasons),
            Decision::Deny => self.forbids.extend(reasons),
        }
        let id_of = |error: &AuthorizationError| match error {
            AuthorizationError::PolicyEvaluationError(error) => index(error.policy_id()),
        };
        // An error that names no rule is still an error.
        let errors = response.diagnostics().errors();
        self.errors
            .extend(errors.map(|error| id_of(error).unwrap_or(usize::MAX)));
    }
}

impl Slice {
    /// The action's own entities and these.
    pub(crate) fn entities(&self, others: Entity) -> Result<Entities, Unusable> {
        Ok(self.entities.clone().add_entities([others], None)?)
    }

    /// Evaluates all that can match: `keys` are the principal and the groups that it is in.
    pub(crate) fn matches(
        &self,
        engine: &Authorizer,
        request: &Request,
        entities: &Entities,
        keys: &[EntityUid],
    ) -> Matches {
        let mut matches = Matches::default();
        let keyed = keys.iter().filter_map(|key| self.keyed.get(key));
        self.wide.matches(engine, request, entities, &mut matches);
        for rules in [&self.own].into_iter().chain(keyed) {
            matches.add(engine, request, rules, entities);
        }
        matches
    }

    fn take(&mut self, index: usize, rule: &Rule) -> Result<(), Unusable> {
        if rule.permits {
            self.permits.push(index);
        }
        self.reads = self.reads.and(rule.reads);
        let set = match &rule.principal {
            Some(key) if rule.permits => self.keyed.entry(key.clone()).or_default(),
            _ => &mut self.own,
        };
        set.add(rule.policy.clone()).map_err(Unusable::from)
    }
}

/// A forbid over an action group, to be tried on the actions in it.
pub(crate) fn trial(group: &str) -> Result<PolicySet, Unusable> {
    let rule = format!("forbid (principal, action in Action::\"{group}\", resource);");
    Ok(PolicySet::from_policies([Policy::parse(None, rule)?])?)
}

/// Whether the forbid reaches the action.
pub(crate) fn fires(engine: &Authorizer, trial: &PolicySet, action: &EntityUid, entities: &Entities) -> bool {
    let request = Request::new(action.clone(), action.clone(), action.clone(), Context::empty(), None);
    request.is_ok_and(|request| {
        let response = engine.is_authorized(&request, trial, entities);
        response.diagnostics().reason().count() == 1
    })
}

/// Every slice of a bundle.
#[derive(Debug)]
pub(crate) struct Slices {
    /// By target and grant.
    grants: BTreeMap<Name, BTreeMap<Name, Slice>>,
    /// `act_for` and operators' actions.
    others: BTreeMap<&'static str, Slice>,
}

impl Slices {
    pub(crate) fn new(rules: &[Rule], catalogue: &Catalogue, schema: &Schema, names: &Names) -> Result<Self, Unusable> {
        let actions = schema.action_entities()?;
        let wide = wide_sets(rules)?;
        let slice = |id: &str, risk: Option<Risk>| empty(names.action(id), &actions, &wide, risk);
        let mut slices = Self {
            grants: BTreeMap::new(),
            others: BTreeMap::new(),
        };
        for (target, file) in &catalogue.targets {
            let of = |(name, grant): (&Name, &procura_core::catalogue::Grant)| {
                Ok((name.clone(), slice(&format!("{target}/{name}"), Some(grant.risk))?))
            };
            let grants: Result<_, Unusable> = file.grants.iter().map(of).collect();
            slices.grants.insert(target.clone(), grants?);
        }
        for id in OperatorAction::ALL
            .map(OperatorAction::as_str)
            .into_iter()
            .chain([ACT_FOR])
        {
            slices.others.insert(id, slice(id, None)?);
        }
        for (index, rule) in rules.iter().enumerate() {
            slices.place(index, rule, catalogue)?;
        }
        slices.try_groups(catalogue)?;
        Ok(slices)
    }

    /// The slice of a grant.
    pub(crate) fn grant(&self, target: &Name, grant: &Name) -> Option<&Slice> {
        self.grants.get(target)?.get(grant)
    }

    /// The slice of an action that is no grant.
    pub(crate) fn other(&self, action: &str) -> Option<&Slice> {
        self.others.get(action)
    }

    fn place(&mut self, index: usize, rule: &Rule, catalogue: &Catalogue) -> Result<(), Unusable> {
        for id in &rule.actions.ids {
            let slice = match id.split_once('/') {
                // A risk that is also named stands in the wide set, or comes below.
                Some((target, grant)) if !covers(rule, catalogue, target, grant) => {
                    self.grants.get_mut(target).and_then(|grants| grants.get_mut(grant))
                }
                Some(_) => None,
                None => self.others.get_mut(id.as_str()),
            };
            if let Some(slice) = slice {
                slice.take(index, rule)?;
            }
        }
        if !rule.permits {
            return Ok(());
        }
        // A permit names its one target, so a risk means the grants of that target.
        let Some(target) = rule.target.as_deref() else {
            return Ok(());
        };
        for (grant, slice) in self.grants.get_mut(target).into_iter().flatten() {
            if covers(rule, catalogue, target, grant.as_str()) {
                slice.take(index, rule)?;
            }
        }
        Ok(())
    }

    /// Tries on every grant whether a forbid over its risk, and one over all grants, would reach it.
    fn try_groups(&self, catalogue: &Catalogue) -> Result<(), Unusable> {
        let engine = Authorizer::new();
        let all = trial(ISSUE)?;
        for risk in ALL_RISKS {
            let of_risk = trial(group_of(risk))?;
            for (target, file) in &catalogue.targets {
                for (name, _) in file.grants.iter().filter(|(_, grant)| grant.risk == risk) {
                    let reached = self.grant(target, name).is_some_and(|slice| {
                        let reaches = |trial| fires(&engine, trial, &slice.action, &slice.entities);
                        reaches(&all) && reaches(&of_risk)
                    });
                    if !reached {
                        let text = "forbids over action groups would not reach it, so the bundle is not safe to use";
                        return Err(Unusable(format!("{target}/{name}: {text}")));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the rule is about the grant by its risk.
fn covers(rule: &Rule, catalogue: &Catalogue, target: &str, grant: &str) -> bool {
    let grant = catalogue
        .targets
        .get(target)
        .and_then(|target| target.grants.get(grant));
    grant.is_some_and(|grant| rule.actions.risks.contains(&grant.risk))
}

/// Forbids over all actions (under `None`), and over all grants of a risk.
type ByRisk = BTreeMap<Option<Risk>, (Arc<Wide>, Reads)>;

fn wide_sets(rules: &[Rule]) -> Result<ByRisk, Unusable> {
    let kinds = ALL_RISKS.into_iter().map(Some).chain([None]);
    kinds
        .map(|risk| {
            let reaches =
                |rule: &&Rule| rule.actions.all || risk.is_some_and(|risk| rule.actions.risks.contains(&risk));
            let forbids: Vec<&Rule> = rules.iter().filter(|rule| !rule.permits).filter(reaches).collect();
            let reads = forbids.iter().map(|rule| rule.reads).fold(Reads::default(), Reads::and);
            Ok((risk, (Arc::new(Wide::new(&forbids)?), reads)))
        })
        .collect()
}

fn empty(action: EntityUid, actions: &Entities, wide: &ByRisk, risk: Option<Risk>) -> Result<Slice, Unusable> {
    let above = actions.ancestors(&action).into_iter().flatten();
    let (wide, reads) = wide.get(&risk).cloned().unwrap_or_default();
    let needed = above.chain([&action]).filter_map(|uid| actions.get(uid)).cloned();
    Ok(Slice {
        entities: Entities::from_entities(needed.collect::<Vec<_>>(), None)?,
        wide,
        reads,
        own: PolicySet::new(),
        keyed: HashMap::new(),
        permits: Vec::new(),
        action,
    })
}
