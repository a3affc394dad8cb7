//! The record, version 1: the exact bytes of a leaf of the issuance log.
//!
//! A leaf is JSON without spaces in one fixed member order, absent members left out. Subject, actor,
//! address and parameter values stand only in the commitment: SHA-256 over [`COMMITMENT`], a salt of
//! 32 random bytes and the clear text, which the side table keeps and may erase.

use procura_wire::{Digest, Name, QualifiedId};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    Timestamp,
    identity::{ActorAssertion, ClientAuthMethod, Link, LogIn, Principal},
    ids::{IssuanceId, SessionId},
    judgement::{NearMiss, SessionFacts},
    kind::Rights,
    ledger::{EndedBy, Entry, Event, Index, Outcome},
    params::Params,
    ports::Entropy,
};

/// Version of the record.
pub const VERSION: u32 = 1;
/// Longest leaf, bytes.
pub const MAX_LEAF: usize = 60 * 1024;
/// What every commitment is taken over first, so that it is the digest of nothing else.
pub const COMMITMENT: &[u8] = b"procura commitment v1\0";

/// The commitment to a clear text.
pub fn commitment(salt: &[u8; 32], clear: &str) -> Digest {
    Digest::of_parts([COMMITMENT, salt, clear.as_bytes()])
}

/// A leaf of the log. Members that do not apply are left out.
#[derive(Debug, Clone, Serialize)]
pub struct Leaf<'a> {
    v: u32,
    id: IssuanceId,
    event: Event,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(serialize_with = "millis")]
    at: Timestamp,
    trace_id: &'a str,
    #[serde(flatten)]
    facts: &'a Facts,
    commitment: Digest,
}

/// What a record says in clear. Each event fills what applies to it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// The server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
    /// How it proved that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// The tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// JSON-RPC id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<String>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// What rules could know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_facts: Option<SessionFacts>,
    /// Who ended the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// The issuance that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<IssuanceId>,
    /// Who asserted the actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_asserted_by: Option<ActorAssertion>,
    /// `user` or `agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_kind: Option<&'static str>,
    /// Alias of the subject's issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Name>,
    /// The subject's groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<QualifiedId>,
    /// How the user logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<LogIn>,
    /// The target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Name>,
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The grants that were asked for and exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Name>,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested: Option<Extent>,
    /// What the rules and the grant allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Extent>,
    /// What was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<Extent>,
    /// End of the credential.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "some_millis")]
    pub until: Option<Timestamp>,
    /// What the credential carries, as its minter read it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rights: Option<Value>,
    /// The tokens' `exp` did not cut the lifetime.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outlives_subject: bool,
    /// Digest of the bundle that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Digest>,
    /// The deciding rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Permits that came nearest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<NearMiss>,
    /// Version of the source's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
    /// What the target knows it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// SHA-256 of the issued value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_sha256: Option<Digest>,
    /// A reported use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Value>,
}

/// How a server proved itself.
#[derive(Debug, Clone, Serialize)]
pub struct ClientAuth {
    /// The method.
    pub method: ClientAuthMethod,
    /// Which key.
    pub key: String,
}

/// A lifetime and scopes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Extent {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// Scopes as the caller writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// Token type URI.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub ty: Option<&'static str>,
}

/// What stands only in the commitment: personal data and parameter values.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Clear {
    /// The subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Principal>,
    /// `iss` of its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// `sub` of its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// `sid` of its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// `scope` of its token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_scopes: Vec<String>,
    /// The actor, where it is not the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<QualifiedId>,
    /// The whole chain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<Link>,
    /// The operator, where one acted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Principal>,
    /// Address of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The target as the caller named it, where that is no target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requested_target: Vec<String>,
    /// Parameters as requested, before they were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_params: Option<Value>,
    /// Parameters of the plan.
    #[serde(skip_serializing_if = "Params::is_empty")]
    pub params: Params,
}

