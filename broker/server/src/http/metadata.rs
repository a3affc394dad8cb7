//! Documents about the broker: metadata, keys, the API's description, the page of reasons.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::header,
    response::{Html, IntoResponse, Response},
};
use procura_wire::{Reason, TOKEN_EXCHANGE, TokenType};
use serde_json::json;

use super::App;

const OPENAPI: &str = include_str!("openapi.json");

/// How long metadata and keys may be kept by others.
const CACHE: &str = "public, max-age=60";

/// Path that metadata about `path` is found at (RFC 8414 section 3.1, RFC 9728 section 3.1).
fn well_known(name: &str, path: &str) -> String {
    format!("/.well-known/{name}{}", path.trim_end_matches('/'))
}

/// Path of the authorization server's metadata for an issuer with that path.
pub(crate) fn server_metadata_path(issuer_path: &str) -> String {
    well_known("oauth-authorization-server", issuer_path)
}

/// Path of the API's metadata for an issuer with that path.
pub(crate) fn resource_metadata_path(issuer_path: &str) -> String {
    well_known(
        "oauth-protected-resource",
        &format!("{}/v1", issuer_path.trim_end_matches('/')),
    )
}

/// URI of the API's metadata.
pub(crate) fn resource_metadata_uri(issuer: &str) -> String {
    let at = issuer.find("://").map_or(0, |at| at + 3);
    let (origin, path) = match issuer[at..].find('/') {
        Some(slash) => issuer.split_at(at + slash),
        None => (issuer, ""),
    };
    format!("{origin}{}", resource_metadata_path(path))
}

/// `/.well-known/oauth-authorization-server` (RFC 8414 section 2). There is no authorization endpoint, so nothing of RFC
/// 9207 is said: `authorization_response_iss_parameter_supported` means false where it is absent.
pub(crate) async fn server(State(app): State<Arc<App>>) -> Response {
    let issuer = &app.site.issuer;
    let methods = ["client_secret_basic", "client_secret_post"];
    let snapshot = app.ports.active.snapshot();
    let targets = snapshot.judge.catalogue().targets.values();
    let kinds: std::collections::BTreeSet<_> = targets.map(|target| target.kind.name).collect();
    let presentable: Vec<_> = TokenType::ALL.into_iter().filter(|ty| ty.is_presentable()).collect();
    cached(Json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "jwks_uri": format!("{issuer}/jwks.json"),
        "grant_types_supported": [TOKEN_EXCHANGE],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "authorization_details_types_supported": kinds,
        "subject_token_types_supported": presentable,
        "protected_resources": [format!("{issuer}/v1")],
        "service_documentation": format!("{issuer}/errors"),
    })))
}

/// `/.well-known/oauth-protected-resource/v1` (RFC 9728 section 2). Issuers of operators' tokens are named; scopes are
/// not, since rules and not scopes say what an operator may. A list without elements is left out (section 3.2).
pub(crate) async fn resource(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.ports.active.snapshot();
    let issuers = snapshot.judge.catalogue().issuers.values();
    let operators = issuers
        .filter(|issuer| issuer.operators)
        .map(|issuer| app.issuer_of(issuer));
    let operators: Vec<_> = operators.collect();
    let mut document = json!({
        "resource": format!("{}/v1", app.site.issuer),
        "bearer_methods_supported": ["header"],
    });
    if !operators.is_empty() {
        document["authorization_servers"] = operators.into();
    }
    cached(Json(document))
}

/// `/jwks.json` (RFC 7517): the keys that verify what the broker signs.
pub(crate) async fn jwks(State(app): State<Arc<App>>) -> Response {
    cached(Json(app.keys.public_jwks()))
}

/// `/v1/openapi.json`
pub(crate) async fn openapi() -> Response {
    cached(([(header::CONTENT_TYPE, "application/json")], OPENAPI))
}

/// `/errors`: what each reason means.
pub(crate) async fn errors() -> Response {
    cached(Html(errors_page()))
}

fn errors_page() -> String {
    let mut rows = String::new();
    for reason in Reason::ALL {
        let (code, error) = (reason.code(), reason.error().as_str());
        let (status, text) = (reason.status(), reason.text());
        // Codes and texts are ours and hold no markup.
        let _ = writeln!(
            rows,
            "<tr id=\"{code}\"><td><code>{code}</code><td><code>{error}</code><td>{status}<td>{text}"
        );
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Procura: reasons</title>\n\
         <h1>Reasons</h1>\n<table>\n<tr><th>reason<th>error<th>status<th>what to do\n{rows}</table>\n"
    )
}

fn cached(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, CACHE)], answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_061_req_066_paths_are_inserted_behind_the_well_known_part() {
        assert_eq!(server_metadata_path("/"), "/.well-known/oauth-authorization-server");
        assert_eq!(server_metadata_path("/a/"), "/.well-known/oauth-authorization-server/a");
        assert_eq!(resource_metadata_path("/"), "/.well-known/oauth-protected-resource/v1");
        assert_eq!(
            resource_metadata_uri("https://b.example.com/a"),
            "https://b.example.com/.well-known/oauth-protected-resource/a/v1"
        );
        assert_eq!(
            resource_metadata_uri("https://b.example.com"),
            "https://b.example.com/.well-known/oauth-protected-resource/v1"
        );
    }

    #[test]
    fn every_reason_has_an_anchor() {
        let page = errors_page();
        for reason in Reason::ALL {
            let anchor = format!("id=\"{}\"", reason.code());
            assert!(page.contains(&anchor), "{anchor}");
        }
    }

    #[test]
    fn the_api_description_is_openapi_3_1_and_names_every_path() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).expect("json");
        assert_eq!(document["openapi"], "3.1.0");
        for path in [
            "/v1/issuances",
            "/v1/issuances/{id}",
            "/v1/sessions",
            "/v1/sessions/{id}",
            "/v1/leases",
            "/v1/leases/{id}",
            "/v1/targets/{name}/rotate",
            "/v1/whois",
            "/v1/inventory",
            "/v1/uses",
        ] {
            assert!(document["paths"][path].is_object(), "{path}");
        }
    }
}
