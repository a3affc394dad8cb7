//! Looking at targets for what the store does not know.

use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use procura_wire::Name;
use serde::Serialize;

use super::{LAST_RETRY, attempt, within};
use crate::{
    ids::Handle,
    kind::{Minter, Place, UndoError, Undoable},
    ledger::{LeaseState, StoreError},
    ports::{Ports, Snapshot},
};

const INVENTORY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest time that a target takes to say what it has.
const LISTING: Duration = Duration::from_secs(60);

/// Looks at every external target for handles of this installation that no lease accounts for, and
/// undoes them. Answers when to look again: soon, where a target was away.
pub(super) async fn inventory(ports: &Ports) -> Duration {
    let snapshot = ports.active.snapshot();
    let looks = external(&snapshot).map(|(name, minter)| look(ports, name, minter));
    let all = join_all(looks).await.into_iter().all(|looked| looked);
    ports.clock.monotonic() + if all { INVENTORY } else { LAST_RETRY }
}

/// What a target has of this installation that the store does not account for.
#[derive(Debug, Clone, Serialize)]
pub struct Unknown {
    /// The target.
    pub target: Name,
    /// Handles without a lease, or whose lease is gone.
    pub handles: Vec<Handle>,
    /// Why the target did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Asks every external target what it has, and undoes nothing.
pub async fn unknown(ports: &Ports) -> Result<Vec<Unknown>, StoreError> {
    let snapshot = ports.active.snapshot();
    let asked = external(&snapshot).map(|(name, minter)| async move {
        let (listed, problem) = match listed(ports, minter).await {
            Ok(listed) => (listed, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let mut handles = Vec::new();
        for handle in listed {
            if !is_known(ports, &handle).await? {
                handles.push(handle);
            }
        }
        let target = name.clone();
        Ok(Unknown {
            target,
            handles,
            problem,
        })
    });
    join_all(asked).await.into_iter().collect()
}

fn external(snapshot: &Snapshot) -> impl Iterator<Item = (&Name, &dyn Minter)> {
    let targets = &snapshot.judge.catalogue().targets;
    let external = |name: &Name| targets.get(name).is_some_and(|t| t.kind.place == Place::External);
    let minters = snapshot.minters.iter().filter(move |(name, _)| external(name));
    minters.map(|(name, minter)| (name, &**minter))
}

async fn is_known(ports: &Ports, handle: &Handle) -> Result<bool, StoreError> {
    let Some(id) = handle.issuance() else { return Ok(true) };
    let lease = ports.ledger.lease(id).await?;
    Ok(lease.is_some_and(|lease| lease.state != LeaseState::Gone))
}

/// Whether the target said what it has.
async fn look(ports: &Ports, name: &Name, minter: &dyn Minter) -> bool {
    match listed(ports, minter).await {
        Ok(handles) => {
            for handle in handles {
                undo_stranger(ports, minter, &handle).await;
            }
            if let Err(error) = within(ports, LISTING, minter.tidy()).await {
                tracing::warn!(target = %name, %error, "not tidied");
            }
            true
        }
        Err(error) => {
            tracing::warn!(target = %name, %error, "no inventory");
            false
        }
    }
}

async fn listed(ports: &Ports, minter: &dyn Minter) -> Result<Vec<Handle>, UndoError> {
    match select(minter.inventory(), ports.clock.sleep(LISTING)).await {
        Either::Left((listed, _)) => listed,
        Either::Right(_) => Err(UndoError::Failed("the target did not answer in time".into())),
    }
}

async fn undo_stranger(ports: &Ports, minter: &dyn Minter, handle: &Handle) {
    if is_known(ports, handle).await.is_ok_and(|known| !known) {
        tracing::warn!(%handle, "found at the target, not in the store: undone");
        if let Err(error) = attempt(ports, minter, Undoable::by(handle)).await {
            tracing::warn!(%handle, %error, "not undone yet");
        }
    }
}
