//! The decision: one question, the slice of its grant, the engine's answer with reasons.

use std::collections::BTreeSet;

use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Expression};
use procura_core::{
    Timestamp,
    catalogue::Catalogue,
    identity::{LogIn, Principal, Subject},
    judgement::{Effect, Judge, OperatorAction, Question, RuleFacts, Verdict},
    params::{ParamValue, Params},
};
use procura_wire::{Digest, Name, QualifiedId};

use crate::{
    Loaded,
    names::{ACT_FOR, LOG_OF_ALL},
    near,
    rules::Reads,
    slices::{Matches, Slice},
};

/// A request in the engine's terms, with all that it is judged by.
pub(crate) struct Asked<'a> {
    pub(crate) slice: &'a Slice,
    pub(crate) request: Request,
    pub(crate) entities: Entities,
    /// The principal and the groups that it is in.
    pub(crate) keys: Vec<EntityUid>,
}

impl Judge for Loaded {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn decide(&self, question: &Question<'_>) -> Verdict {
        match self.slices.grant(question.target, question.grant) {
            Some(slice) => self.answer(self.ask(slice, question, slice.reads)),
            None => verdict(Effect::Deny, Vec::new()),
        }
    }

    fn may_act_for(&self, agent: &Principal, subject: &Subject, now: Timestamp) -> Verdict {
        let whom = self.entity(&subject.principal, &subject.token.groups);
        let request = || {
            let slice = self.slices.other(ACT_FOR)?;
            let principal = self.names.principal(agent);
            let context = Context::from_pairs([("now".to_owned(), moment(now))]).ok()?;
            let action = slice.action.clone();
            Some(Asked {
                slice,
                request: Request::new(principal.clone(), action, whom.uid(), context, None).ok()?,
                entities: slice.entities(whom).ok()?,
                keys: vec![principal],
            })
        };
        self.answer(request())
    }

    fn rules(&self) -> Vec<RuleFacts> {
        self.rules.iter().map(|rule| rule.facts(&self.catalogue)).collect()
    }

    fn operator(&self, operator: &Subject, action: OperatorAction, target: Option<&Name>, now: Timestamp) -> Verdict {
        let request = || {
            let slice = self.slices.other(action.as_str())?;
            let resource = match target {
                Some(target) => self.names.target(target.as_str()),
                None => self.names.log(LOG_OF_ALL),
            };
            let context = Context::from_pairs([("now".to_owned(), moment(now))]).ok()?;
            self.asked(slice, operator, resource, context)
        };
        self.answer(request())
    }
}

impl Loaded {
    /// The question as the engine takes it; `None` for values that it cannot hold.
    pub(crate) fn ask<'a>(&self, slice: &'a Slice, question: &Question<'_>, reads: Reads) -> Option<Asked<'a>> {
        let context = Context::from_pairs(self.context(question, reads)?).ok()?;
        let resource = self.names.target(question.target.as_str());
        self.asked(slice, question.subject, resource, context)
    }

