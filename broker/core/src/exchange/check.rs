//! Check: what was made is compared with what was planned. The check does not trust the maker.

use std::sync::Arc;

use procura_wire::Reason;

use super::{
    Admitted,
    mint::{Made, Tie},
    refuse::Stop,
};
use crate::{ports::Ports, record::rights};

/// A credential that is no wider and no longer than its plan.
pub(super) struct Checked(pub(super) Made);

pub(super) async fn check(ports: &Ports, admitted: &mut Admitted, made: Made) -> Result<Checked, Stop> {
    let snapshot = Arc::clone(&admitted.snapshot);
    let plan = &made.permit.plan;
    let target = snapshot
        .judge
        .catalogue()
        .targets
        .get(&plan.target)
        .ok_or(Reason::TargetNotAvailable)?;
    let facts = &mut admitted.draft.facts;
    facts.rights = Some(rights(&made.minted.rights));
    facts.source_version.clone_from(&made.minted.source_version);
    let allowed = (target.kind.rights)(target, plan);
    if made.minted.rights.within(&allowed) && made.minted.end <= plan.end {
        return Ok(Checked(made));
    }
    tracing::error!(target = %plan.target, issuance = %admitted.draft.id, "the target made more than was asked");
    match &made.tie {
        Tie::Own(lease) => Err(Stop::lease(Reason::MintScopeMismatch, lease.take_back(ports).await)),
        Tie::None | Tie::Shared(_) => Err(Reason::MintScopeMismatch.into()),
    }
}
