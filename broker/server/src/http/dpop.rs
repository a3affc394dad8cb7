//! DPoP at the door (RFC 9449): the proof that a request brings, and the nonce that an answer to it carries.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, Request};
use procura_core::{identity::PresentedProof, ports::Ports};
use procura_wire::Secret;

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

/// Scheme and authority of a URI.
fn origin(uri: &str) -> &str {
    let host = uri.find("://").map_or(0, |at| at + 3);
    let path = uri[host..].find('/').map_or(uri.len(), |at| host + at);
    &uri[..path]
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
