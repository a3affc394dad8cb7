//! The decision's input and output, as data.

use std::time::Duration;

use procura_wire::{Digest, Name, QualifiedId};
use serde::{Deserialize, Serialize};

use crate::{
    Timestamp,
    catalogue::Catalogue,
    identity::{Actor, Confirmation, Principal, Subject},
    params::Params,
};

/// One question: may this subject have this grant now?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The principal.
    pub subject: &'a Subject,
    /// `context.actor`, where it is not the server.
    pub actor: &'a Actor,
    /// `context.server`
    pub server: &'a Name,
    /// `context.tool`, where one is named.
    pub tool: Option<&'a str>,
    /// The resource.
    pub target: &'a Name,
    /// The action is `<target>/<grant>`.
    pub grant: &'a Name,
    /// `context.params`
    pub params: &'a Params,
    /// `context.session`
    pub session: SessionFacts,
    /// `context.ttl`: the lifetime that it would have.
    pub ttl: Duration,
    /// `context.now`
    pub now: Timestamp,
}

/// What rules may know of the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// Seconds since it was opened; 0 for a new one.
    pub age: u64,
    /// Credentials issued in it so far.
    pub issuances: u64,
}

/// The answer, with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Permitted or not, and why not.
    pub effect: Effect,
    /// `@id`s of the rules that decided: permits of a permit, forbids of a deny.
    pub rules: Vec<String>,
    /// For a deny without a forbid: permits of that grant that came nearest, three at most.
    pub near: Vec<NearMiss>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A rule permits it and none forbids it.
    Permit,
    /// No rule permits it, or one forbids it.
    Deny,
    /// A rule could not be evaluated, which denies.
    Error,
}

/// A permit that did not match, and its first false clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    /// `@id` of the rule.
    pub rule: String,
    /// The clause as the policy file has it, shortened to 200 characters.
    pub clause: String,
}

/// Rights of operators and auditors: actions outside `issue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorAction {
    /// Read records and sessions.
    ReadLog,
    /// End sessions.
    EndSession,
    /// Undo single credentials.
    UndoLease,
    /// Ask which rules decide.
    ExplainPolicy,
    /// Rotate the broker's own credential at a target.
    RotateTarget,
}

impl OperatorAction {
    /// Every action.
    pub const ALL: [Self; 5] = [
        Self::ReadLog,
        Self::EndSession,
        Self::UndoLease,
        Self::ExplainPolicy,
        Self::RotateTarget,
    ];

    /// Its name in rules: `Action::"read_log"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadLog => "read_log",
            Self::EndSession => "end_session",
            Self::UndoLease => "undo_lease",
            Self::ExplainPolicy => "explain_policy",
            Self::RotateTarget => "rotate_target",
        }
    }
}

/// The rules of one bundle. Pure and total: the same question always gets the same answer, and
/// whatever cannot be evaluated is a deny.
pub trait Judge: Send + Sync {
    /// What the bundle declares.
    fn catalogue(&self) -> &Catalogue;

    /// SHA-256 of the bundle's content; stands in every record.
    fn digest(&self) -> Digest;

    /// Decides about a grant. The caller has checked that it is listed for server and tool.
    fn decide(&self, question: &Question<'_>) -> Verdict;

    /// Whether the agent may act for the subject: the action `act_for`.
    fn may_act_for(&self, agent: &Principal, subject: &Subject, now: Timestamp) -> Verdict;

    /// What its rules are about, in their order.
    fn rules(&self) -> Vec<RuleFacts> {
        Vec::new()
    }

    /// Whether an operator may do this to a target's records, or to those of all (`None`).
    fn operator(&self, operator: &Subject, action: OperatorAction, target: Option<&Name>, now: Timestamp) -> Verdict;
}

/// What a rule is about, its conditions apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFacts {
    /// Its `@id`.
    pub id: String,
    /// It permits, or it forbids.
    pub permits: bool,
    /// Whom it is for; `None` where anybody may match.
    pub whom: Option<Whom>,
    /// The grants that it is about; none for rules about operators and `act_for`.
    pub grants: Vec<QualifiedId>,
}

/// Whom a rule names, by qualified id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// A user.
    User(String),
    /// An agent.
    Agent(String),
    /// Whoever is in a group.
    Group(String),
}

impl Whom {
    /// The qualified id.
    pub fn id(&self) -> &str {
        match self {
            Self::User(id) | Self::Agent(id) | Self::Group(id) => id,
        }
    }
}

/// Exactly what may be minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The target.
    pub target: Name,
    /// The grants; several only where the kind can merge them.
    pub grants: Vec<Name>,
    /// The parameters, which narrow each of them.
    pub params: Params,
    /// The key that the token must be bound to; `None` for kinds that bind nothing.
    pub confirmation: Option<Confirmation>,
    /// When it must have ended.
    pub end: Timestamp,
}
