//! An MCP server that holds no credential of its own. For each tool call it asks a Procura broker for one that is
//! made for the user of this very request.
//!
//! ```sh
//! cargo run -p procura-client --example tickets-server -- settings.json
//! ```
//!
//! Start reading at `tools.rs`: the rest is what every MCP server over HTTP has.

mod api;
mod rows;
mod tools;

use std::{error::Error, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{AUTHORIZATION, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use procura_client::{Client, Secret};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::tools::Tickets;

const METADATA: &str = "/.well-known/oauth-protected-resource/mcp";

#[derive(Deserialize)]
struct Settings {
    listen: SocketAddr,
    /// `https://HOST` as clients see it; with `/mcp` behind it, the audience of their tokens.
    origin: String,
    /// Who issues these tokens.
    authorization_server: String,
    /// The broker's issuer identifier, and how this server authenticates there.
    broker: String,
    client_id: String,
    client_secret: Secret,
    /// Audience of the tokens that the API takes.
    api_audience: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: tickets-server SETTINGS.json")?;
    let settings: Settings = serde_json::from_slice(&std::fs::read(file)?)?;
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    // The API that list_tickets calls. It is here so that the example is whole; think of it as another's service.
    let api = TcpListener::bind((address.ip(), 0)).await?;
    let api_url = format!("http://{}/tickets", api.local_addr()?);
    let api_routes = api::routes(&settings.broker, &settings.api_audience);

    let client = Client::builder(settings.broker, settings.client_id, settings.client_secret).build()?;
    let door = Door {
        client: client.clone(),
        metadata: format!("{}{METADATA}", settings.origin),
    };
    let metadata = json!({
        "resource": format!("{}/mcp", settings.origin),
        "authorization_servers": [settings.authorization_server],
        "bearer_methods_supported": ["header"],
    });
    let mcp = mcp(Tickets::new(api_url)?, &settings.origin);
    let streams = mcp.config.cancellation_token.clone();
    let routes = Router::new()
        .nest_service("/mcp", mcp)
        .layer(middleware::from_fn_with_state(door, authenticate))
        .route(METADATA, get(async || Json(metadata)));

    println!("http://{address}/mcp");
    let stopped = async move {
        stop().await;
        streams.cancel();
    };
    tokio::try_join!(
        axum::serve(listener, routes)
            .with_graceful_shutdown(stopped)
            .into_future(),
        axum::serve(api, api_routes)
            .with_graceful_shutdown(stop())
            .into_future(),
    )?;
    // Uses of cached credentials that were not reported yet are reported now.
    client.shutdown().await?;
    Ok(())
}

/// Stateless: nothing is kept between two requests, in either revision of the protocol. Not for web pages.
fn mcp(tickets: Tickets, origin: &str) -> StreamableHttpService<Tickets, NeverSessionManager> {
    let host = origin.rsplit('/').next().unwrap_or_default();
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(["127.0.0.1", host])
        .enforce_origin_validation()
        .with_legacy_session_mode(false)
        .with_json_response(true);
    StreamableHttpService::new(
        move || Ok(tickets.clone()),
        Arc::new(NeverSessionManager::default()),
        config,
    )
}

#[derive(Clone)]
struct Door {
    client: Client,
    metadata: String,
}

/// Takes the caller's token off the request and leaves a session in its place: nothing behind this can forward the
/// token, not even by mistake. The broker verifies it (issuer, audience, time) when a tool asks for a credential; a
/// tool that needs no credential would have to do that itself.
async fn authenticate(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let Some(token) = bearer(request.headers()) else {
        let challenge = format!("Bearer resource_metadata=\"{}\"", door.metadata);
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response();
    };
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(door.client.session(token));
    next.run(request).await
}

/// The token of an `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret::new(token.to_owned()))
}

/// Until Ctrl-C or SIGTERM.
async fn stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
