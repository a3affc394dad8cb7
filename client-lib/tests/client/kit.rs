//! A broker as far as the client sees it: it counts, and it fails when told to.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Form, FromRequest, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use procura_client::{Client, ProofKey, Secret, Session};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// A running broker; ends when dropped.
pub(crate) struct Broker {
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    held: watch::Sender<bool>,
}

/// What it does and what it saw.
pub(crate) struct Script {
    /// Life of what it issues, seconds.
    pub(crate) expires_in: u64,
    pub(crate) per_call: bool,
    /// The session that it joins.
    pub(crate) session: String,
    /// Statuses to answer before it works, each with a reason.
    pub(crate) token_failures: VecDeque<(u16, &'static str)>,
    pub(crate) uses_failures: VecDeque<(u16, &'static str)>,
    /// Refuses reports with this call id.
    pub(crate) refused_call: Option<String>,
    pub(crate) exchanges: Vec<BTreeMap<String, String>>,
    pub(crate) heads: Vec<HeaderMap>,
    /// Forms that uses were reported by.
    pub(crate) use_forms: Vec<BTreeMap<String, String>>,
    /// Batches of reported uses that it took.
    pub(crate) batches: Vec<Vec<Value>>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let script = Script {
            expires_in: 300,
            per_call: false,
            session: "s1".to_owned(),
            token_failures: VecDeque::new(),
            uses_failures: VecDeque::new(),
            refused_call: None,
            exchanges: Vec::new(),
            heads: Vec::new(),
            use_forms: Vec::new(),
            batches: Vec::new(),
        };
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            held: watch::channel(false).0,
        });
        let app = Router::new()
            .route("/token", post(token))
            .route("/v1/uses", post(uses))
            .with_state(Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, shared, task }
    }

    pub(crate) fn client(&self) -> Client {
        let secret = Secret::new("client-canary".to_owned());
        Client::builder(&self.url, "tickets", secret).build().expect("a client")
    }

    /// A client with a key of its own, and its thumbprint.
    pub(crate) fn proving_client(&self) -> (Client, String) {
        let key = ProofKey::generate().expect("a key");
        let thumbprint = key.thumbprint().to_owned();
        let secret = Secret::new("client-canary".to_owned());
        let builder = Client::builder(&self.url, "tickets", secret).proof_key(key);
        (builder.build().expect("a client"), thumbprint)
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exchanges(&self) -> usize {
        self.script().exchanges.len()
    }

    /// Holds answers of `/token` back, or lets them go.
    pub(crate) fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn failure(status: u16, reason: &str) -> Response {
    let body = json!({
        "error": match (status, reason) {
            (503, _) => "temporarily_unavailable",
            (_, "dpop.nonce") => "use_dpop_nonce",
            _ => "invalid_request",
        },
        "error_description": "It failed.",
        "reason": reason,
        "trace_id": "trace",
    });
    let status = StatusCode::from_u16(status).expect("a status");
    let headers = [("retry-after", "3"), ("location", "/token"), ("dpop-nonce", "n1")];
    (status, headers, Json(body)).into_response()
}

async fn token(
    State(shared): State<Arc<Shared>>,
    head: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let number = {
        let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.exchanges.push(form.clone());
        script.heads.push(head);
        script.exchanges.len()
    };
    shared
        .held
        .subscribe()
        .wait_for(|held| !held)
        .await
        .expect("the sender lives");
    let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((status, reason)) = script.token_failures.pop_front() {
        return failure(status, reason);
    }
    let token = match form["requested_token_type"]
        .rsplit_once(":token-type:")
        .map(|(_, kind)| kind)
    {
        Some("postgres") => json!({
            "version": 1, "host": "h", "port": 5432, "dbname": "d", "user": "u", "password": "canary-pw",
            "sslmode": "require", "url": "postgresql://u:canary-pw@h/d", "expiration": "2026-11-20T10:00:00Z",
        })
        .to_string(),
        Some("aws") => json!({
            "Version": 1, "AccessKeyId": "ASIA1", "SecretAccessKey": "canary-key", "SessionToken": "canary-session",
            "Expiration": "2026-11-20T10:00:00Z",
        })
        .to_string(),
        Some("vault") => json!({
            "version": 1, "kind": "secret", "path": "database/creds/r", "lease_id": "database/creds/r/1",
            "data": {"username": "u", "password": "canary-pw"}, "expiration": "2026-11-20T10:00:00Z",
        })
        .to_string(),
        _ => format!("canary-{number}"),
    };
    let mut body = json!({
        "access_token": token,
        "issued_token_type": form["requested_token_type"],
        "token_type": "Bearer",
        "expires_in": script.expires_in,
        "scope": form["scope"],
        "session": script.session,
        "issuance_id": format!("issuance-{number}"),
    });
    if script.per_call {
        body["per_call"] = true.into();
    }
    Json(body).into_response()
}

/// A JSON body, or the same JSON in a form.
async fn uses(State(shared): State<Arc<Shared>>, head: HeaderMap, request: Request) -> Response {
    let by_form = head["content-type"] == "application/x-www-form-urlencoded";
    let (form, body): (_, Value) = if by_form {
        let form = Form::<BTreeMap<String, String>>::from_request(request, &())
            .await
            .expect("a form")
            .0;
        let body = serde_json::from_str(&form["reports"]).expect("json");
        (Some(form), body)
    } else {
        (None, Json::from_request(request, &()).await.expect("json").0)
    };
    let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
    script.use_forms.extend(form);
    if let Some((status, reason)) = script.uses_failures.pop_front() {
        return failure(status, reason);
    }
    let uses = body["uses"].as_array().expect("uses").clone();
    let refused = |report: &Value| {
        script
            .refused_call
            .as_deref()
            .is_some_and(|id| report["tool_call_id"] == id)
    };
    if uses.iter().any(refused) {
        return failure(400, "uses.invalid");
    }
    script.batches.push(uses);
    StatusCode::NO_CONTENT.into_response()
}

/// The session of a subject token.
pub(crate) fn user(client: &Client, token: &str) -> Session {
    client.session(Secret::new(token.to_owned()))
}
