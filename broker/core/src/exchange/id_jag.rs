//! An ID-JAG as grant (RFC 7523 section 2.1, draft-ietf-oauth-identity-assertion-authz-grant, MCP
//! Enterprise-Managed Authorization): what it must be beyond a valid one of its issuer, and what it asks for.

use std::sync::Arc;

use procura_wire::{Digest, Name, OAuthError, QualifiedId, Reason, Secret};

use super::{
    Admitted, identify,
    reads::{self, same_uri},
    refuse::Stop,
};
use crate::{
    catalogue::{IdJagUse, Issuer, Server, Target},
    identity::{IdJag, Once, VerifiedToken},
    ledger::ReplayId,
    ports::Ports,
    request::{Details, TargetRef, TokenRequest},
    trust::SKEW,
};

/// The assertion, for us and from whom it was issued to. Only then is its id used up.
pub(super) async fn verify(ports: &Ports, admitted: &mut Admitted, assertion: &Secret) -> Result<IdJag, Stop> {
    let snapshot = Arc::clone(&admitted.snapshot);
    let catalogue = snapshot.judge.catalogue();
    let verified = ports.tokens.verify_id_jag(catalogue, assertion).await;
    let verified = verified.map_err(|reason| invalid(admitted, reason))?;
    let token = &verified.token;
    let issuer = catalogue.issuers.get(&token.issuer);
    let issuer = issuer.ok_or_else(|| invalid(admitted, Reason::JwtIssUntrusted))?;
    identify::check_times(issuer, token, admitted.now).map_err(|reason| invalid(admitted, reason))?;
    let at_fault = |reason| Err(Stop::param(reason, "assertion"));
    if let Err(reason) = identify::check_organisation(issuer, token) {
        return at_fault(reason);
    }
    if token.audience != [ports.issuer.as_str()] {
        return at_fault(Reason::IdJagAudience);
    }
    if token.client.as_deref() != Some(admitted.server.name.as_str()) {
        return at_fault(Reason::IdJagClient);
    }
    let proven = |key| admitted.proven.holds(key).is_ok();
    if !token.confirmation.as_ref().is_none_or(proven) {
        return at_fault(Reason::IdJagPop);
    }
    admitted.once.extend(once(issuer, token));
    Ok(verified)
}

/// What is wrong with an assertion is `invalid_grant` (RFC 7523 section 3.1), and the record says what it is; an issuer
/// that is away is not.
fn invalid(admitted: &mut Admitted, reason: Reason) -> Stop {
    match (reason, reason.error()) {
        (_, OAuthError::TemporarilyUnavailable) | (Reason::IdJagTenant, _) => Stop::param(reason, "assertion"),
        _ => {
            admitted.draft.facts.cause = Some(reason.code());
            Stop::param(Reason::IdJagInvalid, "assertion")
        }
    }
}

fn once(issuer: &Issuer, token: &VerifiedToken) -> Option<Once> {
    if issuer.id_jag == Some(IdJagUse::UntilExpiry) {
        return None;
    }
    // None of them holds a NUL: an issuer is a URL, a `sub` is plain, and what follows the last is the id alone.
    let id = token.jti.as_deref().unwrap_or_default().as_bytes();
    let id = Digest::of_parts([
        b"id-jag\0",
        token.iss.as_bytes(),
        b"\0",
        token.sub.as_bytes(),
        b"\0",
        id,
    ]);
    let until = token.expires + SKEW;
    Some(Once {
        id: ReplayId { id, until },
        replayed: Reason::IdJagReplay,
    })
}

/// Target, scope and parameters: what the request names must lie within what the assertion grants, and what the
/// request leaves out is as the assertion says.
pub(super) fn narrow(admitted: &Admitted, assertion: &IdJag, request: &mut TokenRequest) -> Result<(), Stop> {
    if request.targets.is_empty() {
        let resources = assertion.resources.iter().cloned();
        request.targets = resources.map(TargetRef::Resource).collect();
    }
    if request.targets.is_empty() {
        return Err(Stop::param(Reason::ParamMissing, "resource"));
    }
    let server = admitted.entry()?;
    let catalogue = admitted.snapshot.judge.catalogue();
    let (name, target) = reads::target(catalogue, server, &request.targets)?;
    if !is_for(assertion, target) {
        return Err(Stop::param(Reason::IdJagResource, "assertion"));
    }
    narrow_scope(assertion, request, (server, name, target))?;
    narrow_details(assertion, request)
}

fn is_for(assertion: &IdJag, target: &Target) -> bool {
    let same = |resource: &String| target.resource.as_ref().is_some_and(|uri| same_uri(uri, resource));
    let named = assertion.resources.is_empty() || assertion.resources.iter().any(same);
    named && target.kind.issues.scheme() == "Bearer"
}

/// The granted scope is the intersection of what the assertion grants and what server and target have.
fn narrow_scope(
    assertion: &IdJag,
    request: &mut TokenRequest,
    (server, name, target): (&Server, &Name, &Target),
) -> Result<(), Stop> {
    let granted = assertion.token.scopes.as_ref();
    if request.scope.is_empty() {
        let reachable = |scope: &&String| {
            let id = QualifiedId::new(name.clone(), scope.as_str());
            target.grants.contains_key(scope.as_str()) && server.reaches(request.tool.as_deref(), &id).is_ok()
        };
        request.scope = granted.into_iter().flatten().filter(reachable).cloned().collect();
    }
    let within = |scope: &String| granted.is_none_or(|granted| granted.contains(scope));
    match (request.scope.is_empty(), granted) {
        (true, None) => Err(Stop::param(Reason::ParamMissing, "scope")),
        (false, _) if request.scope.iter().all(within) => Ok(()),
        _ => Err(Stop::param(Reason::IdJagScope, "scope")),
    }
}

fn narrow_details(assertion: &IdJag, request: &mut TokenRequest) -> Result<(), Stop> {
    let fault = || Stop::param(Reason::PolicyRar, "authorization_details");
    let Some(details) = assertion.details.clone().map(Details::read) else {
        return Ok(());
    };
    let details = details.ok_or_else(fault)?;
    match (&request.details, &details) {
        (None, _) => request.details = details,
        (asked, granted) if asked == granted => {}
        _ => return Err(fault()),
    }
    Ok(())
}
