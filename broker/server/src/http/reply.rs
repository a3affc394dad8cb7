//! The one place where outcomes become OAuth JSON.

pub(crate) use super::refusal::{Challenge, Refusal};
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use procura_core::{
    catalogue::Algorithm,
    exchange::Issued,
    ids::{IssuanceId, SessionId},
    possession::scheme,
};
use procura_wire::{ErrorBody, Name, OAuthError, Reason, TokenType};
use serde::Serialize;
use serde_json::Value;

/// What answers need to know of the broker.
#[derive(Debug)]
pub(crate) struct Site {
    /// The broker's issuer identifier, without a slash at its end.
    pub(crate) issuer: String,
    /// Answers explain denials, requests from web pages are refused.
    pub(crate) dev: bool,
}

/// A successful exchange, as `procura_wire::TokenResponse` reads it.
#[derive(Serialize)]
struct Success<'a> {
    access_token: &'a str,
    issued_token_type: TokenType,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<[&'a Value; 1]>,
    session: SessionId,
    issuance_id: IssuanceId,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    per_call: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Value>,
}

/// The answer to a successful exchange (RFC 8693 section 2.2.1), with what the log knows of it where that was asked for.
#[expect(clippy::disallowed_methods, reason = "the credential leaves for its caller here")]
pub(crate) fn issued(issued: &Issued, receipt: Option<Value>) -> Response {
    let scope: Vec<_> = issued.scope.iter().map(Name::as_str).collect();
    Json(Success {
        access_token: issued.value.expose(),
        issued_token_type: issued.issued_type,
        token_type: scheme(issued.issued_type, issued.confirmation.as_ref()),
        expires_in: issued.expires_in,
        scope: scope.join(" "),
        authorization_details: issued.details.as_ref().map(|details| [details]),
        session: issued.session,
        issuance_id: issued.issuance,
        per_call: issued.per_call,
        receipt,
    })
    .into_response()
}

/// The answer to whatever was refused (RFC 6749 section 5.2, RFC 6750 section 3).
pub(crate) fn refused(site: &Site, trace: &str, refusal: &Refusal) -> Response {
    let reason = refusal.reason.on_the_wire();
    let parameter = refusal
        .param
        .map(|name| format!(" Parameter: {name}"))
        .unwrap_or_default();
    let detail = refusal.detail.as_deref().map(described).unwrap_or_default();
    // What would have matched stands in the log only, but in development mode.
    let explanation = refusal.explanation.as_ref().filter(|_| site.dev);
    let explanation = explanation.and_then(|explanation| serde_json::to_value(explanation).ok());
    let body = ErrorBody {
        error: reason.error().as_str().to_owned(),
        error_description: format!("{}{parameter}{detail}", reason.text()),
        error_uri: Some(format!("{}/errors#{}", site.issuer, reason.code())),
        reason: reason.code().to_owned(),
        trace_id: trace.to_owned(),
        issuance_id: refusal.issuance.map(|id| id.to_string()),
        explanation,
        needs: refusal.needs.as_deref().cloned().unwrap_or_default(),
    };
    let status = match (reason.error(), refusal.challenge) {
        // At a protected resource (RFC 9449 sections 7.1 and 9).
        (OAuthError::InvalidDpopProof | OAuthError::UseDpopNonce, Challenge::Bearer) => 401,
        _ => reason.status(),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().append(name, value);
        }
    };
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        match refusal.challenge {
            Challenge::None => {}
            Challenge::Basic => set(header::WWW_AUTHENTICATE, r#"Basic realm="procura""#.to_owned()),
            Challenge::Bearer => {
                set(header::WWW_AUTHENTICATE, bearer(site, reason));
                set(header::WWW_AUTHENTICATE, dpop(site, reason));
            }
        }
    }
    if let Some(seconds) = refusal.retry_after {
        set(header::RETRY_AFTER, seconds.to_string());
    }
    if matches!(reason, Reason::HttpSlow | Reason::HttpTooLarge) {
        set(header::CONNECTION, "close".to_owned());
    }
    response
}

/// In the characters that a description may have (RFC 6749 section 5.2).
fn described(detail: &str) -> String {
    let allowed = |c: char| matches!(c, ' '..='!' | '#'..='[' | ']'..='~');
    let detail: String = detail.chars().map(|c| if allowed(c) { c } else { '?' }).collect();
    format!(", {detail}")
}

