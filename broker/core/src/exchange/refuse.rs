//! The way out without a credential: undo what may exist, record the refusal, then answer it.

use procura_wire::{Needs, QualifiedId, Reason};
use serde::Serialize;

use super::{Admitted, admit::use_up};
use crate::{
    catalogue::Catalogue,
    identity::{Caller, Principal},
    ids::IssuanceId,
    judgement::{NearMiss, Verdict},
    ledger::{AppendError, Conditions, LeaseStep, Outcome, StoreError},
    limits::Exceeded,
    ports::Ports,
};

/// Nothing was issued.
#[derive(Debug)]
pub struct Refused {
    /// Why, as the log has it; the wire may say less.
    pub reason: Reason,
    /// The parameter at fault, where one is.
    pub param: Option<&'static str>,
    /// The record, once the server was authenticated and the refusal is durable.
    pub issuance: Option<IssuanceId>,
    /// What decided: for the log, and for answers in development mode only.
    pub explanation: Option<Explanation>,
    /// What a token must have for it to be issued.
    pub needs: Option<Box<Needs>>,
    /// Seconds after which the same request may succeed, where that is known.
    pub retry_after: Option<u32>,
}

impl Refused {
    /// A refusal that is not in the log: before authentication, or because the log is away.
    pub fn unrecorded(reason: Reason) -> Self {
        Self {
            reason,
            param: None,
            issuance: None,
            explanation: None,
            needs: None,
            retry_after: None,
        }
    }
}

impl From<Exceeded> for Refused {
    /// Not in the log.
    fn from(exceeded: Exceeded) -> Self {
        Self {
            retry_after: Some(exceeded.retry_after),
            ..Self::unrecorded(exceeded.reason)
        }
    }
}

/// Why the rules refused.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Code of the internal reason.
    pub reason: &'static str,
    /// Rules that decided.
    pub rules: Vec<String>,
    /// Permits that came nearest.
    pub near: Vec<NearMiss>,
}

/// Why a room let nothing through, and what becomes of the lease.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) reason: Reason,
    pub(super) param: Option<&'static str>,
    /// Boxed, because most refusals have none.
    pub(super) lease: Option<Box<LeaseStep>>,
    /// What a token must have for it to go on.
    pub(super) needs: Option<Box<Needs>>,
    /// The limit that is used up, where it was one.
    pub(super) exceeded: Option<Exceeded>,
}

impl Stop {
    pub(super) fn of(reason: Reason) -> Self {
        Self {
            reason,
            param: None,
            lease: None,
            needs: None,
            exceeded: None,
        }
    }

    pub(super) fn param(reason: Reason, param: &'static str) -> Self {
        Self {
            param: Some(param),
            ..Self::of(reason)
        }
    }

    /// A better token is needed.
    pub(super) fn needs(reason: Reason, needs: Box<Needs>) -> Self {
        Self {
            param: Some("subject_token"),
            needs: Some(needs),
            ..Self::of(reason)
        }
    }

    pub(super) fn lease(reason: Reason, step: LeaseStep) -> Self {
        Self {
            lease: Some(Box::new(step)),
            ..Self::of(reason)
        }
    }
}

