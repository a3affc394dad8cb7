//! What operators may do at `/v1`, and the end of sessions: whoever ends one, it happens here.

use procura_wire::{Digest, Name, Reason, RevocationStatus};
use serde::Serialize;

use crate::{
    Timestamp,
    catalogue::{Catalogue, Issuer},
    exchange::{check_log_in, check_token, is_suspended, same_uri, store_reason},
    identity::{Principal, Subject},
    ids::{IssuanceId, SessionId},
    judgement::{Effect, OperatorAction},
    ledger::{EndedBy, Entry, Event, Filter, Held, LeaseState, Outcome, Page, Session, StoreError, Stored},
    ports::{Ports, Role},
    possession::{self, Presented},
    record::Draft,
    undo::{self, Fate},
};

/// An authenticated operator.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Who it is.
    pub subject: Subject,
    /// Of the issuer's file that the subject was read under; where there was none nobody is an operator for long.
    file: Option<Digest>,
}

impl Operator {
    /// Who was authenticated under this bundle.
    pub fn new(catalogue: &Catalogue, subject: Subject) -> Self {
        let file = file_of(catalogue, &subject);
        Self { subject, file }
    }
}

/// Of an issuer's file. No file holds anything whose text is not the same each time.
pub(crate) fn file(issuer: &Issuer) -> Digest {
    Digest::of(format!("{issuer:?}").as_bytes())
}

fn file_of(catalogue: &Catalogue, subject: &Subject) -> Option<Digest> {
    catalogue.issuers.get(&subject.token.issuer).map(file)
}

/// What became of a session's credentials.
#[derive(Debug, Clone, Serialize)]
pub struct SessionReport {
    /// The session.
    pub session: SessionId,
    /// Each credential that it held.
    pub credentials: Vec<CredentialReport>,
}

