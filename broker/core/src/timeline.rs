//! What happened in a session, in order, and what is left of it.

use std::collections::HashMap;

use crate::{
    ids::{IssuanceId, SessionId},
    ledger::{Event, Filter, Lease, LeaseFilter, Outcome, Page, StoreError, Stored},
    ports::Ports,
    whois::{Status, status},
};

/// Records of a timeline at most; of more the newest.
const MOST: u32 = 1000;

/// A session's records.
#[derive(Debug)]
pub struct Timeline {
    /// The oldest first.
    pub steps: Vec<Step>,
    /// Nothing older was left out.
    pub whole: bool,
}

/// One record of a session.
#[derive(Debug)]
pub struct Step {
    /// The record.
    pub record: Stored,
    /// What has become of the credential that it is of, where it is an issuance.
    pub status: Option<Status>,
    /// The lease, where the credential wants undoing at its target.
    pub lease: Option<Lease>,
}

/// The timeline of a session.
pub async fn timeline(ports: &Ports, session: SessionId) -> Result<Timeline, StoreError> {
    let newest = Page {
        before: None,
        limit: MOST,
    };
    let of_session = Filter {
        session: Some(session),
        ..Filter::default()
    };
    let leased = LeaseFilter {
        session: Some(session),
        ..LeaseFilter::default()
    };
    let mut records = ports.ledger.records(of_session, newest).await?;
    let leases = ports.ledger.leases(leased, newest).await?;
    let leases: HashMap<IssuanceId, Lease> = leases.into_iter().map(|lease| (lease.id, lease)).collect();
    let now = ports.clock.now();
    let whole = records.len() < MOST as usize;
    records.reverse();
    let step = |record: Stored| {
        let issued = (record.index.event, record.index.outcome) == (Event::Exchange, Outcome::Issued);
        let lease = leases.get(&record.made_by()).filter(|_| issued).cloned();
        Step {
            status: issued.then(|| status(Some(&record), lease.as_ref(), now)),
            lease,
            record,
        }
    };
    let steps = records.into_iter().map(step).collect();
    Ok(Timeline { steps, whole })
}
