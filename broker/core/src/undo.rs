//! Undoing: one engine for all kinds. It sweeps what is due, asks until the target confirms, ends
//! sessions whose time is over, and looks at targets for what the store does not know. Each target has
//! its own few attempts at once and its own breaker, so that none keeps another waiting.

mod inventory;
mod lanes;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, join_all, select},
    stream::{self, FuturesUnordered},
};
use procura_wire::{Name, Secret};

use crate::{
    Timestamp,
    exchange::UNDO_WAIT,
    ids::IssuanceId,
    kind::{Minter, UndoError, Undoable},
    ledger::{AppendError, Claim, Conditions, EndedBy, Held, Lease, LeaseState, StoreError, Undone},
    operator,
    ports::{Ports, Snapshot},
};
use inventory::inventory;
pub use inventory::{Unknown, unknown};
use lanes::{Lanes, Said, WIDTH};

/// Time after an intent's deadline during which nobody else touches it.
pub const MARGIN: Duration = Duration::from_secs(5);
/// How long after its end nobody is asked about what ends by itself: clocks differ.
pub const LAPSED: Duration = Duration::from_secs(5 * 60);
/// Longest time that one attempt takes; nobody else takes the lease meanwhile.
const ATTEMPT: Duration = Duration::from_secs(20);
const VISIBILITY: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(250);
/// Between looks at what somebody else undoes, while a request waits.
const LOOK: Duration = Duration::from_millis(50);
/// Sessions that are ended at each look.
const BATCH: u32 = 64;

/// One attempt to undo while a request waits.
pub async fn attempt(ports: &Ports, minter: &dyn Minter, undoable: Undoable<'_>) -> Result<(), UndoError> {
    within(ports, UNDO_WAIT, minter.undo(undoable)).await
}

async fn within(
    ports: &Ports,
    time: Duration,
    work: impl Future<Output = Result<(), UndoError>> + Send,
) -> Result<(), UndoError> {
    match select(Box::pin(work), ports.clock.sleep(time)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(UndoError::Failed("the target did not answer in time".into())),
    }
}

/// What was under way and is over.
enum Over {
    /// The inventory; when to look again.
    Inventory(Duration),
    /// An undo at this target.
    Undo(Name, Said),
}

