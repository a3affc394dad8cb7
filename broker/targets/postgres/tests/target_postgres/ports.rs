//! Ports with the real time and the real randomness, and a source that is told what it holds.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_core::{
    Timestamp,
    kind::KindPorts,
    ports::{BoxFuture, Clock, Entropy, SignError, Signer},
    source::{Source, SourceError, SourceSecret},
};
use procura_wire::Secret;

pub(crate) struct RealClock(tokio::time::Instant);

impl RealClock {
    pub(crate) fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

pub(crate) struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes).expect("randomness");
    }
}

struct NoSigner;

impl Signer for NoSigner {
    fn sign(&self, _: &str, _: &[u8]) -> Result<Secret, SignError> {
        Err(SignError)
    }

    fn tags(&self, _: &[u8]) -> Vec<procura_wire::Digest> {
        Vec::new()
    }
}

/// A source that can be written; what it holds is served by `current` only after a `refetch` has seen it.
pub(crate) struct FakeSource {
    user: String,
    held: Mutex<Arc<SourceSecret>>,
    cached: Mutex<Arc<SourceSecret>>,
}

impl FakeSource {
    pub(crate) fn new(user: &str, password: &str) -> Arc<Self> {
        let first = secret(text(user, password), 1);
        Arc::new(Self {
            user: user.to_owned(),
            held: Mutex::new(Arc::clone(&first)),
            cached: Mutex::new(first),
        })
    }

    /// Puts another password of the same user there.
    pub(crate) fn rotate(&self, password: &str) {
        self.put(&text(&self.user, password));
    }

    pub(crate) fn put(&self, value: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = secret(value.to_owned(), next(&held));
    }

    /// What stands in the source itself.
    pub(crate) fn held(&self) -> Arc<SourceSecret> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn text(user: &str, password: &str) -> String {
    serde_json::json!({ "username": user, "password": password, "note": "the DBA's" }).to_string()
}

pub(crate) fn secret(value: String, version: u32) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(value),
        version: version.to_string(),
    })
}

fn next(held: &SourceSecret) -> u32 {
    held.version.parse::<u32>().expect("a number") + 1
}

impl Source for FakeSource {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let cached = Arc::clone(&self.cached.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async { Ok(cached) })
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = self.held();
        self.current()
    }

    #[expect(clippy::disallowed_methods, reason = "it is kept")]
    fn write<'a>(&'a self, value: &'a Secret, expected: &'a str) -> BoxFuture<'a, Result<String, SourceError>> {
        if self.held().version != expected {
            let error = SourceError {
                reference: "file:admin.json".to_owned(),
                problem: "the version is another".to_owned(),
            };
            return Box::pin(async { Err(error) });
        }
        self.put(value.expose());
        let held = self.held();
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&held);
        Box::pin(async move { Ok(held.version.clone()) })
    }
}

pub(crate) fn kind_ports(source: Arc<dyn Source>, installation: &str) -> KindPorts {
    KindPorts {
        clock: Arc::new(RealClock::new()),
        entropy: Arc::new(RealEntropy),
        signer: Arc::new(NoSigner),
        source: Some(source),
        installation: installation.to_owned(),
        issuer: "https://broker.test".to_owned(),
        issuers: BTreeSet::new(),
    }
}
