//! Logging in by the issuer, and out: code, PKCE, state, nonce.

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{RawQuery, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{
    Timestamp,
    catalogue::{Catalogue, Issuer},
    ledger::{AppendError, ReplayId},
    web,
};
use procura_wire::{Digest, Form, Reason, Secret};

use super::{
    Web,
    answer::{Frame, Stop, answer, html},
    cookie, guard,
    provider::{Marks, Provider},
};
use crate::http::Door;

/// How long one may take at the issuer.
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// Longest code, state and identifier of an issuer.
const MAX: usize = 4096;

#[derive(Template)]
#[template(path = "login.html")]
struct LogInPage {
    frame: Frame,
    issuer: String,
    next: String,
    left: bool,
}

/// `GET /ui/login`: what one reads before one is sent away.
pub(super) async fn page(door: Door, RawQuery(query): RawQuery) -> Response {
    let work = async {
        let web = guard::web(&door)?;
        let asked = super::query::Asked::read(query.as_deref());
        let page = LogInPage {
            frame: Frame::bare(&door, "Log in"),
            issuer: web.issuer.to_string(),
            next: local(web, asked.get("next"))
                .map(|next| super::query::pair("next", next))
                .unwrap_or_default(),
            left: asked.get("left") == "1",
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, None, work.await)
}

/// `GET /ui/login/start`: to the issuer.
pub(super) async fn start(door: Door, RawQuery(query): RawQuery) -> Response {
    let work = async {
        door.within_limit()?;
        let web = guard::web(&door)?;
        let snapshot = door.app.ports.active.snapshot();
        let issuer = issuer(web, snapshot.judge.catalogue())?;
        let provider = provider(&door, web, issuer).await?;
        let asked = super::query::Asked::read(query.as_deref());
        let cookie = new_cookie(&door, local(web, asked.get("next")))?;
        let to = provider.authorization(&marks(&cookie), &issuer.trust.log_in);
        let mut response = Redirect::to(to.as_str()).into_response();
        give(
            &mut response,
            cookie::set(cookie::LOGGING_IN, &cookie, Some(WINDOW.as_secs())),
        );
        Ok(response)
    };
    answer(&door, None, Box::pin(work).await)
}

/// `GET /ui/callback`: back from the issuer (RFC 6749 section 4.1.2).
pub(super) async fn callback(door: Door, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let work = async {
        door.within_limit()?;
        let web = guard::web(&door)?;
        let mut form = Form::decode(query.unwrap_or_default().as_bytes())?;
        let begun = cookie::read(&headers, cookie::LOGGING_IN).ok_or(Stop::Said(StatusCode::BAD_REQUEST, NOT_BEGUN))?;
        let marks = marks(&begun);
        let begun = check_begun(door.app.ports.now()?, &begun, &marks, form.take("state", MAX)?)?;
        let snapshot = door.app.ports.active.snapshot();
        let issuer = issuer(web, snapshot.judge.catalogue())?;
        let provider = provider(&door, web, issuer).await?;
        if !provider.is_from(form.take("iss", MAX)?.map(clear).as_deref()) {
            return Err(Stop::Said(StatusCode::BAD_REQUEST, NOT_BEGUN));
        }
        let code = form.take("code", MAX)?;
        let code = code.ok_or(Stop::Said(StatusCode::FORBIDDEN, "The issuer did not log you in."))?;
        let token = provider.id_token(code, &marks).await.map_err(refused)?;
        let catalogue = snapshot.judge.catalogue();
        let verified = web
            .identity
            .id_token(catalogue, &web.issuer, &token, &web.client_id)
            .await;
        let verified = verified.map_err(refused)?;
        begun.close(&door).await?;
        let session = crate::cli::keys::new_secret(door.app.ports.entropy.as_ref());
        leave(web, &headers).await?;
        web::log_in(&door.app.ports, &*web.store, verified, &session)
            .await
            .map_err(refused)?;
        let next = begun.next.as_deref().and_then(|next| local(web, next));
        let to = next.map(str::to_owned).unwrap_or_else(|| format!("{}/ui/", web.base()));
        let mut response = Redirect::to(&to).into_response();
        give(&mut response, cookie::set(cookie::SESSION, &session, None));
        give(&mut response, cookie::clear(cookie::LOGGING_IN));
        Ok(response)
    };
    answer(&door, None, Box::pin(work).await)
}

const NOT_BEGUN: &str = "This log-in was not begun here, took too long, or was used before. Log in again.";

/// `POST /ui/logout`: the session ends here, then at the issuer where it has a place for that.
pub(super) async fn log_out(door: Door, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async {
        let web = guard::web(&door)?;
        guard::same_origin(web, &parts.headers)?;
        let cookie = cookie::read(&parts.headers, cookie::SESSION).ok_or(Stop::LogIn)?;
        guard::read_form(&guard::form_token(&cookie), &parts, body).await?;
        web.store.end_web(cookie.digest()).await?;
        let here = format!("{}{}/ui/login?left=1", web.origin(), web.base());
        let snapshot = door.app.ports.active.snapshot();
        let there = match issuer(web, snapshot.judge.catalogue()) {
            Ok(issuer) => provider(&door, web, issuer).await.ok(),
            Err(_) => None,
        };
        let there = there.and_then(|provider| provider.log_out(&web.client_id, &here));
        let mut response = Redirect::to(there.as_ref().map_or(&*here, |there| there.as_str())).into_response();
        give(&mut response, cookie::clear(cookie::SESSION));
        Ok(response)
    };
    answer(&door, None, Box::pin(work).await)
}

async fn provider(door: &Door, web: &Web, issuer: &Issuer) -> Result<Provider, Reason> {
    Provider::find(web, &*door.app.ports.clock, web.identity.issuer_url(&issuer.issuer)).await
}

/// The issuer's file, if it lets operators in.
fn issuer<'a>(web: &Web, catalogue: &'a Catalogue) -> Result<&'a Issuer, Stop> {
    let issuer = catalogue
        .issuers
        .get(&web.issuer)
        .filter(|issuer| issuer.operators && !issuer.workloads_only);
    issuer.ok_or(Stop::Said(
        StatusCode::SERVICE_UNAVAILABLE,
        "The bundle has no issuer of that name with operators = true, so nobody can log in.",
    ))
}

