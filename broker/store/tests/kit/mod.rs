//! Opening stores for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use procura_contract::{
    entropy::CountingEntropy,
    ledger_suite::sample::{at, entry},
};
use procura_core::{
    Timestamp,
    ids::IssuanceId,
    ledger::{AppendError, Conditions, Ledger},
    log::{KeptLeaf, LeafRecord},
    ports::{BoxFuture, Clock, Entropy},
};
use procura_store::OnFatal;

/// Stands still: short waits end at once, long ones never, or at once too where it is told to hurry.
#[derive(Default)]
pub(crate) struct Impatient(pub(crate) AtomicBool);

impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        at(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        if time < Duration::from_secs(1) || self.0.load(Ordering::SeqCst) {
            Box::pin(tokio::task::yield_now())
        } else {
            Box::pin(std::future::pending())
        }
    }
}

/// A clock that stands still, randomness that repeats, and a panic where the process would end.
pub(crate) fn quiet() -> (Arc<dyn Clock>, Arc<dyn Entropy>, OnFatal) {
    static OPENED: AtomicU64 = AtomicU64::new(1);
    let start = OPENED.fetch_add(1, Ordering::Relaxed) << 32;
    (
        Arc::new(Impatient::default()),
        Arc::new(CountingEntropy::starting_at(start)),
        Arc::new(|problem: &str| panic!("fatal: {problem}")),
    )
}

/// Appends so many records one after another.
pub(crate) async fn append_many(ledger: &dyn Ledger, count: usize) -> Vec<IssuanceId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let entry = entry(1);
        ids.push(entry.id);
        ledger.append(entry, Conditions::default()).await.expect("appended");
    }
    ids
}

/// The exact bytes of a record.
pub(crate) async fn leaf_of(ledger: &dyn Ledger, id: IssuanceId) -> KeptLeaf {
    let stored = ledger.record(id).await.expect("read").expect("there");
    let leaf = stored.leaf.get().to_owned();
    KeptLeaf {
        record: LeafRecord { id, leaf },
        side: stored.side.map(|(salt, clear)| (salt, clear.get().to_owned())),
    }
}

/// Appends a record, counted when it is about to be queued.
pub(crate) async fn append_counted(ledger: &dyn Ledger, second: i64, queued: &AtomicUsize) -> Result<(), AppendError> {
    let append = ledger.append(entry(second), Conditions::default());
    queued.fetch_add(1, Ordering::SeqCst);
    append.await
}
