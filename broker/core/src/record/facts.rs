//! What records say, in clear and in the commitment. The member order of these structs is the order of
//! the bytes: no `serde_json::Map` stands in a leaf, because its order depends on features of the build.

use std::collections::{BTreeMap, BTreeSet};

use procura_wire::{Digest, Name, QualifiedId, UseOutcome};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    Timestamp,
    identity::{ActorAssertion, ClientAuthMethod, Confirmation, Link, LinkAssertion, LogIn, Principal},
    ids::{IssuanceId, SessionId},
    judgement::{NearMiss, SessionFacts},
    kind::Rights,
    ledger::EndedBy,
    params::Params,
    possession::Binding,
};

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
    /// Digest of the tool's definition, as the server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_definition_sha256: Option<Digest>,
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
    pub rights: Option<BTreeMap<&'static str, Right>>,
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
    pub used: Option<Used>,
    /// The key that the caller proved; kinds that bind what they issue bind it to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Whether the key of a bound subject or actor token was proved; of two the weaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The subject's issuer said within the last 30 s that the token is active.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub introspected: bool,
    /// The subject token is an ID token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub id_token: bool,
    /// It is the grant of an ID-JAG and no exchange of a subject token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub id_jag: bool,
    /// The organisation that the subject belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Code of what was wrong in particular, where `reason` is as general as the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// `kid` of the issuer's key that signed the subject token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_key: Option<String>,
    /// `kid` of the broker's key that signed what was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<String>,
    /// Reference to the target's own credential, as the bundle has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
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
    /// Who asserted each link of the chain, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain_asserted: Vec<LinkAssertion>,
}

/// One right of a credential.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Right {
    /// Names.
    Set(BTreeSet<String>),
    /// An upper bound.
    Number(i64),
}

/// Rights for a record, in the order of their names.
pub fn rights(rights: &Rights) -> BTreeMap<&'static str, Right> {
    let sets = rights.sets.iter().map(|(what, set)| (*what, Right::Set(set.clone())));
    let numbers = rights
        .numbers
        .iter()
        .map(|(what, number)| (*what, Right::Number(*number)));
    sets.chain(numbers).collect()
}

/// A use of a cached credential, as its server reported it.
#[derive(Debug, Clone, Serialize)]
pub struct Used {
    /// When it began.
    #[serde(serialize_with = "millis")]
    pub started: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: UseOutcome,
    /// Size of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// SHA-256 of the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments_sha256: Option<Digest>,
}

/// RFC 3339 in UTC with milliseconds, always 24 characters.
pub(super) fn millis<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

fn some_millis<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => millis(at, serializer),
        None => serializer.serialize_none(),
    }
}
