//! A stand-in of the few endpoints of GitHub's REST API that installation tokens need. One App, one installation.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use procura_core::{Timestamp, ports::Clock};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{served::Served, wall_clock::WallClock};

/// The App.
pub const APP: u64 = 4711;
/// Its installation, which reaches the repositories 101 to 103 and grants `issues: write` and `contents: read`.
pub const INSTALLATION: u64 = 815;

/// What goes wrong with the next tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quirk {
    /// Nothing.
    None,
    /// They reach all repositories.
    AllRepositories,
    /// They are said to reach all repositories, and those that were asked for are listed.
    SaysAll,
    /// They may write where reading was asked for.
    Wider,
    /// They live a day.
    Longer,
    /// The token is made, and the answer is 500.
    FailsAfter,
    /// The answer does not say when the token ends.
    NoEnd,
    /// 403 with Retry-After.
    Limited,
}

/// A running stand-in on 127.0.0.1; it ends when this is dropped.
pub struct FakeGithub {
    shared: Arc<Shared>,
    served: Served,
}

struct Shared {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    held: watch::Sender<bool>,
}

struct Kept {
    /// Public halves of the App's keys.
    keys: Vec<Vec<u8>>,
    repositories: BTreeSet<u64>,
    permissions: BTreeMap<String, String>,
    installed: bool,
    quirk: Quirk,
    tokens: BTreeMap<String, Token>,
    /// Bodies of the requests for tokens.
    asked: Vec<Value>,
    requests: usize,
}

#[derive(Clone)]
struct Token {
    /// It was made for no repository in particular.
    all: bool,
    repositories: BTreeSet<u64>,
    permissions: BTreeMap<String, String>,
    ends: Timestamp,
}

/// What is answered: a status and a body.
type Answer = (StatusCode, Value);

impl FakeGithub {
    /// Starts one. Its times are the clock's.
    pub fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let level = |(name, level): (&str, &str)| (name.to_owned(), level.to_owned());
        let kept = Kept {
            keys: Vec::new(),
            repositories: BTreeSet::from([101, 102, 103]),
            permissions: [("issues", "write"), ("contents", "read"), ("metadata", "read")]
                .map(level)
                .into(),
            installed: true,
            quirk: Quirk::None,
            tokens: BTreeMap::new(),
            asked: Vec::new(),
            requests: 0,
        };
        let shared = Arc::new(Shared {
            clock,
            kept: Mutex::new(kept),
            held: watch::channel(false).0,
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        Ok(Self {
            served: Served::start(|_| app)?,
            shared,
        })
    }

    /// The same in the time of this machine.
    pub fn start_now() -> io::Result<Self> {
        Self::start(Arc::new(WallClock::default()))
    }

    /// `http://127.0.0.1:<port>`
    pub fn address(&self) -> &str {
        &self.served.address
    }

    /// Gives the App one more private key (PEM, PKCS #8).
    pub fn new_key(&self) -> String {
        let key = self.new_key_pair();
        pem("PRIVATE KEY", &key)
    }

    /// The same in the form in which GitHub hands keys out (PEM, PKCS #1).
    pub fn new_pkcs1_key(&self) -> String {
        // RFC 5208 section 5: before the key stand, for RSA of 2048 bits, 26 bytes of headers.
        pem("RSA PRIVATE KEY", &self.new_key_pair()[26..])
    }

    fn new_key_pair(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "a test that cannot be set up fails")]
        let made = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        self.kept().keys.push(made.public_key().as_ref().to_vec());
        let document: Result<Pkcs8V1Der<'_>, _> = made.as_der();
        document.map(|document| document.as_ref().to_vec()).unwrap_or_default()
    }

    /// Deletes all keys of the App but the newest.
    pub fn drop_older_keys(&self) {
        let mut kept = self.kept();
        let newest = kept.keys.pop();
        kept.keys = newest.into_iter().collect();
    }

    /// Lets the next tokens go wrong.
    pub fn quirk(&self, quirk: Quirk) {
        self.kept().quirk = quirk;
    }

    /// Removes the installation; its tokens die with it.
    pub fn uninstall(&self) {
        let mut kept = self.kept();
        kept.installed = false;
        kept.tokens.clear();
    }

    /// Holds all answers back, or lets them go.
    pub fn hold(&self, held: bool) {
        self.shared.held.send_replace(held);
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.kept().requests
    }

    /// Bodies of the requests for tokens, in their order.
    pub fn asked(&self) -> Vec<Value> {
        self.kept().asked.clone()
    }

    /// How many tokens work.
    pub fn live(&self) -> usize {
        let now = self.shared.clock.now();
        self.kept().tokens.values().filter(|token| token.ends > now).count()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, head: HeaderMap, body: Bytes) -> Response {
    shared.kept.lock().unwrap_or_else(PoisonError::into_inner).requests += 1;
    let _ = shared.held.subscribe().wait_for(|held| !held).await;
    let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let value = |name: &str| head.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = shared.clock.now();
    let bearer = value("authorization").strip_prefix("Bearer ").unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (status, body) = match value("user-agent") {
        "" => said(StatusCode::FORBIDDEN, "Request forbidden by administrative rules."),
        _ => kept.answer((&method, uri.path()), bearer, &body, now),
    };
    let head = [("content-type", "application/json; charset=utf-8")];
    let body = if status == StatusCode::NO_CONTENT {
        String::new()
    } else {
        body.to_string()
    };
    match status {
        StatusCode::FORBIDDEN => (status, head, [("retry-after", "30")], body).into_response(),
        _ => (status, head, body).into_response(),
    }
}

