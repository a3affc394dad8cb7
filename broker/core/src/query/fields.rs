//! The fields of a record, by the names that they have in it.

use std::fmt;

/// What values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Texts, also those that stand for yes and no.
    Text,
    /// Ids of the hyphenated form.
    Id,
    /// Times.
    Time,
    /// Whole numbers.
    Number,
    /// Whatever a kind of target or a grant declares.
    Any,
}

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the query columns.
    Index,
    /// In the leaf, at the path that its name is.
    Leaf,
    /// In the clear text of the commitment, gone once that is erased.
    Clear,
}

/// A field of a record, or a member of one whose members have any name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// Of `params.NAME` and the like: the name.
    pub(super) member: Option<String>,
}

macro_rules! fields {
    ($($name:literal $kind:ident $place:ident)*) => {
        /// The names of all fields. Behind those that end in a dot stands a name of the record's own.
        pub const NAMES: &[&str] = &[$($name),*];

        const FIELDS: &[(&str, Kind, Place)] = &[$(($name, Kind::$kind, Place::$place)),*];
    };
}

fields! {
    "at" Time Index
    "id" Id Index
    "event" Text Index
    "outcome" Text Index
    "reason" Text Index
    "subject" Text Index
    "actor" Text Index
    "server" Text Index
    "tool" Text Index
    "target" Text Index
    "grants" Text Index
    "session" Id Index
    "about" Id Index
    "until" Time Index
    "source_version" Text Index
    "revoked" Time Index
    "issuer" Text Leaf
    "trace_id" Text Leaf
    "client_auth.method" Text Leaf
    "client_auth.key" Text Leaf
    "tool_call" Text Leaf
    "tool_definition_sha256" Text Leaf
    "session_facts.age" Number Leaf
    "session_facts.issuances" Number Leaf
    "ended_by" Text Leaf
    "actor_asserted_by" Text Leaf
    "subject_kind" Text Leaf
    "groups" Text Leaf
    "auth.acr" Text Leaf
    "auth.amr" Text Leaf
    "auth.time" Time Leaf
    "kind" Text Leaf
    "requested.ttl" Number Leaf
    "requested.scope" Text Leaf
    "requested.type" Text Leaf
    "allowed.ttl" Number Leaf
    "granted.ttl" Number Leaf
    "granted.scope" Text Leaf
    "rights." Any Leaf
    "outlives_subject" Text Leaf
    "bundle" Text Leaf
    "rules" Text Leaf
    "near.rule" Text Leaf
    "handle" Text Leaf
    "value_sha256" Text Leaf
    "used.started" Time Leaf
    "used.duration_ms" Number Leaf
    "used.outcome" Text Leaf
    "used.result_bytes" Number Leaf
    "used.arguments_sha256" Text Leaf
    "cnf.jkt" Text Leaf
    "binding" Text Leaf
    "introspected" Text Leaf
    "id_token" Text Leaf
    "id_jag" Text Leaf
    "tenant" Text Leaf
    "cause" Text Leaf
    "token_key" Text Leaf
    "signing_key" Text Leaf
    "source" Text Leaf
    "iss" Text Clear
    "sub" Text Clear
    "sid" Text Clear
    "subject_scopes" Text Clear
    "operator.id" Text Clear
    "address" Text Clear
    "requested_target" Text Clear
    "requested_params." Any Clear
    "params." Any Clear
    "chain.sub" Text Clear
    "chain.iss" Text Clear
}

impl Field {
    /// The record's time.
    pub(super) const AT: Self = Self {
        name: "at",
        kind: Kind::Time,
        place: Place::Index,
        member: None,
    };

    /// The field of this name.
    pub fn named(text: &str) -> Option<Self> {
        let text = match text {
            "grant" => "grants",
            "operator" => "operator.id",
            text => text,
        };
        let is_it = |name: &str| match name.strip_suffix('.') {
            None => name == text,
            Some(_) => text.len() > name.len() && text.starts_with(name),
        };
        let (name, kind, place) = FIELDS.iter().find(|(name, ..)| is_it(name))?;
        Some(Self {
            name,
            kind: *kind,
            place: *place,
            member: name.ends_with('.').then(|| text[name.len()..].to_owned()),
        })
    }
}

/// The name, with the member's.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.member.as_deref().unwrap_or_default())
    }
}

/// What to say of a name that no field has.
pub(super) fn unknown(text: &str) -> String {
    let close = NAMES
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, text), *name))
        .min();
    match close {
        // The text is long where somebody forgot the field.
        Some((changes, name)) if changes <= 2 && text.len() > changes => {
            format!("there is no such field; did you mean {}?", shown(name))
        }
        _ => format!("a field of records must stand here: {}", listed()),
    }
}

fn listed() -> String {
    NAMES.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

fn shown(name: &str) -> String {
    match name.strip_suffix('.') {
        Some(name) => format!("{name}.NAME"),
        None => name.to_owned(),
    }
}
