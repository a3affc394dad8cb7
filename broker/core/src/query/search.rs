//! One page of what a question finds, at a bounded cost.

use std::cmp::Reverse;

use procura_wire::Name;

use super::{Expr, Scope};
use crate::{
    ids::IssuanceId,
    ledger::{Filter, Ledger, Page, StoreError, Stored},
};

/// Records that a page looks at, of each target of a restricted reader.
pub const EXAMINED: u32 = 20_000;
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
    /// looked at no more than [`EXAMINED`] records and no further back than this.
    pub next: Option<IssuanceId>,
}

/// The newest records that pass and that the reader may see. Nothing is looked at of targets that are not the reader's,
/// so that neither records nor cursors tell of them.
pub async fn search(ledger: &dyn Ledger, expr: &Expr, scope: &Scope, page: Page) -> Result<Found, StoreError> {
    let bounds = expr.bounds();
    let Scope::Targets(targets) = scope else {
        return walk(ledger, expr, bounds, page).await;
    };
    let mut all = Found::default();
    for target in targets {
        let found = walk(ledger, expr, of_target(&bounds, target), page).await?;
        all.records
            .extend(found.records.into_iter().filter(|stored| scope.covers(stored)));
        all.next = all.next.max(found.next);
    }
    Ok(cut(all, page.limit))
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

/// What is older than where one of the walks ended is left to the next page.
fn cut(mut all: Found, limit: u32) -> Found {
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
async fn walk(ledger: &dyn Ledger, expr: &Expr, filter: Filter, page: Page) -> Result<Found, StoreError> {
    let mut found = Found {
        records: Vec::new(),
        next: page.before,
    };
    let (mut window, mut left) = (FIRST, EXAMINED);
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