impl From<Exceeded> for Stop {
    fn from(exceeded: Exceeded) -> Self {
        Self {
            exceeded: Some(exceeded),
            ..Self::of(exceeded.reason)
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::of(store_reason(error))
    }
}

/// How a failing store looks to a caller: nothing is issued.
pub(crate) fn store_reason(error: StoreError) -> Reason {
    match error {
        StoreError::Unavailable => Reason::AuditUnavailable,
        StoreError::Overloaded => Reason::Overloaded,
        StoreError::Inconsistent => Reason::ServerError,
    }
}

/// Why an append did not take the permit.
pub(super) fn append_reason(error: AppendError) -> Reason {
    match error {
        AppendError::SessionEnded => Reason::SessionEnded,
        AppendError::SubjectRevoked => Reason::SubjectRevoked,
        AppendError::Replayed => Reason::ProofReplayed,
        AppendError::Superseded => Reason::MintSuperseded,
        AppendError::Store(error) => store_reason(error),
    }
}

/// Notes what the rules said.
pub(super) fn note_verdict(admitted: &mut Admitted, verdict: Verdict) {
    admitted.draft.facts.rules.extend(verdict.rules);
    admitted.draft.facts.near = verdict.near;
}

/// Records the refusal, and uses up the proofs that nothing has used up yet. A refusal that cannot be recorded is
/// answered as such.
pub(super) async fn refuse(ports: &Ports, mut admitted: Admitted, mut stop: Stop) -> Refused {
    if let Some(exceeded) = stop.exceeded.filter(|exceeded| !exceeded.first) {
        return exceeded.into();
    }
    if stop.reason == Reason::ProofReplayed {
        // Nothing was used up where one of several was used before.
        stop.reason = use_up(ports, &admitted.once).await.err().unwrap_or(stop.reason);
        admitted.once.clear();
    }
    match record(ports, &admitted, &stop).await {
        Err(AppendError::Replayed) => {
            let replayed = Stop::of(
                use_up(ports, &admitted.once)
                    .await
                    .err()
                    .unwrap_or(Reason::ProofReplayed),
            );
            admitted.once.clear();
            admitted.draft.facts.cause = None;
            let recorded = record(ports, &admitted, &replayed).await;
            answer(admitted, replayed, recorded)
        }
        recorded => answer(admitted, stop, recorded),
    }
}

async fn record(ports: &Ports, admitted: &Admitted, stop: &Stop) -> Result<(), AppendError> {
    let (draft, reason) = (&admitted.draft, Some(stop.reason.code()));
    let sealed = draft.seal(Outcome::Refused, reason, &*ports.entropy);
    let sealed = sealed.or_else(|_| draft.bare().seal(Outcome::Refused, reason, &*ports.entropy));
    let entry = sealed.map_err(|_| StoreError::Inconsistent)?;
    let conditions = Conditions {
        burn: admitted.burn(),
        lease: stop.lease.as_deref().cloned(),
        guard: None,
    };
    match ports.ledger.append(entry.clone(), conditions).await {
        // Whoever took the lease over appends a record of its own; ours is needed only where it did not.
        Err(AppendError::Superseded) if stop.lease.is_some() => ports.ledger.append(entry, Conditions::default()).await,
        other => other,
    }
}

fn answer(admitted: Admitted, stop: Stop, recorded: Result<(), AppendError>) -> Refused {
    let draft = admitted.draft;
    match recorded {
        Ok(()) | Err(AppendError::Superseded) => Refused {
            reason: stop.reason,
            param: stop.param,
            issuance: Some(draft.id),
            needs: stop.needs,
            explanation: by_rules(stop.reason).then(|| Explanation {
                reason: stop.reason.code(),
                rules: draft.facts.rules,
                near: draft.facts.near,
            }),
            retry_after: stop.exceeded.map(|exceeded| exceeded.retry_after),
        },
        Err(error) => Refused::unrecorded(append_reason(error)),
    }
}

/// Whether the rules, or the ceiling that they work under, said no: then the rules noted are those that did.
fn by_rules(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::GrantUnknown
            | Reason::GrantUnlisted
            | Reason::PolicyDenied
            | Reason::PolicyError
            | Reason::ActorNotPermitted
    )
}

/// Whether one of those who take part was suspended in the bundle.
pub(super) fn suspended(catalogue: &Catalogue, caller: &Caller) -> Option<Reason> {
    let server = catalogue.servers.get(&caller.server.name);
    if server.is_none_or(|server| server.suspended) {
        return Some(Reason::ClientSuspended);
    }
    if is_suspended(catalogue, &caller.subject.principal) {
        return Some(Reason::SubjectSuspended);
    }
    let actor = caller.actor.agent.as_ref();
    actor
        .is_some_and(|actor| is_suspended_agent(catalogue, actor))
        .then_some(Reason::ActorSuspended)
}

/// Whether a principal is an agent that was suspended in the bundle.
pub(crate) fn is_suspended(catalogue: &Catalogue, principal: &Principal) -> bool {
    matches!(principal, Principal::Agent(id) if is_suspended_agent(catalogue, id))
}

/// Whether an agent was suspended in the bundle.
pub(crate) fn is_suspended_agent(catalogue: &Catalogue, id: &QualifiedId) -> bool {
    let agent = catalogue.agents.get(id.local.as_str());
    agent.is_some_and(|agent| agent.issuer == id.qualifier && agent.suspended)
}
