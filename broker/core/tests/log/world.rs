//! A log in memory, and processes that run on it one after another.

use std::{sync::Arc, time::Duration};

use procura_contract::{
    entropy::CountingEntropy,
    ledger_suite::sample::{at, entry},
    log::{Faults, MemoryAnchor, MemoryLog, MemoryNotary, assert_one_tree},
    manual_clock::ManualClock,
};
use procura_core::{
    ids::{IssuanceId, ReplicaId},
    log::{self, Anchor, Log, LogStore, OpenError, Progress},
};

pub(crate) const BASE: &str = "broker.example.com";

pub(crate) struct World {
    pub(crate) faults: Arc<Faults>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<MemoryLog>,
    pub(crate) anchor: Arc<MemoryAnchor>,
    pub(crate) notary: Arc<MemoryNotary>,
    entropy: CountingEntropy,
}

impl World {
    pub(crate) fn new() -> Self {
        let faults = Arc::new(Faults::default());
        Self {
            clock: Arc::default(),
            store: Arc::new(MemoryLog::new(Arc::clone(&faults))),
            anchor: Arc::new(MemoryAnchor::new(Arc::clone(&faults))),
            notary: Arc::default(),
            entropy: CountingEntropy::default(),
            faults,
        }
    }

    /// A process that starts.
    pub(crate) fn process(&self) -> Arc<Log> {
        self.process_at(Arc::clone(&self.anchor) as _)
    }

    /// One with an anchor of its own.
    pub(crate) fn process_at(&self, anchor: Arc<dyn Anchor>) -> Arc<Log> {
        Arc::new(Log::new(
            Arc::clone(&self.clock) as _,
            Arc::clone(&self.store) as _,
            anchor,
            Arc::clone(&self.notary) as _,
            ReplicaId::new(at(0), &self.entropy),
        ))
    }

    /// One that starts, with or without an operator's word.
    pub(crate) async fn open(&self, acknowledged: bool) -> Result<Arc<Log>, OpenError> {
        let process = self.process();
        process.open(BASE, acknowledged).await?;
        Ok(process)
    }

    pub(crate) fn append(&self, count: usize) -> Vec<IssuanceId> {
        let append = |_| {
            let entry = entry(0);
            self.store.append(entry.id, entry.leaf);
            entry.id
        };
        (0..count).map(append).collect()
    }

    /// Starts a process and lets it run until it has published all or is hindered.
    pub(crate) async fn run(&self) -> Progress {
        let process = self.open(false).await.unwrap_or_else(|error| panic!("{error}"));
        self.go_on(process).await
    }

    /// Lets a process run until it has published all or is hindered; then it dies, and its lease ends.
    pub(crate) async fn go_on(&self, process: Arc<Log>) -> Progress {
        let watched = Arc::clone(&process);
        let stop = async move {
            // The first turn is the integrator's.
            tokio::task::yield_now().await;
            while watched.progress().problem.is_none() && watched.progress().behind_since.is_some() {
                tokio::task::yield_now().await;
            }
        };
        log::run(Arc::clone(&process), Box::pin(stop)).await;
        self.clock.advance(Duration::from_secs(60));
        process.progress()
    }

    /// The sizes of all checkpoints of the last epoch, which are of one tree: the store's.
    pub(crate) async fn sizes(&self) -> Vec<u64> {
        let leaves = self.store.leaves(0, u32::MAX).await.expect("leaves");
        let leaves: Vec<_> = leaves.into_iter().map(|leaf| leaf.record).collect();
        assert_one_tree(&self.anchor.notes(), &leaves)
    }
}

impl World {
    /// The sizes of all checkpoints and links at the anchor.
    pub(crate) fn sizes_at_anchor(&self) -> Vec<u64> {
        let notes = self.anchor.notes().into_iter();
        let size = |note: String| {
            procura_core::log::Statement::parse_unverified(&note)
                .expect("ours")
                .head()
                .size
        };
        notes.map(size).collect()
    }
}
