//! A fake of Vault's HTTP API: KV 1 and 2, tokens with a life, three auth methods, namespaces, and knobs for what goes
//! wrong.
//!
//! It answers what HashiCorp Vault and OpenBao answer; [`vault_suite`](crate::vault_suite) holds it to that.

mod auth;

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

use self::auth::{Auth, Token};

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
    mounts: BTreeMap<String, Mount>,
    auths: BTreeMap<String, Auth>,
}

#[derive(Default)]
struct Mount {
    versioned: bool,
    /// All versions by path; `None` where one was deleted. A mount of version 1 keeps one.
    secrets: BTreeMap<String, Vec<Option<Value>>>,
}

/// A request below `/v1/`.
struct Request<'a> {
    now: Duration,
    token: &'a str,
    namespace: &'a str,
    method: &'a Method,
    path: &'a str,
    body: Value,
}

/// What is answered: a status and a body.
type Answer = (StatusCode, Value);

impl FakeVault {
    /// Starts one with a KV 2 engine at `kv` and a KV 1 engine at `secret`; tokens live by the clock.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        let root = Token {
            ttl: Duration::ZERO,
            end: None,
            renewable: false,
            last_end: None,
            namespace: String::new(),
            origin: None,
        };
        let mount = |versioned| Mount {
            versioned,
            ..Mount::default()
        };
        let space = Space {
            mounts: BTreeMap::from([("kv".to_owned(), mount(true)), ("secret".to_owned(), mount(false))]),
            auths: BTreeMap::new(),
        };
        let kept = Kept {
            spaces: BTreeMap::from([(String::new(), space)]),
            tokens: BTreeMap::from([(ROOT_TOKEN.to_owned(), root)]),
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
            && let Some(mount) = self.kept().root().mounts.get_mut(mount)
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
        let now = self.shared.clock.monotonic();
        let request = Request {
            now,
            token: ROOT_TOKEN,
            namespace: "",
            method: &Method::POST,
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
    let now = shared.clock.monotonic();
    let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let value = |name: &str| head.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, body) = match (kept.broken, uri.path().strip_prefix("/v1/")) {
        (Some(status), _) => errors(
            StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            "Vault is sealed",
        ),
        (None, None) => errors(StatusCode::NOT_FOUND, "no handler for route"),
        (None, Some(path)) => kept.answer(&Request {
            now,
            token: value("x-vault-token"),
            namespace: value("x-vault-namespace"),
            method: &method,
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
        let Request { now, token, path, .. } = *request;
        let write = *request.method == Method::POST || *request.method == Method::PUT;
        if !self.spaces.contains_key(request.namespace) {
            return errors(StatusCode::NOT_FOUND, "namespace not found");
        }
        let auth = path.strip_prefix("auth/").filter(|rest| !rest.starts_with("token/"));
        if let Some(mount) = auth.and_then(|rest| rest.strip_suffix("/login")).filter(|_| write) {
            return self.log_in(request, mount);
        }
        let forbidden = token != ROOT_TOKEN && self.forbidden.as_deref() == Some(path);
        if !self.knows(request) || forbidden {
            return errors(StatusCode::FORBIDDEN, "permission denied");
        }
        if let Some(rest) = auth {
            return self.manage_auth(request, rest);
        }
        match path {
            "auth/token/lookup-self" => self.look_up(now, token),
            "auth/token/renew-self" if write => self.renew(now, token),
            "auth/token/create" if write => self.create_token(now, &request.body),
            "auth/token/revoke" if write => {
                self.tokens.remove(request.body["token"].as_str().unwrap_or_default());
                done()
            }
            path => match path.strip_prefix("sys/") {
                Some(path) => self.manage(request, path),
                None => self.secret(request, path),
            },
        }
    }

    /// What is below `sys/`. Every policy permits everything.
    fn manage(&mut self, request: &Request<'_>, path: &str) -> Answer {
        let revoked = path.strip_prefix("leases/revoke-prefix/auth/");
        if let Some(mount) = revoked.and_then(|rest| rest.strip_suffix("/login")) {
            return self.revoke_all(request, mount);
        }
        let remove = *request.method == Method::DELETE;
        let (kind, name) = path.split_once('/').unwrap_or((path, ""));
        let space = self.spaces.entry(request.namespace.to_owned()).or_default();
        match (kind, remove) {
            ("mounts", false) => {
                let mount = Mount {
                    versioned: request.body["options"]["version"] == "2",
                    ..Mount::default()
                };
                space.mounts.insert(name.to_owned(), mount);
            }
            ("mounts", true) => drop(space.mounts.remove(name)),
            ("auth", false) => {
                let auth = Auth::new(request.body["type"].as_str().unwrap_or_default());
                space.auths.insert(name.to_owned(), auth);
            }
            ("auth", true) => drop(space.auths.remove(name)),
            ("namespaces", false) => drop(self.spaces.insert(name.to_owned(), Space::default())),
            ("namespaces", true) => drop(self.spaces.remove(name)),
            _ => {}
        }
        done()
    }

    fn secret(&mut self, request: &Request<'_>, path: &str) -> Answer {
        let (method, body) = (request.method, &request.body);
        let space = self.spaces.entry(request.namespace.to_owned()).or_default();
        let found = path
            .split_once('/')
            .and_then(|(mount, rest)| Some((space.mounts.get_mut(mount)?, rest)));
        let Some((mount, rest)) = found else {
            return errors(StatusCode::NOT_FOUND, "no handler for route");
        };
        match (mount.versioned, rest.strip_prefix("data/")) {
            (true, Some(rest)) => mount.answer(method, rest, &body["data"]),
            (true, None) => errors(StatusCode::NOT_FOUND, "no handler for route"),
            (false, _) => mount.answer(method, rest, body),
        }
    }
}

impl Mount {
    fn write(&mut self, path: &str, secret: Value) -> usize {
        let versions = self.secrets.entry(path.to_owned()).or_default();
        if !self.versioned {
            versions.clear();
        }
        versions.push(Some(secret));
        versions.len()
    }

    fn answer(&mut self, method: &Method, path: &str, secret: &Value) -> Answer {
        let versions = self.secrets.get_mut(path);
        match (method, versions.and_then(|versions| versions.last_mut())) {
            (&Method::POST | &Method::PUT, _) => {
                let version = self.write(path, secret.clone());
                if self.versioned {
                    (StatusCode::OK, json!({ "data": { "version": version } }))
                } else {
                    done()
                }
            }
            (&Method::DELETE, latest) => {
                if let Some(latest) = latest {
                    *latest = None;
                }
                done()
            }
            (_, None) => (StatusCode::NOT_FOUND, json!({ "errors": [] })),
            (_, Some(_)) => self.read(path),
        }
    }

    fn read(&self, path: &str) -> Answer {
        let versions = self.secrets.get(path).map(Vec::as_slice).unwrap_or_default();
        let version = versions.len();
        match (self.versioned, versions.last()) {
            (false, Some(Some(secret))) => (StatusCode::OK, json!({ "data": secret })),
            (true, Some(Some(secret))) => {
                let metadata = json!({ "version": version, "deletion_time": "", "destroyed": false });
                (
                    StatusCode::OK,
                    json!({ "data": { "data": secret, "metadata": metadata } }),
                )
            }
            (true, Some(None)) => {
                let metadata = json!({ "version": version, "deletion_time": "2026-11-20T09:00:00Z" });
                (
                    StatusCode::NOT_FOUND,
                    json!({ "data": { "data": null, "metadata": metadata } }),
                )
            }
            _ => (StatusCode::NOT_FOUND, json!({ "errors": [] })),
        }
    }
}
