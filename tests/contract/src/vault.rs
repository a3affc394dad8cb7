//! A fake of Vault's HTTP API: tokens with a life, policies and roles, three auth methods, namespaces, leases, the engines
//! KV 1 and 2, database, PKI and SSH, and knobs for what goes wrong.
//!
//! It answers what HashiCorp Vault and OpenBao answer; [`vault_suite`](crate::vault_suite) holds it to that.

mod auth;
mod engines;
mod kv;
mod leases;
mod policies;
mod ssh;
mod tokens;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use procura_core::ports::Clock;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::wall_clock::WallClock;

use self::{auth::Auth, engines::Engine, kv::Kv, leases::Lease, tokens::Token};

/// The token that may do everything and never ends.
pub const ROOT_TOKEN: &str = "root-of-the-fake";

/// A running fake on 127.0.0.1; it ends when this is dropped.
pub struct FakeVault {
    /// `http://127.0.0.1:<port>`
    pub address: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    held: watch::Sender<bool>,
}

#[derive(Default)]
struct Kept {
    /// By path; the root is the empty one.
    spaces: BTreeMap<String, Space>,
    tokens: BTreeMap<String, Token>,
    leases: BTreeMap<String, Lease>,
    made: u64,
    /// Refused to all but the root token.
    forbidden: Option<String>,
    /// Answer this status to everything.
    broken: Option<u16>,
    requests: Vec<String>,
}

/// A namespace.
#[derive(Default)]
struct Space {
    mounts: BTreeMap<String, Engine>,
    auths: BTreeMap<String, Auth>,
    /// Text by name.
    policies: BTreeMap<String, String>,
    /// Of `auth/token`, as they were written.
    token_roles: BTreeMap<String, Value>,
}

/// A request below `/v1/`.
struct Request<'a> {
    now: Duration,
    /// Wall clock, in seconds.
    wall: i64,
    token: &'a str,
    namespace: &'a str,
    method: &'a Method,
    list: bool,
    path: &'a str,
    body: Value,
}

impl Request<'_> {
    fn writes(&self) -> bool {
        *self.method == Method::POST || *self.method == Method::PUT
    }

    fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }
}

/// What is answered: a status and a body.
type Answer = (StatusCode, Value);