    fn asked<'a>(
        &self,
        slice: &'a Slice,
        subject: &Subject,
        resource: EntityUid,
        context: Context,
    ) -> Option<Asked<'a>> {
        let principal = self.names.principal(&subject.principal);
        let groups = subject
            .token
            .groups
            .iter()
            .map(|group| self.names.group(&group.to_string()));
        let keys: Vec<_> = [principal.clone()].into_iter().chain(groups).collect();
        let entity = Entity::new_no_attrs(principal.clone(), keys.iter().skip(1).cloned().collect());
        Some(Asked {
            slice,
            request: Request::new(principal, slice.action.clone(), resource, context, None).ok()?,
            entities: slice.entities(entity).ok()?,
            keys,
        })
    }

    fn entity(&self, principal: &Principal, groups: &BTreeSet<QualifiedId>) -> Entity {
        let groups = groups.iter().map(|group| self.names.group(&group.to_string()));
        Entity::new_no_attrs(self.names.principal(principal), groups.collect())
    }

    /// Default deny; a forbid before everything, an error before a permit.
    fn answer(&self, asked: Option<Asked<'_>>) -> Verdict {
        let Some(asked) = asked else {
            return verdict(Effect::Error, Vec::new());
        };
        let matches = asked
            .slice
            .matches(&self.engine, &asked.request, &asked.entities, &asked.keys);
        let mut verdict = self.verdict(&matches);
        if verdict.effect == Effect::Deny && verdict.rules.is_empty() {
            verdict.near = near::misses(&self.engine, &self.rules, &asked);
        }
        verdict
    }

    pub(crate) fn verdict(&self, matches: &Matches) -> Verdict {
        let (effect, rules) = if !matches.forbids.is_empty() {
            (Effect::Deny, &matches.forbids)
        } else if !matches.errors.is_empty() {
            (Effect::Error, &matches.errors)
        } else if !matches.permits.is_empty() {
            (Effect::Permit, &matches.permits)
        } else {
            (Effect::Deny, &matches.forbids)
        };
        let ids = rules.iter().filter_map(|index| self.rules.get(*index));
        verdict(effect, ids.map(|rule| rule.id.clone()).collect())
    }

    fn context(&self, question: &Question<'_>, reads: Reads) -> Option<Vec<(String, Expression)>> {
        let token = &question.subject.token;
        let mut pairs = Vec::new();
        let mut put = |name: &str, value: &dyn Fn() -> Option<Expression>| {
            if reads.has(name) {
                pairs.push((name.to_owned(), value()?));
            }
            Some(())
        };
        let uid = |uid| Some(Expression::new_entity_uid(uid));
        put("server", &|| uid(self.names.server(question.server.as_str())))?;
        if let Some(tool) = question.tool {
            put("tool", &|| uid(self.names.tool(&format!("{}/{tool}", question.server))))?;
        }
        if let Some(agent) = &question.actor.agent {
            put("actor", &|| uid(self.names.agent(&agent.to_string())))?;
        }
        put("session", &|| {
            let session = [("age", question.session.age), ("issuances", question.session.issuances)];
            record(session.map(|(name, count)| (name, long(count))))
        })?;
        put("subject_scopes", &|| Some(set(token.scopes.iter().flatten())))?;
        put("ttl", &|| Some(duration(question.ttl.as_millis())))?;
        put("auth", &|| log_in(&token.auth, question.now))?;
        put("now", &|| Some(moment(question.now)))?;
        put("params", &|| params(question.params))?;
        Some(pairs)
    }
}

fn verdict(effect: Effect, rules: Vec<String>) -> Verdict {
    let near = Vec::new();
    Verdict { effect, rules, near }
}

fn record<const N: usize>(fields: [(&str, Expression); N]) -> Option<Expression> {
    Expression::new_record(fields.map(|(name, value)| (name.to_owned(), value))).ok()
}

fn long(count: u64) -> Expression {
    Expression::new_long(i64::try_from(count).unwrap_or(i64::MAX))
}

fn set<'a>(texts: impl Iterator<Item = &'a String>) -> Expression {
    Expression::new_set(texts.map(|text| Expression::new_string(text.clone())))
}

fn duration(millis: u128) -> Expression {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Expression::new_duration(format!("{millis}ms"))
}

fn moment(time: Timestamp) -> Expression {
    Expression::new_datetime(time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// A log-in in the future, by a clock that runs ahead, is one of now.
fn log_in(auth: &LogIn, now: Timestamp) -> Option<Expression> {
    let age = auth
        .time
        .map(|time| now.duration_since(time).as_millis().max(0).unsigned_abs());
    let optional = [
        auth.acr
            .clone()
            .map(|acr| ("acr".to_owned(), Expression::new_string(acr))),
        age.map(|age| ("age".to_owned(), duration(age))),
    ];
    let amr = ("amr".to_owned(), set(auth.amr.iter()));
    Expression::new_record(optional.into_iter().flatten().chain([amr])).ok()
}

fn params(params: &Params) -> Option<Expression> {
    let expression = |value: &ParamValue| match value {
        ParamValue::Bool(value) => Expression::new_bool(*value),
        ParamValue::Int(value) => Expression::new_long(*value),
        ParamValue::Text(value) => Expression::new_string(value.clone()),
        ParamValue::Set(values) => set(values.iter()),
    };
    Expression::new_record(params.iter().map(|(name, value)| (name.clone(), expression(value)))).ok()
}
