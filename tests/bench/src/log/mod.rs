//! `cargo xtask campaign log`: what a long log costs. Fills stores through the append path, then asks, exchanges, starts and
//! verifies on a long one and on a short one.

mod ask;
mod fill;
mod growth;
mod notary;
mod questions;
mod records;
mod result;
mod verify;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use procura_core::ports::Clock;
use procura_store::SqliteLedger;
use tempfile::TempDir;

use crate::{
    Fault,
    broker::{Prepared, Setup, auth},
    bundle,
    caller::Auth,
    clock::SystemClock,
    issuer::Issuer,
};
use ask::{Amount, timed};
use fill::{Filled, fill};
use records::World;
use result::Measurements;
pub(crate) use verify::hash;

/// `procura-bench log`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The program `procura`
    #[arg(long, value_name = "FILE")]
    procura: PathBuf,
    /// A folder on the disk to be measured; a temporary one is made in it. A million records take about 2 GB
    #[arg(long, value_name = "DIR")]
    scratch: PathBuf,
    /// Where the result goes; without it no times are looked at
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
    /// Records of the large store
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Records of the store that it is compared with
    #[arg(long, default_value_t = 10_000)]
    base: u64,
    /// Records that are exported and verified, at most
    #[arg(long, default_value_t = 500_000)]
    exported: u64,
    /// What records are made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A store with what a broker on it is started from.
pub(crate) struct Site {
    world: Arc<World>,
    prepared: Prepared,
    /// Of an operator who may read the log.
    token: String,
    filled: Filled,
}

impl Site {
    async fn fill(procura: &Path, folder: PathBuf, issuer: &Issuer, world: World) -> Result<Self, Fault> {
        let setup = Setup {
            algorithm: "es256",
            auth: Auth::Secret,
            authority: None,
        };
        let bundle = bundle::with_operator(bundle::exchange(&issuer.url, &auth(setup.auth)));
        let prepared = Prepared::write(procura, folder, issuer, setup, &bundle)?;
        let world = Arc::new(world);
        Ok(Self {
            filled: fill(Arc::clone(&world), &prepared).await?,
            token: issuer.operator_token(prepared.address)?,
            prepared,
            world,
        })
    }

    async fn open(&self) -> Result<Arc<SqliteLedger>, Fault> {
        fill::open(&self.prepared.folder).await
    }
}

/// How often, where times count and where they do not.
struct Amounts {
    starts: usize,
    passes: usize,
    /// Rounds, and exchanges of each.
    exchanges: (usize, usize),
    asked: Amount,
}

const FULL: Amounts = Amounts {
    starts: 5,
    passes: 5,
    exchanges: (15, 3_000),
    asked: Amount {
        batch: Duration::from_millis(400),
        batches: 5,
    },
};

const BRIEF: Amounts = Amounts {
    starts: 1,
    passes: 1,
    exchanges: (1, 100),
    asked: Amount {
        batch: Duration::from_millis(20),
        batches: 1,
    },
};

pub(crate) async fn run(options: Options) -> Result<(), Fault> {
    let amounts = if options.result.is_some() { &FULL } else { &BRIEF };
    let procura = &fs::canonicalize(&options.procura)
        .map_err(|error| format!("{}: {error}; build it first", options.procura.display()))?;
    fs::create_dir_all(&options.scratch)?;
    let scratch = TempDir::new_in(&options.scratch)?;
    let mut issuer = Issuer::start().await?;
    let now = SystemClock::start().now();
    let world = |records| World::new(options.seed, records, now);
    let folder = |name: &str| scratch.path().join(name);
    let site = async |name: &str, records: u64, issuer: &Issuer| {
        timed(name, Site::fill(procura, folder(name), issuer, world(records))).await
    };

    let exported = site("exported", options.exported.min(options.records), &issuer).await?;
    let verified = timed("verify", verify::verify(procura, &exported, amounts.passes)).await?;
    fs::remove_dir_all(folder("exported"))?;

    let small = site("small", options.base, &issuer).await?;
    let large = site("large", options.records, &issuer).await?;
    let sites = [&small, &large];
    // A page is full where there are records enough.
    let least = if options.base < 10_000 {
        1
    } else {
        questions::PAGE as usize
    };
    let core = timed("core", ask::core(sites, amounts.asked, least)).await?;
    let started = [
        growth::starts(&small, &mut issuer, amounts.starts).await?,
        growth::starts(&large, &mut issuer, amounts.starts).await?,
    ];
    let (one, other) = (small.prepared.start().await?, large.prepared.start().await?);
    let brokers = [&one, &other];
    let api = timed("api", ask::api(sites, brokers, amounts.asked, least)).await?;
    let exchanges = growth::exchanges(sites, brokers, &mut issuer, amounts.exchanges)?;
    one.stop()?;
    other.stop()?;
    let measurements = Measurements {
        seed: options.seed,
        filled: [small.filled, exported.filled, large.filled],
        core,
        api,
        started,
        exchanges,
        verified,
    };
    match &options.result {
        Some(file) => measurements.write(file),
        None => Ok(()),
    }
}
