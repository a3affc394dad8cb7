//! Uses of cached credentials, as their servers report them.

use futures_util::future::try_join_all;
use procura_wire::{Reason, UseReport, UseReports};
use serde_json::Value;

use crate::{
    Timestamp,
    exchange::{Admitted, Refused, admit_at_once, store_reason},
    identity::Principal,
    ids::IssuanceId,
    ledger::{AppendError, Conditions, Entry, Event, Outcome, Stored},
    ports::Ports,
    record::{Draft, Used},
    request::Incoming,
};

/// Most uses in one report.
pub const MAX_USES: usize = 256;

/// Records reported uses. All of them are of issuances of the calling server, or none is recorded.
pub async fn report(ports: &Ports, incoming: Incoming<Result<UseReports, Reason>>) -> Result<(), Refused> {
    let (admitted, reports) = admit_at_once(ports, incoming, Event::Use).await?;
    match record_all(ports, &admitted, reports).await {
        Ok(()) => Ok(()),
        Err(Reason::UsesInvalid) => Err(refuse(ports, &admitted).await),
        Err(reason) => Err(Refused::unrecorded(reason)),
    }
}

/// A report that cannot be taken is a refusal like any other: it is in the log.
async fn refuse(ports: &Ports, admitted: &Admitted) -> Refused {
    let reason = Reason::UsesInvalid;
    let Ok(entry) = admitted
        .draft
        .seal(Outcome::Refused, Some(reason.code()), &*ports.entropy)
    else {
        return Refused::unrecorded(Reason::ServerError);
    };
    match ports.ledger.append(entry, Conditions::default()).await {
        Ok(()) => Refused {
            issuance: Some(admitted.draft.id),
            ..Refused::unrecorded(reason)
        },
        Err(_) => Refused::unrecorded(Reason::AuditUnavailable),
    }
}

async fn record_all(ports: &Ports, admitted: &Admitted, reports: Result<UseReports, Reason>) -> Result<(), Reason> {
    let UseReports { uses } = reports?;
    if uses.is_empty() || uses.len() > MAX_USES {
        return Err(Reason::UsesInvalid);
    }
    let entries = try_join_all(uses.iter().map(|reported| entry(ports, admitted, reported))).await?;
    let append = |entry| ports.ledger.append(entry, Conditions::default());
    try_join_all(entries.into_iter().map(append))
        .await
        .map(|_| ())
        .map_err(|error| match error {
            AppendError::Store(error) => store_reason(error),
            _ => Reason::ServerError,
        })
}

async fn entry(ports: &Ports, admitted: &Admitted, reported: &UseReport) -> Result<Entry, Reason> {
    let id: IssuanceId = reported.issuance_id.parse().map_err(|_| Reason::UsesInvalid)?;
    let started: Timestamp = reported.started.parse().map_err(|_| Reason::UsesInvalid)?;
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= 256);
    let stored = ports.ledger.record(id).await.map_err(store_reason)?;
    let theirs = |stored: &Stored| {
        stored.index.outcome == Outcome::Issued && stored.index.server.as_ref() == Some(&admitted.server.name)
    };
    let stored = stored.filter(theirs).ok_or(Reason::UsesInvalid)?;
    if !short(&reported.tool) || !short(&reported.tool_call_id) {
        return Err(Reason::UsesInvalid);
    }
    let mut draft = admitted.draft.clone();
    draft.id = IssuanceId::new(admitted.now, &*ports.entropy);
    draft.facts.about = Some(id);
    draft.facts.tool.clone_from(&reported.tool);
    draft.facts.tool_call.clone_from(&reported.tool_call_id);
    draft.facts.used = Some(used(reported, started));
    copy_decision(&mut draft, &stored);
    draft
        .seal(Outcome::Reported, None, &*ports.entropy)
        .map_err(|_| Reason::ParamTooLarge)
}

fn used(reported: &UseReport, started: Timestamp) -> Used {
    Used {
        started,
        duration_ms: reported.duration_ms,
        outcome: reported.outcome,
        result_bytes: reported.result_bytes,
        arguments_sha256: reported.arguments_sha256,
    }
}

/// A use answers "who, as whom, allowed by which rule" by itself: it repeats what its issuance said.
fn copy_decision(draft: &mut Draft, stored: &Stored) {
    let leaf: Value = serde_json::from_str(stored.leaf.get()).unwrap_or_default();
    let (facts, index) = (&mut draft.facts, &stored.index);
    facts.session = index.session;
    facts.target.clone_from(&index.target);
    facts.grants.clone_from(&index.grants);
    facts.actor_asserted_by = serde_json::from_value(leaf["actor_asserted_by"].clone()).ok();
    facts.rules = serde_json::from_value(leaf["rules"].clone()).unwrap_or_default();
    facts.bundle = serde_json::from_value(leaf["bundle"].clone()).ok();
    facts.issuer = serde_json::from_value(leaf["issuer"].clone()).ok();
    let text = |member: &str| leaf[member].as_str().map(str::to_owned);
    facts.source_version.clone_from(&index.source_version);
    (facts.source, facts.signing_key, facts.token_key) = (text("source"), text("signing_key"), text("token_key"));
    let side: Value = match &stored.side {
        Some((_, clear)) => serde_json::from_str(clear.get()).unwrap_or_default(),
        None => Value::Null,
    };
    draft.clear.subject = serde_json::from_value::<Principal>(side["subject"].clone()).ok();
    draft.clear.actor.clone_from(&index.actor);
    draft.clear.chain = serde_json::from_value(side["chain"].clone()).unwrap_or_default();
}
