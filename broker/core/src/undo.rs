//! Undoing: one engine for all kinds. It sweeps what is due, asks until the target confirms, ends
//! sessions whose time is over, and looks at targets for what the store does not know.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, join_all, select},
    stream::FuturesUnordered,
};

use crate::{
    exchange::UNDO_WAIT,
    ids::{Handle, IssuanceId},
    kind::{Minter, Place, UndoError},
    ledger::{AppendError, Claim, Conditions, Lease, LeaseState, StoreError, Undone},
    operator,
    ports::Ports,
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
            under_way.push(inventory(&ports).map(Some).boxed());
        }
        if under_way.len() < IN_FLIGHT {
            match due(&ports).await {
                Ok(leases) => {
                    under_way.extend(
                        leases
                            .into_iter()
                            .map(|lease| undo(&ports, lease).map(|()| None).boxed()),
                    );
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

async fn due(ports: &Ports) -> Result<Vec<Lease>, StoreError> {
    let Ok(now) = ports.now() else { return Ok(Vec::new()) };
    for session in ports.ledger.expired_sessions(now, BATCH).await? {
        operator::end_by_time(ports, session).await?;
    }
    ports.ledger.take_due(claim(ports, now), BATCH).await
}

fn claim(ports: &Ports, now: crate::Timestamp) -> Claim {
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
    let minter = ports.active.snapshot().minters.get(&lease.target).cloned();
    let result = match minter {
        Some(minter) => within(ports, ATTEMPT, minter.undo(&lease.handle)).await,
        None => Err(UndoError("its target is not in the bundle".into())),
    };
    let undone = match result {
        Ok(()) => Undone::Gone,
        Err(UndoError(problem)) => {
            tracing::warn!(handle = %lease.handle, target = %lease.target, problem, "not undone yet");
            Undone::Retry {
                at: ports.clock.now() + backoff(lease.attempts),
                problem,
            }
        }
    };
    match ports.ledger.settle(lease.id, lease.owner, undone).await {
        Ok(true) => {}
        Ok(false) => tracing::info!(handle = %lease.handle, "somebody else took the lease over"),
        Err(error) => tracing::warn!(handle = %lease.handle, %error, "cannot note an undo"),
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
    let now = ports.clock.now().max(ports.ledger.durable_time());
    let Ok(Some(lease)) = ports.ledger.take(id, claim(ports, now)).await else {
        return is_gone(ports, id).await;
    };
    let minter = ports.active.snapshot().minters.get(&lease.target).cloned();
    let Some(minter) = minter else { return false };
    let undone = match attempt(ports, &*minter, &lease.handle).await {
        Ok(()) => Undone::Gone,
        Err(UndoError(problem)) => Undone::Retry {
            at: ports.clock.now() + FIRST_RETRY,
            problem,
        },
    };
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
