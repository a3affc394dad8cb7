//! Why nothing is answered but an error, on its way to the one place that answers.

use procura_core::{
    exchange::{Explanation, Refused},
    ids::IssuanceId,
    limits::Exceeded,
};
use procura_wire::{FormFault, Needs, Reason};

/// How a 401 asks for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Not at all: the caller did not use the Authorization header.
    None,
    /// RFC 7617.
    Basic,
    /// RFC 6750 and RFC 9449 section 7.1, with the resource metadata of RFC 9728.
    Bearer,
}

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(super) reason: Reason,
    pub(crate) param: Option<&'static str>,
    /// What is wrong with the parameter.
    pub(crate) detail: Option<String>,
    pub(super) issuance: Option<IssuanceId>,
    pub(super) explanation: Option<Box<Explanation>>,
    pub(super) needs: Option<Box<Needs>>,
    pub(super) retry_after: Option<u32>,
    pub(super) challenge: Challenge,
}

impl Refusal {
    pub(crate) fn with(self, challenge: Challenge) -> Self {
        Self { challenge, ..self }
    }

    /// What is wrong with a parameter.
    pub(crate) fn because(self, detail: impl ToString) -> Self {
        let detail = Some(detail.to_string());
        Self { detail, ..self }
    }

    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether it happened before the caller was authenticated, so that no record tells of it.
    pub(crate) fn is_unrecorded(&self) -> bool {
        self.issuance.is_none()
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            param: None,
            detail: None,
            issuance: None,
            explanation: None,
            needs: None,
            retry_after: reason.retry_after(),
            challenge: Challenge::None,
        }
    }
}

impl From<FormFault> for Refusal {
    fn from(fault: FormFault) -> Self {
        Self {
            param: fault.param,
            ..fault.reason.into()
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self {
            param: refused.param,
            issuance: refused.issuance,
            explanation: refused.explanation.map(Box::new),
            needs: refused.needs,
            retry_after: refused.retry_after.or_else(|| refused.reason.retry_after()),
            ..refused.reason.into()
        }
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        Refused::from(exceeded).into()
    }
}
