//! Documents about the broker: metadata, keys, the API's description, the page of reasons.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::header,
    response::{Html, IntoResponse, Response},
};
use procura_core::{
    catalogue::{Algorithm, Catalogue, Server, ServerAuth},
    request::token_endpoint,
};
use procura_wire::{JWT_BEARER, Reason, TOKEN_EXCHANGE, TokenType};
use serde_json::json;

use super::App;

const OPENAPI: &str = include_str!("openapi.json");

const ID_JAG_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

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
    let algorithms = Algorithm::NAMES.map(|(name, _)| name);
    let snapshot = app.ports.active.snapshot();
    let methods = methods(snapshot.judge.catalogue());
    let targets = snapshot.judge.catalogue().targets.values();
    let mut servers = snapshot.judge.catalogue().servers.values();
    let kinds: BTreeSet<_> = targets.map(|target| target.kind.name).collect();
    // That ID-JAGs are taken is said, and from whom is not (MCP Enterprise-Managed Authorization).
    let id_jag = snapshot
        .judge
        .catalogue()
        .issuers
        .values()
        .any(|issuer| issuer.id_jag.is_some());
    let (grants, profiles): (&[_], &[_]) = match id_jag {
        true => (&[TOKEN_EXCHANGE, JWT_BEARER], &[ID_JAG_PROFILE]),
        false => (&[TOKEN_EXCHANGE], &[]),
    };
    let mut issuers = snapshot.judge.catalogue().issuers.values();
    let id_tokens = issuers.any(|issuer| issuer.trust.id_tokens);
    let presentable = TokenType::ALL.into_iter().filter(|ty| ty.is_presentable());
    let presentable: Vec<_> = presentable
        .filter(|ty| id_tokens || *ty != TokenType::IdToken)
        .collect();
    cached(Json(json!({
        "issuer": issuer,
        "token_endpoint": token_endpoint(issuer),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "jwks_uri": format!("{issuer}/jwks.json"),
        "grant_types_supported": grants,
        "authorization_grant_profiles_supported": profiles,
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "authorization_details_types_supported": kinds,
        "subject_token_types_supported": presentable,
        "dpop_signing_alg_values_supported": algorithms,
        "tls_client_certificate_bound_access_tokens": servers.any(|server| server.certificate_bound),
        "protected_resources": [format!("{issuer}/v1")],
        "service_documentation": format!("{issuer}/errors"),
    })))
}

/// How servers may authenticate; beside secrets only what one of them does.
fn methods(catalogue: &Catalogue) -> BTreeSet<&'static str> {
    let of = |server: &Server| match &server.auth {
        ServerAuth::TlsClient(_) => &["tls_client_auth"][..],
        ServerAuth::SelfSigned(_) => &["self_signed_tls_client_auth"],
        ServerAuth::Spiffe(_) => &["spiffe_jwt", "spiffe_x509"],
        ServerAuth::ClientSecret(_)
        | ServerAuth::PrivateKeyJwt { .. }
        | ServerAuth::Workload(_)
        | ServerAuth::BuiltinDev => &[],
    };
    let used = catalogue.servers.values().flat_map(of).copied();
    used.chain(["client_secret_basic", "client_secret_post", "private_key_jwt"])
        .collect()
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
        "dpop_signing_alg_values_supported": Algorithm::NAMES.map(|(name, _)| name),
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
            "/v1/issuances/stream",
            "/v1/issuances/{id}",
            "/v1/issuances/{id}/proof",
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
