//! `rules/*.cedar`: parsed, and checked for what Cedar itself does not mind.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::OnceLock,
};

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint,
    ffi::DetailedError,
};
use procura_core::catalogue::Risk;
use serde_json::Value;

use crate::{
    bundle::Bundle,
    declare::listed,
    mistake::{Mistake, plain_text},
    names::risks_of,
    text::{self, Clause, Statement},
};

/// One rule of the bundle.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its `@id`.
    pub(crate) id: String,
    /// Its text, under its index as the policy id.
    pub(crate) policy: Policy,
    pub(crate) permits: bool,
    /// What the subject must be or be in for the rule to match; `None` where anybody may.
    pub(crate) principal: Option<EntityUid>,
    pub(crate) actions: Actions,
    /// The one target that it is about; `None` where it may be about any.
    pub(crate) target: Option<String>,
    pub(crate) reads: Reads,
    pub(crate) clauses: Vec<Clause>,
    /// Each clause as a rule under its index, made when first asked for.
    pub(crate) split: OnceLock<PolicySet>,
    pub(crate) file: String,
    pub(crate) start: usize,
}

/// The members that the context of a request for a grant may have.
const MEMBERS: [&str; 9] = [
    "server",
    "tool",
    "actor",
    "session",
    "subject_scopes",
    "ttl",
    "auth",
    "now",
    "params",
];

/// Which of them are read, a bit for each: what nobody reads is not built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reads(u16);

impl Reads {
    pub(crate) const ALL: Self = Self(u16::MAX);

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has(self, member: &str) -> bool {
        self.0 & Self::of_member(member).0 != 0
    }

    fn of_member(member: &str) -> Self {
        let at = MEMBERS.iter().position(|name| *name == member);
        at.map_or(Self::ALL, |at| Self(1 << at))
    }

    fn of(policy: &Policy) -> Self {
        policy.to_json().map_or(Self::ALL, |rule| Self::in_json(&rule))
    }

    /// In Cedar's JSON form `context.x` is `{".": {"left": {"Var": "context"}, "attr": "x"}}`, `has` is alike.
    /// Where the context stands in any other place all of it is read.
    fn in_json(value: &Value) -> Self {
        match value {
            Value::Array(items) => items.iter().map(Self::in_json).fold(Self::default(), Self::and),
            Value::Object(_) if is_context(value) => Self::ALL,
            Value::Object(members) => members
                .iter()
                .map(|(operator, value)| match (operator.as_str(), &value["attr"]) {
                    ("." | "has", Value::String(member)) if is_context(&value["left"]) => Self::of_member(member),
                    _ => Self::in_json(value),
                })
                .fold(Self::default(), Self::and),
            _ => Self::default(),
        }
    }
}

fn is_context(value: &Value) -> bool {
    value["Var"] == "context"
}

/// Which actions a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    /// Every action.
    pub(crate) all: bool,
    /// Every grant of these risks.
    pub(crate) risks: BTreeSet<Risk>,
    /// These actions by id: grants, `act_for`, operators' actions.
    pub(crate) ids: BTreeSet<String>,
}

impl Actions {
    /// Whether it is about grants by their ids, all of them among these.
    pub(crate) fn names_only(&self, grants: &BTreeSet<String>) -> bool {
        !self.all && self.risks.is_empty() && !self.ids.is_empty() && self.ids.is_subset(grants)
    }
}

