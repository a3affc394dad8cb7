//! The store behind the ledger port, by its engine.

use std::{process, sync::Arc};

use procura_core::{ledger::Ledger, log::LogStore, usage::Usage, web::WebStore};
use procura_store::{OnFatal, OpenError, PostgresLedger, SqliteLedger, postgres, sqlite};

use crate::{
    assembly::Machine,
    cli::{Failure, read_secret},
    config::Store,
};

/// Exit code when the store cannot be trusted any more (EX_IOERR of sysexits.h).
const EXIT_STORE: i32 = 74;

/// The open store.
#[derive(Clone)]
pub(crate) enum Engine {
    Sqlite(Arc<SqliteLedger>),
    Postgres(Arc<PostgresLedger>),
}

impl Engine {
    pub(crate) async fn open(store: &Store, machine: &Machine) -> Result<Self, Failure> {
        let Machine { clock, entropy, .. } = machine.clone();
        let failed = |error: OpenError| Failure::usage(error);
        Ok(match store {
            Store::Sqlite(path) => {
                let opened = sqlite::open(path, clock, entropy, on_fatal()).await;
                Self::Sqlite(Arc::new(opened.map_err(failed)?))
            }
            Store::Postgres(path) => {
                let url = read_secret(path)?;
                let opened = postgres::open(&url, clock, entropy, on_fatal()).await;
                Self::Postgres(Arc::new(opened.map_err(failed)?))
            }
        })
    }

    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    pub(crate) fn log(&self) -> Arc<dyn LogStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    pub(crate) fn usage(&self) -> Arc<dyn Usage> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    pub(crate) fn web(&self) -> Arc<dyn WebStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    /// Durable commits so far, and writes that wait.
    pub(crate) fn numbers(&self) -> (u64, usize) {
        match self {
            Self::Sqlite(store) => (store.commits(), store.queued()),
            Self::Postgres(store) => (store.commits(), store.queued()),
        }
    }

    /// Writes what waits and closes.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Nothing more is answered; recovery happens at the next start.
fn on_fatal() -> OnFatal {
    Arc::new(|problem| {
        tracing::error!(problem, "the store cannot be trusted any more; the process ends");
        process::exit(EXIT_STORE)
    })
}
