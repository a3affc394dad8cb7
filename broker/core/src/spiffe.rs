//! SPIFFE ids and the patterns that server files have for them (SPIFFE-ID section 2).

use std::{fmt, str::FromStr};

const SCHEME: &str = "spiffe://";
/// Longest id and longest trust domain, bytes.
const MAX_ID: usize = 2048;
const MAX_DOMAIN: usize = 255;

/// Why a text is no SPIFFE id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SPIFFE id is written spiffe://TRUST-DOMAIN/PATH, its path of segments of [A-Za-z0-9._-]")]
pub struct NotSpiffe;

/// The id of a workload: `spiffe://example.org/ns/tools/tickets`. The path is never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeId {
    /// `example.org`
    pub trust_domain: String,
    /// `/ns/tools/tickets`
    pub path: String,
}

impl FromStr for SpiffeId {
    type Err = NotSpiffe;

    fn from_str(text: &str) -> Result<Self, NotSpiffe> {
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= MAX_ID);
        let rest = rest.ok_or(NotSpiffe)?;
        let slash = rest.find('/').ok_or(NotSpiffe)?;
        let (domain, path) = rest.split_at(slash);
        if is_trust_domain(domain) && path[1..].split('/').all(is_segment) {
            Ok(Self {
                trust_domain: domain.to_owned(),
                path: path.to_owned(),
            })
        } else {
            Err(NotSpiffe)
        }
    }
}

/// Whether the text is the name of a trust domain (SPIFFE-ID section 2.1).
pub fn is_trust_domain(text: &str) -> bool {
    let plain = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=MAX_DOMAIN).contains(&text.len()) && text.bytes().all(plain)
}

fn is_segment(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(plain)
}

/// The ids of one server: one, or with `/*` at its end all below a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffePattern {
    /// The trust domain whose bundle vouches.
    pub trust_domain: String,
    /// The path; with a slash at its end where all below it are meant.
    path: String,
}

impl SpiffePattern {
    /// Whether that id is one of them.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let path = match self.is_folder() {
            true => id.path.starts_with(&self.path),
            false => id.path == self.path,
        };
        id.trust_domain == self.trust_domain && path
    }

    /// Whether an id can be one of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let covers = |one: &Self, other: &Self| match one.is_folder() {
            true => other.path.starts_with(&one.path),
            false => other.path == one.path,
        };
        self.trust_domain == other.trust_domain && (covers(self, other) || covers(other, self))
    }

    fn is_folder(&self) -> bool {
        self.path.ends_with('/')
    }
}

impl FromStr for SpiffePattern {
    type Err = NotSpiffe;

    fn from_str(text: &str) -> Result<Self, NotSpiffe> {
        match text.strip_suffix("/*") {
            None => {
                let SpiffeId { trust_domain, path } = text.parse()?;
                Ok(Self { trust_domain, path })
            }
            // What stands before must be an id with any segment behind it.
            Some(folder) => {
                let SpiffeId { trust_domain, path } = format!("{folder}/-").parse()?;
                let path = path[..path.len() - 1].to_owned();
                Ok(Self { trust_domain, path })
            }
        }
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_folder() { "*" } else { "" };
        write!(f, "{SCHEME}{}{}{star}", self.trust_domain, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<SpiffeId> {
        text.parse().ok()
    }

    fn pattern(text: &str) -> SpiffePattern {
        text.parse().expect("pattern")
    }

    #[test]
    fn req_131_only_ids_with_a_path_are_ids() {
        assert!(id("spiffe://example.org/ns/tools/tickets").is_some());
        for bad in [
            "",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/a/./b",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a?x=1",
            "spiffe://example.org/a#x",
            "spiffe://Example.org/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org:443/a",
            "spiffe:///a",
            "SPIFFE://example.org/a",
            "https://example.org/a",
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
        assert_eq!(id(&format!("spiffe://example.org/{}", "a".repeat(MAX_ID))), None);
    }

    #[test]
    fn req_132_a_pattern_is_exact_or_ends_at_a_segment() {
        let matches = |text: &str, other: &str| pattern(text).matches(&id(other).expect("id"));
        assert!(matches("spiffe://a.org/x", "spiffe://a.org/x"));
        assert!(!matches("spiffe://a.org/x", "spiffe://a.org/x/y"));
        assert!(!matches("spiffe://a.org/x", "spiffe://b.org/x"));
        assert!(matches("spiffe://a.org/x/*", "spiffe://a.org/x/y"));
        assert!(matches("spiffe://a.org/x/*", "spiffe://a.org/x/y/z"));
        assert!(!matches("spiffe://a.org/x/*", "spiffe://a.org/x"));
        assert!(!matches("spiffe://a.org/x/*", "spiffe://a.org/xy"));
        assert!(matches("spiffe://a.org/*", "spiffe://a.org/x"));
        for bad in [
            "spiffe://a.org/x*",
            "spiffe://*/x",
            "spiffe://a.org/*/x",
            "*",
            "spiffe://a.org//*",
        ] {
            assert!(bad.parse::<SpiffePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_overlap_where_an_id_is_of_both() {
        let overlap = |one: &str, other: &str| {
            let (one, other) = (pattern(one), pattern(other));
            assert_eq!(one.overlaps(&other), other.overlaps(&one));
            one.overlaps(&other)
        };
        assert!(overlap("spiffe://a.org/x", "spiffe://a.org/x"));
        assert!(overlap("spiffe://a.org/x/*", "spiffe://a.org/x/y"));
        assert!(overlap("spiffe://a.org/*", "spiffe://a.org/x/*"));
        assert!(!overlap("spiffe://a.org/x/*", "spiffe://a.org/x"));
        assert!(!overlap("spiffe://a.org/x/*", "spiffe://a.org/y/*"));
        assert!(!overlap("spiffe://a.org/x", "spiffe://b.org/x"));
    }

    #[test]
    fn patterns_are_written_as_they_were_read() {
        for text in ["spiffe://a.org/x/y", "spiffe://a.org/x/*", "spiffe://a.org/*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }
}
