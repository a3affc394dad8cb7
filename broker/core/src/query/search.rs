//! One page of what a question finds, at a bounded cost.

use std::cmp::Reverse;

use procura_wire::Name;

use super::{Expr, Scope};
use crate::{
    ids::IssuanceId,
    ledger::{Filter, Ledger, Page, StoreError, Stored},
};

/// Records that a page looks at. Those of a restricted reader are divided among the targets.
pub const EXAMINED: u32 = 20_000;
/// Records of each target that it looks at where there are many, so that every page leads on.
pub const SHARE: u32 = 64;
/// Records that it looks at first; most questions end there.
const FIRST: u32 = 256;
/// Records that are read at once.
const BATCH: u32 = 256;

/// What a page found, newest first.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The records.
    pub records: Vec<Stored>,
    /// Where the next page begins; `None` where there is nothing older. A page that is not full and has a next one
    /// looked at no more than [`EXAMINED`] records ([`SHARE`] of each target where that is more) and no further back
    /// than this.
    pub next: Option<IssuanceId>,
}

/// The newest records that pass and that the reader may see. Nothing is looked at of targets that are not the reader's,
/// so that neither records nor cursors tell of them.
pub async fn search(ledger: &dyn Ledger, expr: &Expr, scope: &Scope, page: Page) -> Result<Found, StoreError> {
    let bounds = expr.bounds();
    let Scope::Targets(targets) = scope else {
        return walk(ledger, expr, bounds, (page, EXAMINED)).await;
    };
    let share = u32::try_from(targets.len()).map_or(0, |targets| EXAMINED / targets.max(1));
    let mut all = Found::default();
    for target in targets {
        let filter = Filter {
            // What is older is left to the next page.
            from: all.next.max(bounds.from),
            ..of_target(&bounds, target)
        };
        let mut found = walk(ledger, expr, filter, (page, share.max(SHARE))).await?;
        found.records.retain(|stored| scope.covers(stored));
        all = joined(all, found, page.limit);
    }
    Ok(all)
}

/// The target leads: an index of persons or sessions would lead past records of other targets, and where a walk ends
/// would tell of them.
pub(super) fn of_target(bounds: &Filter, target: &Name) -> Filter {
    Filter {
        target: Some(target.clone()),
        subject: None,
        subject_begin: None,
        actor: None,
        issuer: None,
        session: None,
        about: None,
        ..bounds.clone()
    }
}

/// No more than a page. What is older than where one of the walks ended is left to the next one.
fn joined(mut all: Found, found: Found, limit: u32) -> Found {
    all.next = all.next.max(found.next);
    all.records.extend(found.records);
    all.records
        .retain(|stored| all.next.is_none_or(|next| stored.id >= next));
    all.records.sort_by_key(|stored| Reverse(stored.id));
    if all.records.len() > limit as usize {
        all.records.truncate(limit as usize);
        all.next = all.records.last().map(|stored| stored.id);
    }
    all
}

/// Windows of records grow until the page is full or enough was looked at. In a window the store passes by what its
/// columns exclude.
async fn walk(
    ledger: &dyn Ledger,
    expr: &Expr,
    filter: Filter,
    (page, most): (Page, u32),
) -> Result<Found, StoreError> {
    let mut found = Found {
        records: Vec::new(),
        next: page.before,
    };
    let (mut window, mut left) = (FIRST, most);
    while left > 0 {
        let rows = window.min(left);
        let before = found.next;
        let floor = ledger.floor(filter.clone(), before, rows).await?;
        let within = Filter {
            from: floor.max(filter.from),
            ..filter.clone()
        };
        if within_window(ledger, expr, &within, (&mut found, page.limit)).await? {
            return Ok(found);
        }
        found.next = floor;
        if floor.is_none() {
            break;
        }
        (window, left) = (window * 8, left - rows);
    }
    Ok(found)
}

/// Adds what passes in a window; whether the page is full.
async fn within_window(
    ledger: &dyn Ledger,
    expr: &Expr,
    filter: &Filter,
    (found, limit): (&mut Found, u32),
) -> Result<bool, StoreError> {
    // Where the store's conditions are all there is, no record is read in vain.
    let mut wanted = limit.min(BATCH);
    loop {
        let page = Page {
            before: found.next,
            limit: wanted,
        };
        let batch = ledger.records(filter.clone(), page).await?;
        let whole = (batch.len() as u64) < u64::from(wanted);
        for stored in batch {
            found.next = Some(stored.id);
            if expr.matches(&stored) {
                found.records.push(stored);
                if found.records.len() == limit as usize {
                    return Ok(true);
                }
            }
        }
        if whole {
            return Ok(false);
        }
        wanted = BATCH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, query::tests::stored};

    fn id(second: i64) -> IssuanceId {
        IssuanceId::first_at(Timestamp::from_second(second).expect("time"))
    }

    fn found(seconds: &[i64], next: Option<i64>) -> Found {
        let record = |second: &i64| Stored {
            id: id(*second),
            ..stored()
        };
        Found {
            records: seconds.iter().map(record).collect(),
            next: next.map(id),
        }
    }

    #[test]
    fn no_more_than_a_page_is_held_of_however_many_targets() {
        let mut all = Found::default();
        for (more, ids, next) in [
            (found(&[90, 70, 50], None), vec![90, 70, 50], None),
            (found(&[80, 60], Some(55)), vec![90, 80, 70], Some(70)),
            (found(&[75, 65], Some(65)), vec![90, 80, 75], Some(75)),
            (found(&[10], Some(78)), vec![90, 80], Some(78)),
        ] {
            all = joined(all, more, 3);
            let seen: Vec<_> = all.records.iter().map(|stored| stored.id).collect();
            assert_eq!(seen, ids.into_iter().map(id).collect::<Vec<_>>());
            assert_eq!(all.next, next.map(id));
        }
    }
}
