//! The machine's clock and randomness behind the core's ports.

use std::time::{Duration, Instant};

use procura_core::{
    Timestamp,
    ports::{BoxFuture, Clock, Entropy},
};

/// The wall clock and the monotonic clock of this machine.
pub(crate) struct SystemClock {
    started: Instant,
}

impl SystemClock {
    pub(crate) fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the Clock port itself")]
        let started = Instant::now();
        Self { started }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the Clock port itself")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// Random bytes from the cryptographic library.
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // Going on would make guessable secrets.
            std::process::abort();
        }
    }
}
