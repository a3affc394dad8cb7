//! An operator's rotation of the broker's own credential at a target.

use procura_wire::{Name, Reason};
use serde::Serialize;

use crate::{
    Timestamp,
    exchange::store_reason,
    ids::IssuanceId,
    judgement::OperatorAction,
    kind::{Minter, RotateError, Rotated},
    ledger::{AppendError, Conditions, Event, Outcome},
    operator::{Operator, permit},
    ports::{Ports, Snapshot},
    record::Draft,
    source::Source,
    staged::{self, GRACE, Staged},
};

/// What became of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RotationReport {
    /// The target.
    pub target: Name,
    /// How far it came.
    pub status: RotationStatus,
    /// What was done, or why nothing was; no secret.
    pub detail: String,
    /// The source's new version, where it is known already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
    /// Until when the credential before works as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_until: Option<Timestamp>,
}

/// How far a rotation came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationStatus {
    /// The new version is proved and in use.
    Done,
    /// The new version is on its way and will be in use once it is proved.
    Begun,
    /// Nothing was rotated.
    Failed,
}

/// Rotates the broker's own credential at a target: by its kind where that can, else by its source. `None` where there is
/// no such target. Recorded, whatever came of it.
pub async fn rotate(
    ports: &Ports,
    operator: &Operator,
    target: &Name,
    trace_id: String,
) -> Result<Option<RotationReport>, Reason> {
    permit(ports, operator, OperatorAction::RotateTarget, Some(target))?;
    let snapshot = ports.active.snapshot();
    let (Some(declared), Some(minter)) = (
        snapshot.judge.catalogue().targets.get(target),
        snapshot.minters.get(target),
    ) else {
        return Ok(None);
    };
    // Nothing is done that could not be recorded.
    ports.ledger.check().await.map_err(store_reason)?;
    let report = match snapshot.staged.get(target) {
        Some(staged) => attempt(ports, target, staged, &**minter).await,
        None => failed(target, format!("targets of kind {} have no source", declared.kind.name)),
    };
    record(ports, &snapshot, operator, &report, trace_id).await?;
    Ok(Some(report))
}

async fn attempt(ports: &Ports, target: &Name, staged: &Staged, minter: &dyn Minter) -> RotationReport {
    // Another replica may have rotated a moment ago.
    if let Err(error) = staged.refetch().await {
        return failed(target, error.to_string());
    }
    let stage = staged.stage();
    if let Some(candidate) = stage.candidate {
        let problem = stage.problem.map(|problem| format!(": {problem}")).unwrap_or_default();
        let text = format!(
            "version {candidate} of its source is not in use yet{problem}; wait for it, or put the source right"
        );
        return failed(target, text);
    }
    match minter.rotate().await {
        Ok(Rotated { did, version: None }) => RotationReport {
            status: RotationStatus::Done,
            ..failed(target, did)
        },
        Ok(Rotated {
            did,
            version: Some(version),
        }) => {
            // Asked for at once, so that the answer can say whether it is in use.
            let seen = staged.current().await;
            staged::tend(staged, minter).await;
            let stage = staged.stage();
            let in_use = seen.is_ok() && stage.active.as_ref() == Some(&version);
            let problem = stage
                .problem
                .map(|problem| format!("; it is not in use yet: {problem}"));
            RotationReport {
                target: target.clone(),
                status: if in_use {
                    RotationStatus::Done
                } else {
                    RotationStatus::Begun
                },
                detail: did + &problem.filter(|_| !in_use).unwrap_or_default(),
                source_version: Some(version),
                old_until: Some(ports.clock.now() + GRACE),
            }
        }
        Err(RotateError::Unable) => match staged.rotate().await {
            Ok(()) => RotationReport {
                status: RotationStatus::Begun,
                ..failed(
                    target,
                    "the source rotates it; its new version is in use once it is proved".to_owned(),
                )
            },
            Err(error) => failed(target, format!("{}; {error}", RotateError::Unable)),
        },
        Err(RotateError::Failed(problem)) => failed(target, problem),
    }
}

fn failed(target: &Name, detail: String) -> RotationReport {
    RotationReport {
        target: target.clone(),
        status: RotationStatus::Failed,
        detail,
        source_version: None,
        old_until: None,
    }
}

async fn record(
    ports: &Ports,
    snapshot: &Snapshot,
    operator: &Operator,
    report: &RotationReport,
    trace_id: String,
) -> Result<(), Reason> {
    let now = ports.now()?;
    let mut draft = Draft::new(IssuanceId::new(now, &*ports.entropy), now, Event::Rotation, trace_id);
    let declared = snapshot.judge.catalogue().targets.get(&report.target);
    draft.facts.target = Some(report.target.clone());
    draft.facts.kind = declared.map(|target| target.kind.name);
    draft.facts.bundle = Some(snapshot.judge.digest());
    draft.facts.source_version.clone_from(&report.source_version);
    draft.clear.operator = Some(operator.subject.principal.clone());
    let (outcome, reason) = match report.status {
        RotationStatus::Failed => (Outcome::Refused, Some(Reason::RotateFailed.code())),
        RotationStatus::Done | RotationStatus::Begun => (Outcome::Done, None),
    };
    let (target, detail) = (&report.target, &report.detail);
    tracing::info!(target_name = %target, detail, ?outcome, "rotation by an operator");
    let entry = draft.seal(outcome, reason, &*ports.entropy);
    let entry = entry.map_err(|_| Reason::ParamTooLarge)?;
    let appended = ports.ledger.append(entry, Conditions::default()).await;
    appended.map_err(|error| match error {
        AppendError::Store(error) => store_reason(error),
        _ => Reason::ServerError,
    })
}
