//! Why a case comes out as it does, and cases as TOML.

use std::{collections::BTreeSet, fmt};

use procura_core::{
    judgement::{Effect, Judge, Verdict},
    params::ParamValue,
};
use procura_wire::Reason;
use toml::Value;

use crate::{
    Loaded,
    case::{self, Asking, Case},
    mistake::Mistake,
};

/// What comes out of a case, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Why the request does not even get to the rules: the server's file does not list the grant.
    pub ceiling: Option<Reason>,
    /// What the rules say: the deciding ones, or for a deny that none forbids the nearest permits.
    pub verdict: Verdict,
}

impl Explanation {
    /// Whether a credential would be minted.
    pub fn permits(&self) -> bool {
        self.ceiling.is_none() && self.verdict.effect == Effect::Permit
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.verdict.rules.join(", ");
        match (self.ceiling, self.verdict.effect) {
            (Some(reason), _) => return write!(f, "deny: {}", reason.text()),
            (None, Effect::Permit) => return write!(f, "permit by {rules}"),
            (None, Effect::Error) => return write!(f, "deny: a rule could not be evaluated: {rules}"),
            (None, Effect::Deny) if !rules.is_empty() => return write!(f, "deny: forbidden by {rules}"),
            (None, Effect::Deny) => write!(f, "deny: no rule permits it")?,
        }
        for near in &self.verdict.near {
            write!(f, "; {} does not, because this is false: {}", near.rule, near.clause)?;
        }
        Ok(())
    }
}

impl Loaded {
    /// Reads cases from a file's text; `expect` may be absent. `file` names it in mistakes.
    pub fn read_cases(&self, file: &str, text: &str) -> Result<Vec<Case>, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let cases = case::file(file, text.as_bytes(), &self.catalogue, &mut mistakes);
        if mistakes.is_empty() {
            Ok(cases.into_iter().map(|listed| listed.case).collect())
        } else {
            Err(mistakes)
        }
    }

    /// Decides a case as a request would be decided.
    pub fn explain(&self, case: &Case) -> Explanation {
        let ceiling = match self.catalogue.servers.get(&case.server) {
            Some(server) => server.reaches(case.tool.as_deref(), &case.grant).err(),
            None => Some(Reason::TargetNotAvailable),
        };
        let asking = Asking::new(case);
        let verdict = asking.question(case).map(|question| self.decide(&question));
        let nothing = Verdict {
            effect: Effect::Deny,
            rules: Vec::new(),
            near: Vec::new(),
        };
        Explanation {
            ceiling,
            verdict: verdict.unwrap_or(nothing),
        }
    }

    /// The case as a test that expects what is decided now, in the form of `tests/*.toml`.
    pub fn as_case(&self, case: &Case) -> String {
        let explanation = self.explain(case);
        let mut lines = vec!["[[case]]".to_owned()];
        let pairs = request(case).into_iter().chain(outcome(&explanation));
        lines.extend(pairs.map(|(name, value)| format!("{name} = {value}")));
        lines.join("\n") + "\n"
    }

    /// Runs a test of the bundle; a failure is a mistake at its place.
    pub(crate) fn run(&self, case: &Case, place: &Mistake) -> Option<Mistake> {
        let expect = case.expect.as_ref()?;
        let explanation = self.explain(case);
        let decided: BTreeSet<_> = match explanation.ceiling {
            Some(_) => BTreeSet::new(),
            None => explanation.verdict.rules.iter().cloned().collect(),
        };
        let by = expect.by.as_ref().is_none_or(|by| *by == decided);
        if explanation.permits() == expect.permit && by {
            return None;
        }
        let wanted = if expect.permit { "permit" } else { "deny" };
        let by = expect
            .by
            .iter()
            .map(|by| format!(" by {}", join(by)))
            .collect::<String>();
        let text = format!("the case `{}` expects {wanted}{by}; it is: {explanation}", case.name);
        Some(Mistake { text, ..place.clone() })
    }
}

fn join(ids: &BTreeSet<String>) -> String {
    ids.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn list<'a>(texts: impl IntoIterator<Item = &'a String>) -> Value {
    Value::Array(texts.into_iter().map(|text| Value::from(text.as_str())).collect())
}

fn request(case: &Case) -> Vec<(&'static str, Value)> {
    let mut subject = toml::Table::from_iter([(case.subject.kind().to_owned(), case.subject.id().to_string().into())]);
    if !case.groups.is_empty() {
        let groups: Vec<_> = case.groups.iter().map(|group| group.local.clone()).collect();
        subject.insert("groups".to_owned(), list(&groups));
    }
    let mut pairs = vec![("name", Value::from(case.name.as_str())), ("subject", subject.into())];
    pairs.extend(case.actor.as_ref().map(|actor| ("actor", actor.to_string().into())));
    pairs.push(("server", case.server.as_str().into()));
    pairs.extend(case.tool.as_deref().map(|tool| ("tool", tool.into())));
    pairs.push(("grant", case.grant.to_string().into()));
    if !case.params.is_empty() {
        let params = case.params.iter().map(|(name, value)| (name.clone(), param(value)));
        pairs.push(("params", Value::Table(params.collect())));
    }
    pairs.push(("at", case.at.to_string().into()));
    let session = [
        ("age", seconds(case.session.age)),
        (
            "issuances",
            i64::try_from(case.session.issuances)
                .ok()
                .filter(|n| *n > 0)
                .map(Value::from),
        ),
    ];
    pairs.extend(table("session", session));
    pairs.extend(seconds(case.ttl.as_secs()).map(|ttl| ("ttl", ttl)));
    let amr = (!case.auth.amr.is_empty()).then(|| list(&case.auth.amr));
    let auth = [
        ("acr", case.auth.acr.as_deref().map(Value::from)),
        ("amr", amr),
        // An age would lose the milliseconds that a rule may turn on.
        ("time", case.auth.time.map(|time| time.to_string().into())),
    ];
    pairs.extend(table("auth", auth));
    if !case.subject_scopes.is_empty() {
        pairs.push(("subject_scopes", list(&case.subject_scopes)));
    }
    pairs
}

fn outcome(explanation: &Explanation) -> Vec<(&'static str, Value)> {
    let expect = if explanation.permits() { "permit" } else { "deny" };
    let mut pairs = vec![("expect", Value::from(expect))];
    if explanation.ceiling.is_none() {
        pairs.push(("by", list(&explanation.verdict.rules)));
    }
    pairs
}

/// A length of time; `None` for zero, which is what absent means.
fn seconds(seconds: u64) -> Option<Value> {
    (seconds > 0).then(|| format!("{seconds}s").into())
}

fn table<const N: usize>(name: &'static str, members: [(&str, Option<Value>); N]) -> Option<(&'static str, Value)> {
    let members: toml::Table = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    (!members.is_empty()).then_some((name, members.into()))
}

fn param(value: &ParamValue) -> Value {
    match value {
        ParamValue::Bool(value) => (*value).into(),
        ParamValue::Int(value) => (*value).into(),
        ParamValue::Text(text) => text.as_str().into(),
        ParamValue::Set(texts) => list(texts),
    }
}