/// A record that grows on its way and is sealed once.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its id.
    pub id: IssuanceId,
    /// Its time.
    pub at: Timestamp,
    /// What it is of.
    pub event: Event,
    /// Trace id of the request.
    pub trace_id: String,
    /// In clear.
    pub facts: Facts,
    /// In the commitment.
    pub clear: Clear,
}

/// The record would be longer than 60 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is longer than 60 KiB")]
pub struct TooLong;

impl Draft {
    /// Begins a record.
    pub fn new(id: IssuanceId, at: Timestamp, event: Event, trace_id: String) -> Self {
        Self {
            id,
            at,
            event,
            trace_id,
            facts: Facts::default(),
            clear: Clear::default(),
        }
    }

    /// The finished record with this outcome.
    pub fn seal(&self, outcome: Outcome, reason: Option<&str>, entropy: &dyn Entropy) -> Result<Entry, TooLong> {
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        let clear = text(&self.clear)?;
        let leaf = text(&Leaf {
            v: VERSION,
            id: self.id,
            event: self.event,
            outcome,
            reason,
            at: self.at,
            trace_id: &self.trace_id,
            facts: &self.facts,
            commitment: commitment(&salt, &clear),
        })?;
        if leaf.len() > MAX_LEAF || clear.len() > MAX_LEAF {
            return Err(TooLong);
        }
        Ok(Entry {
            id: self.id,
            leaf,
            salt,
            clear,
            index: self.index(outcome, reason),
        })
    }

    fn index(&self, outcome: Outcome, reason: Option<&str>) -> Index {
        let facts = &self.facts;
        Index {
            event: self.event,
            outcome,
            reason: reason.map(str::to_owned),
            at: self.at,
            server: facts.server.clone(),
            tool: facts.tool.clone(),
            target: facts.target.clone(),
            grants: facts.grants.clone(),
            session: facts.session,
            subject: self.clear.subject.as_ref().map(|subject| subject.id().clone()),
            actor: self.clear.actor.clone(),
            about: facts.about,
            value: facts.value_sha256,
            until: facts.until,
            source_version: facts.source_version.clone(),
        }
    }
}

/// Rights as JSON for a record.
pub fn rights_json(rights: &Rights) -> Value {
    let sets = rights
        .sets
        .iter()
        .map(|(what, set)| ((*what).to_owned(), Value::from_iter(set.iter().cloned())));
    let numbers = rights
        .numbers
        .iter()
        .map(|(what, number)| ((*what).to_owned(), Value::from(*number)));
    Value::Object(sets.chain(numbers).collect())
}

fn text(value: &impl Serialize) -> Result<String, TooLong> {
    serde_json::to_string(value).map_err(|_| TooLong)
}

/// RFC 3339 in UTC with milliseconds, always 24 characters.
fn millis<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

