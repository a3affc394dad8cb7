//! An HTTP API that takes tokens of the broker and nothing else: it verifies them by the broker's published keys.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE},
    response::{IntoResponse, Response},
    routing::get,
};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{Jwk, JwkSet},
};
use procura_client::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::RwLock;

const SCOPE: &str = "tickets:read";

struct Verifier {
    jwks_uri: String,
    keys: RwLock<JwkSet>,
    validation: Validation,
    http: reqwest::Client,
}

/// What the broker says of the caller (RFC 9068 section 2.2, `act` of RFC 8693 section 4.1).
#[derive(Deserialize)]
struct Claims {
    sub: String,
    client_id: String,
    scope: String,
    act: Option<Value>,
}

/// `GET /tickets` for tokens of that issuer and audience.
pub(crate) fn routes(issuer: &str, audience: &str) -> Router {
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    let verifier = Arc::new(Verifier {
        jwks_uri: format!("{issuer}/jwks.json"),
        keys: RwLock::new(JwkSet { keys: vec![] }),
        validation,
        http: reqwest::Client::default(),
    });
    Router::new().route("/tickets", get(tickets)).with_state(verifier)
}

async fn tickets(State(verifier): State<Arc<Verifier>>, headers: HeaderMap) -> Response {
    let token = crate::bearer(&headers);
    let claims = match token {
        Some(token) => verifier.verify(&token).await,
        None => None,
    };
    let Some(claims) = claims else {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_token");
    };
    if !claims.scope.split(' ').any(|scope| scope == SCOPE) {
        return refuse(StatusCode::FORBIDDEN, "insufficient_scope");
    }
    let actor = claims.act.map(|act| act["sub"].clone());
    Json(json!({
        "user": claims.sub,
        "through": claims.client_id,
        "actor": actor,
        "tickets": [{"id": 1, "title": "The printer is on fire"}],
    }))
    .into_response()
}

fn refuse(status: StatusCode, error: &str) -> Response {
    (status, [(WWW_AUTHENTICATE, format!("Bearer error=\"{error}\""))]).into_response()
}

impl Verifier {
    async fn verify(&self, token: &Secret) -> Option<Claims> {
        #[expect(clippy::disallowed_methods, reason = "its parts are looked at")]
        let token = token.expose();
        let header = decode_header(token).ok()?;
        if header.typ.as_deref() != Some("at+jwt") {
            return None;
        }
        let key = DecodingKey::from_jwk(&self.key(&header.kid?).await?).ok()?;
        Some(decode(token, &key, &self.validation).ok()?.claims)
    }

    /// A published key. For one that is not known the keys are fetched again: the broker rotates them.
    async fn key(&self, kid: &str) -> Option<Jwk> {
        if let Some(key) = self.keys.read().await.find(kid) {
            return Some(key.clone());
        }
        let answer = self.http.get(&self.jwks_uri).send().await.ok()?;
        let keys: JwkSet = answer.error_for_status().ok()?.json().await.ok()?;
        let key = keys.find(kid).cloned();
        *self.keys.write().await = keys;
        key
    }
}
