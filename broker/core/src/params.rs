//! Parameters of a grant: what the bundle declares and what a request asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Values by parameter name.
pub type Params = BTreeMap<String, ParamValue>;

/// A value that a request may narrow a grant by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `string` and `enum`
    Text(String),
    /// `set`: distinct strings, never empty.
    Set(BTreeSet<String>),
}

/// A regular expression that must match a whole value; linear in its length.
#[derive(Debug, Clone)]
pub struct Pattern(regex::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Compiles the expression, anchored at both ends around a group of its own so that alternatives cannot escape.
    pub fn new(expression: &str) -> Result<Self, regex::Error> {
        // Checked alone first: `a)|(b` must not become valid by our parentheses.
        regex::Regex::new(expression)?;
        regex::Regex::new(&format!(r"\A(?:{expression})\z")).map(Self)
    }

    fn matches(&self, value: &str) -> bool {
        self.0.is_match(value)
    }
}

/// What values a parameter takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamType {
    /// One string.
    String(Option<Pattern>),
    /// One of these strings.
    Enum(BTreeSet<String>),
    /// A set of strings, each of which matches.
    Set(Option<Pattern>),
    /// A whole number within bounds, both included.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// true or false.
    Bool,
}

/// A declared parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// What values it takes.
    pub ty: ParamType,
    /// Whether a request must give it.
    pub required: bool,
}

/// Most members of a set.
const MAX_SET: usize = 256;
/// Longest string value, bytes.
const MAX_TEXT: usize = 1024;

impl ParamSpec {
    fn read(&self, value: &Value) -> Option<ParamValue> {
        let text = |value: &Value, pattern: &Option<Pattern>| {
            let text = value.as_str()?;
            let fits = text.len() <= MAX_TEXT && pattern.as_ref().is_none_or(|pattern| pattern.matches(text));
            fits.then(|| text.to_owned())
        };
        match &self.ty {
            ParamType::String(pattern) => text(value, pattern).map(ParamValue::Text),
            ParamType::Enum(values) => text(value, &None)
                .filter(|text| values.contains(text))
                .map(ParamValue::Text),
            ParamType::Set(pattern) => {
                let items = value.as_array().filter(|items| (1..=MAX_SET).contains(&items.len()))?;
                let set: Option<BTreeSet<_>> = items.iter().map(|item| text(item, pattern)).collect();
                set.map(ParamValue::Set)
            }
            ParamType::Int { min, max } => value
                .as_i64()
                .filter(|number| (min..=max).contains(&number))
                .map(ParamValue::Int),
            ParamType::Bool => value.as_bool().map(ParamValue::Bool),
        }
    }
}

/// Reads the parameters of a request against a grant's declaration. `None` where one is missing,
/// unknown, of the wrong type or not allowed (RFC 9396 section 5: all of these are one error).
pub fn read(specs: &BTreeMap<String, ParamSpec>, given: &Map<String, Value>) -> Option<Params> {
    let complete = specs
        .iter()
        .all(|(name, spec)| !spec.required || given.contains_key(name));
    if !complete {
        return None;
    }
    given
        .iter()
        .map(|(name, value)| Some((name.clone(), specs.get(name)?.read(value)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(ty: ParamType) -> ParamSpec {
        ParamSpec { ty, required: true }
    }

    fn takes(ty: ParamType, value: Value) -> bool {
        let given = Map::from_iter([("p".to_owned(), value)]);
        read(&BTreeMap::from([("p".to_owned(), spec(ty))]), &given).is_some()
    }

    #[test]
    fn a_pattern_matches_whole_values_only() {
        let pattern = || Some(Pattern::new("a|b").expect("pattern"));
        assert!(takes(ParamType::String(pattern()), json!("a")));
        for bad in ["ab", "xa", "a\n", "", "bx"] {
            assert!(!takes(ParamType::String(pattern()), json!(bad)), "{bad:?}");
        }
        assert!(Pattern::new("a)|(b").is_err());
    }

    #[test]
    fn an_empty_set_is_refused() {
        assert!(!takes(ParamType::Set(None), json!([])));
        assert!(takes(ParamType::Set(None), json!(["x", "x"])));
        assert!(!takes(ParamType::Set(None), json!(["x", 1])));
        assert!(!takes(ParamType::Set(None), json!("x")));
    }

    #[test]
    fn types_and_bounds_hold() {
        assert!(takes(ParamType::Int { min: 1, max: 5 }, json!(5)));
        for bad in [json!(0), json!(6), json!(1.5), json!("5"), json!(null)] {
            assert!(!takes(ParamType::Int { min: 1, max: 5 }, bad));
        }
        assert!(!takes(ParamType::Bool, json!("true")));
        assert!(!takes(ParamType::Enum(BTreeSet::from(["x".to_owned()])), json!("X")));
    }

    #[test]
    fn unknown_and_missing_parameters_are_refused() {
        let specs = BTreeMap::from([("p".to_owned(), spec(ParamType::Bool))]);
        assert!(read(&specs, &Map::new()).is_none());
        let both = Map::from_iter([("p".to_owned(), json!(true)), ("q".to_owned(), json!(true))]);
        assert!(read(&specs, &both).is_none());
    }
}
