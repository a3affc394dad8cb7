//! DPoP at the door (RFC 9449): the proof that a request brings, and the nonce that an answer to it carries.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Request};
use procura_core::{identity::PresentedProof, ports::Ports};
use procura_identity::DPOP_ALGORITHMS;
use procura_wire::{Reason, Secret};

use super::reply::{self, Site};

const PROOF: &str = "dpop";
const NONCE: &str = "dpop-nonce";

/// The proof, and the request that it must be for: its URI is the one under the issuer, whatever stands before us.
pub(crate) fn presented<B>(request: &Request<B>, issuer: &str) -> Option<Arc<PresentedProof>> {
    let mut values = request.headers().get_all(PROOF).iter();
    let (first, more) = (values.next()?, values.next());
    let value = first.to_str().ok().filter(|_| more.is_none());
    Some(Arc::new(PresentedProof {
        value: value.map(|value| Secret::new(value.to_owned())),
        method: request.method().to_string(),
        uri: format!("{}{}", origin(issuer), request.uri().path()),
    }))
}

/// Every answer to a proof carries a nonce for the next one (RFC 9449 section 8.2).
pub(crate) fn offer_nonce(ports: &Ports, headers: &mut HeaderMap) {
    let nonce = ports.now().ok().and_then(|now| ports.tokens.nonce(now));
    if let Some(Ok(nonce)) = nonce.map(HeaderValue::try_from) {
        headers.insert(NONCE, nonce);
    }
}

/// How a 401 of the API asks for a proof (RFC 9449 section 7.1).
pub(crate) fn challenge(site: &Site, reason: Reason) -> String {
    let algorithms = DPOP_ALGORITHMS.join(" ");
    format!(
        r#"DPoP realm="procura", algs="{algorithms}", {}"#,
        reply::of_resource(site, reason)
    )
}

/// Scheme and authority of a URI.
fn origin(uri: &str) -> &str {
    let host = uri.find("://").map_or(0, |at| at + 3);
    let path = uri[host..].find('/').map_or(uri.len(), |at| host + at);
    &uri[..path]
}

#[cfg(test)]
mod tests {
    use axum::{
        body::to_bytes,
        http::{StatusCode, header},
    };
    use procura_core::{
        exchange::Issued,
        identity::Confirmation,
        ids::{IssuanceId, SessionId},
    };
    use procura_wire::TokenType;

    use super::{
        super::reply::{Challenge, Refusal},
        *,
    };

    fn of(proofs: &[&str]) -> Option<Arc<PresentedProof>> {
        let mut request = Request::post("/a/token?x=y");
        for proof in proofs {
            request = request.header("DPoP", *proof);
        }
        presented(&request.body(()).expect("request"), "https://b.example.com/a")
    }

    #[test]
    fn req_084_a_proof_is_for_the_request_under_the_issuer() {
        let proof = of(&["p"]).expect("a proof");
        assert_eq!(proof.value, Some(Secret::new("p".into())));
        assert_eq!((&*proof.method, &*proof.uri), ("POST", "https://b.example.com/a/token"));
        assert!(of(&[]).is_none());
    }

    #[test]
    fn req_084_attack_98_two_proofs_are_none_and_not_absent() {
        assert!(of(&["p", "p"]).is_some_and(|proof| proof.value.is_none()));
    }

    fn site() -> Site {
        Site {
            issuer: "https://broker.example.com".to_owned(),
            dev: false,
        }
    }

    #[tokio::test]
    async fn req_086_a_fault_of_a_proof_is_400_at_the_token_endpoint_and_401_at_the_api() {
        for reason in [Reason::DpopNonce, Reason::DpopReplay, Reason::DpopRequired] {
            let at = |challenge| reply::refused(&site(), "abc", &Refusal::from(reason).with(challenge));
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
            let answer = reply::issued(&Issued {
                value: Secret::new("t".to_owned()),
                issued_type: TokenType::AccessToken,
                confirmation: bound,
                expires_in: 300,
                scope: vec![],
                details: None,
                session: SessionId(id),
                issuance: IssuanceId(id),
                per_call: false,
            });
            let body = to_bytes(answer.into_body(), 1 << 20).await.expect("body");
            let body: serde_json::Value = serde_json::from_slice(&body).expect("json");
            assert_eq!(body["token_type"], scheme);
        }
    }
}
