//! Judgement: the ceiling of the server's file, the parameters, the lifetime, then the rules.

use std::{sync::Arc, time::Duration};

use procura_wire::{Name, Reason};

use super::{
    Admitted, demands, limit, reads,
    refuse::{Stop, note_verdict},
    session,
};
use crate::{
    Timestamp,
    catalogue::{Grant, Server, Target},
    identity::Caller,
    judgement::{Effect, Plan, Question},
    kind::Lifetime,
    ledger::Session,
    ports::Ports,
    record::Extent,
    request::TokenRequest,
};

/// A permit: what exactly may be minted, for whom, in which session.
pub(super) struct Permit {
    pub(super) caller: Caller,
    pub(super) session: Session,
    pub(super) plan: Plan,
    pub(super) per_call: bool,
}

pub(super) async fn judge(
    ports: &Ports,
    admitted: &mut Admitted,
    caller: Caller,
    request: &TokenRequest,
) -> Result<Permit, Stop> {
    let snapshot = Arc::clone(&admitted.snapshot);
    let catalogue = snapshot.judge.catalogue();
    let server = catalogue
        .servers
        .get(&caller.server.name)
        .ok_or(Reason::ClientUnauthenticated)?;
    if request
        .tool
        .as_ref()
        .is_some_and(|tool| !server.tools.contains_key(tool))
    {
        return Err(Stop::param(Reason::ToolNotDeclared, "tool"));
    }
    defined(server, request)?;
    let (name, target) = reads::target(catalogue, server, &request.targets)?;
    admitted.draft.facts.target = Some(name.clone());
    admitted.draft.facts.kind = Some(target.kind.name);
    admitted.draft.facts.source.clone_from(&target.source);
    admitted.draft.clear.requested_target.clear();
    let grants = reads::grants(server, (name, target), request)?;
    admitted.draft.facts.grants = grants.iter().map(|(name, _)| (*name).clone()).collect();
    reads::token_type(target, request)?;
    let params = reads::parameters(target, grants[0].1, request)?;
    admitted.draft.clear.params.clone_from(&params);
    let run = session::find(ports, admitted, &caller, request.session).await?;
    admitted.draft.facts.session_facts = Some(run.facts(admitted));
    let end = end(
        admitted,
        &caller,
        target,
        &grants,
        (run.session(), request.requested_ttl),
    );
    let ttl = u64::try_from(end.duration_since(floor(admitted.now)).as_secs()).unwrap_or(0);
    admitted.draft.facts.allowed = Some(Extent {
        ttl: Some(ttl),
        ..Extent::default()
    });
    let question = Question {
        subject: &caller.subject,
        actor: &caller.actor,
        server: &caller.server.name,
        tool: request.tool.as_deref(),
        target: name,
        grant: grants[0].0,
        params: &params,
        session: run.facts(admitted),
        ttl: Duration::from_secs(ttl),
        now: admitted.now,
    };
    // Every grant must be permitted alone.
    for (grant, _) in &grants {
        decide(admitted, &Question { grant, ..question })?;
    }
    demands::check_required(catalogue, &caller, request.tool.as_deref(), &grants, admitted.now)?;
    let plan = Plan {
        target: name.clone(),
        grants: admitted.draft.facts.grants.clone(),
        params,
        confirmation: admitted.draft.facts.cnf.clone().filter(|_| target.kind.binds),
        end,
    };
    if !(target.kind.narrows)(target, &plan) {
        return Err(Stop::param(Reason::PolicyRar, "authorization_details"));
    }
    let Lifetime::Chosen { min, .. } = target.kind.lifetime;
    if end < floor(admitted.now) + min {
        return Err(Reason::TtlBelowMinimum.into());
    }
    limit::permitted(ports, admitted, &grants, run.session().id)?;
    let session = session::open(ports, run).await?;
    admitted.draft.facts.session = Some(session.id);
    admitted.draft.facts.outlives_subject = outlives(&grants);
    // The winner of a race may have opened its session a little earlier.
    let plan = Plan {
        end: end.min(floor(session.ends)),
        ..plan
    };
    let per_call = grants.iter().any(|(_, grant)| grant.per_call);
    Ok(Permit {
        caller,
        session,
        plan,
        per_call,
    })
}

/// A tool whose definition stands in the server's file is asked for with that definition.
fn defined(server: &Server, request: &TokenRequest) -> Result<(), Stop> {
    let declared = request.tool.as_ref().and_then(|tool| server.definitions.get(tool));
    match (declared, &request.tool_definition) {
        (Some(_), None) => Err(Reason::ToolDefinitionMissing),
        (Some(declared), Some(presented)) if declared != presented => Err(Reason::ToolDefinitionChanged),
        _ => Ok(()),
    }
    .map_err(|reason| Stop::param(reason, "tool_definition_sha256"))
}

/// Whole seconds, as tokens have them.
pub(super) fn floor(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn outlives(grants: &[(&Name, &Grant)]) -> bool {
    grants.iter().all(|(_, grant)| grant.outlives_subject)
}

/// The earliest of all caps (DESIGN.md, Lifetime): request or grant, grant's and kind's maximum,
/// session, and the tokens where the grants do not outlive them.
fn end(
    admitted: &Admitted,
    caller: &Caller,
    target: &Target,
    grants: &[(&Name, &Grant)],
    (session, requested): (&Session, Option<Duration>),
) -> Timestamp {
    let now = floor(admitted.now);
    let Lifetime::Chosen { max, .. } = target.kind.lifetime;
    let most = grants.iter().map(|(_, grant)| grant.max_ttl).fold(max, Duration::min);
    let usual = grants
        .iter()
        .map(|(_, grant)| grant.ttl.unwrap_or(grant.max_ttl))
        .fold(most, Duration::min);
    let mut end = (now + requested.unwrap_or(usual).min(most)).min(floor(session.ends));
    if !outlives(grants) {
        end = end.min(floor(caller.subject.token.expires));
        end = caller.actor.expires.map_or(end, |expires| end.min(floor(expires)));
    }
    end
}

fn decide(admitted: &mut Admitted, question: &Question<'_>) -> Result<(), Stop> {
    let verdict = admitted.snapshot.judge.decide(question);
    let effect = verdict.effect;
    note_verdict(admitted, verdict);
    match effect {
        Effect::Permit => Ok(()),
        Effect::Deny => Err(Stop::param(Reason::PolicyDenied, "scope")),
        Effect::Error => Err(Stop::param(Reason::PolicyError, "scope")),
    }
}
