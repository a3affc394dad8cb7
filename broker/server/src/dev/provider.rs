//! The issuer of development mode as an OpenID provider: whoever is at this machine says who they are. Codes work once,
//! for the page of this broker alone, and only with their PKCE verifier.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use askama::Template;
use axum::{
    Json, Router,
    extract::{RawQuery, Request},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::Timestamp;
use procura_wire::{Digest, Form, FormFault, Reason, Secret};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::{
    DevIssuer,
    issuer::{OPERATOR, USERS, clear, groups, shown, subject_token},
};
use crate::{
    cli::keys::new_secret,
    http::{App, Door, body},
};

/// What the page is known as.
pub(super) const CLIENT: &str = "procura-web";
/// How long a code may be redeemed, and an ID token lives.
const CODE_LIFE: Duration = Duration::from_secs(60);
const ID_TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);
/// Codes that nobody has redeemed.
const MAX_CODES: usize = 64;

/// Codes that were given out.
#[derive(Default)]
pub(crate) struct Codes(Mutex<HashMap<Digest, Code>>);

struct Code {
    user: &'static str,
    nonce: String,
    challenge: String,
    until: Timestamp,
}

impl Codes {
    fn keep(&self, id: Digest, code: Code, now: Timestamp) -> Result<(), Reason> {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|_, code| now < code.until);
        if codes.len() >= MAX_CODES {
            return Err(Reason::Overloaded);
        }
        codes.insert(id, code);
        Ok(())
    }

    fn take(&self, id: &Digest, now: Timestamp) -> Option<Code> {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes.remove(id).filter(|code| now < code.until)
    }
}

/// The routes under `/dev`.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/subject-token", post(subject_token))
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/jwks.json", get(keys))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
}

fn issuer(door: &Door) -> Result<&DevIssuer, FormFault> {
    door.app.dev.as_deref().ok_or(fault(Reason::V1NotFound))
}

fn fault(reason: Reason) -> FormFault {
    FormFault { reason, param: None }
}

