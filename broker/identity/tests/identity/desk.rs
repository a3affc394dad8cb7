//! An issuer's place where it is asked about tokens, with knobs, and the world that asks there.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{Method, header},
    response::Response,
};
use procura_core::{
    identity::{PresentedToken, VerifiedToken},
    ports::{BoxFuture, Role, TokenVerifier},
    source::{Source, SourceError, SourceSecret},
    trust::{Introspection, IntrospectionMode},
};
use procura_wire::{Name, Reason, Secret, TokenType};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::kit::{Answer, World, identity};

/// The place where an issuer is asked.
pub(crate) struct Desk {
    pub(crate) url: String,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) answer: Mutex<Answer>,
    /// Authorization and body of each question.
    pub(crate) questions: Mutex<Vec<(String, String)>>,
    /// Only this secret is taken, where there is one.
    pub(crate) takes: Mutex<Option<&'static str>>,
    /// Answers wait for `released`.
    pub(crate) holds: AtomicBool,
    pub(crate) waiting: AtomicUsize,
    pub(crate) arrived: Notify,
    pub(crate) released: Notify,
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.method, Method::POST);
    assert_eq!(parts.headers[header::CONTENT_TYPE], "application/x-www-form-urlencoded");
    let authorization = parts.headers[header::AUTHORIZATION].to_str().expect("text").to_owned();
    let body = to_bytes(body, 1 << 20).await.expect("body");
    let body = String::from_utf8(body.to_vec()).expect("text");
    let wanted = *shared.takes.lock().expect("lock");
    let taken = wanted.is_none_or(|wanted| wanted == authorization);
    shared.questions.lock().expect("lock").push((authorization, body));
    if shared.holds.load(Ordering::SeqCst) {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        shared.arrived.notify_one();
        shared.released.notified().await;
    }
    // Lets every request that waits at the same time arrive before the answer does.
    tokio::task::yield_now().await;
    let answer = shared.answer.lock().expect("lock").clone();
    if taken { answer } else { Answer::status(401) }.respond()
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}/introspect", listener.local_addr().expect("address"));
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::status(500)),
            questions: Mutex::default(),
            takes: Mutex::default(),
            holds: AtomicBool::default(),
            waiting: AtomicUsize::default(),
            arrived: Notify::new(),
            released: Notify::new(),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "the server ends with the runtime of its test")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    pub(crate) fn says(&self, answer: Answer) {
        *self.shared.answer.lock().expect("lock") = answer;
    }

    pub(crate) fn asked(&self) -> usize {
        self.shared.questions.lock().expect("lock").len()
    }

    /// Waits until so many questions are held.
    pub(crate) async fn until_held(&self, count: usize) {
        while self.shared.waiting.load(Ordering::SeqCst) < count {
            self.shared.arrived.notified().await;
        }
    }
}

/// The broker's secret at the issuer; `newer` is what the source has once it is told that it was refused.
struct Kept;

fn secret(value: &str, version: &str) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(value.into()),
        version: version.into(),
    })
}

impl Source for Kept {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        Box::pin(async { Ok(secret("s:cret", "1")) })
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        Box::pin(async { Ok(secret("newer", "2")) })
    }

    fn refused<'a>(
        &'a self,
        version: &'a str,
        tried: &'a BTreeSet<String>,
    ) -> BoxFuture<'a, Result<Arc<SourceSecret>, SourceError>> {
        assert!(version == "1" && tried.contains("1"));
        self.refetch()
    }
}

/// The world with the issuer `corp` that is asked at a desk.
pub(crate) async fn world(mode: IntrospectionMode) -> (World, Desk) {
    let (mut world, desk) = (World::new().await, Desk::open().await);
    let open = |reference: &str| match reference {
        "own:introspection" => Ok(Arc::new(Kept) as Arc<dyn Source>),
        _ => Err(SourceError {
            reference: reference.to_owned(),
            problem: "unknown".to_owned(),
        }),
    };
    world.identity = identity(&world.clock, &world.dev_key).with_secrets(Arc::new(open));
    let url = desk.url.clone();
    world.edit(|issuer| issuer.trust.introspection = Some(asked_at(url, mode)));
    desk.says(active(&world, |_| ()));
    (world, desk)
}

pub(crate) fn asked_at(url: String, mode: IntrospectionMode) -> Introspection {
    Introspection {
        client_id: "procura".into(),
        secret: "own:introspection".into(),
        endpoint: Some(url),
        mode,
    }
}

/// The answer about a valid token after a tweak.
pub(crate) fn active(world: &World, tweak: impl FnOnce(&mut Value)) -> Answer {
    let mut answer = world.claims();
    answer["active"] = json!(true);
    answer["token_type"] = json!("Bearer");
    tweak(&mut answer);
    Answer::json(&answer)
}

pub(crate) async fn ask_of(world: &World, alias: &str, token: &str) -> Result<Arc<VerifiedToken>, Reason> {
    let token = PresentedToken {
        value: Secret::new(token.to_owned()),
        declared: TokenType::AccessToken,
    };
    let alias: Name = alias.parse().expect("name");
    let asked = world
        .identity
        .introspect(&world.catalogue, &alias, &token, Role::Subject);
    asked.await
}

pub(crate) async fn ask(world: &World, token: &str) -> Result<Arc<VerifiedToken>, Reason> {
    ask_of(world, "corp", token).await
}
