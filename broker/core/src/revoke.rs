//! Revocation by the server that was issued the credential (RFC 7009).

use procura_wire::{Form, FormFault, Reason, RevocationResponse, RevocationStatus, Secret};

use crate::{
    exchange::{Admitted, Refused, admit_at_once, store_reason},
    ids::{IssuanceId, SessionId},
    issued_value,
    ledger::{Conditions, EndedBy, Event, Outcome, Session, Stored},
    operator,
    ports::Ports,
    request::{Incoming, MAX_TOKEN},
};

/// What is to be revoked.
#[derive(Debug)]
pub enum RevokeRequest {
    /// The credential with this value.
    Value(Secret),
    /// `token_type_hint=issuance`
    Issuance(IssuanceId),
    /// `token_type_hint=session`
    Session(SessionId),
    /// An id that is none.
    Unknown,
}

impl RevokeRequest {
    /// Reads `token` and `token_type_hint`. Other hints are only hints (RFC 7009 section 2.1).
    pub fn read(form: &mut Form) -> Result<Self, FormFault> {
        let token = form.require("token", MAX_TOKEN)?;
        let hint = form.take("token_type_hint", 256)?;
        Ok(match hint.as_ref().map(clear) {
            Some("issuance") => clear(&token).parse().map_or(Self::Unknown, Self::Issuance),
            Some("session") => clear(&token).parse().map_or(Self::Unknown, Self::Session),
            _ => Self::Value(token),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "a hint and ids are no secrets")]
fn clear(text: &Secret) -> &str {
    text.expose()
}

/// Revokes what the calling server was issued. What is unknown or another server's is answered
/// empty, and recorded.
pub async fn revoke(
    ports: &Ports,
    incoming: Incoming<Result<RevokeRequest, FormFault>>,
) -> Result<RevocationResponse, Refused> {
    let (admitted, request) = admit_at_once(ports, incoming, Event::Revocation).await?;
    let id = admitted.draft.id;
    let result = match request {
        Ok(request) => dispatch(ports, admitted, request)
            .await
            .map_err(|reason| (reason, None)),
        Err(fault) => match refused(ports, admitted, fault.reason).await {
            Ok(_) => Err((fault.reason, fault.param)),
            Err(reason) => Err((reason, None)),
        },
    };
    result.map_err(|(reason, param)| Refused {
        param,
        issuance: (reason.status() < 500).then_some(id),
        ..Refused::unrecorded(reason)
    })
}

async fn dispatch(ports: &Ports, admitted: Admitted, request: RevokeRequest) -> Result<RevocationResponse, Reason> {
    let stored = match request {
        RevokeRequest::Session(id) => {
            return match ports.ledger.session(id).await.map_err(store_reason)? {
                Some(session) => end_session(ports, admitted, session).await,
                None => refused(ports, admitted, Reason::RevokeUnknown).await,
            };
        }
        RevokeRequest::Issuance(id) => ports.ledger.record(id).await,
        RevokeRequest::Value(value) => issued_value::record(&*ports.ledger, &value).await,
        RevokeRequest::Unknown => Ok(None),
    };
    match stored
        .map_err(store_reason)?
        .filter(|stored| stored.index.outcome == Outcome::Issued)
    {
        Some(stored) => credential(ports, admitted, stored).await,
        None => refused(ports, admitted, Reason::RevokeUnknown).await,
    }
}

async fn end_session(ports: &Ports, admitted: Admitted, session: Session) -> Result<RevocationResponse, Reason> {
    if session.key.server != admitted.server.name {
        return refused(ports, admitted, Reason::RevokeNotOwner).await;
    }
    let (id, trace) = (session.id, admitted.draft.trace_id.clone());
    let ended = operator::end(ports, session, (EndedBy::Server, None), trace).await;
    let credentials = match ended.map_err(store_reason)? {
        Some(report) => report.credentials,
        None => {
            ended_before(ports, admitted, id).await?;
            operator::left_of(ports, id).await.map_err(store_reason)?
        }
    };
    let any = |status| credentials.iter().any(|credential| credential.status == status);
    if any(RevocationStatus::Queued) {
        Ok(answer(RevocationStatus::Queued))
    } else if let Some(until) = credentials.iter().filter_map(|credential| credential.until).max() {
        Ok(RevocationResponse {
            until: Some(until.to_string()),
            ..answer(RevocationStatus::Until)
        })
    } else {
        Ok(answer(RevocationStatus::Done))
    }
}

/// Records a revocation that found its session ended.
async fn ended_before(ports: &Ports, mut admitted: Admitted, session: SessionId) -> Result<(), Reason> {
    admitted.draft.facts.session = Some(session);
    let entry = admitted.draft.seal(Outcome::Done, None, &*ports.entropy);
    let entry = entry.map_err(|_| Reason::ParamTooLarge)?;
    let appended = ports.ledger.append(entry, Conditions::default()).await;
    appended.map_err(|_| Reason::AuditUnavailable)
}

async fn credential(ports: &Ports, mut admitted: Admitted, stored: Stored) -> Result<RevocationResponse, Reason> {
    let facts = &mut admitted.draft.facts;
    facts.about = Some(stored.id);
    facts.target.clone_from(&stored.index.target);
    facts.session = stored.index.session;
    if stored.index.server.as_ref() != Some(&admitted.server.name) {
        return refused(ports, admitted, Reason::RevokeNotOwner).await;
    }
    let entry = admitted
        .draft
        .seal(Outcome::Done, None, &*ports.entropy)
        .map_err(|_| Reason::ParamTooLarge)?;
    let report = operator::revoke(ports, &stored, entry).await.map_err(store_reason)?;
    Ok(match report {
        None => answer(RevocationStatus::Done),
        Some(report) => RevocationResponse {
            revocation_status: Some(report.status),
            until: report.until.map(|until| until.to_string()),
        },
    })
}

fn answer(status: RevocationStatus) -> RevocationResponse {
    RevocationResponse {
        revocation_status: Some(status),
        until: None,
    }
}

/// Records that nothing was revoked; the answer does not tell why.
async fn refused(ports: &Ports, admitted: Admitted, reason: Reason) -> Result<RevocationResponse, Reason> {
    let entry = admitted
        .draft
        .seal(Outcome::Refused, Some(reason.code()), &*ports.entropy);
    let entry = entry.map_err(|_| Reason::ParamTooLarge)?;
    let appended = ports.ledger.append(entry, Conditions::default()).await;
    appended.map_err(|_| Reason::AuditUnavailable)?;
    Ok(RevocationResponse::default())
}