/// Reads every rule file. A file that does not parse gives its mistakes and no rules.
pub(crate) fn read(bundle: &Bundle, mistakes: &mut Vec<Mistake>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (path, _, bytes) in listed(bundle, "rules", ".cedar") {
        match plain_text(path, bytes) {
            Ok(source) => file(path, source, &mut rules, mistakes),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let mut first = BTreeMap::new();
    for rule in &rules {
        let earlier = first.entry(rule.id.as_str()).or_insert(rule);
        if !std::ptr::eq(*earlier, rule) {
            let text = format!(
                "the id `{}` is taken by a rule in {}; choose another",
                rule.id, earlier.file
            );
            mistakes.push(rule.mistake(bundle, text));
        }
    }
    rules
}

fn file(path: &str, source: &str, rules: &mut Vec<Rule>, mistakes: &mut Vec<Mistake>) {
    let statements = match text::statements(source) {
        Ok(statements) => statements,
        Err((at, problem)) => return mistakes.push(Mistake::at(path, source, at, problem)),
    };
    let set = match PolicySet::from_str(source) {
        Ok(set) => set,
        Err(errors) => {
            let mistake = |error| located(path, source, 0, &DetailedError::from(error));
            return mistakes.extend(errors.iter().map(mistake));
        }
    };
    // Cedar names the rules of a file policy0, policy1, … in their order.
    for (index, statement) in statements.into_iter().enumerate() {
        let id = PolicyId::new(format!("policy{index}"));
        if set.template(&id).is_some() {
            let text = "this is a template; write ?principal and ?resource out, a template permits nothing by itself";
            mistakes.push(Mistake::at(path, source, statement.start, text));
        } else if let Some(policy) = set.policy(&id) {
            if let Err(problem) = name_of(policy) {
                mistakes.push(Mistake::at(path, source, statement.start, problem));
            }
            rules.push(rule(policy, rules.len(), path, statement));
        }
    }
}

fn name_of(policy: &Policy) -> Result<&str, &'static str> {
    let id = policy.annotation("id").unwrap_or_default();
    let fits = (1..=100).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_graphic());
    fits.then_some(id).ok_or(
        "the rule needs an id of 1 to 100 printable characters before it; write for example @id(\"support-reads\")",
    )
}

fn rule(policy: &Policy, index: usize, path: &str, statement: Statement) -> Rule {
    Rule {
        // Without an id the bundle is refused; until then the place tells rules apart.
        id: name_of(policy).map_or_else(|_| format!("{path}#{index}"), str::to_owned),
        policy: policy.new_id(PolicyId::new(index.to_string())),
        permits: policy.effect() == Effect::Permit,
        principal: match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                Some(uid)
            }
        },
        actions: actions(&policy.action_constraint()),
        target: match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
                (uid.type_name().basename() == "Target").then(|| uid.id().unescaped().to_owned())
            }
        },
        reads: Reads::of(policy),
        clauses: statement.clauses,
        split: OnceLock::new(),
        file: path.to_owned(),
        start: statement.start,
    }
}

fn actions(constraint: &ActionConstraint) -> Actions {
    let named = match constraint {
        ActionConstraint::Any => {
            return Actions {
                all: true,
                ..Actions::default()
            };
        }
        ActionConstraint::Eq(uid) => std::slice::from_ref(uid),
        ActionConstraint::In(uids) => uids,
    };
    let mut actions = Actions::default();
    for uid in named {
        let id = uid.id().unescaped();
        match (risks_of(id), constraint) {
            // `==` a group is no request's action; the validator says so.
            (Some(risks), ActionConstraint::In(_)) => actions.risks.extend(risks),
            _ => drop(actions.ids.insert(id.to_owned())),
        }
    }
    actions
}

impl Rule {
    /// A mistake at the beginning of the rule.
    pub(crate) fn mistake(&self, bundle: &Bundle, text: impl Into<String>) -> Mistake {
        Mistake::at(&self.file, source(bundle, &self.file), self.start, text)
    }

    /// What Cedar says about the rule, at the place that it says.
    pub(crate) fn complaint(&self, bundle: &Bundle, error: &DetailedError) -> Mistake {
        let mut mistake = located(&self.file, source(bundle, &self.file), self.start, error);
        // Cedar knows the rule by its index.
        let index = format!("for policy `{}`", self.policy.id());
        if let Some(text) = mistake.text.strip_prefix(&index) {
            mistake.text = format!("rule `{}`: {}", self.id, text.trim_start_matches([',', ':', ' ']));
        }
        mistake
    }

    /// Its clauses as rules of their own.
    pub(crate) fn split(&self) -> &PolicySet {
        self.split.get_or_init(|| {
            let rules = self.clauses.iter().enumerate().filter_map(|(index, clause)| {
                Policy::parse(Some(PolicyId::new(index.to_string())), clause.as_rule()).ok()
            });
            PolicySet::from_policies(rules).unwrap_or_default()
        })
    }
}

fn source<'b>(bundle: &'b Bundle, file: &str) -> &'b str {
    let bytes = bundle.file(file).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn located(path: &str, source: &str, start: usize, error: &DetailedError) -> Mistake {
    let at = error.source_locations.first().map_or(start, |label| label.loc.start);
    let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    Mistake::at(path, source, at, format!("{}{help}", error.message))
}
