//! Record: a credential that is not in the log does not leave.

use fail::fail_point;
use procura_wire::{QualifiedId, Reason};
use serde_json::{Map, Value};

use super::{
    Admitted, Issued,
    check::Checked,
    identify::token_facts,
    judge::floor,
    mint::{Made, Tie},
    refuse::{Stop, append_reason, suspended},
};
use crate::{
    catalogue::Catalogue,
    issued_value,
    ledger::{Conditions, Guard, LeaseStep, Outcome},
    ports::Ports,
    record::Extent,
};

pub(super) async fn register(ports: &Ports, admitted: &mut Admitted, Checked(made): Checked) -> Result<Issued, Stop> {
    fail_point!("before-record");
    note_granted(admitted, &made);
    let result = append(ports, admitted, &made).await;
    fail_point!("after-record");
    match (result, &made.tie) {
        (Ok(()), tie) => {
            if let (Tie::Own(lease), Some(key)) = (tie, &made.again) {
                let made_by = (admitted.draft.id, &lease.handle);
                ports.reuse.keep(key.clone(), made_by, &made.minted, admitted.now);
            }
            Ok(issued(admitted, made))
        }
        (Err(reason), Tie::None | Tie::Shared(_)) => Err(reason.into()),
        (Err(reason), Tie::Own(lease)) => Err(Stop::lease(reason, lease.take_back(ports).await)),
    }
}

async fn append(ports: &Ports, admitted: &Admitted, made: &Made) -> Result<(), Reason> {
    let caller = &made.permit.caller;
    // The bundle may have changed since this request took its snapshot.
    let now = ports.active.snapshot();
    if let Some(reason) = suspended(now.judge.catalogue(), caller) {
        return Err(reason);
    }
    if now.judge.digest() != admitted.snapshot.judge.digest() {
        still_given(now.judge.catalogue(), admitted, made)?;
    }
    let guard = Guard {
        session: made.permit.session.id,
        token: token_facts(caller),
    };
    let lease = match &made.tie {
        Tie::None => None,
        Tie::Shared(with) => Some(LeaseStep::Shared(*with)),
        Tie::Own(lease) => Some(LeaseStep::Live {
            owner: lease.owner,
            until: made.minted.end,
            source_version: made.minted.source_version.clone(),
            kept: lease.kept.clone(),
        }),
    };
    let entry = admitted
        .draft
        .seal(Outcome::Issued, None, &*ports.entropy)
        .map_err(|_| Reason::ParamTooLarge)?;
    let conditions = Conditions {
        guard: Some(guard),
        burn: admitted.burn(),
        lease,
    };
    ports.ledger.append(entry, conditions).await.map_err(append_reason)
}

/// Whoever took back what the bundle does not give any more may have missed a mint under way.
fn still_given(catalogue: &Catalogue, admitted: &Admitted, made: &Made) -> Result<(), Reason> {
    let (plan, facts) = (&made.permit.plan, &admitted.draft.facts);
    let server = catalogue
        .servers
        .get(&admitted.server.name)
        .ok_or(Reason::ClientUnauthenticated)?;
    let target = catalogue.targets.get(&plan.target).ok_or(Reason::TargetNotAvailable)?;
    for grant in &plan.grants {
        if !target.grants.contains_key(grant) {
            return Err(Reason::GrantUnknown);
        }
        server.reaches(
            facts.tool.as_deref(),
            &QualifiedId::new(plan.target.clone(), grant.as_str()),
        )?;
    }
    Ok(())
}

fn note_granted(admitted: &mut Admitted, made: &Made) {
    let ttl = made.minted.end.duration_since(floor(admitted.now)).as_secs();
    let facts = &mut admitted.draft.facts;
    facts.granted = Some(Extent {
        ttl: u64::try_from(ttl).ok(),
        scope: made.permit.plan.grants.iter().map(ToString::to_string).collect(),
        ty: None,
    });
    facts.until = Some(made.minted.end);
    facts.value_sha256 = Some(made.minted.value.digest());
    if matches!(made.tie, Tie::None) {
        facts.signing_key = issued_value::key(&made.minted.value);
    }
}

fn issued(admitted: &Admitted, made: Made) -> Issued {
    let Made { permit, minted, .. } = made;
    let snapshot = &admitted.snapshot;
    let kind = snapshot
        .judge
        .catalogue()
        .targets
        .get(&permit.plan.target)
        .map(|target| target.kind);
    let details = kind.filter(|_| !minted.details.is_empty()).map(|kind| {
        let mut object = Map::from_iter([("type".to_owned(), Value::from(kind.name))]);
        object.extend(minted.details);
        Value::Object(object)
    });
    Issued {
        value: minted.value,
        issued_type: kind.map_or(procura_wire::TokenType::AccessToken, |kind| kind.issues),
        confirmation: permit.plan.confirmation,
        expires_in: admitted
            .draft
            .facts
            .granted
            .as_ref()
            .and_then(|granted| granted.ttl)
            .unwrap_or(0),
        scope: permit.plan.grants,
        details,
        session: permit.session.id,
        issuance: admitted.draft.id,
        per_call: permit.per_call,
    }
}
