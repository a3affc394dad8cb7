//! Mint: local kinds in memory; external kinds behind a durable intent, with no transaction of ours open.

use std::{sync::Arc, time::Duration};

use fail::fail_point;
use futures_util::future::{Either, select};
use procura_wire::Reason;

use super::{
    Admitted,
    judge::Permit,
    refuse::{Stop, append_reason},
};
use crate::{
    Timestamp,
    ids::Handle,
    kind::{MintError, MintOrder, Minted, Minter, Place},
    ledger::{Intent, LeaseStep, Outcome, Owner},
    ports::Ports,
    undo,
};

/// A credential that was made and that nobody has seen yet.
pub(super) struct Made {
    pub(super) permit: Permit,
    pub(super) minted: Minted,
    /// How to take it back, where that is needed.
    pub(super) lease: Option<MadeLease>,
}

/// What takes a credential back at its target.
pub(super) struct MadeLease {
    pub(super) minter: Arc<dyn Minter>,
    pub(super) handle: Handle,
    pub(super) owner: Owner,
    pub(super) deadline: Timestamp,
}

impl MadeLease {
    /// Undoes it now, as far as the target answers; the rest is the sweeper's.
    pub(super) async fn take_back(&self, ports: &Ports) -> LeaseStep {
        match undo::attempt(ports, &*self.minter, &self.handle).await {
            Ok(()) => LeaseStep::Gone(self.owner),
            Err(_) => LeaseStep::Undo {
                owner: self.owner,
                at: ports.clock.now(),
            },
        }
    }
}

pub(super) async fn mint(ports: &Ports, admitted: &mut Admitted, permit: Permit) -> Result<Made, Stop> {
    let snapshot = Arc::clone(&admitted.snapshot);
    let target = snapshot
        .judge
        .catalogue()
        .targets
        .get(&permit.plan.target)
        .ok_or(Reason::TargetNotAvailable)?;
    let minter = snapshot
        .minters
        .get(&permit.plan.target)
        .cloned()
        .ok_or(Reason::MintFailed)?;
    let handle = Handle::new(&ports.installation, admitted.draft.id);
    let mut order = MintOrder {
        plan: &permit.plan,
        target,
        caller: &permit.caller,
        issuance: admitted.draft.id,
        handle: &handle,
        session: permit.session.id,
        now: admitted.now,
        deadline: ports.clock.monotonic() + ports.mint_budget,
        target_deadline: None,
    };
    if target.kind.place == Place::Local {
        let minted = minter
            .mint(order)
            .await
            .map_err(|error| Stop::of(mint_reason(&error)))?;
        return Ok(Made {
            permit,
            minted,
            lease: None,
        });
    }
    order.target_deadline = prepare(ports, &*minter).await?;
    let deadline = ports.clock.now() + ports.mint_budget;
    let owner = intend(ports, admitted, &order, deadline).await?;
    fail_point!("after-intent");
    let minted = race(ports, minter.mint(order)).await;
    fail_point!("after-mint");
    let lease = MadeLease {
        minter,
        handle,
        owner,
        deadline,
    };
    match minted {
        Ok(minted) => Ok(Made {
            permit,
            minted,
            lease: Some(lease),
        }),
        Err(error) => Err(Stop::lease(
            mint_reason(&error),
            after_failure(ports, &lease, &error).await,
        )),
    }
}

/// Reads the target's clock, before anything is promised.
async fn prepare(ports: &Ports, minter: &dyn Minter) -> Result<Option<Timestamp>, Stop> {
    let prepared = race(ports, minter.prepare(ports.mint_budget)).await;
    prepared.map_err(|error| {
        tracing::warn!(%error, "target not ready to mint");
        match error {
            // Nothing was asked of it yet.
            MintError::Uncertain(_) => Reason::MintFailed.into(),
            other => mint_reason(&other).into(),
        }
    })
}

async fn race<T>(ports: &Ports, work: impl Future<Output = Result<T, MintError>> + Send) -> Result<T, MintError> {
    match select(Box::pin(work), ports.clock.sleep(ports.mint_budget)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(MintError::Uncertain("no answer within the mint's deadline".into())),
    }
}

/// The durable intent; with it the record that recovery appends if this request never writes its own.
async fn intend(
    ports: &Ports,
    admitted: &mut Admitted,
    order: &MintOrder<'_>,
    deadline: Timestamp,
) -> Result<Owner, Stop> {
    admitted.draft.facts.handle = Some(order.handle.to_string());
    let reason = Reason::MintAborted.code();
    let aborted = admitted.draft.seal(Outcome::Refused, Some(reason), &*ports.entropy);
    let intent = Intent {
        handle: order.handle.clone(),
        id: order.issuance,
        target: order.plan.target.clone(),
        place: order.target.place(),
        session: order.session,
        replica: ports.replica,
        deadline,
        burn: Vec::new(),
        aborted: aborted.map_err(|_| Reason::ParamTooLarge)?,
    };
    ports.ledger.intend(intent).await.map_err(append_reason)?;
    Ok(Owner {
        replica: ports.replica,
        fence: 1,
    })
}

/// What becomes of the lease of a mint that failed. Where the target may have made something, it is
/// undone now and, by the sweeper, once more when it cannot appear any later.
async fn after_failure(ports: &Ports, lease: &MadeLease, error: &MintError) -> LeaseStep {
    tracing::warn!(handle = %lease.handle, %error, "mint failed");
    match error {
        MintError::Uncertain(_) => {
            // Its result does not count: it is done again after the deadline in any case.
            let _ = undo::attempt(ports, &*lease.minter, &lease.handle).await;
            LeaseStep::Undo {
                owner: lease.owner,
                at: lease.deadline + undo::MARGIN,
            }
        }
        MintError::Source(_) | MintError::Refused(_) | MintError::Failed(_) => LeaseStep::Gone(lease.owner),
    }
}

fn mint_reason(error: &MintError) -> Reason {
    match error {
        MintError::Source(_) => Reason::SourceUnavailable,
        MintError::Refused(_) => Reason::MintRefused,
        MintError::Failed(_) => Reason::MintFailed,
        MintError::Uncertain(_) => Reason::MintUncertain,
    }
}

/// Longest time that an undo is waited for while a request waits.
pub(crate) const UNDO_WAIT: Duration = Duration::from_secs(5);
