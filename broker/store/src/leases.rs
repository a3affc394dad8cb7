//! Taking leases over and noting how an attempt to undo ended.

use procura_core::{
    ids::IssuanceId,
    ledger::{Claim, Lease, Owner, Undone},
};

use crate::{
    answer::Failure,
    batch::Batch,
    db::{Arg, Db},
    rows::LeaseRow,
    sql,
};

impl<D: Db> Batch<'_, D> {
    pub(crate) async fn take_due(&mut self, claim: &Claim, limit: u32) -> Result<Vec<Lease>, Failure> {
        let mut args = claimed(claim);
        args.push((claim.now - claim.margin).into());
        args.push(i64::from(limit).into());
        self.domain::<LeaseRow>(D::SQL.take_due, args).await
    }

    pub(crate) async fn take(&mut self, id: IssuanceId, claim: &Claim) -> Result<Vec<Lease>, Failure> {
        let mut args = claimed(claim);
        args.push(id.0.into());
        self.domain::<LeaseRow>(sql::TAKE, args).await
    }

    pub(crate) async fn settle(&mut self, id: IssuanceId, owner: Owner, undone: &Undone) -> Result<bool, Failure> {
        let mut args = vec![id.0.into(), owner.replica.0.into(), owner.fence.into()];
        let changed = match undone {
            Undone::Gone => self.run(sql::SETTLE_GONE, args).await?,
            Undone::Retry { at, problem } => {
                args.push((*at).into());
                args.push(problem.clone().into());
                self.run(sql::SETTLE_RETRY, args).await?
            }
        };
        Ok(changed == 1)
    }
}

/// The new owner, until when it alone has the lease, and now.
fn claimed(claim: &Claim) -> Vec<Arg> {
    vec![claim.replica.0.into(), claim.again.into(), claim.now.into()]
}
