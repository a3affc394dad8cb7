//! The ledger in memory passes the suite that the databases pass.

use std::sync::Arc;

use procura_contract::{ledger::MemoryLedger, ledger_suite::LedgerUnderTest};
use procura_core::{ids::IssuanceId, ledger::Ledger, ports::BoxFuture};

struct Memory(Arc<MemoryLedger>);

impl LedgerUnderTest for Memory {
    fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.0) as Arc<dyn Ledger>
    }

    fn reopen(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn replica(&self) -> BoxFuture<'_, Arc<dyn Ledger>> {
        Box::pin(async { self.ledger() })
    }

    fn erase(&self, id: IssuanceId) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.0.erase(id) })
    }
}

async fn memory() -> Memory {
    Memory(Arc::new(MemoryLedger::new()))
}

procura_contract::ledger_tests!(memory);
