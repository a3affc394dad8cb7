//! The second half of identity: subject and actor. Claims are looked at on each use, also where the
//! signature was verified before.

use std::sync::Arc;

use procura_wire::{Name, QualifiedId, Reason};

use super::{
    Admitted, actor, bind, demands, id_jag, limit, reads,
    reads::same_uri,
    refuse::{Stop, suspended},
};
use crate::{
    Timestamp,
    catalogue::{Catalogue, Issuer},
    identity::{Caller, Principal, Subject, VerifiedToken},
    ledger::TokenFacts,
    ports::{Ports, Role},
    request::{PresentedSubject, TokenRequest},
    trust::{SKEW, Tenant},
};

/// Who takes part. What an ID-JAG says of target and scope goes into the request.
pub(super) async fn identify(
    ports: &Ports,
    admitted: &mut Admitted,
    request: &mut TokenRequest,
) -> Result<Caller, Stop> {
    let snapshot = Arc::clone(&admitted.snapshot);
    let catalogue = snapshot.judge.catalogue();
    let (parameter, token) = match &request.subject {
        PresentedSubject::Token(presented) => {
            let at_fault = |reason| Stop::param(reason, "subject_token");
            let verified = demands::verify(ports, admitted, presented, Role::Subject).await;
            let token = verified.map_err(at_fault)?;
            check_token(catalogue, &token, admitted.now).map_err(at_fault)?;
            // The audience of an ID token is its client, which must be one of those that its issuer's file lists.
            if !token.vouched.id_token {
                let resource = &admitted.entry()?.resource;
                check_audience(catalogue, &token, &[resource]).map_err(at_fault)?;
            }
            ("subject_token", token)
        }
        PresentedSubject::IdJag(assertion) => {
            admitted.draft.facts.id_jag = true;
            let assertion = id_jag::verify(ports, admitted, assertion).await?;
            id_jag::narrow(admitted, &assertion, request)?;
            reads::note_request(&mut admitted.draft, request);
            ("assertion", assertion.token)
        }
    };
    let at_fault = |reason| Stop::param(reason, parameter);
    demands::check_tenant(catalogue, admitted.entry()?, &token).map_err(at_fault)?;
    let principal = principal(catalogue, &token.issuer, &token.sub).map_err(at_fault)?;
    let subject = Subject { principal, token };
    note_subject(admitted, &subject);
    bind::check(catalogue, admitted, &subject.token).map_err(at_fault)?;
    let log_in = demands::check_log_in(catalogue, &subject, admitted.now);
    log_in.map_err(|needs| Stop::needs(Reason::AuthInsufficient, needs))?;
    limit::subject(ports, admitted, &subject.principal)?;

    let actor = actor::resolve(ports, admitted, &subject, request).await?;
    let draft = &mut admitted.draft;
    draft.facts.actor_asserted_by = Some(actor.asserted_by);
    draft.clear.actor.clone_from(&actor.agent);
    draft.clear.chain.clone_from(&actor.chain);
    draft.clear.chain_asserted = actor.assertions(&subject.token, &ports.issuer);

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

/// Times, client and organisation of a verified token, under its issuer's rules as they are now.
pub fn check_token(catalogue: &Catalogue, token: &VerifiedToken, now: Timestamp) -> Result<(), Reason> {
    let issuer = catalogue.issuers.get(&token.issuer).ok_or(Reason::JwtIssUntrusted)?;
    check_times(issuer, token, now)?;
    check_organisation(issuer, token)?;
    match (&issuer.clients, &token.client) {
        (None, _) if !token.vouched.id_token => Ok(()),
        (Some(allowed), Some(client)) if allowed.contains(client) => Ok(()),
        _ => Err(Reason::SubjectClientMismatch),
    }
}

/// Whether the issuer vouches for the organisation that the token belongs to.
pub(crate) fn check_organisation(issuer: &Issuer, token: &VerifiedToken) -> Result<(), Reason> {
    let fits = |tenant: &Tenant| match (&tenant.value, &token.vouched.tenant) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(only), Some(tenant)) => only == tenant,
    };
    match issuer.trust.tenant.as_ref().is_none_or(fits) {
        true => Ok(()),
        false => Err(Reason::SubjectTenantMismatch),
    }
}

/// `exp`, `nbf`, `iat` and the whole lifetime (RFC 7519 section 4.1).
pub(crate) fn check_times(issuer: &Issuer, token: &VerifiedToken, now: Timestamp) -> Result<(), Reason> {
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
    facts.introspected = token.vouched.introspected;
    facts.id_token = token.vouched.id_token;
    facts.tenant.clone_from(&token.vouched.tenant);
    facts.token_key.clone_from(&token.vouched.key);
    clear.subject = Some(subject.principal.clone());
    clear.iss = Some(token.iss.clone());
    clear.sub = Some(token.sub.clone());
    clear.sid.clone_from(&token.sid);
    clear.subject_scopes = reads::scopes(token).into_iter().collect();
}
