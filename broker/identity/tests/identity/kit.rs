//! An issuer with knobs, keys, and a valid token to tweak.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{
    Timestamp,
    catalogue::{Algorithm, Catalogue, Issuer, TokenTyp},
    identity::{PresentedToken, VerifiedToken},
    ports::{BoxFuture, Clock, Role, SignError, Signer, TokenVerifier},
};
use procura_identity::{Builtin, HttpOptions, Identity, IdentityOptions};
use procura_wire::{Digest, Reason, Secret, TokenType};
use serde_json::{Value, json};
use tokio::sync::Notify;

pub(crate) use crate::test_key::TestKey;

pub(crate) const OURS: &str = "https://procura.example.com";
pub(crate) const RESOURCE: &str = "https://tickets.example.com/mcp";
pub(crate) const DEV: &str = "http://127.0.0.1:1/dev";
/// 2026-11-20T09:00:00Z
pub(crate) const NOW: i64 = 1_795_165_200;

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A clock that goes when it is told to.
#[derive(Default)]
pub(crate) struct TestClock {
    seconds: AtomicU64,
    /// Wakes who waits already.
    bell: Arc<Notify>,
}

impl TestClock {
    pub(crate) fn advance(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Ends every wait that has begun.
    pub(crate) fn ring(&self) {
        self.bell.notify_waiters();
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(NOW).expect("time") + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.seconds.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        let bell = Arc::clone(&self.bell);
        Box::pin(async move { bell.notified().await })
    }
}

/// The broker's own keys: they only tag here. The first is the active one.
pub(crate) struct Tagger(pub(crate) Vec<u8>);

impl Signer for Tagger {
    fn sign(&self, _: &str, _: &[u8]) -> Result<Secret, SignError> {
        Err(SignError)
    }

    fn tags(&self, message: &[u8]) -> Vec<Digest> {
        self.0
            .iter()
            .map(|key| Digest::of_parts([&[*key][..], message]))
            .collect()
    }
}

/// What the issuer answers at one of its two places.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// `None` never ends.
    pub(crate) body: Option<Vec<u8>>,
}

impl Answer {
    pub(crate) fn json(value: &Value) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".into())],
            body: Some(value.to_string().into_bytes()),
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Some(Vec::new()),
        }
    }

    pub(crate) fn respond(self) -> Response {
        let body = match self.body {
            Some(bytes) => Body::from(bytes),
            None => Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>()),
        };
        let head = Response::builder().status(StatusCode::from_u16(self.status).expect("status"));
        let head = self
            .headers
            .iter()
            .fold(head, |head, (name, value)| head.header(*name, value));
        head.body(body).expect("response")
    }
}

/// An identity provider on loopback.
pub(crate) struct Idp {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    discovery: Mutex<Answer>,
    rfc8414: Mutex<Answer>,
    jwks: Mutex<Answer>,
    fetches: AtomicUsize,
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let answer = match uri.path() {
        "/.well-known/openid-configuration" => shared.discovery.lock().expect("lock").clone(),
        "/.well-known/oauth-authorization-server" => shared.rfc8414.lock().expect("lock").clone(),
        "/jwks" => {
            shared.fetches.fetch_add(1, Ordering::SeqCst);
            // Lets every request that waits at the same time arrive before the answer does.
            tokio::task::yield_now().await;
            shared.jwks.lock().expect("lock").clone()
        }
        _ => Answer::status(404),
    };
    answer.respond()
}

impl Idp {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let shared = Arc::new(Shared {
            discovery: Mutex::new(Answer::json(&json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}))),
            rfc8414: Mutex::new(Answer::status(404)),
            jwks: Mutex::new(Answer::json(&json!({"keys": []}))),
            fetches: AtomicUsize::new(0),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "the server ends with the runtime of its test")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.jwks(Answer::json(&json!({ "keys": keys })));
    }

    pub(crate) fn jwks(&self, answer: Answer) {
        *self.shared.jwks.lock().expect("lock") = answer;
    }

    pub(crate) fn discovery(&self, answer: Answer) {
        *self.shared.discovery.lock().expect("lock") = answer;
    }

    pub(crate) fn rfc8414(&self, answer: Answer) {
        *self.shared.rfc8414.lock().expect("lock") = answer;
    }

    /// How often the key set was fetched.
    pub(crate) fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }
}

