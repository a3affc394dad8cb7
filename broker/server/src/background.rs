//! Work that goes on beside requests: undoing, sources, reloads, keys, numbers.

mod keys;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use notify::{RecursiveMode, Watcher};
use procura_core::{judgement::Judge, ledger::StoreError, limits, log, ports::Ports, staged, undo, withdraw};
use procura_sources::Sources;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{assembly::Broker, bundle::Workshop, counting, expiry, health::Health};

/// What tells that the bundle may have changed, beside SIGHUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Any file of the folder (`dev`).
    Files,
    /// `bundle.sum` alone, so that half a checkout is never a bundle (`serve`).
    Sum,
}

/// Whether what is due is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// Always, but after a restore.
    Runs,
    /// `serve --hold-revocation`: only what somebody asks for by name.
    Held,
}

/// Background work of one process.
pub(crate) struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Time between two looks at keys and numbers.
const OFTEN: Duration = Duration::from_secs(5);
/// Time between two sweeps of one-time ids.
const SELDOM: Duration = Duration::from_secs(10 * 60);
/// Time for an editor or a checkout to finish.
const SETTLE: Duration = Duration::from_millis(200);

impl Background {
    /// Starts everything.
    pub(crate) fn start(broker: Arc<Broker>, watch: Watch, revocation: Revocation) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let this = Self { tasks, stop };
        let ports = Arc::clone(&broker.ports);
        // These two end in their own time: what they have begun is finished.
        match revocation {
            Revocation::Runs => {
                let stop = Box::pin(this.stop.clone().cancelled_owned());
                this.tasks.spawn(undo::run(Arc::clone(&ports), stop));
            }
            Revocation::Held => {
                broker.health.note(|report| report.revocation_held = true);
                this.until_stop(tell_unknown(Arc::clone(&ports)));
            }
        }
        let (sources, end) = (Arc::clone(&broker.workshop.sources), this.stop.clone());
        this.tasks
            .spawn(async move { Sources::run(&sources, Box::pin(end.cancelled_owned())).await });
        let stop = Box::pin(this.stop.clone().cancelled_owned());
        this.tasks.spawn(limits::run(Arc::clone(&ports), stop));
        let stop = Box::pin(this.stop.clone().cancelled_owned());
        this.tasks.spawn(log::run(Arc::clone(&broker.keys.log.log), stop));
        let failures = Arc::clone(&broker.failures);
        let clock = Arc::clone(&ports.clock);
        this.until_stop(async move { failures.run(clock.as_ref()).await });
        this.until_stop(staged::run(Arc::clone(&ports)));
        this.until_stop(expiry::watch(Arc::clone(&broker)));
        this.until_stop(forget(ports));
        this.until_stop(count(Arc::clone(&broker)));
        this.until_stop(counting::run(Arc::clone(&broker)));
        let hangup = Arc::new(Notify::new());
        this.until_stop(keys::keys(Arc::clone(&broker), Arc::clone(&hangup)));
        this.until_stop(keys::seal_keys(Arc::clone(&broker)));
        this.until_stop(keys::log_keys(Arc::clone(&broker)));
        let (swapped, replaced) = mpsc::unbounded_channel();
        this.until_stop(withdraw(Arc::clone(&broker), replaced));
        // Listened to before anybody is told that the broker serves.
        match signal(SignalKind::hangup()) {
            Ok(hangups) => this.until_stop(reload(broker, watch, hangups, hangup, swapped)),
            Err(error) => tracing::error!(%error, "SIGHUP cannot be listened to; the bundle stays as it is"),
        }
        this
    }

    fn until_stop(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Another task of this kind.
    pub(crate) fn also(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.until_stop(work);
    }

    /// Ends everything and waits for what must finish.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Says what targets have that a restored store does not know.
async fn tell_unknown(ports: Arc<Ports>) {
    tracing::warn!("revocation is held: what is due is not undone until the broker runs without --hold-revocation");
    match undo::unknown(&ports).await {
        Ok(targets) => {
            for undo::Unknown {
                target,
                handles,
                problem,
            } in targets
            {
                if let Some(problem) = problem {
                    tracing::warn!(%target, problem, "no inventory");
                }
                for handle in handles {
                    tracing::warn!(%target, %handle, "found at the target, not in the store");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "no inventory"),
    }
}

async fn forget(ports: Arc<Ports>) {
    loop {
        if let Err(error) = ports.ledger.forget_replay_ids().await {
            tracing::warn!(%error, "one-time ids that are over stay for now");
        }
        ports.clock.sleep(SELDOM).await;
    }
}

async fn count(broker: Arc<Broker>) {
    loop {
        let (commits, queued) = broker.engine.numbers();
        metrics::counter!("procura_store_commits_total").absolute(commits);
        metrics::gauge!("procura_store_queue_depth").set(u32::try_from(queued).unwrap_or(u32::MAX));
        let log = broker.keys.log.log.progress();
        metrics::gauge!("procura_log_size").set(log.size as f64);
        metrics::gauge!("procura_log_published_size").set(log.published as f64);
        metrics::gauge!("procura_log_lag_seconds").set(log.lag(broker.ports.clock.now()).as_secs_f64());
        for (name, staged) in &broker.ports.active.snapshot().staged {
            let gauge = metrics::gauge!("procura_source_version_refused", "target" => name.to_string());
            gauge.set(f64::from(u8::from(staged.stage().refused)));
        }
        broker.workshop.machine.metrics.run_upkeep();
        broker.ports.clock.sleep(OFTEN).await;
    }
}

/// Takes back what bundles before gave and the one in force does not: at the start, and when another was put
/// in force.
async fn withdraw(broker: Arc<Broker>, mut replaced: UnboundedReceiver<Arc<dyn Judge>>) {
    let mut before = None;
    while let Err(error) = withdraw_settled(&broker).await {
        tracing::warn!(%error, "what the bundle does not give any more is not taken back yet");
        broker.ports.clock.sleep(OFTEN).await;
    }
    loop {
        if before.is_none() {
            before = replaced.recv().await;
        }
        match withdraw_once(&broker, before.as_deref()).await {
            Ok(()) => before = None,
            Err(error) => {
                tracing::warn!(%error, "what the bundle does not give any more is not taken back yet");
                broker.ports.clock.sleep(OFTEN).await;
            }
        }
    }
}

/// At the start: compared with the bundle that was settled last, unless this one was settled before it. Then this replica
/// is behind, and what the newer one gives is not for it to take.
async fn withdraw_settled(broker: &Broker) -> Result<(), StoreError> {
    let before = broker
        .workshop
        .settled(broker.ports.active.snapshot().judge.digest())
        .await?;
    withdraw_once(broker, before.as_deref()).await
}

/// A bundle is settled only when this is done, so that a crash in between loses nothing.
async fn withdraw_once(Broker { ports, .. }: &Broker, before: Option<&dyn Judge>) -> Result<(), StoreError> {
    let digest = ports.active.snapshot().judge.digest();
    withdraw::withdraw(ports, before.map(Judge::catalogue)).await?;
    ports.ledger.settle_bundle(digest).await
}

/// Loads the bundle again when it may have changed, and on SIGHUP.
async fn reload(
    broker: Arc<Broker>,
    watch: Watch,
    mut hangups: Signal,
    hangup: Arc<Notify>,
    swapped: UnboundedSender<Arc<dyn Judge>>,
) {
    let changed = Arc::new(Notify::new());
    let _watcher = watcher(broker.workshop.folder.clone(), watch, Arc::clone(&changed));
    loop {
        tokio::select! {
            () = changed.notified() => broker.ports.clock.sleep(SETTLE).await,
            _ = hangups.recv() => hangup.notify_one(),
        }
        if let Some(before) = put_in_force(&broker.workshop, &broker.ports, &broker.health).await {
            // Whoever listens ends with this.
            let _ = swapped.send(before);
        }
    }
}

/// Reads the folder; answers the bundle before where another is in force now. One that is equal keeps its minters.
async fn put_in_force(workshop: &Workshop, ports: &Ports, health: &Health) -> Option<Arc<dyn Judge>> {
    let mut replaced = None;
    let mistakes = match workshop.make().await {
        Ok(snapshot) => {
            let digest = snapshot.judge.digest();
            let before = Arc::clone(&ports.active.snapshot().judge);
            if digest != before.digest() {
                ports.active.swap(snapshot);
                tracing::info!(%digest, "bundle in force");
                replaced = Some(before);
            }
            0
        }
        Err(rejected) => {
            let count = rejected.count();
            tracing::error!(
                mistakes = count,
                "the bundle was not loaded, the one before stays:\n{rejected}"
            );
            count
        }
    };
    health.note(|report| report.bundle_mistakes = mistakes);
    replaced
}

/// Watches the folder; the watch ends when the result is dropped.
fn watcher(folder: PathBuf, watch: Watch, changed: Arc<Notify>) -> Option<impl Watcher> {
    let matters = move |event: &notify::Event| match watch {
        Watch::Files => !event.kind.is_access(),
        Watch::Sum => !event.kind.is_access() && event.paths.iter().any(|path| path.ends_with(procura_policy::SUM)),
    };
    let handler = move |event: notify::Result<notify::Event>| {
        if event.as_ref().is_ok_and(&matters) {
            changed.notify_one();
        }
    };
    let mode = match watch {
        Watch::Files => RecursiveMode::Recursive,
        Watch::Sum => RecursiveMode::NonRecursive,
    };
    let watching = notify::recommended_watcher(handler).and_then(|mut watcher| {
        watcher.watch(&folder, mode)?;
        Ok(watcher)
    });
    match watching {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::error!(%error, "the bundle's folder is not watched; reload it with SIGHUP");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_bundle_with_mistakes_never_replaces_the_one_in_force() {
        let (broker, folder) = testing::broker().await;
        let Broker {
            workshop,
            ports,
            health,
            ..
        } = &broker;
        let digest = || ports.active.snapshot().judge.digest();
        let first = digest();
        let target = folder.path().join("bundle/targets/api.toml");
        let good = fs::read_to_string(&target).expect("text");
        fs::write(&target, format!("surprise = 1\n{good}")).expect("written");
        assert!(put_in_force(workshop, ports, health).await.is_none());
        assert_eq!((digest(), health.report().bundle_mistakes), (first, 1));
        fs::write(&target, good.replace("\"5m\"", "\"4m\"")).expect("written");
        assert!(
            put_in_force(workshop, ports, health)
                .await
                .is_some_and(|before| before.digest() == first)
        );
        assert_eq!(health.report().bundle_mistakes, 0);
        assert_ne!(digest(), first);
    }

    #[tokio::test]
    async fn a_bundle_that_is_equal_keeps_its_minters() {
        let (broker, _folder) = testing::broker().await;
        let before = broker.ports.active.snapshot();
        assert!(
            put_in_force(&broker.workshop, &broker.ports, &broker.health)
                .await
                .is_none()
        );
        assert!(Arc::ptr_eq(&before, &broker.ports.active.snapshot()));
    }

    #[tokio::test]
    async fn every_bundle_that_was_in_force_is_kept_by_its_digest() {
        let (broker, _folder) = testing::broker().await;
        let digest = broker.ports.active.snapshot().judge.digest();
        let content = broker.ports.ledger.bundle(digest).await.expect("store").expect("kept");
        assert_eq!(procura_wire::Digest::of(&content), digest);
    }
}