/// Runs until `stop` ends, then lets attempts under way finish.
pub async fn run(ports: Arc<Ports>, stop: BoxFuture<'static, ()>) {
    let mut stop = stop.fuse();
    let mut lanes = Lanes::default();
    let mut under_way = FuturesUnordered::<BoxFuture<'_, Over>>::new();
    let mut inventory_due = Some(Duration::ZERO);
    'running: loop {
        if inventory_due.is_some_and(|due| ports.clock.monotonic() >= due) {
            inventory_due = None;
            let again = ports.clock.monotonic() + LAST_RETRY;
            under_way.push(survived(inventory(&ports).map(Over::Inventory), Over::Inventory(again)));
        }
        match due(&ports, &mut lanes).await {
            Ok(leases) => under_way.extend(leases.into_iter().map(|lease| {
                let target = lease.target.clone();
                let said = move |said| Over::Undo(target.clone(), said);
                survived(undo(&ports, lease).map(said.clone()), said(Said::Failed))
            })),
            Err(error) => tracing::warn!(%error, "cannot look for what is due"),
        }
        let mut tick = ports.clock.sleep(TICK).fuse();
        loop {
            futures_util::select_biased! {
                () = stop => break 'running,
                () = tick => break,
                over = under_way.select_next_some() => match over {
                    Over::Inventory(again) => inventory_due = Some(again),
                    Over::Undo(target, said) => if lanes.end(&target, said, ports.clock.monotonic()) {
                        break;
                    },
                },
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

/// Leases to undo now, as many of each target as there is room for. Sessions that cannot be ended keep
/// none of them waiting, nor does a wall clock that is behind: nothing is issued meanwhile, but what was
/// is undone.
async fn due(ports: &Ports, lanes: &mut Lanes) -> Result<Vec<Lease>, StoreError> {
    let now = late_now(ports);
    if let Err(error) = end_sessions(ports, now).await {
        tracing::warn!(%error, "cannot end sessions whose time is over");
    }
    let at = ports.clock.monotonic();
    // Taking is a durable write; an idle broker makes none.
    let targets = ports.ledger.due_targets(now, MARGIN).await?.into_iter();
    let roomy = targets.map(|target| (lanes.room(&target, at), target));
    let takes = roomy.filter(|(room, _)| *room > 0).map(|(room, target)| async move {
        let taken = ports.ledger.take_due(target.clone(), claim(ports, now), room).await;
        (target, room, taken)
    });
    let mut due = Vec::new();
    for (target, room, taken) in join_all(takes).await {
        match taken {
            Ok(leases) => {
                lanes.begin(&target, leases.len(), room);
                due.extend(leases);
            }
            Err(error) => tracing::warn!(%error, %target, "cannot take what is due"),
        }
    }
    Ok(due)
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
async fn undo(ports: &Ports, lease: Lease) -> Said {
    if let Err(error) = record_abort(ports, &lease).await {
        tracing::warn!(%error, issuance = %lease.id, "cannot record an interrupted mint");
        return Said::Nothing;
    }
    let (said, undone) = ask(ports, &lease, ATTEMPT).await;
    match ports.ledger.settle(lease.id, lease.owner, undone).await {
        Ok(true) => {}
        Ok(false) => tracing::info!(handle = %lease.handle, "somebody else took the lease over"),
        Err(error) => tracing::warn!(handle = %lease.handle, %error, "cannot note an undo"),
    }
    said
}

/// One attempt at a lease that this replica has taken.
async fn ask(ports: &Ports, lease: &Lease, time: Duration) -> (Said, Undone) {
    let (handle, target, over) = (&lease.handle, &lease.target, over(lease));
    if over.is_some_and(|over| over <= ports.clock.now()) {
        return (Said::Nothing, Undone::Gone);
    }
    let found = minter_of(&ports.active.snapshot(), lease).and_then(|minter| Ok((minter, receipt(ports, lease)?)));
    let (said, problem) = match found {
        Ok((minter, receipt)) => match take_back(ports, &*minter, (lease, receipt), time).await {
            Ok(()) => return (Said::Gone, Undone::Gone),
            Err(UndoError::Never) if let Some(at) = over => {
                let problem = UndoError::Never.to_string();
                return (Said::Nothing, Undone::Retry { at, problem });
            }
            Err(problem) => {
                tracing::warn!(%handle, %target, %problem, "not undone yet");
                (Said::Failed, problem.to_string())
            }
        },
        // It stays so until the bundle changes: worth one warning.
        Err(problem) => {
            if lease.attempts == 0 {
                tracing::warn!(%handle, %target, problem, "not undone");
            } else {
                tracing::info!(%handle, %target, problem, "still not undone");
            }
            (Said::Nothing, problem)
        }
    };
    let at = ports.clock.now() + backoff(lease.attempts);
    (said, Undone::Retry { at, problem })
}

/// When a lease needs no undoing any more, whatever clock its target goes by.
fn over(lease: &Lease) -> Option<Timestamp> {
    lease.kept.lapses.map(|lapses| lapses + LAPSED)
}

async fn take_back(
    ports: &Ports,
    minter: &dyn Minter,
    (lease, receipt): (&Lease, Option<Secret>),
    time: Duration,
) -> Result<(), UndoError> {
    let undoable = Undoable {
        handle: &lease.handle,
        receipt: receipt.as_ref(),
    };
    within(ports, time, minter.undo(undoable)).await
}

/// A key that is missing says nothing of the target.
fn receipt(ports: &Ports, lease: &Lease) -> Result<Option<Secret>, String> {
    let sealed = lease.kept.sealed.as_ref();
    let receipt = sealed.map(|sealed| ports.sealer.open(lease.id, sealed)).transpose();
    receipt.map_err(|error| error.to_string())
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

/// What has become of a lease that was to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The target confirmed.
    Gone,
    /// The sweeper goes on.
    Queued,
    /// Nothing takes it back: it ends by itself then.
    Until(Timestamp),
}

/// Undoes these leases now, a few at once of each target, waiting a bounded time; tells what became of each.
/// What the time does not reach is the sweeper's.
pub(crate) async fn undo_now(ports: &Ports, held: &[Held]) -> BTreeMap<IssuanceId, Fate> {
    let mut targets = BTreeMap::<&Name, BTreeSet<IssuanceId>>::new();
    for held in held {
        targets.entry(&held.target).or_default().extend(held.lease);
    }
    let end = ports.clock.monotonic() + UNDO_WAIT;
    let undo = |id| async move {
        match ports.clock.monotonic() < end {
            true => (id, undo_one(ports, id, end).await),
            false => (id, Fate::Queued),
        }
    };
    let at_target = |ids: BTreeSet<_>| stream::iter(ids).map(undo).buffered(WIDTH as usize).collect::<Vec<_>>();
    join_all(targets.into_values().map(at_target))
        .await
        .into_iter()
        .flatten()
        .collect()
}

/// An attempt of somebody else is waited for: the sweeper looks often, and may see what is revoked first.
async fn undo_one(ports: &Ports, id: IssuanceId, end: Duration) -> Fate {
    loop {
        match ports.ledger.take(id, claim(ports, late_now(ports))).await {
            Ok(Some(lease)) => return undo_taken(ports, lease).await,
            Ok(None) => match fate(ports, id).await {
                Some(fate) => return fate,
                None if ports.clock.monotonic() < end => ports.clock.sleep(LOOK).await,
                None => return Fate::Queued,
            },
            Err(_) => return Fate::Queued,
        }
    }
}

async fn undo_taken(ports: &Ports, lease: Lease) -> Fate {
    let (said, undone) = ask(ports, &lease, UNDO_WAIT).await;
    let fate = match (&undone, said) {
        (Undone::Gone, _) => Fate::Gone,
        // Only what lapses is put off without having been asked in vain.
        (Undone::Retry { at, .. }, Said::Nothing) if over(&lease) == Some(*at) => until(&lease),
        (Undone::Retry { .. }, _) => Fate::Queued,
    };
    match ports.ledger.settle(lease.id, lease.owner, undone).await {
        Ok(true) => fate,
        _ => Fate::Queued,
    }
}

/// Of a lease that cannot be taken; none while somebody else undoes it.
async fn fate(ports: &Ports, id: IssuanceId) -> Option<Fate> {
    match ports.ledger.lease(id).await {
        Ok(Some(lease)) if lease.state == LeaseState::Gone => Some(Fate::Gone),
        Ok(Some(lease)) if lease.next_attempt.is_some() && lease.next_attempt == over(&lease) => Some(until(&lease)),
        Ok(Some(lease)) if lease.state == LeaseState::Undoing => None,
        _ => Some(Fate::Queued),
    }
}

fn until(lease: &Lease) -> Fate {
    lease.kept.lapses.map_or(Fate::Queued, Fate::Until)
}
