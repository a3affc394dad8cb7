//! Taking leases over and noting how an attempt to undo ended.

use procura_core::{
    ids::IssuanceId,
    ledger::{Claim, Lease, Owner, Undone},
};
use procura_wire::Name;

use crate::{
    answer::Failure,
    batch::Batch,
    db::{Arg, Db},
    rows::{IntoDomain, LeaseRow},
    sql,
};

impl<D: Db> Batch<'_, D> {
    /// One that cannot be read keeps no other waiting; it comes up again at each of its turns.
    pub(crate) async fn take_due(&mut self, target: &Name, claim: &Claim, limit: u32) -> Result<Vec<Lease>, Failure> {
        let mut args = claimed(claim);
        args.push((claim.now - claim.margin).into());
        args.push(target.to_string().into());
        args.push(i64::from(limit).into());
        let rows = self.rows::<LeaseRow>(D::SQL.take_due, args).await?;
        let read = |row: LeaseRow| {
            let read = row.into_domain();
            read.inspect_err(|problem| tracing::error!(%problem, "a lease cannot be undone"))
                .ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
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
