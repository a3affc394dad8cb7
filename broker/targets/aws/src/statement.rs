//! Statements of a session policy: what a grant says, and what becomes of it with a request's parameters.

use std::collections::{BTreeMap, BTreeSet};

use procura_core::params::{ParamSpec, ParamType, ParamValue, Params};
use serde_json::{Map, Value, json};

/// A value that begins so is a parameter's.
const PARAM: &str = "param:";
/// Condition operators of IAM, without the qualifiers before and after them.
const OPERATORS: [&str; 27] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "Bool",
    "BinaryEquals",
    "IpAddress",
    "NotIpAddress",
    "ArnEquals",
    "ArnLike",
    "ArnNotEquals",
    "ArnNotLike",
    "Null",
];

/// One statement as a grant has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    effect: Effect,
    actions: Vec<String>,
    resources: Vec<String>,
    /// By operator and by key.
    conditions: BTreeMap<String, BTreeMap<String, Vec<Term>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// A value of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Literal(String),
    Param(String),
}

impl Statement {
    /// Reads one of a grant with these parameters; the error is for its author.
    pub(crate) fn read(value: &Value, params: &BTreeMap<String, ParamSpec>) -> Result<Self, String> {
        let table = value.as_object().ok_or("is no table")?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("`{key}` is unknown; there are {}", KEYS.join(", ")));
        }
        let effect = match table.get("effect").map(Value::as_str) {
            None | Some(Some("Allow")) => Effect::Allow,
            Some(Some("Deny")) => Effect::Deny,
            _ => return Err("effect is Allow or Deny".to_owned()),
        };
        let statement = Self {
            effect,
            actions: literals(table, "actions")?,
            resources: literals(table, "resources")?,
            conditions: conditions(table)?,
        };
        if let Some(action) = statement.actions.iter().find(|action| !is_action(action)) {
            return Err(format!(
                "`{action}` is no action; write SERVICE:Action, such as s3:GetObject"
            ));
        }
        if let Some(resource) = statement.resources.iter().find(|text| !is_resource(text)) {
            return Err(format!("`{resource}` is no resource; write an ARN or *"));
        }
        statement.check_terms(params)?;
        Ok(statement)
    }

    /// Names of the parameters in it.
    pub(crate) fn params(&self) -> impl Iterator<Item = &str> {
        self.terms().filter_map(|(_, term)| match term {
            Term::Param(name) => Some(name.as_str()),
            Term::Literal(_) => None,
        })
    }

    /// Each value with its operator.
    fn terms(&self) -> impl Iterator<Item = (&str, &Term)> {
        self.conditions.iter().flat_map(|(operator, keys)| {
            let terms = keys.values().flatten();
            terms.map(move |term| (operator.as_str(), term))
        })
    }

    fn check_terms(&self, params: &BTreeMap<String, ParamSpec>) -> Result<(), String> {
        for (operator, term) in self.terms() {
            let Term::Param(name) = term else { continue };
            let spec = params
                .get(name)
                .ok_or_else(|| format!("`{PARAM}{name}` is no parameter of this grant; declare it below params"))?;
            if !spec.required {
                return Err(format!(
                    "`{PARAM}{name}` may be left out, and then nothing is narrowed: required = true"
                ));
            }
            let negative = operator.contains("Not");
            if operator.contains("Null") || negative == (self.effect == Effect::Allow) {
                return Err(format!(
                    "`{PARAM}{name}` in {operator} of this statement would let the caller choose what is spared; use the \
                     opposite operator or effect"
                ));
            }
        }
        Ok(())
    }

    /// The statement in IAM's language, each parameter replaced as a whole by what was asked for.
    pub(crate) fn fill(&self, params: &Params) -> Result<Value, String> {
        let mut statement = json!({ "Effect": self.effect.name(), "Action": self.actions, "Resource": self.resources });
        if self.conditions.is_empty() {
            return Ok(statement);
        }
        let mut conditions = Map::new();
        for (operator, keys) in &self.conditions {
            let mut filled = Map::new();
            for (key, terms) in keys {
                let values: Result<Vec<_>, _> = terms.iter().map(|term| values(term, params)).collect();
                filled.insert(key.clone(), values?.into_iter().flatten().collect());
            }
            conditions.insert(operator.clone(), Value::Object(filled));
        }
        statement["Condition"] = Value::Object(conditions);
        Ok(statement)
    }

    /// What it permits or denies, without the values of its conditions.
    pub(crate) fn outline(&self) -> String {
        let keys = self
            .conditions
            .iter()
            .flat_map(|(operator, keys)| keys.keys().map(move |key| format!("{operator} {key}")));
        outline(self.effect.name(), &self.actions, &self.resources, keys.collect())
    }
}

const KEYS: [&str; 4] = ["effect", "actions", "resources", "where"];