/// The time, randomness, and where to go afterwards.
fn new_cookie(door: &Door, next: Option<&str>) -> Result<Secret, Reason> {
    let now = door.app.ports.now()?.as_second();
    let mut random = [0; 32];
    door.app.ports.entropy.fill(&mut random);
    let random = BASE64_URL_SAFE_NO_PAD.encode(random);
    let next = BASE64_URL_SAFE_NO_PAD.encode(next.unwrap_or_default());
    Ok(Secret::new(format!("{now}.{random}.{next}")))
}

/// State, nonce and PKCE verifier of the log-in with that cookie. None leads back to it, nor to another of the three.
fn marks(cookie: &Secret) -> Marks {
    #[expect(
        clippy::disallowed_methods,
        reason = "digests are made of it, which do not lead back"
    )]
    let value = cookie.expose().as_bytes();
    let mark = |of: &'static [u8]| {
        let digest = Digest::of_parts([of, value]);
        Secret::new(BASE64_URL_SAFE_NO_PAD.encode(digest.as_bytes()))
    };
    Marks {
        state: mark(b"procura log-in state v1\0"),
        nonce: mark(b"procura log-in nonce v1\0"),
        verifier: mark(b"procura log-in verifier v1\0"),
    }
}

/// A log-in that is under way.
struct Begun {
    /// What it is told apart by.
    id: ReplayId,
    /// Where to go on.
    next: Option<String>,
}

/// The answer belongs to a log-in that this browser began, lately. Anybody can make up a log-in, so nothing is kept of
/// it before the issuer has taken its code.
fn check_begun(now: Timestamp, begun: &Secret, marks: &Marks, state: Option<Secret>) -> Result<Begun, Stop> {
    let refused = || Stop::Said(StatusCode::BAD_REQUEST, NOT_BEGUN);
    let (at, next) = parts(begun).ok_or_else(refused)?;
    if state.as_ref() != Some(&marks.state) || now < at || now >= at + WINDOW {
        return Err(refused());
    }
    let id = ReplayId {
        id: begun.digest(),
        until: at + WINDOW,
    };
    Ok(Begun { id, next })
}

impl Begun {
    /// It ends once.
    async fn close(&self, door: &Door) -> Result<(), Stop> {
        match door.app.ports.ledger.burn(vec![self.id.clone()]).await {
            Ok(()) => Ok(()),
            Err(AppendError::Store(error)) => Err(error.into()),
            Err(_) => Err(Stop::Said(StatusCode::BAD_REQUEST, NOT_BEGUN)),
        }
    }
}

fn parts(begun: &Secret) -> Option<(Timestamp, Option<String>)> {
    #[expect(clippy::disallowed_methods, reason = "its time and address are read")]
    let mut parts = begun.expose().split('.');
    let at = Timestamp::from_second(parts.next()?.parse().ok()?).ok()?;
    let next = BASE64_URL_SAFE_NO_PAD.decode(parts.nth(1)?).ok()?;
    let next = String::from_utf8(next).ok()?;
    Some((at, Some(next).filter(|next| !next.is_empty())))
}

/// Only a page of ours is gone on to: a path below `/ui/` that no browser takes for another host.
fn local<'a>(web: &Web, next: &'a str) -> Option<&'a str> {
    let inside = next.strip_prefix(web.base())?.starts_with("/ui/");
    let url = web.site.join(next).ok()?;
    let ours = url.origin() == web.site.origin() && url.path().starts_with(&format!("{}/ui/", web.base()));
    let plain = next.bytes().all(|c| c.is_ascii_graphic() && c != b'\\');
    (inside && ours && plain && next.len() <= 1024).then_some(next)
}

/// A log-in that was there ends with the new one.
async fn leave(web: &Web, headers: &HeaderMap) -> Result<(), Stop> {
    match cookie::read(headers, cookie::SESSION) {
        Some(old) => Ok(web.store.end_web(old.digest()).await?),
        None => Ok(()),
    }
}

fn refused(reason: Reason) -> Stop {
    if reason.status() >= 500 {
        return Stop::Reason(reason);
    }
    tracing::warn!(reason = reason.code(), "a log-in at the page was refused");
    let text = "The issuer's answer was refused, or was used before. Log in again; the log of the broker says why.";
    Stop::Said(StatusCode::FORBIDDEN, text)
}

fn give(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

#[expect(clippy::disallowed_methods, reason = "the issuer's identifier is no secret")]
fn clear(text: Secret) -> String {
    text.expose().to_owned()
}
