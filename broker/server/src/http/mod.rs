//! The broker over HTTP: one public listener and one for its administrator.

mod admin;
mod archive;
mod asked;
pub(crate) mod body;
mod certificates;
mod crowd;
mod csv;
mod door;
mod dpop;
mod filters;
mod listen;
#[cfg(test)]
mod listen_tests;
mod log;
mod metadata;
mod proxy;
mod questions;
mod refusal;
mod reply;
mod speaking;
mod streams;
#[cfg(test)]
mod tests;
mod token;
mod unbroken;
mod v1;
mod views;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use procura_core::{catalogue::Issuer, log::Log, ports::Ports, usage::Usage};
use procura_target_jwt::Keyring;
use procura_wire::Reason;
use tokio_util::task::TaskTracker;

pub(crate) use admin::admin;
pub(crate) use asked::Asked;
pub(crate) use door::Host;
pub(crate) use filters::{Query, SessionQuery};
pub(crate) use listen::{Listener, bind};
pub(crate) use metadata::server_metadata_path;
pub(crate) use proxy::Proxy;
pub(crate) use reply::{Refusal, Site};
pub(crate) use streams::Streams;
pub(crate) use v1::reports::{radius, selected};

use crate::{
    dev::{self, DevIssuer},
    telemetry::Failures,
    web::{self, Web},
};
pub(crate) use door::Door;

/// Everything that handlers need.
pub(crate) struct App {
    pub(crate) ports: Arc<Ports>,
    pub(crate) usage: Arc<dyn Usage>,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) log: Arc<Log>,
    pub(crate) site: Site,
    pub(crate) host: Host,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) requests: TaskTracker,
    pub(crate) streams: Arc<Streams>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) dev: Option<Arc<DevIssuer>>,
    /// `None` where no page is served.
    pub(crate) web: Option<Arc<Web>>,
}

impl App {
    /// The identifier that an issuer's tokens carry as `iss`.
    pub(crate) fn issuer_of(&self, issuer: &Issuer) -> String {
        match &self.dev {
            Some(dev) if issuer.issuer == crate::dev::BUILTIN => dev.iss.clone(),
            _ => issuer.issuer.clone(),
        }
    }
}

/// The public listener's routes. `path` is that of the issuer.
pub(crate) fn public(app: Arc<App>, path: &str) -> Router {
    let mut routes = Router::new()
        .route("/token", post(token::token))
        .route("/revoke", post(token::revoke))
        .route("/introspect", post(token::introspect))
        .route("/jwks.json", get(metadata::jwks))
        .route("/errors", get(metadata::errors))
        .nest("/v1", api())
        .nest("/log", tree());
    if app.dev.is_some() {
        routes = routes.nest("/dev", dev::routes());
    }
    if app.web.is_some() {
        routes = routes.route("/ui", get(web::enter)).nest("/ui/", web::routes());
    }
    let base = path.trim_end_matches('/');
    let routes = if base.is_empty() {
        routes
    } else {
        Router::new().nest(base, routes)
    };
    routes
        .route(&metadata::server_metadata_path(path), get(metadata::server))
        .route(&metadata::resource_metadata_path(path), get(metadata::resource))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), door::enter))
        .with_state(app)
}

fn api() -> Router<Arc<App>> {
    Router::new()
        .route("/uses", post(token::uses))
        .route("/issuances", get(questions::issuances))
        .route("/issuances/stream", get(questions::stream))
        .route("/issuances/{id}", get(v1::issuance))
        .route("/issuances/{id}/proof", get(log::proof))
        .route("/log/export", get(archive::export))
        .route("/bundles/{digest}", get(v1::bundle))
        .route("/sessions", get(v1::sessions))
        .route("/sessions/{id}", get(v1::session).delete(v1::end_session))
        .route("/leases", get(v1::leases))
        .route("/leases/{id}", axum::routing::delete(v1::undo_lease))
        .route("/inventory", get(v1::inventory))
        .route("/targets/{name}/rotate", post(v1::rotate))
        .route("/whois", get(v1::whois))
        .route("/reports/blast-radius", get(v1::reports::blast_radius))
        .route("/reports/unused", get(v1::reports::unused))
        .route("/reports/novel", get(v1::reports::novel))
        .route("/openapi.json", get(metadata::openapi))
}

/// C2SP tlog-tiles.
fn tree() -> Router<Arc<App>> {
    Router::new()
        .route("/checkpoint", get(log::checkpoint))
        .route("/keys", get(log::keys))
        .route("/tile/{level}/{*place}", get(log::tile))
}

async fn unknown_path(door: Door) -> axum::response::Response {
    door.refuse(Reason::V1NotFound)
}

/// RFC 6749 section 3.2: the router adds the Allow header.
async fn unknown_method(door: Door) -> axum::response::Response {
    door.refuse(Reason::HttpMethod)
}
