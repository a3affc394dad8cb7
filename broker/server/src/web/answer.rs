//! Pages on their way out, and why none is shown.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use procura_core::ledger::StoreError;
use procura_wire::{FormFault, Reason};

use super::{guard::Reader, query::pair};
use crate::http::{Door, Refusal};

/// What every page has around it.
pub(super) struct Frame {
    pub(super) base: String,
    pub(super) title: String,
    /// The page of the navigation that it belongs to.
    pub(super) section: &'static str,
    /// Who reads, and the token of their forms.
    pub(super) reader: Option<(String, String)>,
    /// Whether they read all records.
    pub(super) of_all: bool,
}

impl Frame {
    /// Around a page that nobody needs to log in for.
    pub(super) fn bare(door: &Door, title: impl Into<String>) -> Self {
        let web = door.app.web.as_ref();
        Self {
            base: web.map(|web| web.base().to_owned()).unwrap_or_default(),
            title: title.into(),
            section: "",
            reader: None,
            of_all: false,
        }
    }
}

/// Why a page is not shown.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody has logged in.
    LogIn,
    /// Somebody logged in whom no rule lets read anything: their name, and the token of their forms.
    Stranger(String, String),
    /// Something is wrong with the request, or the broker.
    Reason(Reason),
    /// The same in words of the page's own.
    Said(StatusCode, &'static str),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

impl From<FormFault> for Stop {
    fn from(fault: FormFault) -> Self {
        Self::Reason(fault.reason)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Reason(refusal.reason())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Reason(match error {
            StoreError::Unavailable => Reason::AuditUnavailable,
            StoreError::Overloaded => Reason::Overloaded,
            StoreError::Inconsistent => Reason::ServerError,
        })
    }
}

#[derive(Template)]
#[template(path = "stop.html")]
struct StopPage {
    frame: Frame,
    text: String,
    trace: String,
}

/// The answer to a request for a page. `path` is the page below `/ui`, to come back to
/// after a log-in.
pub(super) fn answer(door: &Door, path: Option<&str>, page: Result<Response, Stop>) -> Response {
    match page {
        Ok(response) => response,
        Err(Stop::LogIn) => Redirect::to(&log_in(door, path)).into_response(),
        Err(Stop::Stranger(name, token)) => {
            door.refuse(Reason::V1Forbidden);
            let frame = Frame {
                reader: Some((name, token)),
                ..Frame::bare(door, title(StatusCode::FORBIDDEN))
            };
            framed(
                door,
                frame,
                StatusCode::FORBIDDEN,
                "No rule lets you read anything here.",
            )
        }
        Err(Stop::Reason(reason)) => {
            // Counts and logs it as any other refusal.
            let status = door.refuse(reason).status();
            stop(door, None, status, said(reason))
        }
        Err(Stop::Said(status, text)) => stop(door, None, status, text),
    }
}

/// A page that says why there is nothing else, to somebody who has logged in or to nobody.
pub(super) fn stop(door: &Door, reader: Option<&Reader>, status: StatusCode, text: impl Into<String>) -> Response {
    let frame = match reader {
        Some(reader) => reader.frame(door, "", title(status)),
        None => Frame::bare(door, title(status)),
    };
    framed(door, frame, status, text)
}

fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        404 => "Not found",
        403 => "Not permitted",
        500.. => "Not now",
        _ => "Not accepted",
    }
}

fn framed(door: &Door, frame: Frame, status: StatusCode, text: impl Into<String>) -> Response {
    let page = StopPage {
        frame,
        text: text.into(),
        trace: door.trace.clone(),
    };
    html(door, status, &page)
}

fn said(reason: Reason) -> &'static str {
    match reason {
        Reason::V1NotFound => "There is nothing here, or it is not for you.",
        Reason::V1Forbidden => "No rule permits this to you.",
        Reason::AuditUnavailable => "The store cannot be read now. Try again in a moment.",
        Reason::AuthInsufficient => "Your log-in is too weak or too old for the file of your issuer. Log in again.",
        other => other.text(),
    }
}

fn log_in(door: &Door, path: Option<&str>) -> String {
    let base = Frame::bare(door, "").base;
    match path {
        Some(path) => {
            let next = pair("next", &format!("{base}/ui{}", path.trim_end_matches('?')));
            format!("{base}/ui/login?{next}")
        }
        None => format!("{base}/ui/login"),
    }
}

/// A rendered page with the headers of every page.
pub(super) fn html(door: &Door, status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            let mut response = (status, Html(text)).into_response();
            protect(door, &mut response);
            response
        }
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            door.refuse(Reason::ServerError)
        }
    }
}

/// Nothing runs, nothing is framed, nothing is sent elsewhere. Forms of the page go to the page; the log-out leads on
/// to the issuer, which browsers count as sending the form there.
fn protect(door: &Door, response: &mut Response) {
    let issuer = issuer_origin(door)
        .map(|origin| format!(" {origin}"))
        .unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'{issuer}; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // Without any referrer browsers say `Origin: null` of the page's own forms, which could be anybody's.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    for name in ["cross-origin-opener-policy", "cross-origin-resource-policy"] {
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
}

fn issuer_origin(door: &Door) -> Option<String> {
    let web = door.app.web.as_ref()?;
    let snapshot = door.app.ports.active.snapshot();
    let issuer = snapshot.judge.catalogue().issuers.get(&web.issuer)?;
    let url: url::Url = web.identity.issuer_url(&issuer.issuer).parse().ok()?;
    Some(url.origin().ascii_serialization())
}
