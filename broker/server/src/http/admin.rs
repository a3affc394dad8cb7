//! The administrator's listener: health, readiness, metrics.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use procura_core::{
    log::{Log, Problem},
    ports::Ports,
};
use serde_json::json;

use crate::{assembly::Broker, health::Health};

#[derive(Clone)]
struct Admin {
    ports: Arc<Ports>,
    health: Arc<Health>,
    log: Arc<Log>,
    metrics: PrometheusHandle,
}

/// The administrator's routes.
pub(crate) fn admin(broker: &Broker) -> Router {
    let state = Admin {
        ports: Arc::clone(&broker.ports),
        health: Arc::clone(&broker.health),
        log: Arc::clone(&broker.keys.log.log),
        metrics: broker.workshop.machine.metrics.clone(),
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(state)
}

/// Ready: the store can be written, a key can sign, and no shutdown has begun. A bundle with mistakes
/// leaves the last good one in force, a new version of a secret that its target refuses leaves the one before in use, and
/// a log that cannot be anchored goes on without checkpoints; each is `degraded` and still ready.
async fn ready(State(admin): State<Admin>) -> Response {
    let store = admin.ports.ledger.check().await.is_ok();
    let health = admin.health.report();
    let ready = store && health.signs && !health.draining;
    let snapshot = admin.ports.active.snapshot();
    // Versions of secrets that are not in use, and why.
    let stages = snapshot.staged.iter().map(|(name, staged)| (name, staged.stage()));
    let waiting: BTreeMap<_, _> = stages.filter(|(_, stage)| stage.candidate.is_some()).collect();
    let refused = waiting.values().any(|stage| stage.refused);
    let log = admin.log.progress();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({
        "ready": ready,
        "draining": health.draining,
        "store": if store { "ok" } else { "unavailable" },
        "bundle": snapshot.judge.digest(),
        "degraded": health.bundle_mistakes > 0 || health.key_mistakes > 0 || refused || log.problem.is_some(),
        "bundle_mistakes": health.bundle_mistakes,
        "revocation": if health.revocation_held { "held" } else { "runs" },
        "log": {
            "size": log.size,
            "published": log.published,
            "lag_seconds": log.lag(admin.ports.clock.now()).as_secs(),
            "problem": log.problem.as_ref().map(Problem::code),
        },
        "sources": waiting,
        "expiring": *admin.health.expires(),
        "keys": {"signs": health.signs, "mistakes": health.key_mistakes},
    });
    (status, Json(body)).into_response()
}

async fn numbers(State(admin): State<Admin>) -> Response {
    let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (text, admin.metrics.render()).into_response()
}
