//! The issuer of development mode: a few users, tokens for whoever asks on loopback.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::Request,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use procura_core::{
    ids::IssuanceId,
    ports::{Ports, SignError, Signer},
};
use procura_target_jwt::Keyring;
use procura_wire::{Form, FormFault, Reason, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::provider::Codes;
use crate::http::{Door, body};

/// What an issuer's file says instead of a URL.
pub(crate) const BUILTIN: &str = "builtin:dev";

/// The user that operators' tokens are for.
pub(super) const OPERATOR: &str = "operator";

/// Users and their groups.
pub(crate) const USERS: [(&str, &[&str]); 4] = [
    ("alice", &["support"]),
    ("bob", &["sre"]),
    ("carol", &[]),
    (OPERATOR, &[]),
];

/// The groups of a user; strangers have none.
pub(crate) fn groups(user: &str) -> &'static [&'static str] {
    USERS
        .iter()
        .find(|(name, _)| *name == user)
        .map_or(&[], |(_, groups)| groups)
}

/// The issuer.
pub(crate) struct DevIssuer {
    /// `iss` of its tokens.
    pub(crate) iss: String,
    /// Its key, made at start.
    pub(crate) keys: Keyring,
    /// `aud` of subject tokens: the sample server's resource.
    pub(crate) audience: String,
    /// Name of the claim that holds groups.
    pub(crate) groups_claim: String,
    /// Whose tokens are made where nobody is named.
    pub(crate) user: String,
    /// `sid` of tokens that name none, so that exchanges of one run share a session.
    pub(crate) sid: String,
    /// How long subject tokens live.
    pub(crate) life: Duration,
    /// How long operators' tokens live.
    pub(crate) operator_life: Duration,
    /// Codes of log-ins at the page.
    pub(crate) codes: Codes,
}

/// What a subject token is asked for with; all of it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    sub: Option<String>,
    sid: Option<String>,
}

impl Ask {
    fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, FormFault> {
        let fault = |reason| FormFault { reason, param: None };
        if body.is_empty() {
            Ok(Self::default())
        } else if body::is_media_type(headers, "application/json") {
            serde_json::from_slice(body).map_err(|_| fault(Reason::ParamMalformed))
        } else if body::is_media_type(headers, body::FORM) {
            let mut form = Form::decode(body)?;
            Ok(Self {
                sub: form.take("sub", 256)?.map(clear),
                sid: form.take("sid", 256)?.map(clear),
            })
        } else {
            Err(fault(Reason::HttpContentType))
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "names of users and sessions of development mode"
)]
pub(super) fn clear(text: Secret) -> String {
    text.expose().to_owned()
}

/// `POST /dev/subject-token`. The header keeps forms of web pages out.
pub(crate) async fn subject_token(door: Door, request: Request) -> Response {
    match answer(&door, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(fault) => door.refuse(fault),
    }
}

async fn answer(door: &Door, request: Request) -> Result<Value, FormFault> {
    let fault = |reason| FormFault { reason, param: None };
    let headers = request.headers().clone();
    let issuer = door.app.dev.as_ref().ok_or(fault(Reason::V1NotFound))?;
    if headers.get("procura-dev").is_none_or(|value| value != "1") {
        return Err(fault(Reason::HttpOrigin));
    }
    let body = body::limited(request.into_body()).await.map_err(fault)?;
    let ask = Ask::read(&headers, &body)?;
    let token = issuer.subject(&door.app.ports, ask.sub.as_deref(), ask.sid.as_deref());
    Ok(json!({
        "access_token": shown(&token.map_err(|_| fault(Reason::ServerError))?),
        "token_type": "Bearer",
        "expires_in": issuer.life.as_secs(),
    }))
}

#[expect(clippy::disallowed_methods, reason = "the token leaves for whoever asked for it")]
pub(super) fn shown(token: &Secret) -> &str {
    token.expose()
}

impl DevIssuer {
    /// A token for a user of the sample server.
    fn subject(&self, ports: &Ports, user: Option<&str>, sid: Option<&str>) -> Result<Secret, SignError> {
        let user = user.unwrap_or(&self.user);
        let mut claims = self.claims(ports, self.life);
        claims["sub"] = user.into();
        claims["aud"] = self.audience.as_str().into();
        claims["sid"] = sid.unwrap_or(&self.sid).into();
        claims[&self.groups_claim] = groups(user).into();
        self.sign(&claims)
    }

    /// A token for the operators' API.
    pub(crate) fn operator(&self, ports: &Ports) -> Result<Secret, SignError> {
        let mut claims = self.claims(ports, self.operator_life);
        claims["sub"] = OPERATOR.into();
        claims["aud"] = format!("{}/v1", ports.issuer).into();
        self.sign(&claims)
    }

    pub(super) fn claims(&self, ports: &Ports, life: Duration) -> Value {
        let now = ports.clock.now();
        json!({
            "iss": self.iss,
            "client_id": "procura-dev",
            "jti": IssuanceId::new(now, ports.entropy.as_ref()),
            "iat": now.as_second(),
            "exp": (now + life).as_second(),
            "auth_time": now.as_second(),
        })
    }

    fn sign(&self, claims: &Value) -> Result<Secret, SignError> {
        self.sign_as("at+jwt", claims)
    }

    /// Signs what is of that `typ`.
    pub(super) fn sign_as(&self, typ: &str, claims: &Value) -> Result<Secret, SignError> {
        self.keys.sign(typ, claims.to_string().as_bytes())
    }
}
