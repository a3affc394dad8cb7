//! The second half of identity: subject and actor. Claims are looked at on each use, also where the
//! signature was verified before.

use std::{sync::Arc, time::Duration};

use procura_wire::{Name, QualifiedId, Reason};

use super::{
    Admitted, actor, limit, reads,
    reads::same_uri,
    refuse::{Stop, suspended},
};
use crate::{
    Timestamp,
    catalogue::{Catalogue, Issuer},
    identity::{Caller, Principal, Subject, VerifiedToken},
    ledger::TokenFacts,
    ports::{Ports, Role},
    request::TokenRequest,
};

/// How far an issuer's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(30);

pub(super) async fn identify(ports: &Ports, admitted: &mut Admitted, request: &TokenRequest) -> Result<Caller, Stop> {
    let snapshot = Arc::clone(&admitted.snapshot);
    let catalogue = snapshot.judge.catalogue();
    let at_fault = |reason| Stop::param(reason, "subject_token");
    let token = ports
        .tokens
        .verify(catalogue, &request.subject, Role::Subject)
        .await
        .map_err(at_fault)?;
    let resource = admitted.entry()?.resource.clone();
    check_token(catalogue, &token, admitted.now).map_err(at_fault)?;
    check_audience(catalogue, &token, &[&resource]).map_err(at_fault)?;
    let principal = principal(catalogue, &token.issuer, &token.sub).map_err(at_fault)?;
    let subject = Subject { principal, token };
    note_subject(admitted, &subject);
    limit::subject(ports, admitted, &subject.principal)?;

    let actor = actor::resolve(ports, admitted, &subject, request).await?;
    let draft = &mut admitted.draft;
    draft.facts.actor_asserted_by = Some(actor.asserted_by);
    draft.clear.actor.clone_from(&actor.agent);
    draft.clear.chain.clone_from(&actor.chain);

    let caller = Caller {
        server: admitted.server.clone(),
        subject,
        actor,
    };
    if let Some(reason) = suspended(catalogue, &caller) {
        return Err(reason.into());
    }
    if ports.ledger.is_revoked(token_facts(&caller)).await? {
        return Err(at_fault(Reason::SubjectRevoked));
    }
    Ok(caller)
}

/// What marks are compared with.
pub(super) fn token_facts(caller: &Caller) -> TokenFacts {
    TokenFacts {
        server: caller.server.name.clone(),
        subject: caller.subject.principal.clone(),
        actor: caller.actor.agent.clone(),
        issued_at: caller.subject.token.issued_at,
    }
}

/// Times and client of a verified token, under its issuer's rules as they are now.
pub(crate) fn check_token(catalogue: &Catalogue, token: &VerifiedToken, now: Timestamp) -> Result<(), Reason> {
    let issuer = catalogue.issuers.get(&token.issuer).ok_or(Reason::JwtIssUntrusted)?;
    check_times(issuer, token, now)?;
    match (&issuer.clients, &token.client) {
        (None, _) => Ok(()),
        (Some(allowed), Some(client)) if allowed.contains(client) => Ok(()),
        _ => Err(Reason::SubjectClientMismatch),
    }
}

/// `exp`, `nbf`, `iat` and the whole lifetime (RFC 7519 section 4.1).
fn check_times(issuer: &Issuer, token: &VerifiedToken, now: Timestamp) -> Result<(), Reason> {
    let begins = [token.not_before, token.issued_at].into_iter().flatten().max();
    if token.expires <= now {
        Err(Reason::JwtExpired)
    } else if begins.is_some_and(|begins| begins > now + SKEW) {
        Err(Reason::JwtNotYet)
    } else if token.expires.duration_since(token.issued_at.unwrap_or(now)).as_secs()
        > i64::try_from(issuer.max_token_lifetime.as_secs()).unwrap_or(i64::MAX)
    {
        Err(Reason::JwtLifetime)
    } else {
        Ok(())
    }
}

/// One audience is accepted, and all others are among those that the issuer's file names.
pub(super) fn check_audience(catalogue: &Catalogue, token: &VerifiedToken, accepted: &[&str]) -> Result<(), Reason> {
    let ours = |audience: &String| accepted.iter().any(|accepted| same_uri(audience, accepted));
    let extra = catalogue
        .issuers
        .get(&token.issuer)
        .map(|issuer| &issuer.extra_audiences);
    let listed = |audience: &String| extra.is_some_and(|extra| extra.contains(audience));
    if !token.audience.iter().any(ours) {
        Err(Reason::JwtAudience)
    } else if token.audience.iter().all(|audience| ours(audience) || listed(audience)) {
        Ok(())
    } else {
        Err(Reason::JwtAudMulti)
    }
}

/// The principal that an issuer's `sub` is. A `sub` that reads like the name of a declared agent but
/// is not its `sub` is refused: two parties must never meet in one id.
pub(crate) fn principal(catalogue: &Catalogue, issuer: &Name, sub: &str) -> Result<Principal, Reason> {
    if let Some((name, _)) = catalogue.agent_by_sub(issuer, sub) {
        return Ok(Principal::Agent(QualifiedId::new(issuer.clone(), name.as_str())));
    }
    if catalogue.agents.get(sub).is_some_and(|agent| agent.issuer == *issuer) {
        return Err(Reason::NameRefused);
    }
    Ok(Principal::User(QualifiedId::new(issuer.clone(), sub)))
}

fn note_subject(admitted: &mut Admitted, subject: &Subject) {
    let (facts, clear, token) = (&mut admitted.draft.facts, &mut admitted.draft.clear, &subject.token);
    facts.subject_kind = Some(subject.principal.kind());
    facts.issuer = Some(token.issuer.clone());
    facts.groups = token.groups.iter().cloned().collect();
    facts.auth = Some(token.auth.clone());
    clear.subject = Some(subject.principal.clone());
    clear.iss = Some(token.iss.clone());
    clear.sub = Some(token.sub.clone());
    clear.sid.clone_from(&token.sid);
    clear.subject_scopes = reads::scopes(token).into_iter().collect();
}
