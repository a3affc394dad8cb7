//! What tokens must show beyond being valid: for issuers, for servers, and for what is asked for.

use std::{collections::BTreeSet, sync::Arc};

use procura_wire::{Name, Needs, QualifiedId, Reason};

use super::{Admitted, refuse::Stop};
use crate::{
    Timestamp,
    catalogue::{Catalogue, Grant, Server},
    identity::{Caller, PresentedToken, Principal, Subject, VerifiedToken},
    ports::{Ports, Role},
    trust::LogInRule,
};

/// Verifies a token; one that is no JWT at the one issuer that may be asked about it. Asking several in turn would
/// show the token to those that it is not from.
pub(super) async fn verify(
    ports: &Ports,
    admitted: &Admitted,
    token: &PresentedToken,
    role: Role,
) -> Result<Arc<VerifiedToken>, Reason> {
    let catalogue = admitted.snapshot.judge.catalogue();
    match ports.tokens.verify(catalogue, token, role).await {
        Err(Reason::JwtFormat) => match asked_about_opaque(catalogue, admitted.entry()?) {
            Some(issuer) => ports.tokens.introspect(catalogue, issuer, token, role).await,
            None => Err(Reason::JwtFormat),
        },
        verified => verified,
    }
}

fn asked_about_opaque<'a>(catalogue: &'a Catalogue, server: &'a Server) -> Option<&'a Name> {
    let named = server.subjects.opaque_tokens_from.as_ref();
    named.or_else(|| {
        let introspects = |(_, issuer): &(&Name, &crate::catalogue::Issuer)| issuer.trust.introspection.is_some();
        let mut issuers = catalogue.issuers.iter().filter(introspects);
        match (issuers.next(), issuers.next()) {
            (Some((only, _)), None) => Some(only),
            _ => None,
        }
    })
}

/// Whether the server serves the organisation that the token belongs to.
pub(super) fn check_tenant(catalogue: &Catalogue, server: &Server, token: &VerifiedToken) -> Result<(), Reason> {
    let of_many = catalogue
        .issuers
        .get(&token.issuer)
        .and_then(|issuer| issuer.trust.tenant.as_ref())
        .is_some_and(|tenant| tenant.value.is_none());
    let tenant = token.vouched.tenant.as_ref();
    let tenant = tenant.map(|tenant| QualifiedId::new(token.issuer.clone(), tenant.as_str()));
    let listed = tenant.is_some_and(|tenant| server.subjects.tenants.contains(&tenant));
    if listed || (server.subjects.tenants.is_empty() && !of_many) {
        Ok(())
    } else {
        Err(Reason::SubjectTenantMismatch)
    }
}

/// Whether the user logged in as the issuer's file wants it. Agents of their own do not log in.
pub(crate) fn check_log_in(catalogue: &Catalogue, subject: &Subject, now: Timestamp) -> Result<(), Box<Needs>> {
    let issuer = catalogue.issuers.get(&subject.token.issuer);
    match (&subject.principal, issuer) {
        (Principal::User(_), Some(issuer)) if !issuer.trust.log_in.is_met(&subject.token.auth, now) => {
            Err(stronger(&issuer.trust.log_in))
        }
        _ => Ok(()),
    }
}

/// Whether the subject token carries what grants and tool require. Looked at after the rules, so that nobody learns
/// of a grant by what it requires.
pub(super) fn check_required(
    catalogue: &Catalogue,
    caller: &Caller,
    tool: Option<&str>,
    grants: &[(&Name, &Grant)],
    now: Timestamp,
) -> Result<(), Stop> {
    let token = &caller.subject.token;
    if let Some((_, grant)) = grants
        .iter()
        .find(|(_, grant)| !grant.requires.log_in.is_met(&token.auth, now))
    {
        return Err(Stop::needs(Reason::AuthInsufficient, stronger(&grant.requires.log_in)));
    }
    let of_tool = catalogue
        .servers
        .get(&caller.server.name)
        .and_then(|server| server.subjects.tool_scopes.get(tool?));
    let of_grants = grants.iter().flat_map(|(_, grant)| &grant.requires.scope);
    let required: BTreeSet<_> = of_grants.chain(of_tool.into_iter().flatten()).cloned().collect();
    if required.is_empty() {
        return Ok(());
    }
    let issuer = catalogue.issuers.get(&token.issuer).ok_or(Reason::JwtIssUntrusted)?;
    let reason = match &token.scopes {
        Some(scopes) if required.is_subset(&issuer.trust.with_implied(scopes)) => return Ok(()),
        Some(_) => Reason::ScopeInsufficient,
        None => Reason::PolicyScopeUnknown,
    };
    let required: Vec<_> = required.into_iter().collect();
    Err(Stop::needs(
        reason,
        Box::new(Needs {
            required_scope: Some(required.join(" ")),
            ..Needs::default()
        }),
    ))
}

fn stronger(rule: &LogInRule) -> Box<Needs> {
    Box::new(Needs {
        acr_values: (!rule.acr.is_empty()).then(|| rule.acr.join(" ")),
        max_age: rule.max_age.map(|age| age.as_secs()),
        required_scope: None,
    })
}
