//! References to secrets and the globs that bound them.

use std::{fmt, str::FromStr};

use procura_wire::{MalformedName, Name};
use serde::Deserialize;

/// Longest reference.
const MAX_LEN: usize = 512;

/// A reference: `NAME:PATH` or `NAME:PATH#FIELD`. A path is segments of `[A-Za-z0-9._-]`, none of which
/// begins with a dot, separated by single slashes; so it has no escapes and leads nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The source.
    pub source: Name,
    /// The path at the source.
    pub path: String,
    /// One string member of the JSON object there.
    pub field: Option<String>,
}

/// The text is not a reference, or not a glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReference {
    /// No `NAME:` before the path.
    #[error("write NAME:PATH or NAME:PATH#FIELD, where [sources.NAME] is configured")]
    Form,
    /// A path that might lead elsewhere.
    #[error("a path is made of A-Z a-z 0-9 . _ - and single slashes; no part of it begins with a dot")]
    Path,
    /// A field with other characters than a path's, or none.
    #[error("a field is made of A-Z a-z 0-9 . _ -")]
    Field,
    /// A glob in another form.
    #[error("a glob is a path in which * stands for any part of one segment and a last /** for all below")]
    Glob,
}

impl From<MalformedName> for MalformedReference {
    fn from(_: MalformedName) -> Self {
        Self::Form
    }
}

impl FromStr for Reference {
    type Err = MalformedReference;

    fn from_str(text: &str) -> Result<Self, MalformedReference> {
        let (source, rest) = text.split_once(':').ok_or(MalformedReference::Form)?;
        let (path, field) = match rest.split_once('#') {
            Some((path, field)) => (path, Some(field)),
            None => (rest, None),
        };
        if text.len() > MAX_LEN || !path.split('/').all(is_segment) {
            return Err(MalformedReference::Path);
        }
        if field.is_some_and(|field| field.is_empty() || !field.bytes().all(is_plain)) {
            return Err(MalformedReference::Field);
        }
        Ok(Self {
            source: source.parse()?,
            path: path.to_owned(),
            field: field.map(str::to_owned),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.path)?;
        self.field.as_ref().map_or(Ok(()), |field| write!(f, "#{field}"))
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether the text can be one segment of a path.
pub(crate) fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain)
}

/// A pattern over whole paths: `*` stands for any part of one segment, a last segment `**` for one or
/// more segments of any name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Glob {
    segments: Vec<String>,
    below: bool,
}

impl TryFrom<String> for Glob {
    type Error = MalformedReference;

    fn try_from(text: String) -> Result<Self, MalformedReference> {
        text.parse()
    }
}

impl FromStr for Glob {
    type Err = MalformedReference;

    fn from_str(text: &str) -> Result<Self, MalformedReference> {
        let mut segments: Vec<String> = text.split('/').map(str::to_owned).collect();
        let below = segments.pop_if(|last| last == "**").is_some();
        let fine = |segment: &String| !segment.contains("**") && is_segment(&segment.replace('*', "x"));
        if text.len() > MAX_LEN || !segments.iter().all(fine) {
            return Err(MalformedReference::Glob);
        }
        Ok(Self { segments, below })
    }
}

impl Glob {
    /// Whether the whole path fits.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<_> = path.split('/').collect();
        let long_enough = if self.below {
            path.len() > self.segments.len()
        } else {
            path.len() == self.segments.len()
        };
        long_enough
            && self
                .segments
                .iter()
                .zip(path)
                .all(|(glob, segment)| fits(glob, segment))
    }
}

/// Whether one segment fits a pattern of literal parts with anything between them.
fn fits(glob: &str, segment: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else {
        return glob == segment;
    };
    let Some(mut left) = segment.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["vault:kv/prod/github-app", "file:postgres-admin.json", "v:a#b_c"] {
            assert_eq!(text.parse::<Reference>().map(|r| r.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn refuses_paths_that_might_lead_elsewhere() {
        let long = format!("file:{}", "a".repeat(MAX_LEN));
        for bad in [
            "",
            "kv/prod",
            ":a",
            "File:a",
            "file:",
            "file:/etc/passwd",
            "file:..",
            "file:a/../b",
            "file:./a",
            "file:a//b",
            "file:a/",
            "file:.hidden",
            "file:..data/a",
            "file:a\0b",
            "file:%2e%2e/a",
            "file:a%2fb",
            "file:a\\b",
            "file:a b",
            "file:a?list=true",
            "file:a\nb",
            "file:ä",
            "file:a#",
            "file:a#b/c",
            "file:a#b#c",
            "file:a:b",
            "vault:kv/*",
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_star_stays_in_its_segment() {
        let glob = |text: &str| text.parse::<Glob>().expect("glob");
        for (pattern, path, expected) in [
            ("postgres-*", "postgres-admin.json", true),
            ("postgres-*", "postgres-/x", false),
            ("postgres-*", "my-postgres-x", false),
            ("postgres-*", "postgres-", true),
            ("kv/*/app", "kv/prod/app", true),
            ("kv/*/app", "kv/a/b/app", false),
            ("kv/prod/**", "kv/prod/a/b", true),
            ("kv/prod/**", "kv/prod", false),
            ("kv/prod/**", "kv/production/a", false),
            ("**", "a/b", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*b", "ab", false),
            ("*ab", "aab", true),
            ("a", "b", false),
        ] {
            assert_eq!(glob(pattern).matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn globs_with_dots_escapes_and_inner_double_stars_are_refused() {
        for bad in [
            "", "/a", "a/", "../a", "a/**/b", "a**", "%2e", ".a", "a//b", "[a]", "*/../x",
        ] {
            assert_eq!(bad.parse::<Glob>(), Err(MalformedReference::Glob), "{bad}");
        }
    }
}
