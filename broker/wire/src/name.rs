//! Names of issuers, servers, agents, targets and grants, and ids that are qualified by one.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name: `[a-z0-9][a-z0-9-]{0,39}`. A clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// The text is not a name, or not an id qualified by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 40 of a-z, 0-9 and '-', and does not begin with '-'")]
pub struct MalformedName;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = MalformedName;

    fn from_str(text: &str) -> Result<Self, MalformedName> {
        let inside = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-');
        match text.as_bytes() {
            [first, rest @ ..]
                if *first != b'-' && inside(*first) && rest.len() < 40 && rest.iter().all(|c| inside(*c)) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(MalformedName),
        }
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// An id qualified by a name and split at the first `/`: `corp/alice`, `github/read-issues`,
/// `tickets/list_issues`. What follows the slash is any non-empty text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedId {
    /// The part before the first slash.
    pub qualifier: Name,
    /// The part after it, which may hold further slashes.
    pub local: String,
}

impl QualifiedId {
    /// Joins the two parts.
    pub fn new(qualifier: Name, local: impl Into<String>) -> Self {
        Self {
            qualifier,
            local: local.into(),
        }
    }
}

impl FromStr for QualifiedId {
    type Err = MalformedName;

    fn from_str(text: &str) -> Result<Self, MalformedName> {
        match text.split_once('/') {
            Some((qualifier, local)) if !local.is_empty() => Ok(Self::new(qualifier.parse()?, local)),
            _ => Err(MalformedName),
        }
    }
}

impl fmt::Display for QualifiedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.qualifier, self.local)
    }
}

impl Serialize for QualifiedId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QualifiedId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_words() {
        for good in ["a", "0", "read-issues", &"a".repeat(40)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a/b", "ä", "a ", &"a".repeat(41)] {
            assert_eq!(bad.parse::<Name>(), Err(MalformedName), "{bad}");
        }
    }

    #[test]
    fn ids_split_at_the_first_slash() {
        let id: QualifiedId = "corp/a/b".parse().expect("qualified");
        assert_eq!((id.qualifier.as_str(), id.local.as_str()), ("corp", "a/b"));
        for bad in ["corp", "corp/", "/alice", "Corp/alice"] {
            assert_eq!(bad.parse::<QualifiedId>(), Err(MalformedName), "{bad}");
        }
    }
}
