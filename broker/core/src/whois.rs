//! From what somebody found at a target, in a log or in a memory to the issuance that it came from.

use procura_wire::{Digest, Reason};
use serde::Serialize;

use crate::{
    Timestamp,
    exchange::store_reason,
    ids::{Handle, IssuanceId},
    issued_value,
    judgement::OperatorAction,
    ledger::{Event, Lease, LeaseState, Outcome, Session, Stored},
    operator::{Operator, permit},
    ports::Ports,
};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clue {
    /// The name that a target knows a credential by: the handle, or what it calls it itself, as a lease of Vault.
    Handle(String),
    /// SHA-256 of an issued value that does not name its record, see [`issued_value`].
    Value(Digest),
    /// The id of an issuance. With the SHA-256 of a value that names it, as a JWT does in `jti`: the record
    /// must be of exactly that value.
    Issuance(IssuanceId, Option<Digest>),
}

/// An issuance and what has become of it.
#[derive(Debug)]
pub struct Traced {
    /// The issuance.
    pub id: IssuanceId,
    /// What has become of it.
    pub status: Status,
    /// Its record; not yet there where a mint is under way or was interrupted.
    pub record: Option<Stored>,
    /// Its lease, where it wants undoing at a target.
    pub lease: Option<Lease>,
    /// Its session.
    pub session: Option<Session>,
}

/// What has become of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its mint is under way, or was interrupted and is undone soon.
    Minting,
    /// It works.
    Live,
    /// It is to be undone, and the target has not confirmed yet that it is.
    Undoing,
    /// It was revoked; whoever checks it offline takes it until its end.
    Revoked,
    /// It was undone, or its time is over.
    Ended,
    /// Nothing was issued.
    Refused,
}

/// The issuance behind a clue. [`Reason::V1NotFound`] where there is none, and just so where no rule lets the
/// operator read the log of its target.
pub async fn whois(ports: &Ports, operator: &Operator, clue: Clue) -> Result<Traced, Reason> {
    let (id, record, lease) = find(ports, clue).await?.ok_or(Reason::V1NotFound)?;
    let index = record.as_ref().map(|record| &record.index);
    let target = index.and_then(|index| index.target.as_ref());
    let target = target.or(lease.as_ref().map(|lease| &lease.target));
    permit(ports, operator, OperatorAction::ReadLog, None)
        .or_else(|_| permit(ports, operator, OperatorAction::ReadLog, target))
        .map_err(|reason| match reason {
            Reason::V1Forbidden => Reason::V1NotFound,
            other => other,
        })?;
    let session = index.and_then(|index| index.session);
    let session = match session.or(lease.as_ref().map(|lease| lease.session)) {
        Some(id) => ports.ledger.session(id).await.map_err(store_reason)?,
        None => None,
    };
    Ok(Traced {
        id,
        status: status(record.as_ref(), lease.as_ref(), ports.clock.now()),
        record,
        lease,
        session,
    })
}

/// The handle in what AWS calls a session: in its ARN, `arn:aws:sts::123456789012:assumed-role/ROLE/HANDLE`, or in its user
/// id, `AROA…:HANDLE`. Any other text as it is.
pub fn handle_in(text: &str) -> &str {
    let arn = text
        .strip_prefix("arn:")
        .and_then(|arn| arn.split_once(":assumed-role/"));
    let user = text.strip_prefix("AROA").and_then(|user| user.split_once(':'));
    let in_arn = arn
        .and_then(|(_, path)| path.split_once('/'))
        .map(|(_, session)| session);
    in_arn.or(user.map(|(_, session)| session)).unwrap_or(text)
}

type Found = (IssuanceId, Option<Stored>, Option<Lease>);

async fn find(ports: &Ports, clue: Clue) -> Result<Option<Found>, Reason> {
    let (id, handle) = match clue {
        Clue::Value(digest) => {
            let record = ports.ledger.record_by_value(digest).await.map_err(store_reason)?;
            return with_lease(ports, record).await;
        }
        Clue::Issuance(id, Some(digest)) => {
            let record = issued_value::named_record(&*ports.ledger, id, digest).await;
            return with_lease(ports, record.map_err(store_reason)?).await;
        }
        Clue::Issuance(id, None) => (id, None),
        Clue::Handle(text) => {
            let Some(handle) = Handle::parse(&ports.installation, handle_in(&text)) else {
                return known_as(ports, text).await;
            };
            let Some(id) = handle.issuance() else { return Ok(None) };
            (id, Some(handle))
        }
    };
    let record = ports.ledger.record(id).await.map_err(store_reason)?;
    let record = record.filter(|record| record.index.event == Event::Exchange);
    let made_by = record.as_ref().map_or(id, Stored::made_by);
    let lease = ports.ledger.lease(made_by).await.map_err(store_reason)?;
    let is_its = |handle: &Handle| lease.as_ref().is_some_and(|lease| lease.handle == *handle);
    let found = (record.is_some() || lease.is_some()) && handle.is_none_or(|handle| is_its(&handle));
    Ok(found.then_some((id, record, lease)))
}

async fn known_as(ports: &Ports, name: String) -> Result<Option<Found>, Reason> {
    let Some(lease) = ports.ledger.lease_known_as(name).await.map_err(store_reason)? else {
        return Ok(None);
    };
    let record = ports.ledger.record(lease.id).await.map_err(store_reason)?;
    Ok(Some((lease.id, record, Some(lease))))
}

async fn with_lease(ports: &Ports, record: Option<Stored>) -> Result<Option<Found>, Reason> {
    let Some(record) = record else { return Ok(None) };
    let lease = ports.ledger.lease(record.made_by()).await.map_err(store_reason)?;
    Ok(Some((record.id, Some(record), lease)))
}

pub(crate) fn status(record: Option<&Stored>, lease: Option<&Lease>, now: Timestamp) -> Status {
    let issued = record.is_some_and(|record| record.index.outcome == Outcome::Issued);
    let is_over = |until: Option<Timestamp>| until.is_none_or(|until| until <= now);
    match lease.map(|lease| (lease.state, is_over(lease.until))) {
        Some((LeaseState::Intended, _)) => Status::Minting,
        Some((LeaseState::Live, false)) => Status::Live,
        Some((LeaseState::Live | LeaseState::Undoing, _)) => Status::Undoing,
        Some((LeaseState::Gone, _)) | None if !issued => Status::Refused,
        Some((LeaseState::Gone, _)) => Status::Ended,
        None if is_over(record.and_then(|record| record.index.until)) => Status::Ended,
        None if record.is_some_and(|record| record.revoked.is_some()) => Status::Revoked,
        None => Status::Live,
    }
}
