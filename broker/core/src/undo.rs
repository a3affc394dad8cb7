//! Undoing: one engine for all kinds. It sweeps what is due, asks until the target confirms, ends
//! sessions whose time is over, and looks at targets for what the store does not know.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, join_all, select},
    stream::FuturesUnordered,
};

use crate::{
    Timestamp,
    exchange::UNDO_WAIT,
    ids::{Handle, IssuanceId},
    kind::{Minter, Place, UndoError},
    ledger::{AppendError, Claim, Conditions, EndedBy, Lease, LeaseState, StoreError, Undone},
    operator,
    ports::{Ports, Snapshot},
};

/// Time after an intent's deadline during which nobody else touches it.
pub const MARGIN: Duration = Duration::from_secs(5);
/// Longest time that one attempt takes; nobody else takes the lease meanwhile.
const ATTEMPT: Duration = Duration::from_secs(20);
const VISIBILITY: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(250);
const BATCH: u32 = 64;
const IN_FLIGHT: usize = 64;
const INVENTORY: Duration = Duration::from_secs(24 * 60 * 60);

/// One attempt to undo by handle while a request waits.
pub async fn attempt(ports: &Ports, minter: &dyn Minter, handle: &Handle) -> Result<(), UndoError> {
    within(ports, UNDO_WAIT, minter.undo(handle)).await
}

async fn within(
    ports: &Ports,
    time: Duration,
    work: impl Future<Output = Result<(), UndoError>> + Send,
) -> Result<(), UndoError> {
    match select(Box::pin(work), ports.clock.sleep(time)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(UndoError("the target did not answer in time".into())),
    }
}

/// Runs until `stop` ends, then lets attempts under way finish.
pub async fn run(ports: Arc<Ports>, stop: BoxFuture<'static, ()>) {
    let mut stop = stop.fuse();
    let mut under_way = FuturesUnordered::<BoxFuture<'_, Option<Duration>>>::new();
    let mut inventory_due = Some(Duration::ZERO);
    'running: loop {
        if inventory_due.is_some_and(|due| ports.clock.monotonic() >= due) {
            inventory_due = None;
            let again = ports.clock.monotonic() + LAST_RETRY;
            under_way.push(survived(inventory(&ports).map(Some), Some(again)));
        }
        if under_way.len() < IN_FLIGHT {
            match due(&ports).await {
                Ok(leases) => {
                    let undo = |lease| survived(undo(&ports, lease).map(|()| None), None);
                    under_way.extend(leases.into_iter().map(undo));
                }
                Err(error) => tracing::warn!(%error, "cannot look for what is due"),
            }
        }
        let mut tick = ports.clock.sleep(TICK).fuse();
        loop {
            futures_util::select_biased! {
                () = stop => break 'running,
                () = tick => break,
                done = under_way.select_next_some() => inventory_due = done.or(inventory_due),
            }
        }
    }
    while under_way.next().await.is_some() {}
}