fn bearer(site: &Site, reason: Reason) -> String {
    format!(r#"Bearer realm="procura", {}"#, of_resource(site, reason))
}

fn dpop(site: &Site, reason: Reason) -> String {
    let algorithms = Algorithm::NAMES.map(|(name, _)| name).join(" ");
    format!(
        r#"DPoP realm="procura", algs="{algorithms}", {}"#,
        of_resource(site, reason)
    )
}

fn of_resource(site: &Site, reason: Reason) -> String {
    format!(
        r#"error="{}", resource_metadata="{}""#,
        reason.error().as_str(),
        super::metadata::resource_metadata_uri(&site.issuer)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::to_bytes;
    use procura_core::{identity::Confirmation, judgement::NearMiss};
    use procura_wire::{Secret, TokenResponse};
    use serde_json::json;

    use procura_core::exchange::{Explanation, Refused};
    use procura_wire::{FormFault, Needs};

    use super::*;

    fn site(dev: bool) -> Site {
        Site {
            issuer: "https://broker.example.com".to_owned(),
            dev,
        }
    }

    async fn shown(response: Response) -> String {
        let status = response.status();
        let mut headers: Vec<_> = response
            .headers()
            .iter()
            .filter(|(name, _)| *name != header::CONTENT_LENGTH)
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        headers.sort();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("body");
        let body: BTreeMap<String, Value> = serde_json::from_slice(&body).expect("json");
        let body = serde_json::to_string_pretty(&body).expect("text");
        format!("{status}\n{}\n{body}", headers.join("\n"))
    }

    #[tokio::test]
    async fn req_010_req_023_an_issued_credential_says_its_type_end_and_scope() {
        let id = uuid::Uuid::from_u128(7);
        let answer = issued(
            &Issued {
                value: Secret::new("t".to_owned()),
                issued_type: TokenType::AccessToken,
                confirmation: None,
                expires_in: 300,
                scope: vec!["read".parse().expect("name"), "write".parse().expect("name")],
                details: Some(json!({"team": ["support"], "type": "jwt"})),
                session: SessionId(id),
                issuance: IssuanceId(id),
                per_call: true,
            },
            None,
        );
        let shown = shown(answer).await;
        insta::assert_snapshot!(shown, @r#"
        200 OK
        content-type: application/json
        {
          "access_token": "t",
          "authorization_details": [
            {
              "team": [
                "support"
              ],
              "type": "jwt"
            }
          ],
          "expires_in": 300,
          "issuance_id": "00000000-0000-0000-0000-000000000007",
          "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
          "per_call": true,
          "scope": "read write",
          "session": "00000000-0000-0000-0000-000000000007",
          "token_type": "Bearer"
        }
        "#);
        let (_, body) = shown.split_once("json\n").expect("body");
        assert!(serde_json::from_str::<TokenResponse>(body).is_ok_and(|read| read.per_call));
    }

    #[tokio::test]
    async fn a_fault_of_a_parameter_names_it() {
        let refusal = FormFault::of(Reason::ParamMissing, "scope").into();
        insta::assert_snapshot!(shown(refused(&site(false), "abc", &refusal)).await, @r#"
        400 Bad Request
        content-type: application/json
        {
          "error": "invalid_request",
          "error_description": "A required parameter is missing or empty; add it. Parameter: scope",
          "error_uri": "https://broker.example.com/errors#param.missing",
          "reason": "param.missing",
          "trace_id": "abc"
        }
        "#);
    }

    #[tokio::test]
    async fn req_012_a_caller_that_used_basic_is_challenged_with_basic() {
        let refusal = Refusal::from(Reason::ClientSecretExpired).with(Challenge::Basic);
        insta::assert_snapshot!(shown(refused(&site(false), "abc", &refusal)).await, @r#"
        401 Unauthorized
        content-type: application/json
        www-authenticate: Basic realm="procura"
        {
          "error": "invalid_client",
          "error_description": "The server is unknown or its credentials are not valid.",
          "error_uri": "https://broker.example.com/errors#client.unauthenticated",
          "reason": "client.unauthenticated",
          "trace_id": "abc"
        }
        "#);
    }

    #[tokio::test]
    async fn req_067_the_api_names_its_resource_metadata() {
        let refusal = Refusal::from(Reason::V1Unauthenticated).with(Challenge::Bearer);
        insta::assert_snapshot!(shown(refused(&site(false), "abc", &refusal)).await, @r#"
        401 Unauthorized
        content-type: application/json
        www-authenticate: Bearer realm="procura", error="invalid_token", resource_metadata="https://broker.example.com/.well-known/oauth-protected-resource/v1"
        www-authenticate: DPoP realm="procura", algs="ES256 ES384 RS256 RS384 PS256 PS384 Ed25519 EdDSA", error="invalid_token", resource_metadata="https://broker.example.com/.well-known/oauth-protected-resource/v1"
        {
          "error": "invalid_token",
          "error_description": "Send a bearer token of an operator whose sole audience is this API.",
          "error_uri": "https://broker.example.com/errors#v1.unauthenticated",
          "reason": "v1.unauthenticated",
          "trace_id": "abc"
        }
        "#);
    }

    #[tokio::test]
    async fn req_086_a_fault_of_a_proof_is_400_at_the_token_endpoint_and_401_at_the_api() {
        for reason in [Reason::DpopNonce, Reason::DpopReplay, Reason::DpopRequired] {
            let at = |challenge| refused(&site(false), "abc", &Refusal::from(reason).with(challenge));
            assert_eq!(at(Challenge::Basic).status(), StatusCode::BAD_REQUEST);
            let api = at(Challenge::Bearer);
            assert_eq!(api.status(), StatusCode::UNAUTHORIZED);
            let mut challenges = api.headers().get_all(header::WWW_AUTHENTICATE).iter();
            let error = format!("error=\"{}\"", reason.error().as_str());
            let dpop = |value: &HeaderValue| {
                let value = value.to_str().unwrap_or_default();
                value.starts_with("DPoP ") && value.contains(&error) && value.contains("algs=\"ES256 ")
            };
            assert!(challenges.any(dpop), "{}", reason.code());
        }
    }

    #[tokio::test]
    async fn req_085_a_token_that_is_bound_to_a_dpop_key_says_so() {
        let id = uuid::Uuid::from_u128(7);
        let (dpop, certificate) = (Confirmation::Jkt("t".into()), Confirmation::X5tS256("t".into()));
        for (bound, scheme) in [(Some(dpop), "DPoP"), (Some(certificate), "Bearer"), (None, "Bearer")] {
            let answer = issued(
                &Issued {
                    value: Secret::new("t".to_owned()),
                    issued_type: TokenType::AccessToken,
                    confirmation: bound,
                    expires_in: 300,
                    scope: vec![],
                    details: None,
                    session: SessionId(id),
                    issuance: IssuanceId(id),
                    per_call: false,
                },
                None,
            );
            assert!(shown(answer).await.contains(&format!(r#""token_type": "{scheme}""#)));
        }
    }

    #[tokio::test]
    async fn req_017_an_unavailable_log_is_503_with_retry_after() {
        let refusal = Reason::AuditUnavailable.into();
        insta::assert_snapshot!(shown(refused(&site(false), "abc", &refusal)).await, @r#"
        503 Service Unavailable
        content-type: application/json
        retry-after: 1
        {
          "error": "temporarily_unavailable",
          "error_description": "The issuance log cannot be written, so nothing is issued.",
          "error_uri": "https://broker.example.com/errors#audit.unavailable",
          "reason": "audit.unavailable",
          "trace_id": "abc"
        }
        "#);
    }

    fn denied() -> Refusal {
        Refused {
            reason: Reason::PolicyDenied,
            param: None,
            issuance: None,
            needs: None,
            explanation: Some(Explanation {
                rules: vec![],
                near: vec![NearMiss {
                    rule: "support".to_owned(),
                    clause: "principal in Group".to_owned(),
                }],
                reason: Reason::PolicyDenied.code(),
            }),
            retry_after: None,
        }
        .into()
    }

    #[tokio::test]
    async fn req_112_a_log_in_that_does_not_suffice_is_answered_as_rfc_9470_has_it() {
        let refusal = Refused {
            needs: Some(Box::new(Needs {
                acr_values: Some("urn:mfa urn:gold".to_owned()),
                max_age: Some(900),
                required_scope: None,
            })),
            ..Refused::unrecorded(Reason::AuthInsufficient)
        };
        insta::assert_snapshot!(shown(refused(&site(false), "abc", &refusal.into())).await, @r#"
        400 Bad Request
        content-type: application/json
        {
          "acr_values": "urn:mfa urn:gold",
          "error": "insufficient_user_authentication",
          "error_description": "The user must log in again as acr_values and max_age say.",
          "error_uri": "https://broker.example.com/errors#auth.insufficient",
          "max_age": 900,
          "reason": "auth.insufficient",
          "trace_id": "abc"
        }
        "#);
    }

    #[tokio::test]
    async fn a_denial_looks_like_an_unknown_grant() {
        let unknown = shown(refused(&site(false), "abc", &Reason::GrantUnknown.into())).await;
        assert_eq!(shown(refused(&site(false), "abc", &denied())).await, unknown);
        assert!(unknown.contains("grant.not_permitted"));
    }

    #[tokio::test]
    async fn development_mode_explains_a_denial() {
        let answer = shown(refused(&site(true), "abc", &denied())).await;
        assert!(
            answer.contains("policy.denied") && answer.contains("principal in Group"),
            "{answer}"
        );
    }
}
