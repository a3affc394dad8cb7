//! Whose records a reader may see.

use procura_wire::{Name, Reason};

use crate::{
    judgement::OperatorAction,
    ledger::Stored,
    operator::{Operator, permit, standing},
    ports::Ports,
};

/// The records that a reader may see. All else is to it as if it were not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those of these targets.
    Targets(Vec<Name>),
}

impl Scope {
    /// Whether the record may be seen.
    pub fn covers(&self, stored: &Stored) -> bool {
        match (self, &stored.index.target) {
            (Self::All, _) => true,
            (Self::Targets(targets), Some(target)) => targets.contains(target),
            (Self::Targets(_), None) => false,
        }
    }
}

/// What the rules let the operator read: all, else the target that the question names, else every target of the bundle
/// that they permit. Error: [`Reason::V1Forbidden`] where that is nothing.
pub fn readable(ports: &Ports, operator: &Operator, target: Option<&Name>) -> Result<Scope, Reason> {
    let may = |target: Option<&Name>| permit(ports, operator, OperatorAction::ReadLog, target);
    let Err(refused) = may(None) else {
        return Ok(Scope::All);
    };
    let snapshot = ports.active.snapshot();
    let all = snapshot.judge.catalogue().targets.keys();
    let targets: Vec<Name> = match target {
        Some(target) => vec![target.clone()],
        None => all.cloned().collect(),
    };
    let targets: Vec<Name> = targets.into_iter().filter(|target| may(Some(target)).is_ok()).collect();
    match targets.is_empty() {
        true => Err(refused),
        false => Ok(Scope::Targets(targets)),
    }
}

/// The same again for who is reading still: a token that has run out, a suspension, a changed rule and a
/// changed file of the issuer end it.
pub fn stands(ports: &Ports, operator: &Operator, target: Option<&Name>) -> Result<Scope, Reason> {
    let snapshot = ports.active.snapshot();
    standing(snapshot.judge.catalogue(), operator, ports.now()?)?;
    readable(ports, operator, target)
}