/// What became of one credential.
#[derive(Debug, Clone, Serialize)]
pub struct CredentialReport {
    /// The issuance.
    pub issuance: IssuanceId,
    /// The target.
    pub target: Name,
    /// Undone, queued, or lives until its end.
    pub status: RevocationStatus,
    /// Its end, where it lives until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Authenticates an operator: a token whose sole audience is `<issuer>/v1`, from an issuer with
/// `operators = true`, for one of its `clients` where it lists them, and of nobody who is suspended; presented by
/// whoever holds its key where it is bound to one.
/// Error: [`Reason::V1Unauthenticated`], what is wrong with a DPoP proof, or why nobody can be authenticated now (503).
pub async fn authenticate(ports: &Ports, presented: Presented<'_>) -> Result<Operator, Reason> {
    let now = ports.now()?;
    let snapshot = ports.active.snapshot();
    let catalogue = snapshot.judge.catalogue();
    let verified = ports.tokens.verify(catalogue, presented.token, Role::Operator).await;
    let verified = verified.map_err(unauthenticated)?;
    check_token(catalogue, &verified, now).map_err(unauthenticated)?;
    let audience = format!("{}/v1", ports.issuer);
    if !matches!(&verified.audience[..], [only] if same_uri(only, &audience)) {
        return Err(Reason::V1Unauthenticated);
    }
    let principal = crate::exchange::principal(catalogue, &verified.issuer, &verified.sub);
    let principal = principal.map_err(unauthenticated)?;
    // Records name the operator alone, so nobody else may act for one.
    if is_suspended(catalogue, &principal) || !verified.act.is_empty() {
        return Err(Reason::V1Unauthenticated);
    }
    possession::check(ports, presented, &verified, now).await?;
    let subject = Subject {
        principal,
        token: verified,
    };
    let operator = Operator::new(catalogue, subject);
    standing(catalogue, &operator, now)?;
    Ok(operator)
}

/// Whether an operator who was authenticated would be now: the token has not run out, nobody is suspended. Where the
/// file of their issuer changed, what was read under it may not hold any more: they authenticate again.
pub(crate) fn standing(catalogue: &Catalogue, operator: &Operator, now: Timestamp) -> Result<(), Reason> {
    let subject = &operator.subject;
    if operator.file.is_none() || file_of(catalogue, subject) != operator.file {
        return Err(Reason::V1Unauthenticated);
    }
    check_token(catalogue, &subject.token, now).map_err(unauthenticated)?;
    if is_suspended(catalogue, &subject.principal) || check_log_in(catalogue, subject, now).is_err() {
        return Err(Reason::V1Unauthenticated);
    }
    Ok(())
}

fn unauthenticated(reason: Reason) -> Reason {
    if reason.status() == 503 {
        reason
    } else {
        Reason::V1Unauthenticated
    }
}

/// Whether the rules permit it, for one target or (`None`) for all. Error: [`Reason::V1Forbidden`].
pub fn permit(ports: &Ports, operator: &Operator, action: OperatorAction, target: Option<&Name>) -> Result<(), Reason> {
    let judge = &ports.active.snapshot().judge;
    let verdict = judge.operator(&operator.subject, action, target, ports.now()?);
    if verdict.effect == Effect::Permit {
        Ok(())
    } else {
        Err(Reason::V1Forbidden)
    }
}

/// Ends a session and reports; `None` where it is unknown or had ended.
pub async fn end_session(
    ports: &Ports,
    operator: &Operator,
    id: SessionId,
    trace_id: String,
) -> Result<Option<SessionReport>, Reason> {
    permit(ports, operator, OperatorAction::EndSession, None)?;
    let Some(session) = ports.ledger.session(id).await.map_err(store_reason)? else {
        return Ok(None);
    };
    end(ports, session, (EndedBy::Operator, Some(operator)), trace_id)
        .await
        .map_err(store_reason)
}

/// Undoes one credential, also one that waits for it; `None` where it is unknown or gone.
pub async fn undo_lease(
    ports: &Ports,
    operator: &Operator,
    id: IssuanceId,
    trace_id: String,
) -> Result<Option<CredentialReport>, Reason> {
    permit(ports, operator, OperatorAction::UndoLease, None)?;
    let Some(stored) = ports.ledger.record(id).await.map_err(store_reason)? else {
        return Ok(None);
    };
    let now = ports.now()?;
    let mut draft = Draft::new(IssuanceId::new(now, &*ports.entropy), now, Event::Revocation, trace_id);
    draft.facts.about = Some(id);
    draft.facts.server.clone_from(&stored.index.server);
    draft.facts.target.clone_from(&stored.index.target);
    draft.facts.session = stored.index.session;
    draft.clear.operator = Some(operator.subject.principal.clone());
    let entry = draft
        .seal(Outcome::Done, None, &*ports.entropy)
        .map_err(|_| Reason::ParamTooLarge)?;
    revoke(ports, &stored, entry).await.map_err(store_reason)
}

/// Revokes one credential with its record, and reports. Of one that was revoked or had ended before,
/// what is left is told, and undone as far as the target answers; `None` where nothing is.
pub(crate) async fn revoke(
    ports: &Ports,
    stored: &Stored,
    entry: Entry,
) -> Result<Option<CredentialReport>, StoreError> {
    // Where it was served again there is one credential, and all who were served it lose it.
    let held = match ports.ledger.revoke(stored.made_by(), entry).await? {
        Some(held) => Some(Held { id: stored.id, ..held }),
        None => left(ports, stored).await?,
    };
    Ok(report(ports, held.into_iter().collect()).await.pop())
}

async fn left(ports: &Ports, stored: &Stored) -> Result<Option<Held>, StoreError> {
    let index = &stored.index;
    let lease = ports.ledger.lease(stored.made_by()).await?;
    let lives = match &lease {
        Some(lease) => lease.state != LeaseState::Gone,
        None => index.outcome == Outcome::Issued && index.until.is_some_and(|until| ports.clock.now() < until),
    };
    let held = index.target.clone().filter(|_| lives).map(|target| Held {
        id: stored.id,
        target,
        until: index.until.unwrap_or(index.at),
        lease: lease.map(|lease| lease.id),
    });
    Ok(held)
}

/// Ends a session that nobody waits for; its leases are the sweeper's.
pub(crate) async fn end_unasked(ports: &Ports, session: Session, by: EndedBy) -> Result<(), StoreError> {
    let entry = end_entry(ports, &session, (by, None), String::new())?;
    ports.ledger.end_session(session.id, by, entry).await.map(|_| ())
}

/// Ends a session, undoes what it holds as far as targets answer now, and reports per credential.
pub(crate) async fn end(
    ports: &Ports,
    session: Session,
    by: (EndedBy, Option<&Operator>),
    trace_id: String,
) -> Result<Option<SessionReport>, StoreError> {
    let entry = end_entry(ports, &session, by, trace_id)?;
    let Some(held) = ports.ledger.end_session(session.id, by.0, entry).await? else {
        return Ok(None);
    };
    Ok(Some(SessionReport {
        session: session.id,
        credentials: report(ports, held).await,
    }))
}

/// What is left of what a session that ended before was issued, undone as far as the targets answer.
pub(crate) async fn left_of(ports: &Ports, session: SessionId) -> Result<Vec<CredentialReport>, StoreError> {
    let filter = Filter {
        event: Some(Event::Exchange),
        outcome: Some(Outcome::Issued),
        session: Some(session),
        ..Filter::default()
    };
    let newest = Page {
        before: None,
        limit: 1000,
    };
    let mut held = Vec::new();
    for stored in ports.ledger.records(filter, newest).await? {
        held.extend(left(ports, &stored).await?);
    }
    Ok(report(ports, held).await)
}

fn end_entry(
    ports: &Ports,
    session: &Session,
    (by, operator): (EndedBy, Option<&Operator>),
    trace_id: String,
) -> Result<Entry, StoreError> {
    let now = ports.now().map_err(|_| StoreError::Unavailable)?;
    let mut draft = Draft::new(IssuanceId::new(now, &*ports.entropy), now, Event::SessionEnd, trace_id);
    draft.facts.session = Some(session.id);
    draft.facts.server = Some(session.key.server.clone());
    draft.facts.ended_by = Some(by);
    draft.facts.issuer = Some(session.key.subject.id().qualifier.clone());
    draft.clear.subject = Some(session.key.subject.clone());
    draft.clear.actor.clone_from(&session.key.actor);
    draft.clear.operator = operator.map(|operator| Principal::clone(&operator.subject.principal));
    draft
        .seal(Outcome::Done, None, &*ports.entropy)
        .map_err(|_| StoreError::Inconsistent)
}

/// Undoes what is leased, now; what is not leased lives until its end wherever it is checked offline.
pub(crate) async fn report(ports: &Ports, held: Vec<Held>) -> Vec<CredentialReport> {
    let undone = undo::undo_now(ports, &held).await;
    let report = |held: Held| {
        let (status, until) = match held.lease.and_then(|lease| undone.get(&lease)) {
            None => (RevocationStatus::Until, Some(held.until)),
            Some(Fate::Until(at)) => (RevocationStatus::Until, Some(*at)),
            Some(Fate::Gone) => (RevocationStatus::Done, None),
            Some(Fate::Queued) => (RevocationStatus::Queued, None),
        };
        CredentialReport {
            issuance: held.id,
            target: held.target,
            status,
            until,
        }
    };
    held.into_iter().map(report).collect()
}
