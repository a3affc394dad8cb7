//! The administrator's listener: health, readiness, metrics.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use procura_core::ports::Ports;
use serde_json::json;

use crate::{assembly::Broker, health::Health};

#[derive(Clone)]
struct Admin {
    ports: Arc<Ports>,
    health: Arc<Health>,
    metrics: PrometheusHandle,
}

/// The administrator's routes.
pub(crate) fn admin(broker: &Broker) -> Router {
    let state = Admin {
        ports: Arc::clone(&broker.ports),
        health: Arc::clone(&broker.health),
        metrics: broker.workshop.machine.metrics.clone(),
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(state)
}

/// Ready: the store can be written, a key can sign, and no shutdown has begun. A bundle with mistakes
/// leaves the last good one in force, which is `degraded` and still ready.
async fn ready(State(admin): State<Admin>) -> Response {
    let store = admin.ports.ledger.check().await.is_ok();
    let health = admin.health.report();
    let ready = store && health.signs && !health.draining;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "ready": ready,
        "draining": health.draining,
        "store": if store { "ok" } else { "unavailable" },
        "bundle": admin.ports.active.snapshot().judge.digest(),
        "degraded": health.bundle_mistakes > 0 || health.key_mistakes > 0,
        "bundle_mistakes": health.bundle_mistakes,
        "keys": {"signs": health.signs, "mistakes": health.key_mistakes},
    });
    (status, Json(body)).into_response()
}

async fn numbers(State(admin): State<Admin>) -> Response {
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (text, admin.metrics.render()).into_response()
}