impl FakeVault {
    /// Starts one with a KV 2 engine at `kv` and a KV 1 engine at `secret`; tokens live by the clock.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        let mounts = [("kv", true), ("secret", false)];
        let space = Space {
            mounts: mounts
                .map(|(path, versioned)| (path.to_owned(), Engine::Kv(Kv::new(versioned))))
                .into(),
            ..Space::default()
        };
        let kept = Kept {
            spaces: BTreeMap::from([(String::new(), space)]),
            tokens: BTreeMap::from([(ROOT_TOKEN.to_owned(), Token::root())]),
            ..Kept::default()
        };
        let shared = Arc::new(Shared {
            clock,
            kept: Mutex::new(kept),
            held: watch::channel(false).0,
        });
        let (stop, stopped) = oneshot::channel();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // A thread of its own, so that it also answers tests whose runtime stands still.
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    let served = std::pin::pin!(axum::serve(listener, app).into_future());
                    futures_util::future::select(served, stopped).await;
                }
            });
        });
        Ok(Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The same in the time of this machine.
    pub fn start_now() -> io::Result<Self> {
        Self::start(Arc::new(WallClock::default()))
    }

    /// Answers this status to everything from now on, 503 being what a sealed server answers; `None` ends it.
    pub fn break_with(&self, status: Option<u16>) {
        self.kept().broken = status;
    }

    /// Holds all answers back, or lets them go.
    pub fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// How many requests there were whose `METHOD /path` contains this.
    pub fn requests(&self, text: &str) -> usize {
        let kept = self.kept();
        kept.requests.iter().filter(|request| request.contains(text)).count()
    }

    /// Writes a secret as an administrator; `path` includes the mount.
    pub fn write(&self, path: &str, secret: &Value) {
        if let Some((mount, path)) = path.split_once('/')
            && let Some(Engine::Kv(mount)) = self.kept().root().mounts.get_mut(mount)
        {
            mount.write(path, secret.clone());
        }
    }

    /// Makes a token that lives so long unless it is renewed.
    pub fn make_token(&self, ttl: Duration, renewable: bool) -> String {
        let now = self.shared.clock.monotonic();
        self.kept().make_token(now, ttl, renewable)
    }

    /// Refuses the path below `/v1/` to all but the root token; `None` ends it.
    pub fn forbid(&self, path: Option<&str>) {
        self.kept().forbidden = path.map(str::to_owned);
    }

    /// Writes to the API as root does.
    pub fn administer(&self, path: &str, body: Value) -> Value {
        let request = Request {
            now: self.shared.clock.monotonic(),
            wall: self.shared.clock.now().as_second(),
            token: ROOT_TOKEN,
            namespace: "",
            method: &Method::POST,
            list: false,
            path,
            body,
        };
        self.kept().answer(&request).1
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeVault {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, head: HeaderMap, body: Bytes) -> Response {
    {
        let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.requests.push(format!("{method} {}", uri.path()));
    }
    // The sender lives as long as `shared`.
    let _ = shared.held.subscribe().wait_for(|held| !held).await;
    let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let value = |name: &str| head.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, body) = match (kept.broken, uri.path().strip_prefix("/v1/")) {
        (Some(status), _) => errors(
            StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            "Vault is sealed",
        ),
        (None, None) => errors(StatusCode::NOT_FOUND, "no handler for route"),
        (None, Some(path)) => kept.answer(&Request {
            now: shared.clock.monotonic(),
            wall: shared.clock.now().as_second(),
            token: value("x-vault-token"),
            namespace: value("x-vault-namespace"),
            method: &method,
            list: method.as_str() == "LIST" || uri.query() == Some("list=true"),
            path,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }),
    };
    let body = if status == StatusCode::NO_CONTENT {
        String::new()
    } else {
        body.to_string()
    };
    let head = [("content-type", "application/json"), ("location", uri.path())];
    (status, head, body).into_response()
}

fn errors(status: StatusCode, text: &str) -> Answer {
    (status, json!({ "errors": [text] }))
}

fn done() -> Answer {
    (StatusCode::NO_CONTENT, Value::Null)
}

impl Kept {
    fn root(&mut self) -> &mut Space {
        self.spaces.entry(String::new()).or_default()
    }

    fn answer(&mut self, request: &Request<'_>) -> Answer {
        let path = request.path;
        if !self.spaces.contains_key(request.namespace) {
            return errors(StatusCode::NOT_FOUND, "namespace not found");
        }
        self.sweep(request.now);
        let auth = path.strip_prefix("auth/").filter(|rest| !rest.starts_with("token/"));
        if let Some(mount) = auth.and_then(|rest| rest.strip_suffix("/login"))
            && request.writes()
        {
            return self.log_in(request, mount);
        }
        let forbidden = request.token != ROOT_TOKEN && self.forbidden.as_deref() == Some(path);
        if !self.knows(request) || !self.permits(request) || forbidden {
            return errors(StatusCode::FORBIDDEN, "permission denied");
        }
        if let Some(rest) = auth {
            return self.manage_auth(request, rest);
        }
        if let Some(rest) = path.strip_prefix("auth/token/") {
            return self.token(request, rest);
        }
        match path.strip_prefix("sys/") {
            Some(rest) => self.manage(request, rest),
            None => self.secret(request, path),
        }
    }

    /// What is below `sys/`.
    fn manage(&mut self, request: &Request<'_>, path: &str) -> Answer {
        if let Some(path) = path.strip_prefix("leases/") {
            return self.manage_leases(request, path);
        }
        let remove = *request.method == Method::DELETE;
        let (kind, name) = path.split_once('/').unwrap_or((path, ""));
        let space = self.spaces.entry(request.namespace.to_owned()).or_default();
        match (kind, remove) {
            ("mounts", false) => drop(space.mounts.insert(name.to_owned(), Engine::new(&request.body))),
            ("mounts", true) => {
                space.mounts.remove(name);
                self.leases.retain(|id, _| !id.starts_with(&format!("{name}/")));
            }
            ("auth", false) => drop(space.auths.insert(name.to_owned(), Auth::new(request.text("type")))),
            ("auth", true) => drop(space.auths.remove(name)),
            ("policies", false) => {
                let name = name.trim_start_matches("acl/").to_owned();
                space.policies.insert(name, request.text("policy").to_owned());
            }
            ("policies", true) => drop(space.policies.remove(name.trim_start_matches("acl/"))),
            ("namespaces", false) => drop(self.spaces.insert(name.to_owned(), Space::default())),
            ("namespaces", true) => drop(self.spaces.remove(name)),
            _ => return errors(StatusCode::NOT_FOUND, "no handler for route"),
        }
        done()
    }

    fn secret(&mut self, request: &Request<'_>, path: &str) -> Answer {
        self.made += 1;
        let number = self.made;
        let space = self.spaces.entry(request.namespace.to_owned()).or_default();
        let found = path
            .split_once('/')
            .and_then(|(mount, rest)| Some((space.mounts.get_mut(mount)?, rest)));
        let Some((engine, rest)) = found else {
            return errors(StatusCode::NOT_FOUND, "no handler for route");
        };
        match engine.answer(request, rest, number) {
            Ok(leased) => self.lease(request, leased),
            Err(answer) => answer,
        }
    }
}
