//! Reports for operators and auditors: how far something reaches, what is not used, what is new. They read the bundle in
//! force, the leases, the newest records and the sums of [`Usage`]; they change nothing.

mod blast;
mod live;
mod next;
mod novel;
mod reach;
mod seen;

use procura_wire::{Name, Reason};
use serde::Serialize;

pub use blast::{BlastRadius, Had, Obtained, Selector, blast_radius};
pub use live::LiveAt;
pub use next::Step;
pub use novel::{FINDINGS, Finding, Novel, Span, novel};
pub use reach::Reach;
pub use seen::{Life, Seen, seen};

use crate::{
    Timestamp,
    ids::IssuanceId,
    judgement::OperatorAction,
    ledger::StoreError,
    operator::{Operator, permit},
    ports::Ports,
    usage::{Sum, Usage},
};

/// What reports read.
#[derive(Clone, Copy)]
pub struct Readers<'a> {
    /// The broker.
    pub ports: &'a Ports,
    /// The sums.
    pub usage: &'a dyn Usage,
}

/// The targets whose records the operator may read; `None` is all, and records that have no target.
/// Error: [`Reason::V1Forbidden`] where there is none.
pub fn readable(ports: &Ports, operator: &Operator) -> Result<Option<Vec<Name>>, Reason> {
    let may = |target| permit(ports, operator, OperatorAction::ReadLog, target);
    match may(None) {
        Ok(()) => return Ok(None),
        Err(Reason::V1Forbidden) => {}
        Err(other) => return Err(other),
    }
    let snapshot = ports.active.snapshot();
    let targets = snapshot.judge.catalogue().targets.keys();
    let targets: Vec<Name> = targets.filter(|target| may(Some(target)).is_ok()).cloned().collect();
    match targets.is_empty() {
        true => Err(Reason::V1Forbidden),
        false => Ok(Some(targets)),
    }
}

/// How far the sums count, as far as the reader may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Records that were looked at; told to readers of all.
    pub records: Option<u64>,
    /// The last of them; told to readers of all.
    pub record: Option<IssuanceId>,
    /// Its time; told to readers of all.
    pub at: Option<Timestamp>,
    /// Records wait to be counted; told to readers of all.
    pub behind: Option<bool>,
}

/// How far the sums count. Of other targets a reader is told neither how many records there are nor when there was one.
pub async fn counted(usage: &dyn Usage, of_all: bool) -> Result<Counted, StoreError> {
    let projected = usage.projected().await?;
    Ok(Counted {
        records: of_all.then_some(projected.records),
        record: projected.record.filter(|_| of_all),
        at: projected.at.filter(|_| of_all),
        behind: of_all.then_some(projected.behind),
    })
}

/// A list of texts that a dimension holds as JSON.
fn list(sum: &Sum, at: usize) -> Vec<String> {
    let text = sum.of.get(at).and_then(Option::as_deref).unwrap_or("[]");
    serde_json::from_str(text).unwrap_or_default()
}

/// A text that a dimension holds.
fn text(sum: &Sum, at: usize) -> Option<&str> {
    sum.of.get(at).and_then(Option::as_deref)
}
