//! The page for auditors and operators: rendered here, one stylesheet, no script.

mod answer;
mod blast;
mod chart;
mod cookie;
mod guard;
mod log;
mod log_in;
mod overview;
mod provider;
mod query;
mod record_view;
mod records;
mod servers;
mod session_end;
mod sessions;
mod show;
mod standing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use procura_core::{source::Source, web::WebStore};
use procura_identity::{Cached, Identity};
use procura_wire::Name;
use url::Url;

pub(crate) use provider::Described;

use crate::http::{App, Door};

/// What the page needs beside what every handler has.
pub(crate) struct Web {
    pub(crate) store: Arc<dyn WebStore>,
    pub(crate) identity: Arc<Identity>,
    /// Alias of the issuer that people log in at.
    pub(crate) issuer: Name,
    pub(crate) client_id: String,
    /// `None` for the public client of development mode.
    pub(crate) client_secret: Option<Arc<dyn Source>>,
    /// Where the broker is.
    pub(crate) site: Url,
    /// What the issuer last said of itself.
    pub(crate) described: Cached<Described>,
}

impl Web {
    /// What stands before `/ui` in every path.
    fn base(&self) -> &str {
        self.site.path().trim_end_matches('/')
    }

    /// The origin that forms are sent from.
    fn origin(&self) -> String {
        self.site.origin().ascii_serialization()
    }

    /// Where the issuer sends people back to, exactly.
    fn callback(&self) -> String {
        format!("{}{}/ui/callback", self.origin(), self.base())
    }
}

/// The routes under `/ui`.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview::page))
        .route("/login", get(log_in::page))
        .route("/login/start", get(log_in::start))
        .route("/callback", get(log_in::callback))
        .route("/logout", post(log_in::log_out))
        .route("/records", get(records::list))
        .route("/records/{id}", get(records::one))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", get(sessions::one))
        .route("/sessions/{id}/end", get(session_end::confirm).post(session_end::end))
        .route("/servers", get(servers::list))
        .route("/servers/{name}", get(servers::one))
        .route("/blast-radius", get(blast::page))
        .route("/log", get(log::page))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
}

/// `/ui` without its slash.
pub(crate) async fn enter(door: Door) -> Response {
    let base = door.app.web.as_ref().map(|web| web.base()).unwrap_or_default();
    Redirect::permanent(&format!("{base}/ui/")).into_response()
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../assets/style.css"))
}

async fn icon() -> Response {
    asset("image/svg+xml", include_str!("../../assets/icon.svg"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=600")];
    (headers, text).into_response()
}
