//! What goes wrong, and what to do about it.

use std::fmt;

use procura_wire::{ErrorBody, OAuthError};

/// Why there is no credential, or why uses could not be reported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker refuses. Asking the same again gives the same answer.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The broker, or the target behind it, is not ready; it was asked three times.
    #[error("the broker cannot serve this now; try again later: {0}")]
    Unavailable(Box<Refusal>),
    /// The broker cannot be reached or does not answer.
    #[error("the broker cannot be reached; check its URL and the network: {0}")]
    Unreachable(String),
    /// An answer that is none of the broker's.
    #[error("the answer is not one of a Procura broker ({0}); check its URL")]
    Unreadable(String),
    /// A setting of the client.
    #[error("{0}")]
    Setting(String),
    /// The client was shut down: a use could not be reported any more.
    #[error("the client is shut down; make a new one")]
    ShutDown,
    /// So many uses could not be reported before the client gave up.
    #[error("{0} uses of cached credentials could not be reported; the broker's record lacks them")]
    Unreported(usize),
}

/// An error answer of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The answer: `error`, `reason`, `issuance_id`, `trace_id`.
    pub body: ErrorBody,
}

impl Error {
    /// The broker's answer, where there was one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::Unavailable(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the broker wants the nonce that it sent in the next proof.
    pub(crate) fn is_nonce_wanted(&self) -> bool {
        let wanted = OAuthError::UseDpopNonce.as_str();
        matches!(self, Self::Refused(refusal) if refusal.body.error == wanted)
    }

    /// Whether the broker said that the session is not, or no longer, one of this caller.
    pub(crate) fn is_session_over(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(&*refusal.body.reason, "session.unknown" | "session.ended"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = &self.body;
        let code = &body.error;
        write!(f, "{code} ({}): {}", body.reason, body.error_description)?;
        let is = |error: OAuthError| code == error.as_str();
        if is(OAuthError::InvalidClient) {
            f.write_str(" Check the client id and secret against the server's policy file.")?;
        } else if is(OAuthError::InvalidTarget) || is(OAuthError::InvalidScope) {
            f.write_str(" Check the names of target and grant; the policy says who may get them.")?;
        }
        if let Some(id) = &body.issuance_id {
            write!(f, " An operator sees why with: procura log show {id}")?;
        }
        write!(f, " [trace {}]", body.trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_happened_and_what_to_do() {
        let body = ErrorBody {
            error: "invalid_scope".to_owned(),
            error_description: "The grant is unknown or not permitted.".to_owned(),
            error_uri: None,
            reason: "grant.not_permitted".to_owned(),
            trace_id: "4bf9".to_owned(),
            issuance_id: Some("0190".to_owned()),
            explanation: None,
        };
        let error = Error::Refused(Box::new(Refusal { status: 400, body }));
        assert_eq!(
            error.to_string(),
            "invalid_scope (grant.not_permitted): The grant is unknown or not permitted. Check the names of target \
             and grant; the policy says who may get them. An operator sees why with: procura log show 0190 [trace 4bf9]"
        );
    }
}
