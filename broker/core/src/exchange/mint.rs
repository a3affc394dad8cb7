//! Mint: local kinds in memory; external kinds behind a durable intent, with no transaction of ours open.

use std::{sync::Arc, time::Duration};

use fail::fail_point;
use futures_util::future::{Either, select};
use procura_wire::{Reason, Secret};

use super::{
    Admitted,
    judge::Permit,
    refuse::{Stop, append_reason},
    reuse::{Again, Key, Reuse},
};
use crate::{
    Timestamp,
    catalogue::Target,
    ids::{Handle, IssuanceId},
    kind::{MintError, MintOrder, Minted, Minter, Place, Undoable},
    ledger::{Intent, Kept, LeaseStep, Outcome, Owner},
    ports::Ports,
    request::{PresentedSubject, TokenRequest},
    undo,
};

/// A credential that was made and that nobody has seen yet.
pub(super) struct Made {
    pub(super) permit: Permit,
    pub(super) minted: Minted,
    /// What else hangs on it.
    pub(super) tie: Tie,
    /// Under what it may be served again.
    pub(super) again: Option<Key>,
}

/// What hangs on a credential beside its record.
pub(super) enum Tie {
    /// Nothing: it was made in memory.
    None,
    /// A lease of its own.
    Own(MadeLease),
    /// The lease of the issuance that made it.
    Shared(IssuanceId),
}

/// What takes a credential back at its target.
pub(super) struct MadeLease {
    pub(super) minter: Arc<dyn Minter>,
    pub(super) handle: Handle,
    pub(super) owner: Owner,
    pub(super) deadline: Timestamp,
    /// What its minter handed out.
    receipt: Option<Secret>,
    pub(super) kept: Kept,
}

impl MadeLease {
    /// Undoes it now, as far as the target answers; the rest is the sweeper's.
    pub(super) async fn take_back(&self, ports: &Ports) -> LeaseStep {
        match undo::attempt(ports, &*self.minter, self.undoable()).await {
            Ok(()) => LeaseStep::Gone(self.owner),
            Err(_) => self.left_to_the_sweeper(ports.clock.now()),
        }
    }

    fn undoable(&self) -> Undoable<'_> {
        Undoable {
            handle: &self.handle,
            receipt: self.receipt.as_ref(),
        }
    }

    fn left_to_the_sweeper(&self, at: Timestamp) -> LeaseStep {
        LeaseStep::Undo {
            owner: self.owner,
            at,
            kept: self.kept.clone(),
        }
    }
}

pub(super) async fn mint(
    ports: &Ports,
    admitted: &mut Admitted,
    permit: Permit,
    request: &TokenRequest,
) -> Result<Made, Stop> {
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
    let again = (target.kind.reuses && !permit.per_call).then(|| Key::of(&permit, target, request.tool.as_deref()));
    if let Some(key) = &again
        && let Some(found) = Reuse::find(ports, key, (admitted.now, permit.plan.end)).await
    {
        return Ok(served_again(admitted, permit, found));
    }
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
        forward: forwarded(target, &permit, request)?,
    };
    if target.kind.place == Place::Local {
        let minted = minter
            .mint(order)
            .await
            .map_err(|error| Stop::of(mint_reason(&error)))?;
        return Ok(Made {
            permit,
            minted,
            tie: Tie::None,
            again: None,
        });
    }
    order.target_deadline = prepare(ports, &*minter).await?;
    let deadline = ports.clock.now() + ports.mint_budget;
    let lapses = target.kind.lapses.map(|life| deadline + life);
    let owner = intend(ports, admitted, &order, (deadline, lapses)).await?;
    fail_point!("after-intent");
    let minted = race(ports, minter.mint(order)).await;
    fail_point!("after-mint");
    let mut lease = MadeLease {
        minter,
        handle,
        owner,
        deadline,
        receipt: None,
        kept: Kept {
            lapses,
            ..Kept::default()
        },
    };
    match minted {
        Ok(mut minted) => {
            keep(ports, admitted, &mut lease, &mut minted).await?;
            Ok(Made {
                permit,
                minted,
                tie: Tie::Own(lease),
                again,
            })
        }
        Err(error) => Err(Stop::lease(
            mint_reason(&error),
            after_failure(ports, &lease, &error).await,
        )),
    }
}

/// Takes over what the minter handed out. What cannot be sealed cannot be kept, so it is undone at once.
async fn keep(ports: &Ports, admitted: &Admitted, lease: &mut MadeLease, minted: &mut Minted) -> Result<(), Stop> {
    lease.receipt = minted.receipt.take();
    lease.kept.lapses = minted.lapses;
    lease.kept.known_as = minted.known_as.take();
    let receipt = lease.receipt.as_ref();
    match receipt
        .map(|receipt| ports.sealer.seal(admitted.draft.id, receipt))
        .transpose()
    {
        Ok(sealed) => {
            lease.kept.sealed = sealed;
            Ok(())
        }
        Err(error) => {
            tracing::error!(handle = %lease.handle, %error, "a receipt cannot be kept");
            Err(Stop::lease(Reason::MintFailed, lease.take_back(ports).await))
        }
    }
}

fn served_again(admitted: &mut Admitted, permit: Permit, found: Again) -> Made {
    admitted.draft.facts.about = Some(found.made_by);
    admitted.draft.facts.handle = Some(found.handle.to_string());
    Made {
        permit,
        minted: found.minted,
        tie: Tie::Shared(found.made_by),
        again: None,
    }
}

/// The subject token, where it goes along. Several grants are one credential: it does only where each says so.
fn forwarded<'a>(target: &Target, permit: &Permit, request: &'a TokenRequest) -> Result<Option<&'a Secret>, Stop> {
    let mut grants = permit.plan.grants.iter().map(|name| target.grants.get(name));
    let forwards = target.kind.forwards && grants.all(|grant| grant.is_some_and(|grant| grant.forward_subject));
    match &request.subject {
        _ if !forwards => Ok(None),
        PresentedSubject::Token(token) => Ok(Some(&token.value)),
        // It is for us alone.
        PresentedSubject::IdJag(_) => Err(Stop::param(Reason::IdJagResource, "assertion")),
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
    (deadline, lapses): (Timestamp, Option<Timestamp>),
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
        lapses,
        burn: admitted.burn(),
        aborted: aborted.map_err(|_| Reason::ParamTooLarge)?,
    };
    ports.ledger.intend(intent).await.map_err(append_reason)?;
    admitted.once.clear();
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
            let _ = undo::attempt(ports, &*lease.minter, lease.undoable()).await;
            lease.left_to_the_sweeper(lease.deadline + undo::MARGIN)
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
