//! The log in memory passes the suite that the databases pass.

use std::sync::Arc;

use procura_contract::{
    ledger_suite::sample::entry,
    log::{Faults, MemoryLog},
    log_suite::LogUnderTest,
};
use procura_core::{
    ids::IssuanceId,
    log::{KeptLeaf, LeafRecord, LogStore},
    ports::BoxFuture,
};

struct Memory(Arc<MemoryLog>);

impl LogUnderTest for Memory {
    fn log(&self) -> Arc<dyn LogStore> {
        Arc::clone(&self.0) as _
    }

    fn append(&self, count: usize) -> BoxFuture<'_, Vec<IssuanceId>> {
        let append = |_| {
            let entry = entry(0);
            self.0.append(entry.id, entry.leaf);
            entry.id
        };
        let ids = (0..count).map(append).collect();
        Box::pin(async { ids })
    }

    fn leaf(&self, id: IssuanceId) -> BoxFuture<'_, KeptLeaf> {
        let records = self.0.backup().records;
        let found = records.into_iter().find(|record| record.id == id);
        let nothing = || LeafRecord {
            id,
            leaf: String::new(),
        };
        let record = found.unwrap_or_else(nothing);
        Box::pin(async { KeptLeaf { record, side: None } })
    }
}

async fn memory() -> Memory {
    Memory(Arc::new(MemoryLog::new(Arc::new(Faults::default()))))
}

procura_contract::log_tests!(memory);
