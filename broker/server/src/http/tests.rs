//! The doors as callers find them.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
    middleware::from_fn_with_state,
};
use procura_core::identity::PeerCertificates;
use procura_target_jwt::{Keyring, SigningAlgorithm, new_set};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::{
    assembly::Broker,
    testing::{self, ISSUER},
};

const FORM: &str = "application/x-www-form-urlencoded";

async fn routes() -> (Router, TempDir) {
    let (broker, folder) = testing::broker().await;
    (public(app(&broker, None), "/"), folder)
}

fn app(broker: &Broker, dev: Option<Arc<DevIssuer>>) -> Arc<App> {
    broker.app(&testing::ISSUER.parse().expect("url"), dev)
}

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Answer {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}

async fn ask(routes: &Router, request: axum::http::request::Builder, body: &str) -> Answer {
    let request = request
        .header(header::HOST, "127.0.0.1:8420")
        .body(Body::from(body.to_owned()));
    let response = routes.clone().oneshot(request.expect("request")).await.expect("answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("body");
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Answer { status, headers, body }
}

#[tokio::test]
async fn req_001_the_token_endpoint_takes_post_only() {
    let (routes, _folder) = routes().await;
    for path in ["/token", "/revoke", "/introspect"] {
        for method in ["GET", "PUT", "HEAD", "DELETE"] {
            let answer = ask(&routes, Request::builder().method(method).uri(path), "").await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.headers[header::ALLOW], "POST", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn req_009_no_answer_of_an_endpoint_may_be_stored() {
    let (routes, _folder) = routes().await;
    for path in ["/token", "/revoke", "/introspect", "/v1/issuances", "/nowhere"] {
        let answer = ask(&routes, Request::post(path).header(header::CONTENT_TYPE, FORM), "a=b").await;
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(answer.headers[header::PRAGMA], "no-cache", "{path}");
        assert!(answer.headers.contains_key(header::CONTENT_TYPE), "{path}");
    }
}

#[tokio::test]
async fn req_033_nobody_gets_past_the_door_without_authentication() {
    let (routes, _folder) = routes().await;
    for path in ["/token", "/revoke", "/introspect"] {
        let request = Request::post(path).header(header::CONTENT_TYPE, FORM);
        let answer = ask(&routes, request, "token=x&client_id=tickets").await;
        assert_eq!(
            (answer.status, answer.reason()),
            (StatusCode::UNAUTHORIZED, "client.unauthenticated")
        );
        assert!(answer.body["issuance_id"].is_null());
    }
    for path in [
        "/v1/issuances",
        "/v1/issuances?format=csv",
        "/v1/issuances/stream",
        "/v1/sessions",
        "/v1/leases",
        "/v1/whois",
        "/v1/inventory",
        "/v1/issuances/x",
        "/v1/bundles/x",
        "/v1/sessions/x",
    ] {
        let answer = ask(&routes, Request::get(path), "").await;
        assert_eq!(
            (answer.status, answer.reason()),
            (StatusCode::UNAUTHORIZED, "v1.unauthenticated"),
            "{path}"
        );
        let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().expect("text");
        assert!(challenge.contains("resource_metadata="), "{challenge}");
    }
}

#[tokio::test]
async fn req_086_every_answer_to_a_proof_carries_a_nonce() {
    let (routes, _folder) = routes().await;
    let asked = || Request::post("/token").header(header::CONTENT_TYPE, FORM);
    for proofs in [&["x"][..], &["x", "y"]] {
        let request = proofs
            .iter()
            .fold(asked(), |request, proof| request.header("DPoP", *proof));
        let answer = ask(&routes, request, "a=b").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers["dpop-nonce"].len(), 54);
    }
    assert!(!ask(&routes, asked(), "a=b").await.headers.contains_key("dpop-nonce"));
}

#[tokio::test]
async fn req_033_uses_are_reported_by_form_as_well_and_by_nobody_unknown() {
    let (routes, _folder) = routes().await;
    let assertion = "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=x";
    for (kind, body, expected) in [
        (
            "application/json",
            r#"{"uses":[]}"#.to_owned(),
            "client.unauthenticated",
        ),
        (
            FORM,
            "reports=%7B%22uses%22:%5B%5D%7D".to_owned(),
            "client.unauthenticated",
        ),
        (FORM, format!("reports=%7B%7D&{assertion}"), "client.assertion_invalid"),
        (FORM, assertion.to_owned(), "param.missing"),
        ("text/plain", "x".to_owned(), "http.content_type"),
    ] {
        let answer = ask(
            &routes,
            Request::post("/v1/uses").header(header::CONTENT_TYPE, kind),
            &body,
        )
        .await;
        assert_eq!(answer.reason(), expected, "{kind} {body}");
    }
}

#[tokio::test]
async fn a_valid_traceparent_gives_the_trace_id() {
    let (routes, _folder) = routes().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = Request::get("/nowhere").header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    assert_eq!(ask(&routes, request, "").await.body["trace_id"], trace);
}

#[tokio::test]
async fn req_027_req_063_metadata_names_the_endpoints_and_the_token_types() {
    let (routes, _folder) = routes().await;
    let answer = ask(&routes, Request::get("/.well-known/oauth-authorization-server"), "").await;
    assert_eq!(answer.body["issuer"], ISSUER);
    assert_eq!(answer.body["token_endpoint"], format!("{ISSUER}/token"));
    let methods = answer.body["token_endpoint_auth_methods_supported"].to_string();
    assert_eq!(answer.body["dpop_signing_alg_values_supported"][0], "ES256");
    assert_eq!(answer.body["tls_client_certificate_bound_access_tokens"], false);
    assert_eq!(
        methods,
        r#"["client_secret_basic","client_secret_post","private_key_jwt"]"#
    );
    let algorithms = &answer.body["token_endpoint_auth_signing_alg_values_supported"];
    let algorithms = algorithms.as_array().expect("algorithms");
    assert!(algorithms.contains(&"PS256".into()) && !algorithms.contains(&"none".into()));
    let types = answer.body["subject_token_types_supported"].as_array().map(Vec::len);
    assert_eq!(types, Some(2));
    let answer = ask(&routes, Request::get("/.well-known/oauth-protected-resource/v1"), "").await;
    assert_eq!(answer.body["resource"], format!("{ISSUER}/v1"));
    let answer = ask(&routes, Request::get("/jwks.json"), "").await;
    let keys = answer.body["keys"].as_array().expect("keys");
    assert!(
        !keys.is_empty() && keys.iter().all(|key| key["d"].is_null()),
        "public halves only"
    );
}

#[tokio::test]
async fn req_065_req_066_req_067_a_401_of_the_api_leads_to_metadata_of_just_that_resource() {
    let (routes, _folder) = routes().await;
    let answer = ask(&routes, Request::get("/v1/issuances"), "").await;
    let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().expect("text");
    let uri = challenge
        .split("resource_metadata=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let path = uri.and_then(|uri| uri.strip_prefix(ISSUER)).expect("a path of ours");
    assert_eq!(path, "/.well-known/oauth-protected-resource/v1");
    let answer = ask(&routes, Request::get(path), "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["resource"], format!("{ISSUER}/v1"));
    let servers = answer.body["authorization_servers"].as_array().map(Vec::len);
    assert_eq!(servers, Some(1), "the issuer of operators");
}

#[tokio::test]
async fn req_066_the_path_of_an_issuer_is_inserted() {
    let (broker, _folder) = testing::broker().await;
    let routes = public(app(&broker, None), "/tenant");
    for (path, status) in [
        ("/.well-known/oauth-protected-resource/tenant/v1", StatusCode::OK),
        ("/.well-known/oauth-authorization-server/tenant", StatusCode::OK),
        ("/.well-known/oauth-protected-resource/v1", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(ask(&routes, Request::get(path), "").await.status, status, "{path}");
    }
}

#[tokio::test]
async fn req_069_metadata_promises_nothing_that_is_not_served() {
    let (routes, _folder) = routes().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/v1",
    ] {
        let document = ask(&routes, Request::get(path), "").await.body;
        for absent in [
            "authorization_endpoint",
            "authorization_response_iss_parameter_supported",
            "registration_endpoint",
            "scopes_supported",
        ] {
            assert!(document[absent].is_null(), "{path} has {absent}");
        }
    }
}

fn from(peer: [u8; 4]) -> axum::http::request::Builder {
    let peer = axum::extract::ConnectInfo(std::net::SocketAddr::from((peer, 4711)));
    Request::post("/token")
        .header(header::CONTENT_TYPE, FORM)
        .extension(peer)
}

#[tokio::test]
async fn req_017_attack_073_a_peer_beyond_its_limit_is_429_whatever_it_says_of_itself() {
    let (broker, folder) = testing::broker().await;
    let file = folder.path().join("bundle/bundle.toml");
    std::fs::write(file, "format = 1\nlimits = { address = \"2/1h\" }\n").expect("written");
    let snapshot = broker.workshop.make().await.map_err(|rejected| rejected.to_string());
    broker.ports.active.swap(snapshot.expect("a bundle"));
    let routes = public(app(&broker, None), "/");
    for status in [401, 401, 429] {
        let request = from([192, 0, 2, 1]).header("x-forwarded-for", format!("198.51.100.{status}"));
        let answer = ask(&routes, request, "a=b").await;
        assert_eq!(answer.status.as_u16(), status);
        if status == 429 {
            let wait: u32 = answer.headers[header::RETRY_AFTER]
                .to_str()
                .expect("text")
                .parse()
                .expect("seconds");
            assert!((1..=3600).contains(&wait), "{wait}");
            assert_eq!(
                (answer.reason(), &answer.body["error"]),
                ("limit.address", &"temporarily_unavailable".into())
            );
            assert!(answer.body["issuance_id"].is_null());
        }
    }
    assert_eq!(ask(&routes, from([192, 0, 2, 2]), "a=b").await.status.as_u16(), 401);
    let operator = ask(&routes, from([192, 0, 2, 1]).method("GET").uri("/v1/issuances"), "").await;
    assert_eq!(operator.reason(), "limit.address");
}

#[tokio::test]
async fn the_development_issuer_is_there_in_development_mode_only() {
    let (routes, _folder) = routes().await;
    let answer = ask(
        &routes,
        Request::post("/dev/subject-token").header("procura-dev", "1"),
        "",
    )
    .await;
    assert_eq!(
        (answer.status, answer.reason()),
        (StatusCode::NOT_FOUND, "v1.not_found")
    );
}

fn dev_issuer() -> Arc<DevIssuer> {
    let set = new_set(SigningAlgorithm::Es256).expect("keys");
    Arc::new(DevIssuer {
        iss: format!("{ISSUER}/dev"),
        keys: Keyring::parse(&set).expect("keys"),
        audience: "https://tickets.example/mcp".to_owned(),
        groups_claim: "groups".to_owned(),
        user: "alice".to_owned(),
        sid: "s".to_owned(),
        life: Duration::from_secs(60),
        operator_life: Duration::from_secs(60),
        codes: Default::default(),
    })
}

#[tokio::test]
async fn the_development_issuer_answers_requests_with_its_header_only() {
    let (broker, _folder) = testing::broker().await;
    let routes = public(app(&broker, Some(dev_issuer())), "/");
    let answer = ask(&routes, Request::post("/dev/subject-token"), "").await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::FORBIDDEN, "http.origin"));
    let asked = || Request::post("/dev/subject-token").header("procura-dev", "1");
    assert_eq!(ask(&routes, asked(), "").await.body["expires_in"], 60);
    let json = asked().header(header::CONTENT_TYPE, "application/json");
    assert!(ask(&routes, json, r#"{"sub":"bob","sid":"1"}"#).await.body["access_token"].is_string());
    let form = asked().header(header::CONTENT_TYPE, FORM);
    assert!(ask(&routes, form, "sub=bob").await.body["access_token"].is_string());
    let unknown = asked().header(header::CONTENT_TYPE, "application/json");
    assert_eq!(
        ask(&routes, unknown, r#"{"aud":"x"}"#).await.reason(),
        "param.malformed"
    );
    let page = asked().header(header::ORIGIN, ISSUER);
    assert_eq!(ask(&routes, page, "").await.reason(), "http.origin");
}

#[tokio::test]
async fn req_017_a_handler_that_panics_is_a_500_that_says_nothing() {
    let (broker, _folder) = testing::broker().await;
    let app = app(&broker, None);
    let routes = Router::new().route("/", get(async || -> String { panic!("a secret") }));
    let routes = routes.layer(from_fn_with_state(app, door::enter));
    let answer = ask(&routes, Request::get("/"), "").await;
    assert_eq!(
        (answer.status, answer.reason()),
        (StatusCode::INTERNAL_SERVER_ERROR, "server.error")
    );
    assert!(!answer.body.to_string().contains("a secret"));
}

#[tokio::test]
async fn attack_89_a_certificate_in_a_header_is_dropped_and_told_where_it_is_all_there_is() {
    let (routes, _folder) = routes().await;
    for path in ["/token", "/revoke", "/introspect"] {
        let request = || {
            let form = Request::post(path).header(header::CONTENT_TYPE, FORM);
            form.header("client-cert", ":Y2VydA==:")
        };
        for (body, reason) in [
            ("token=x&client_id=tickets", "client.header_spoof"),
            ("token=x", "client.header_spoof"),
            ("token=x&client_id=tickets&client_secret=s", "client.unauthenticated"),
        ] {
            let answer = ask(&routes, request(), body).await;
            assert_eq!(
                (answer.status, answer.reason()),
                (StatusCode::UNAUTHORIZED, reason),
                "{path} {body}"
            );
            assert_eq!(answer.body["error"], "invalid_client");
        }
    }
}

#[tokio::test]
async fn a_certificate_does_not_stand_in_for_an_authorization_that_cannot_be_read() {
    let (routes, _folder) = routes().await;
    let chain = Some(Arc::new(PeerCertificates(vec![b"no certificate".to_vec()])));
    for path in ["/token", "/revoke", "/introspect", "/v1/uses"] {
        let (media_type, body) = match path {
            "/v1/uses" => ("application/json", "{}"),
            _ => (FORM, "token=x"),
        };
        let request = || {
            let request = Request::post(path).header(header::CONTENT_TYPE, media_type);
            request.extension(chain.clone())
        };
        assert_eq!(ask(&routes, request(), body).await.reason(), "client.mtls", "{path}");
        let unreadable = request().header(header::AUTHORIZATION, "Basic !");
        assert_eq!(
            ask(&routes, unreadable, body).await.reason(),
            "client.unauthenticated",
            "{path}"
        );
    }
}
