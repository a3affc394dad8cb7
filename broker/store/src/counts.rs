//! Counts of rate limits.

use procura_core::{Timestamp, limits::Counted};
use serde::Serialize;

use crate::{
    answer::{Answer, Failure, Outcome, Write},
    batch::{Batch, FORGET_AT_ONCE},
    db::{Arg, Db},
    rows::{CountedRow, IntoDomain},
};

/// A count as `count` reads it.
#[derive(Serialize)]
struct NewCount {
    key: String,
    ends: i64,
    used: u64,
}

impl<D: Db> Batch<'_, D> {
    /// Carries out what counts, behind everything else: replicas meet at the rows of hot keys, and what they wait for
    /// there they wait for last.
    pub(crate) async fn counts(&mut self, writes: &[&Write], outcomes: &mut [Outcome]) -> Result<(), Failure> {
        for (write, outcome) in writes.iter().zip(outcomes) {
            if let Write::Count(counts, now) = write {
                *outcome = Ok(Answer::Counted(self.count(counts, *now).await?));
            }
        }
        Ok(())
    }

    async fn count(&mut self, counts: &[Counted], now: Timestamp) -> Result<Vec<Counted>, Failure> {
        let limit = Arg::Int(FORGET_AT_ONCE.cast_signed());
        self.run(D::SQL.forget_counts, vec![now.into(), limit]).await?;
        let new = |counted: &Counted| NewCount {
            key: counted.key.to_string(),
            ends: counted.ends.as_microsecond(),
            used: counted.count,
        };
        let new: Vec<_> = counts.iter().map(new).collect();
        let sums = self.rows_of::<CountedRow>(D::SQL.count, &new).await?;
        Ok(sums
            .into_iter()
            .map(CountedRow::into_domain)
            .collect::<Result<_, _>>()?)
    }
}