async fn metadata(door: Door) -> Response {
    let Ok(issuer) = issuer(&door) else {
        return door.refuse(Reason::V1NotFound);
    };
    let iss = &issuer.iss;
    Json(json!({
        "issuer": iss,
        "authorization_endpoint": format!("{iss}/authorize"),
        "token_endpoint": format!("{iss}/token"),
        "jwks_uri": format!("{iss}/jwks.json"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_response_iss_parameter_supported": true,
    }))
    .into_response()
}

async fn keys(door: Door) -> Response {
    match issuer(&door) {
        Ok(issuer) => Json(issuer.keys.public_jwks()).into_response(),
        Err(fault) => door.refuse(fault),
    }
}

struct Person {
    name: &'static str,
    groups: String,
    operator: bool,
    link: String,
}

#[derive(Template)]
#[template(path = "dev_login.html")]
struct People {
    people: Vec<Person>,
}

/// What the page asked for, read whole before anything is answered (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
struct Asked {
    state: String,
    nonce: String,
    challenge: String,
    user: Option<String>,
}

impl Asked {
    fn read(door: &Door, query: &str) -> Result<Self, FormFault> {
        let mut form = Form::decode(query.as_bytes())?;
        let mut text = |name| form.take(name, 512).map(|value| value.map(clear));
        let mut required = |name| text(name)?.ok_or(FormFault::of(Reason::ParamMissing, name));
        for (name, only) in [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("code_challenge_method", "S256"),
            ("redirect_uri", &*redirect(door)),
        ] {
            if required(name)? != only {
                return Err(FormFault::of(Reason::ParamMalformed, name));
            }
        }
        Ok(Self {
            state: required("state")?,
            nonce: required("nonce")?,
            challenge: required("code_challenge")?,
            user: text("user")?,
        })
    }
}

fn redirect(door: &Door) -> String {
    format!("{}/ui/callback", door.app.site.issuer)
}

/// `GET /dev/authorize`: a page with the users, then back with a code for the one that was chosen.
async fn authorize(door: Door, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let asked = match Asked::read(&door, &query) {
        Ok(asked) => asked,
        Err(fault) => return door.refuse(fault),
    };
    let chosen = asked.user.as_deref();
    match chosen.and_then(|user| USERS.iter().find(|(name, _)| *name == user)) {
        Some((user, _)) => match code(&door, user, asked) {
            Ok(to) => Redirect::to(&to).into_response(),
            Err(fault) => door.refuse(fault),
        },
        None => people(&door, &query),
    }
}

fn people(door: &Door, query: &str) -> Response {
    let person = |(name, groups): &(&'static str, &[&str])| Person {
        name,
        groups: match *name == OPERATOR {
            true => "whom the sample rules let run the broker".to_owned(),
            false => groups.join(", "),
        },
        operator: *name == OPERATOR,
        link: format!("/dev/authorize?{query}&user={name}"),
    };
    let mut people = People {
        people: USERS.iter().map(person).collect(),
    };
    people.people.sort_by_key(|person| !person.operator);
    let Ok(text) = people.render() else {
        return door.refuse(Reason::ServerError);
    };
    let mut response = (StatusCode::OK, Html(text)).into_response();
    let policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'";
    let policy = HeaderValue::from_static(policy);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn code(door: &Door, user: &'static str, asked: Asked) -> Result<String, FormFault> {
    let (issuer, ports) = (issuer(door)?, &door.app.ports);
    let now = ports.clock.now();
    let value = new_secret(ports.entropy.as_ref());
    let code = Code {
        user,
        nonce: asked.nonce,
        challenge: asked.challenge,
        until: now + CODE_LIFE,
    };
    issuer.codes.keep(value.digest(), code, now).map_err(fault)?;
    let mut query = Serializer::new(String::new());
    query.append_pair("code", shown(&value));
    query.append_pair("state", &asked.state).append_pair("iss", &issuer.iss);
    Ok(format!("{}?{}", redirect(door), query.finish()))
}

/// `POST /dev/token`
async fn token(door: Door, request: Request) -> Response {
    match redeem(&door, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(fault) => door.refuse(fault),
    }
}

async fn redeem(door: &Door, request: Request) -> Result<Value, FormFault> {
    let (parts, body) = request.into_parts();
    let (issuer, ports) = (issuer(door)?, &door.app.ports);
    let mut form = body::form(&parts, body).await?;
    for (name, only) in [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("redirect_uri", &*redirect(door)),
    ] {
        if clear(form.require(name, 512)?) != only {
            return Err(FormFault::of(Reason::ParamMalformed, name));
        }
    }
    let code = form.require("code", 512)?.digest();
    let verifier = form.require("code_verifier", 512)?;
    let code = issuer.codes.take(&code, ports.clock.now());
    let code = code.ok_or(FormFault::of(Reason::ParamMalformed, "code"))?;
    let challenge = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(verifier.digest().as_bytes()));
    if challenge != Secret::new(code.challenge.clone()) {
        return Err(FormFault::of(Reason::ParamMalformed, "code_verifier"));
    }
    let mut claims = issuer.claims(ports, ID_TOKEN_LIFE);
    claims["sub"] = code.user.into();
    claims["aud"] = CLIENT.into();
    claims["nonce"] = code.nonce.into();
    claims[&issuer.groups_claim] = groups(code.user).into();
    if let Some(members) = claims.as_object_mut() {
        members.remove("client_id");
    }
    let token = issuer.sign_as("JWT", &claims).map_err(|_| fault(Reason::ServerError))?;
    Ok(json!({
        "access_token": "none",
        "token_type": "Bearer",
        "expires_in": ID_TOKEN_LIFE.as_secs(),
        "id_token": shown(&token),
    }))
}