fn some_millis<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => millis(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::params::ParamValue;

    struct Sevens;

    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn name(text: &str) -> Name {
        text.parse().expect("name")
    }

    fn id(number: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(number)
    }

    fn issued() -> Draft {
        let at = "2026-11-20T09:00:00.5Z".parse().expect("time");
        let mut draft = Draft::new(
            IssuanceId(id(1)),
            at,
            Event::Exchange,
            "0af7651916cd43dd8448eb211c80319c".into(),
        );
        draft.facts = Facts {
            server: Some(name("tickets")),
            client_auth: Some(ClientAuth {
                method: ClientAuthMethod::ClientSecretBasic,
                key: "0123456789abcdef".into(),
            }),
            tool: Some("list_issues".into()),
            tool_call: Some("17".into()),
            session: Some(SessionId(id(2))),
            session_facts: Some(SessionFacts { age: 12, issuances: 3 }),
            actor_asserted_by: Some(ActorAssertion::ActorToken),
            subject_kind: Some("user"),
            issuer: Some(name("corp")),
            groups: vec![QualifiedId::new(name("corp"), "support")],
            auth: Some(LogIn {
                acr: Some("mfa".into()),
                amr: BTreeSet::from(["otp".into()]),
                time: Some(at),
            }),
            target: Some(name("db")),
            kind: Some("postgres"),
            grants: vec![name("read-rows")],
            requested: Some(Extent {
                ttl: Some(600),
                scope: vec!["read-rows".into()],
                ty: None,
            }),
            allowed: Some(Extent {
                ttl: Some(300),
                ..Extent::default()
            }),
            granted: Some(Extent {
                ttl: Some(300),
                scope: vec!["read-rows".into()],
                ty: None,
            }),
            until: Some("2026-11-20T09:05:00Z".parse().expect("time")),
            rights: Some(rights_json(&Rights {
                sets: BTreeMap::from([("member_of", BTreeSet::from(["support_reader".into()]))]),
                numbers: BTreeMap::from([("connection_limit", 2)]),
            })),
            outlives_subject: true,
            bundle: Some(Digest::of(b"bundle")),
            rules: vec!["support-reads".into()],
            source_version: Some("4".into()),
            handle: Some("pabcd1234_00000000000000000000000000000001".into()),
            value_sha256: Some(Digest::of(b"value")),
            ..Facts::default()
        };
        draft.clear = Clear {
            subject: Some(Principal::User(QualifiedId::new(name("corp"), "alice"))),
            iss: Some("https://id.example.com".into()),
            sub: Some("alice".into()),
            sid: Some("s1".into()),
            subject_scopes: vec!["openid".into()],
            actor: Some(QualifiedId::new(name("corp"), "triage-bot")),
            chain: vec![Link {
                sub: "triage".into(),
                iss: Some("https://id.example.com".into()),
                client_id: None,
            }],
            address: Some("192.0.2.7".into()),
            params: Params::from([("team".into(), ParamValue::Set(BTreeSet::from(["a".into()])))]),
            ..Clear::default()
        };
        draft
    }

    fn refused() -> Draft {
        let mut draft = issued();
        draft.facts = Facts {
            server: Some(name("tickets")),
            near: vec![NearMiss {
                rule: "support-reads".into(),
                clause: "principal in Group::\"corp/support\"".into(),
            }],
            ..Facts::default()
        };
        draft.clear = Clear {
            requested_target: vec!["nowhere".into()],
            ..Clear::default()
        };
        draft
    }

    /// Version 1 is these bytes. A change here is a new version of the record, never an edit.
    #[test]
    fn version_1_is_pinned() {
        let entry = issued().seal(Outcome::Issued, None, &Sevens).expect("short");
        assert_eq!(
            entry.leaf,
            include_str!("../golden/exchange-issued.leaf.json").trim_end()
        );
        assert_eq!(
            entry.clear,
            include_str!("../golden/exchange-issued.clear.json").trim_end()
        );
        let entry = refused()
            .seal(Outcome::Refused, Some("target.not_available"), &Sevens)
            .expect("short");
        assert_eq!(
            entry.leaf,
            include_str!("../golden/exchange-refused.leaf.json").trim_end()
        );
        assert_eq!(
            entry.clear,
            include_str!("../golden/exchange-refused.clear.json").trim_end()
        );
    }

    #[test]
    fn the_commitment_opens_with_salt_and_clear_text_only() {
        let entry = issued().seal(Outcome::Issued, None, &Sevens).expect("short");
        let leaf: Value = serde_json::from_str(&entry.leaf).expect("JSON");
        assert_eq!(leaf["commitment"], commitment(&[7; 32], &entry.clear).to_string());
        assert_ne!(leaf["commitment"], commitment(&[8; 32], &entry.clear).to_string());
    }

    #[test]
    fn req_153_nothing_of_the_clear_text_stands_in_the_leaf() {
        let entry = issued().seal(Outcome::Issued, None, &Sevens).expect("short");
        for personal in ["alice", "triage-bot", "192.0.2.7", "\"a\"", "s1"] {
            assert!(
                entry.clear.contains(personal) && !entry.leaf.contains(personal),
                "{personal}"
            );
        }
    }

    #[test]
    fn req_151_a_record_over_60_kib_is_an_error() {
        let mut draft = issued();
        draft.facts.rules = vec!["r".repeat(MAX_LEAF)];
        assert_eq!(draft.seal(Outcome::Issued, None, &Sevens), Err(TooLong));
    }
}
