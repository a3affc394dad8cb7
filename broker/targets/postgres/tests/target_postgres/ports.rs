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
}

/// A source; what it holds is served by `current` only after a `refetch` has seen it.
pub(crate) struct FakeSource {
    user: String,
    held: Mutex<(String, u32)>,
    cached: Mutex<Arc<SourceSecret>>,
}

impl FakeSource {
    pub(crate) fn new(user: &str, password: &str) -> Arc<Self> {
        Arc::new(Self {
            user: user.to_owned(),
            held: Mutex::new((password.to_owned(), 1)),
            cached: Mutex::new(secret(user, password, 1)),
        })
    }

    pub(crate) fn rotate(&self, password: &str) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = (password.to_owned(), held.1 + 1);
    }
}

fn secret(user: &str, password: &str, version: u32) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(serde_json::json!({ "username": user, "password": password }).to_string()),
        version: version.to_string(),
    })
}

impl Source for FakeSource {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let cached = Arc::clone(&self.cached.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async { Ok(cached) })
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let (password, version) = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = secret(&self.user, &password, version);
        self.current()
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
