//! Fills a store through the append path, with the integrator and the sums running behind, as in a broker.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use procura_anchor::FileAnchor;
use procura_core::{
    ids::ReplicaId,
    ledger::{EndedBy, Ledger},
    log::{self, Log},
    ports::Clock,
    usage::Usage,
};
use procura_store::{SqliteLedger, sqlite};
use serde::Serialize;
use tokio::{sync::Notify, task::JoinSet};

use super::{
    notary::Key,
    records::{Random, Step, World},
};
use crate::{
    Fault,
    broker::Prepared,
    clock::{self, SystemClock},
};

/// Callers that append at once: more than a broker has, so that the disk is waited for less often.
const CALLERS: u64 = 256;
/// Time between two looks at what waits to be counted.
const LOOK: Duration = Duration::from_millis(200);

/// How a store was filled.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Filled {
    pub(super) records: u64,
    sessions: u64,
    seconds: f64,
    /// CPU time of everything: making the records too.
    cpu_us_per_record: f64,
    /// Durable commits, those of the integrator and of the sums included.
    commits: u64,
    bytes_per_record: f64,
}

/// Opens the store of a folder.
pub(super) async fn open(folder: &Path) -> Result<Arc<SqliteLedger>, Fault> {
    let entropy = Arc::new(Random::new(clock::unix()));
    let ends = Arc::new(|problem: &str| eprintln!("procura-bench: the store cannot be trusted: {problem}"));
    let store = sqlite::open(
        &folder.join("procura.sqlite"),
        Arc::new(SystemClock::start()),
        entropy,
        ends,
    )
    .await?;
    Ok(Arc::new(store))
}

pub(super) async fn fill(world: Arc<World>, prepared: &Prepared) -> Result<Filled, Fault> {
    let store = open(&prepared.folder).await?;
    let (began, cpu) = (clock::now(), clock::process_cpu());
    let log = open_log(&store, prepared).await?;
    let end = Arc::new(Notify::new());
    let mut behind = JoinSet::new();
    let stop = Arc::clone(&end);
    let integrating = Arc::clone(&log);
    behind.spawn(async move {
        log::run(integrating, Box::pin(async move { stop.notified().await })).await;
        Ok(())
    });
    let mut sums = JoinSet::new();
    sums.spawn(count(Arc::clone(&store), log.replica, world.records));
    let next = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(caller(Arc::clone(&store), Arc::clone(&world), Arc::clone(&next)));
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    while let Some(done) = sums.join_next().await {
        done??;
    }
    while log.progress().published < world.records {
        log.clock.sleep(LOOK).await;
    }
    end.notify_one();
    while let Some(done) = behind.join_next().await {
        let done: Result<(), Fault> = done?;
        done?;
    }
    let commits = store.commits();
    store.close().await;
    let cpu = clock::process_cpu() - cpu;
    Ok(Filled {
        records: world.records,
        sessions: world.sessions(),
        seconds: began.elapsed().as_secs_f64(),
        cpu_us_per_record: cpu.as_secs_f64() * 1e6 / world.records as f64,
        commits,
        bytes_per_record: fs::metadata(prepared.folder.join("procura.sqlite"))?.len() as f64 / world.records as f64,
    })
}

async fn open_log(store: &Arc<SqliteLedger>, prepared: &Prepared) -> Result<Arc<Log>, Fault> {
    let clock = Arc::new(SystemClock::start());
    let replica = ReplicaId::new(clock.now(), &Random::new(clock::unix()));
    let anchor = Arc::new(FileAnchor::new(prepared.folder.join("anchor/log.jsonl")));
    let notary = Arc::new(Key::read(&prepared.folder.join("secrets/log.json"))?);
    let log = Log::new(clock, Arc::clone(store) as _, anchor, notary, replica);
    log.open(&prepared.address.to_string(), false).await?;
    Ok(Arc::new(log))
}

/// Counts until all are counted.
async fn count(store: Arc<SqliteLedger>, replica: ReplicaId, records: u64) -> Result<(), Fault> {
    let clock = SystemClock::start();
    let mut counted = 0;
    while counted < records {
        match store.project(replica, clock.now()).await? {
            0 => clock.sleep(LOOK).await,
            more => counted += more,
        }
    }
    Ok(())
}

/// One session after the other, whichever nobody has begun.
async fn caller(store: Arc<SqliteLedger>, world: Arc<World>, next: Arc<AtomicU64>) -> Result<(), Fault> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= world.sessions() {
            return Ok(());
        }
        if number.is_multiple_of((world.sessions() / 20).max(1)) {
            eprintln!("{} of {} sessions", number, world.sessions());
        }
        let visit = world.visit(number)?;
        store.open_session(visit.session.clone()).await?;
        for step in visit.steps()? {
            match step {
                Step::Append(entry, conditions) => store.append(*entry, *conditions).await?,
                Step::Revoke(id, entry) => drop(store.revoke(id, *entry).await?),
                Step::End(entry) => drop(store.end_session(visit.session.id, EndedBy::Server, *entry).await?),
            }
        }
    }
}
