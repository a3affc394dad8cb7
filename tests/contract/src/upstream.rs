//! A stand-in of an OAuth authorization server: metadata, token endpoint and revocation, with knobs for what goes wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::served::Served;

/// The client, and its first secret.
pub const CLIENT: (&str, &str) = ("the broker", "first secret/+%");

/// A request: path, `Authorization`, fields of the form.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Path of the URL.
    pub path: String,
    /// `Authorization`, empty where there is none.
    pub authorization: String,
    /// Decoded; a field that stands there twice counts as its last.
    pub form: BTreeMap<String, String>,
}

/// A running stand-in on 127.0.0.1; it ends when this is dropped.
pub struct FakeUpstream {
    served: Served,
    shared: Arc<Shared>,
}

struct Shared {
    kept: Mutex<Kept>,
    held: watch::Sender<bool>,
}

struct Kept {
    issuer: String,
    secret: String,
    /// Takes any client.
    lenient: bool,
    /// Members of the token answer, in place of what is usual; `null` leaves one out.
    odd: Value,
    /// Status and body in place of an answer of that path.
    broken: BTreeMap<String, (u16, Value)>,
    live: BTreeSet<String>,
    heard: Vec<Heard>,
}

impl FakeUpstream {
    /// Starts one.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            kept: Mutex::new(Kept {
                issuer: String::new(),
                secret: CLIENT.1.to_owned(),
                lenient: false,
                odd: Value::Null,
                broken: BTreeMap::new(),
                live: BTreeSet::new(),
                heard: Vec::new(),
            }),
            held: watch::channel(false).0,
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let served = Served::start(|_| app)?;
        let upstream = Self { served, shared };
        upstream.kept().issuer = upstream.issuer();
        Ok(upstream)
    }

    /// Its issuer identifier.
    pub fn issuer(&self) -> String {
        format!("{}/tenant", self.served.address)
    }

    /// The client has this secret from now on.
    pub fn set_secret(&self, secret: &str) {
        self.kept().secret = secret.to_owned();
    }

    /// Looks at no client any more.
    pub fn take_any_client(&self) {
        self.kept().lenient = true;
    }

    /// Changes members of what the token endpoint answers; `null` leaves one out.
    pub fn answer_with(&self, members: Value) {
        self.kept().odd = members;
    }

    /// Answers this status and body at a path; tokens are made all the same.
    pub fn break_path(&self, path: &str, status: u16, body: Value) {
        self.kept().broken.insert(path.to_owned(), (status, body));
    }

    /// Holds all answers back, or lets them go.
    pub fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// What was asked, in its order.
    pub fn heard(&self) -> Vec<Heard> {
        self.kept().heard.clone()
    }

    /// How many tokens work.
    pub fn live(&self) -> usize {
        self.kept().live.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, head: HeaderMap, body: Bytes) -> Response {
    let authorization = head.get("authorization").and_then(|value| value.to_str().ok());
    let heard = Heard {
        path: uri.path().to_owned(),
        authorization: authorization.unwrap_or_default().to_owned(),
        form: decode(&String::from_utf8_lossy(&body)),
    };
    shared
        .kept
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .heard
        .push(heard.clone());
    let _ = shared.held.subscribe().wait_for(|held| !held).await;
    let (status, body) = shared
        .kept
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .answer(&heard);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let head = [("content-type", "application/json"), ("location", "/elsewhere")];
    (status, head, body.to_string()).into_response()
}

impl Kept {
    fn answer(&mut self, heard: &Heard) -> (u16, Value) {
        let usual = match heard.path.as_str() {
            // Only where RFC 8414 section 3.1 puts it.
            "/.well-known/oauth-authorization-server/tenant" => (200, self.metadata()),
            "/token" | "/revoke" if !self.knows(heard) => (401, json!({ "error": "invalid_client" })),
            "/token" => (200, self.make(heard)),
            "/revoke" => {
                self.live.remove(heard.form.get("token").map_or("", String::as_str));
                (200, Value::Null)
            }
            _ => (404, Value::Null),
        };
        self.broken.get(&heard.path).cloned().unwrap_or(usual)
    }

    fn metadata(&self) -> Value {
        let base = self.issuer.trim_end_matches("/tenant");
        json!({
            "issuer": self.issuer,
            "token_endpoint": format!("{base}/token"),
            "revocation_endpoint": format!("{base}/revoke"),
        })
    }

    fn knows(&self, heard: &Heard) -> bool {
        let field = |name: &str| heard.form.get(name).map_or("", String::as_str);
        let basic = heard.authorization.strip_prefix("Basic ").and_then(|pair| {
            let pair = String::from_utf8(BASE64_STANDARD.decode(pair).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            Some((unescape(id), unescape(secret)))
        });
        let (id, secret) = basic.unwrap_or_else(|| (field("client_id").to_owned(), field("client_secret").to_owned()));
        self.lenient || id == CLIENT.0 && secret == self.secret
    }

    fn make(&mut self, heard: &Heard) -> Value {
        let token = format!("token-{}", self.heard.len());
        self.live.insert(token.clone());
        let mut answer = json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": 3600,
            "scope": heard.form.get("scope"),
        });
        if heard.form.contains_key("subject_token") {
            answer["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token".into();
        }
        for (name, value) in self.odd.as_object().into_iter().flatten() {
            answer[name] = value.clone();
        }
        let members = answer
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null());
        Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

fn decode(form: &str) -> BTreeMap<String, String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (unescape(name), unescape(value))).collect()
}

/// RFC 6749 appendix B.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
