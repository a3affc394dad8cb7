//! Looking at targets for what the store does not know.

use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use procura_wire::Name;

use super::{LAST_RETRY, attempt};
use crate::{
    ids::Handle,
    kind::{Minter, Place, UndoError},
    ledger::LeaseState,
    ports::Ports,
};

const INVENTORY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest time that a target takes to say what it has.
const LISTING: Duration = Duration::from_secs(60);

/// Looks at every external target for handles of this installation that no lease accounts for, and
/// undoes them. Answers when to look again: soon, where a target was away.
pub(super) async fn inventory(ports: &Ports) -> Duration {
    let snapshot = ports.active.snapshot();
    let targets = &snapshot.judge.catalogue().targets;
    let external = |name: &Name| targets.get(name).is_some_and(|t| t.kind.place == Place::External);
    let looks = snapshot
        .minters
        .iter()
        .filter(|(name, _)| external(name))
        .map(|(name, minter)| look(ports, name, &**minter));
    let all = join_all(looks).await.into_iter().all(|looked| looked);
    ports.clock.monotonic() + if all { INVENTORY } else { LAST_RETRY }
}

/// Whether the target said what it has.
async fn look(ports: &Ports, name: &Name, minter: &dyn Minter) -> bool {
    match listed(ports, minter).await {
        Ok(handles) => {
            for handle in handles {
                undo_stranger(ports, minter, &handle).await;
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
        Either::Right(_) => Err(UndoError("the target did not answer in time".into())),
    }
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