impl Effect {
    fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// The outline of a statement in IAM's language, see [`Statement::outline`]; `None` where it is not as we write them.
pub(crate) fn outline_of(statement: &Value) -> Option<String> {
    let texts = |key: &str| -> Option<Vec<String>> {
        let texts = statement.get(key)?.as_array()?.iter();
        texts.map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut keys = Vec::new();
    if let Some(conditions) = statement.get("Condition") {
        for (operator, of) in conditions.as_object()? {
            keys.extend(of.as_object()?.keys().map(|key| format!("{operator} {key}")));
        }
    }
    keys.sort();
    let effect = statement.get("Effect")?.as_str()?;
    Some(outline(effect, &texts("Action")?, &texts("Resource")?, keys))
}

fn outline(effect: &str, actions: &[String], resources: &[String], keys: Vec<String>) -> String {
    let mut text = format!("{effect} {} on {}", actions.join(" "), resources.join(" "));
    if !keys.is_empty() {
        text = text + " where " + &keys.join(" and ");
    }
    text
}

fn values(term: &Term, params: &Params) -> Result<Vec<Value>, String> {
    let name = match term {
        Term::Literal(text) => return Ok(vec![text.as_str().into()]),
        Term::Param(name) => name,
    };
    let texts: BTreeSet<String> = match params.get(name) {
        None => return Err(format!("the parameter {name} is missing")),
        Some(ParamValue::Set(texts)) => texts.clone(),
        Some(ParamValue::Text(text)) => [text.clone()].into(),
        Some(ParamValue::Int(number)) => [number.to_string()].into(),
        Some(ParamValue::Bool(is)) => [is.to_string()].into(),
    };
    match texts.iter().all(|text| is_mere_text(text)) && !texts.is_empty() {
        true => Ok(texts.into_iter().map(Value::from).collect()),
        false => Err(format!(
            "the parameter {name} has a value that IAM reads as more than text: only printable ASCII without * ? and $ goes \
             into a policy; let the bundle's pattern say so"
        )),
    }
}

/// Wildcards and policy variables are more.
fn is_mere_text(text: &str) -> bool {
    text.bytes()
        .all(|c| matches!(c, b' '..=b'~') && !matches!(c, b'*' | b'?' | b'$'))
}

/// The shortest value that a parameter of this type can have.
pub(crate) fn shortest(spec: &ParamSpec) -> ParamValue {
    match &spec.ty {
        ParamType::String(_) => ParamValue::Text(String::new()),
        ParamType::Enum(values) => ParamValue::Text(
            values
                .iter()
                .min_by_key(|value| value.len())
                .cloned()
                .unwrap_or_default(),
        ),
        ParamType::Set(_) => ParamValue::Set([String::new()].into()),
        ParamType::Int { min, max } => ParamValue::Int(match (*min..=*max).contains(&0) {
            true => 0,
            false if min.to_string().len() < max.to_string().len() => *min,
            false => *max,
        }),
        ParamType::Bool => ParamValue::Bool(true),
    }
}

fn literals(table: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let list = table.get(key).and_then(Value::as_array);
    let texts: Option<Vec<_>> =
        list.and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
    let texts = texts.ok_or_else(|| format!("needs {key} = [\"…\"]"))?;
    match texts.iter().find(|text| !is_printable(text)) {
        _ if texts.is_empty() => Err(format!("{key} is empty; name at least one")),
        Some(text) => Err(format!("{text:?} is not printable ASCII")),
        None => Ok(texts),
    }
}

fn conditions(table: &Map<String, Value>) -> Result<BTreeMap<String, BTreeMap<String, Vec<Term>>>, String> {
    let Some(operators) = table.get("where") else {
        return Ok(BTreeMap::new());
    };
    let wrong = "where is { OPERATOR = { \"KEY\" = \"value\" } }";
    let mut conditions = BTreeMap::new();
    for (operator, keys) in operators.as_object().filter(|all| !all.is_empty()).ok_or(wrong)? {
        if !is_operator(operator) {
            return Err(format!("`{operator}` is no condition operator of IAM"));
        }
        let keys = keys.as_object().filter(|keys| !keys.is_empty()).ok_or(wrong)?;
        let read = keys.iter().map(|(key, value)| Ok((key.clone(), terms(key, value)?)));
        conditions.insert(operator.clone(), read.collect::<Result<_, String>>()?);
    }
    Ok(conditions)
}

fn terms(key: &str, value: &Value) -> Result<Vec<Term>, String> {
    if !key.contains(':') || !is_printable(key) {
        return Err(format!(
            "{key:?} is no condition key; write SERVICE:Key, such as s3:prefix"
        ));
    }
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let terms: Option<Vec<_>> = list
        .iter()
        .map(|value| value.as_str().filter(|text| is_printable(text)))
        .collect();
    let terms = terms.filter(|terms| !terms.is_empty());
    let terms = terms
        .ok_or_else(|| format!("the value of {key} is a text in printable ASCII, or a list of them, not empty"))?;
    let term = |text: &str| match text.strip_prefix(PARAM) {
        Some(name) => Term::Param(name.to_owned()),
        None => Term::Literal(text.to_owned()),
    };
    Ok(terms.into_iter().map(term).collect())
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|c| matches!(c, b' '..=b'~'))
}

fn is_operator(text: &str) -> bool {
    let text = text
        .strip_prefix("ForAllValues:")
        .or(text.strip_prefix("ForAnyValue:"))
        .unwrap_or(text);
    let plain = text
        .strip_suffix("IfExists")
        .filter(|text| *text != "Null")
        .unwrap_or(text);
    OPERATORS.contains(&plain)
}

fn is_action(text: &str) -> bool {
    let inside = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'*' | b'?');
    let parts = |(service, action): (&str, &str)| {
        !service.is_empty()
            && service
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && !action.is_empty()
            && action.bytes().all(inside)
    };
    text == "*" || text.split_once(':').is_some_and(parts)
}

fn is_resource(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    text == "*"
        || matches!(parts.as_slice(), ["arn", partition, service, _, _, what]
        if !partition.is_empty() && !service.is_empty() && !what.is_empty())
}
