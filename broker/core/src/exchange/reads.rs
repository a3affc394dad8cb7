//! Reading the request against the catalogue: target, grants, parameters.

use std::collections::BTreeSet;

use procura_wire::{Name, QualifiedId, Reason, TokenType};
use serde_json::{Map, Value};

use super::refuse::Stop;
use crate::{
    catalogue::{Catalogue, Grant, Server, Target},
    params::{self, Params},
    record::{Draft, Extent},
    request::{TargetRef, TokenRequest},
};

/// Notes what was asked for.
pub(super) fn note_request(draft: &mut Draft, request: &TokenRequest) {
    draft.facts.tool.clone_from(&request.tool);
    draft.facts.tool_call.clone_from(&request.tool_call);
    draft.facts.tool_definition_sha256 = request.tool_definition;
    draft.facts.requested = Some(Extent {
        ttl: request.requested_ttl.map(|ttl| ttl.as_secs()),
        scope: request.scope.clone(),
        ty: request.requested_type.map(TokenType::as_str),
    });
    draft.clear.requested_params = request
        .details
        .as_ref()
        .map(|details| Value::Object(details.params.clone()));
    let named = |target: &TargetRef| match target {
        TargetRef::Audience(text) | TargetRef::Resource(text) => text.chars().take(256).collect(),
    };
    draft.clear.requested_target = request.targets.iter().map(named).collect();
}

/// The one target that all names lead to, if it has anything for this server.
pub(super) fn target<'a>(
    catalogue: &'a Catalogue,
    server: &Server,
    names: &[TargetRef],
) -> Result<(&'a Name, &'a Target), Stop> {
    let found: Option<Vec<_>> = names.iter().map(|name| find(catalogue, name)).collect();
    let found = found.unwrap_or_default();
    match found.first() {
        Some(first) if found.iter().any(|other| other.0 != first.0) => Err(Reason::PolicyTarget.into()),
        Some((name, target)) if reachable(server).any(|grant| grant.qualifier == **name) => Ok((name, target)),
        _ => Err(Reason::TargetNotAvailable.into()),
    }
}

fn find<'a>(catalogue: &'a Catalogue, name: &TargetRef) -> Option<(&'a Name, &'a Target)> {
    match name {
        TargetRef::Audience(name) => catalogue.targets.get_key_value(name.as_str()),
        TargetRef::Resource(uri) => {
            let is_it = |target: &Target| target.resource.as_ref().is_some_and(|resource| same_uri(resource, uri));
            catalogue.targets.iter().find(|(_, target)| is_it(target))
        }
    }
}

fn reachable(server: &Server) -> impl Iterator<Item = &QualifiedId> {
    server.grants.iter().chain(server.tools.values().flatten())
}

/// Compares two URIs after lower-casing scheme and host, and nothing else (MCP, canonical resource URI).
pub fn same_uri(a: &str, b: &str) -> bool {
    fn split(uri: &str) -> (String, &str) {
        let host = uri.find("://").map_or(0, |at| at + 3);
        let path = uri[host..].find(['/', '?', '#']).map_or(uri.len(), |at| host + at);
        (uri[..path].to_ascii_lowercase(), &uri[path..])
    }
    split(a) == split(b)
}

/// The grants that the scope names, each there and listed for server and tool.
pub(super) fn grants<'a>(
    server: &Server,
    (name, target): (&Name, &'a Target),
    request: &TokenRequest,
) -> Result<Vec<(&'a Name, &'a Grant)>, Stop> {
    let unknown = || Stop::param(Reason::GrantUnknown, "scope");
    let mut grants = Vec::with_capacity(request.scope.len());
    for scope in &request.scope {
        let (grant_name, grant) = target.grants.get_key_value(scope.as_str()).ok_or_else(unknown)?;
        let id = QualifiedId::new(name.clone(), grant_name.as_str());
        server
            .reaches(request.tool.as_deref(), &id)
            .map_err(|reason| Stop::param(reason, "scope"))?;
        grants.push((grant_name, grant));
    }
    let alike = grants.iter().all(|(_, grant)| grant.params == grants[0].1.params);
    match grants.len() {
        0 => Err(unknown()),
        1 => Ok(grants),
        _ if target.kind.merges && alike => Ok(grants),
        _ => Err(Stop::param(Reason::GrantsNotMergeable, "scope")),
    }
}

/// The parameters of the request, read against the grants' declaration.
pub(super) fn parameters(target: &Target, grant: &Grant, request: &TokenRequest) -> Result<Params, Stop> {
    let fault = || Stop::param(Reason::PolicyRar, "authorization_details");
    let none = Map::new();
    let given = match &request.details {
        Some(details) if details.kind != target.kind.name => return Err(fault()),
        Some(details) => &details.params,
        None => &none,
    };
    params::read(&grant.params, given).ok_or_else(fault)
}

/// The type asked for, if any, is the one that the kind issues.
pub(super) fn token_type(target: &Target, request: &TokenRequest) -> Result<(), Stop> {
    match request.requested_type {
        Some(ty) if ty != target.kind.issues => Err(Stop::param(Reason::TokenTypeMismatch, "requested_token_type")),
        _ => Ok(()),
    }
}

/// A scope claim as a set.
pub(super) fn scopes(token: &crate::identity::VerifiedToken) -> BTreeSet<String> {
    token.scopes.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::same_uri;

    #[test]
    fn req_072_scheme_and_host_compare_without_case_and_nothing_else_does() {
        assert!(same_uri("https://api.example/v1", "HTTPS://API.example/v1"));
        for other in [
            "https://api.example/V1",
            "https://api.example/v1/",
            "https://api.example.evil/v1",
            "https://api.example/v1#x",
        ] {
            assert!(!same_uri("https://api.example/v1", other), "{other}");
        }
    }
}