fn said(status: StatusCode, message: &str) -> Answer {
    (
        status,
        json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }),
    )
}

impl Kept {
    fn answer(&mut self, request: (&Method, &str), bearer: &str, body: &Value, now: Timestamp) -> Answer {
        let installation = format!("/app/installations/{INSTALLATION}");
        match (request.0.as_str(), request.1) {
            ("DELETE", "/installation/token") => match self.tokens.remove(bearer).filter(|token| token.ends > now) {
                Some(_) => (StatusCode::NO_CONTENT, Value::Null),
                None => said(StatusCode::UNAUTHORIZED, "Bad credentials"),
            },
            ("GET", "/installation/repositories") => match self.tokens.get(bearer).filter(|token| token.ends > now) {
                Some(token) => (StatusCode::OK, json!({ "repositories": listed(&token.repositories) })),
                None => said(StatusCode::UNAUTHORIZED, "Bad credentials"),
            },
            (_, path) if path.starts_with("/app/") && !self.is_app(bearer, now) => {
                said(StatusCode::UNAUTHORIZED, "A JSON web token could not be decoded")
            }
            ("GET", path) if path == installation && self.installed => {
                let body = json!({ "id": INSTALLATION, "suspended_at": null, "permissions": self.permissions });
                (StatusCode::OK, body)
            }
            ("POST", path) if path == format!("{installation}/access_tokens") && self.installed => self.make(body, now),
            _ => said(StatusCode::NOT_FOUND, "Not Found"),
        }
    }

    /// Whether this is a token of the App's: RS256, its id as issuer, times that GitHub accepts.
    fn is_app(&self, token: &str, now: Timestamp) -> bool {
        let now = now.as_second();
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return false;
        };
        let part = |at: usize| -> Value {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(signed.split('.').nth(at).unwrap_or_default());
            serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or(Value::Null)
        };
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        let is_signed = |key: &Vec<u8>| {
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
            key.verify(signed.as_bytes(), &signature).is_ok()
        };
        let (claims, time) = (part(1), |name: &str| part(1)[name].as_i64().unwrap_or_default());
        part(0)["alg"] == "RS256"
            && claims["iss"] == json!(APP.to_string())
            && time("iat") <= now
            && (now + 1..=now + 600).contains(&time("exp"))
            && self.keys.iter().any(is_signed)
    }

    fn make(&mut self, body: &Value, now: Timestamp) -> Answer {
        self.asked.push(body.clone());
        if self.quirk == Quirk::Limited {
            return said(StatusCode::FORBIDDEN, "You have exceeded a secondary rate limit.");
        }
        let mut token = match self.token(body, now) {
            Ok(token) => token,
            Err(message) => return said(StatusCode::UNPROCESSABLE_ENTITY, message),
        };
        match self.quirk {
            Quirk::SaysAll => token.all = true,
            Quirk::AllRepositories => {
                token.all = true;
                token.repositories.clone_from(&self.repositories);
            }
            Quirk::Wider => token
                .permissions
                .values_mut()
                .for_each(|level| *level = "write".to_owned()),
            Quirk::Longer => token.ends = now + Duration::from_secs(24 * 60 * 60),
            Quirk::None | Quirk::FailsAfter | Quirk::NoEnd | Quirk::Limited => (),
        }
        // As long as those that carry a JWT.
        let value = format!("ghs_{APP}_{}{}", self.asked.len(), "x".repeat(560));
        let selection = if token.all { "all" } else { "selected" };
        let mut answer = json!({
            "token": value,
            "expires_at": token.ends,
            "permissions": token.permissions,
            "repository_selection": selection,
            "repositories": listed(&token.repositories),
        });
        self.tokens.insert(value, token);
        match self.quirk {
            Quirk::FailsAfter => return said(StatusCode::INTERNAL_SERVER_ERROR, "Server Error"),
            Quirk::NoEnd => answer["expires_at"] = Value::Null,
            _ => (),
        }
        (StatusCode::CREATED, answer)
    }

    /// An empty list, or none, means all.
    fn token(&self, body: &Value, now: Timestamp) -> Result<Token, &'static str> {
        let listed: BTreeSet<u64> = serde_json::from_value(body["repository_ids"].clone()).unwrap_or_default();
        let repositories = if listed.is_empty() { &self.repositories } else { &listed }.clone();
        if !repositories.is_subset(&self.repositories) {
            return Err(
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            );
        }
        let asked = serde_json::from_value::<BTreeMap<String, String>>(body["permissions"].clone()).unwrap_or_default();
        let mut permissions = if asked.is_empty() {
            self.permissions.clone()
        } else {
            asked
        };
        let is_granted = |(name, level): (&String, &String)| {
            let held = self.permissions.get(name);
            held.is_some_and(|held| held == level || held == "write" && level == "read")
        };
        if !permissions.iter().all(is_granted) {
            return Err("The permissions requested are not granted to this installation.");
        }
        permissions.insert("metadata".to_owned(), "read".to_owned());
        Ok(Token {
            all: listed.is_empty(),
            repositories,
            permissions,
            ends: now + Duration::from_secs(60 * 60),
        })
    }
}

fn listed(ids: &BTreeSet<u64>) -> Value {
    ids.iter()
        .map(|id| json!({ "id": id, "name": format!("repository-{id}") }))
        .collect()
}