/// A minter that panics must not end the undoing of everything else: its lease is taken again later.
fn survived<'a, T: Send + 'a>(work: impl Future<Output = T> + Send + 'a, panicked: T) -> BoxFuture<'a, T> {
    let work = AssertUnwindSafe(work).catch_unwind();
    work.map(|done| {
        done.unwrap_or_else(|_| {
            tracing::error!("an undo or an inventory panicked");
            panicked
        })
    })
    .boxed()
}

/// Leases to undo now. Sessions that cannot be ended keep none of them waiting, nor does a wall clock
/// that is behind: nothing is issued meanwhile, but what was is undone.
async fn due(ports: &Ports) -> Result<Vec<Lease>, StoreError> {
    let now = late_now(ports);
    if let Err(error) = end_sessions(ports, now).await {
        tracing::warn!(%error, "cannot end sessions whose time is over");
    }
    // Taking is a durable write; an idle broker makes none.
    match ports.ledger.next_due(MARGIN).await? {
        Some(next) if next <= now => ports.ledger.take_due(claim(ports, now), BATCH).await,
        _ => Ok(Vec::new()),
    }
}

async fn end_sessions(ports: &Ports, now: Timestamp) -> Result<(), StoreError> {
    for session in ports.ledger.expired_sessions(now, BATCH).await? {
        operator::end_unasked(ports, session, EndedBy::Time).await?;
    }
    Ok(())
}

/// The later of the wall clock and the durable time, however far they are apart.
fn late_now(ports: &Ports) -> Timestamp {
    ports.clock.now().max(ports.ledger.durable_time())
}

fn claim(ports: &Ports, now: Timestamp) -> Claim {
    Claim {
        replica: ports.replica,
        now,
        again: now + VISIBILITY,
        margin: MARGIN,
    }
}

/// Undoes a lease that this replica has taken, and notes how that ended.
async fn undo(ports: &Ports, lease: Lease) {
    if let Err(error) = record_abort(ports, &lease).await {
        tracing::warn!(%error, issuance = %lease.id, "cannot record an interrupted mint");
        return;
    }
    let undone = ask(ports, &lease, ATTEMPT).await;
    match ports.ledger.settle(lease.id, lease.owner, undone).await {
        Ok(true) => {}
        Ok(false) => tracing::info!(handle = %lease.handle, "somebody else took the lease over"),
        Err(error) => tracing::warn!(handle = %lease.handle, %error, "cannot note an undo"),
    }
}

/// One attempt at a lease that this replica has taken.
async fn ask(ports: &Ports, lease: &Lease, time: Duration) -> Undone {
    let (handle, target) = (&lease.handle, &lease.target);
    let problem = match minter_of(&ports.active.snapshot(), lease) {
        Ok(minter) => match within(ports, time, minter.undo(handle)).await {
            Ok(()) => return Undone::Gone,
            Err(UndoError(problem)) => {
                tracing::warn!(%handle, %target, problem, "not undone yet");
                problem
            }
        },
        // It stays so until the bundle changes: worth one warning.
        Err(problem) => {
            if lease.attempts == 0 {
                tracing::warn!(%handle, %target, problem, "not undone");
            } else {
                tracing::info!(%handle, %target, problem, "still not undone");
            }
            problem
        }
    };
    Undone::Retry {
        at: ports.clock.now() + backoff(lease.attempts),
        problem,
    }
}

/// The minter of the place where the lease's credential was made. Any other place would confirm that
/// it has no such credential while it lives on at its own.
fn minter_of(snapshot: &Snapshot, lease: &Lease) -> Result<Arc<dyn Minter>, String> {
    let target = snapshot.judge.catalogue().targets.get(&lease.target);
    match (target, snapshot.minters.get(&lease.target)) {
        (Some(target), Some(_)) if target.place() != lease.place => Err(format!(
            "its target has moved (was {}); put the old place back until its leases are gone",
            lease.place
        )),
        (Some(_), Some(minter)) => Ok(Arc::clone(minter)),
        _ => Err("its target is not in the bundle; put it back until its leases are gone".to_owned()),
    }
}

/// The first retry comes within a second, later ones at most a minute apart.
fn backoff(attempts: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << attempts.min(8)).min(LAST_RETRY)
}

/// Appends the record of a mint that was interrupted, unless one is there.
async fn record_abort(ports: &Ports, lease: &Lease) -> Result<(), AppendError> {
    let Some(entry) = lease.aborted.clone() else {
        return Ok(());
    };
    match ports.ledger.append(entry, Conditions::default()).await {
        Err(AppendError::Superseded) => Ok(()),
        other => other,
    }
}

/// Undoes these leases now, waiting a bounded time for each; tells which are gone.
pub(crate) async fn undo_now(ports: &Ports, ids: Vec<IssuanceId>) -> Vec<(IssuanceId, bool)> {
    join_all(ids.into_iter().map(|id| async move { (id, undo_one(ports, id).await) })).await
}

async fn undo_one(ports: &Ports, id: IssuanceId) -> bool {
    let Ok(Some(lease)) = ports.ledger.take(id, claim(ports, late_now(ports))).await else {
        return is_gone(ports, id).await;
    };
    let undone = ask(ports, &lease, UNDO_WAIT).await;
    let gone = undone == Undone::Gone;
    gone & matches!(ports.ledger.settle(lease.id, lease.owner, undone).await, Ok(true))
}

async fn is_gone(ports: &Ports, id: IssuanceId) -> bool {
    matches!(ports.ledger.lease(id).await, Ok(Some(lease)) if lease.state == LeaseState::Gone)
}

/// Looks at every external target for handles of this installation that no lease accounts for, and
/// undoes them. Answers when to look again: soon, where a target was away.
async fn inventory(ports: &Ports) -> Duration {
    let snapshot = ports.active.snapshot();
    let mut again = INVENTORY;
    for (name, minter) in &snapshot.minters {
        let external = snapshot
            .judge
            .catalogue()
            .targets
            .get(name)
            .is_some_and(|t| t.kind.place == Place::External);
        if !external {
            continue;
        }
        match minter.inventory().await {
            Ok(handles) => {
                for handle in handles {
                    undo_stranger(ports, &**minter, &handle).await;
                }
            }
            Err(error) => {
                again = LAST_RETRY;
                tracing::warn!(target = %name, %error, "no inventory");
            }
        }
    }
    ports.clock.monotonic() + again
}

async fn undo_stranger(ports: &Ports, minter: &dyn Minter, handle: &Handle) {
    let Some(id) = handle.issuance() else { return };
    let known = match ports.ledger.lease(id).await {
        Ok(lease) => lease.is_some_and(|lease| lease.state != LeaseState::Gone),
        Err(_) => true,
    };
    if !known {
        tracing::warn!(%handle, "found at the target, not in the store: undone");
        if let Err(error) = attempt(ports, minter, handle).await {
            tracing::warn!(%handle, %error, "not undone yet");
        }
    }
}
