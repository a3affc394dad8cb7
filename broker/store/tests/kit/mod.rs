//! Opening stores for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use procura_contract::{
    entropy::CountingEntropy,
    ledger_suite::sample::{at, entry},
};
use procura_core::{
    Timestamp,
    ledger::{AppendError, Conditions, Ledger},
    ports::{BoxFuture, Clock, Entropy},
};
use procura_store::OnFatal;

/// Stands still, and lets nobody wait.
struct Impatient;

impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        at(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::task::yield_now())
    }
}

/// A clock that stands still, randomness that repeats, and a panic where the process would end.
pub(crate) fn quiet() -> (Arc<dyn Clock>, Arc<dyn Entropy>, OnFatal) {
    static OPENED: AtomicU64 = AtomicU64::new(1);
    let start = OPENED.fetch_add(1, Ordering::Relaxed) << 32;
    (
        Arc::new(Impatient),
        Arc::new(CountingEntropy::starting_at(start)),
        Arc::new(|problem: &str| panic!("fatal: {problem}")),
    )
}

/// Appends a record, counted when it is about to be queued.
pub(crate) async fn append_counted(ledger: &dyn Ledger, second: i64, queued: &AtomicUsize) -> Result<(), AppendError> {
    let append = ledger.append(entry(second), Conditions::default());
    queued.fetch_add(1, Ordering::SeqCst);
    append.await
}