/// One issuer `corp` with the key `k1`, trusted by a verifier.
pub(crate) struct World {
    pub(crate) idp: Idp,
    pub(crate) key: TestKey,
    pub(crate) dev_key: TestKey,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) catalogue: Catalogue,
    pub(crate) identity: Identity,
}

pub(crate) fn issuer(url: &str) -> Issuer {
    Issuer {
        issuer: url.to_owned(),
        algorithms: Algorithm::NAMES.into_iter().map(|(_, algorithm)| algorithm).collect(),
        token_types: BTreeSet::from([TokenTyp::AtJwt]),
        extra_audiences: BTreeSet::new(),
        groups: None,
        actor_from_azp: false,
        clients: None,
        trusted_presenters: BTreeSet::new(),
        max_token_lifetime: Duration::from_secs(3600),
        operators: false,
        id_jag: None,
        workloads_only: false,
        trust: Default::default(),
    }
}

pub(crate) fn identity(clock: &Arc<TestClock>, dev_key: &TestKey) -> Identity {
    replica(clock, dev_key, &[1])
}

/// One whose broker has these keys.
pub(crate) fn replica(clock: &Arc<TestClock>, dev_key: &TestKey, keys: &[u8]) -> Identity {
    Identity::new(IdentityOptions {
        issuer: OURS.into(),
        http: HttpOptions {
            allow_http_loopback: true,
            ..HttpOptions::default()
        },
        builtin: Some(Builtin {
            issuer_identifier: DEV.into(),
            jwks: json!({"keys": [dev_key.jwk("dev")]}),
        }),
        dev_secrets: BTreeMap::new(),
        signer: Arc::new(Tagger(keys.to_vec())),
        vouchers: Default::default(),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
    })
    .expect("identity")
}

impl World {
    pub(crate) async fn new() -> Self {
        let (idp, key, dev_key) = (Idp::start().await, TestKey::es256(), TestKey::ed25519());
        idp.publish(&[key.jwk("k1")]);
        let clock = Arc::new(TestClock::default());
        let mut catalogue = Catalogue::default();
        catalogue
            .issuers
            .insert("corp".parse().expect("name"), issuer(&idp.url));
        let identity = identity(&clock, &dev_key);
        Self {
            idp,
            key,
            dev_key,
            clock,
            catalogue,
            identity,
        }
    }

    /// Changes the file of the issuer.
    pub(crate) fn edit(&mut self, tweak: impl FnOnce(&mut Issuer)) {
        tweak(self.catalogue.issuers.get_mut("corp").expect("corp"));
    }

    /// Claims of a valid token.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.idp.url, "sub": "alice", "aud": RESOURCE, "exp": NOW + 300, "iat": NOW, "client_id": "agent-ui"
        })
    }

    /// A valid token with one member changed; `null` takes it away.
    pub(crate) fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        if value.is_null() {
            claims.as_object_mut().expect("object").remove(claim);
        } else {
            claims[claim] = value;
        }
        self.key.token("k1", &claims)
    }

    pub(crate) fn valid(&self) -> String {
        self.key.token("k1", &self.claims())
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<Arc<VerifiedToken>, Reason> {
        self.verify_as(token, Role::Subject).await
    }

    pub(crate) async fn verify_as(&self, token: &str, role: Role) -> Result<Arc<VerifiedToken>, Reason> {
        let token = PresentedToken {
            value: Secret::new(token.to_owned()),
            declared: TokenType::AccessToken,
        };
        self.identity.verify(&self.catalogue, &token, role).await
    }

    pub(crate) async fn reason(&self, token: &str) -> Option<Reason> {
        self.verify(token).await.err()
    }
}
