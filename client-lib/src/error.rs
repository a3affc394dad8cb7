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

    /// The challenge for the caller's client, where a better token helps; see [`Refusal::challenge`].
    pub fn challenge(&self, resource_metadata: &str) -> Option<Challenge> {
        self.refusal()?.challenge(resource_metadata)
    }

    /// Whether the broker said that the session is not, or no longer, one of this caller.
    pub(crate) fn is_session_over(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(&*refusal.body.reason, "session.unknown" | "session.ended"))
    }
}

/// What an MCP server answers its own caller where a better token is needed: a status and `WWW-Authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// HTTP status.
    pub status: u16,
    /// Value of the header `WWW-Authenticate`.
    pub www_authenticate: String,
}

impl Refusal {
    /// The challenge that lets the caller's client get a token which suffices: 403 `insufficient_scope` with all scopes
    /// that the operation requires (RFC 6750 section 3.1), or 401 `insufficient_user_authentication` (RFC 9470 section
    /// 3). `resource_metadata` is the URL of the server's own metadata (RFC 9728 section 5.1). `None` where no other
    /// token helps, or a value could not stand in a header.
    pub fn challenge(&self, resource_metadata: &str) -> Option<Challenge> {
        let needs = &self.body.needs;
        let max_age = needs.max_age.map(|age| age.to_string());
        let (status, error, members) = if let Some(scope) = &needs.required_scope {
            (403, "insufficient_scope", vec![("scope", Some(scope))])
        } else if self.body.error == OAuthError::InsufficientUserAuthentication.as_str() {
            let members = vec![("acr_values", needs.acr_values.as_ref()), ("max_age", max_age.as_ref())];
            (401, OAuthError::InsufficientUserAuthentication.as_str(), members)
        } else {
            return None;
        };
        let metadata = resource_metadata.to_owned();
        let members = members.into_iter().chain([("resource_metadata", Some(&metadata))]);
        let mut www_authenticate = format!("Bearer error=\"{error}\"");
        for (name, value) in members {
            let Some(value) = value else { continue };
            if !value
                .bytes()
                .all(|c| matches!(c, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e))
            {
                return None;
            }
            www_authenticate += &format!(", {name}=\"{value}\"");
        }
        Some(Challenge {
            status,
            www_authenticate,
        })
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
    use procura_wire::Needs;

    use super::*;

    fn refusal(error: &str, needs: Needs) -> Refusal {
        let body = ErrorBody {
            error: error.to_owned(),
            error_description: String::new(),
            error_uri: None,
            reason: String::new(),
            trace_id: String::new(),
            issuance_id: None,
            explanation: None,
            needs,
        };
        Refusal { status: 400, body }
    }

    const METADATA: &str = "https://tickets.example/.well-known/oauth-protected-resource/mcp";

    #[test]
    fn req_117_a_lack_of_scope_becomes_a_403_that_names_all_scopes() {
        let scope = |scope: &str| Needs {
            required_scope: Some(scope.to_owned()),
            ..Needs::default()
        };
        let challenge = refusal("invalid_scope", scope("issues:read issues:write")).challenge(METADATA);
        let challenge = challenge.expect("a challenge");
        assert_eq!(challenge.status, 403);
        assert_eq!(
            challenge.www_authenticate,
            format!(
                "Bearer error=\"insufficient_scope\", scope=\"issues:read issues:write\", resource_metadata=\"{METADATA}\""
            )
        );
        for odd in ["a\"", "a\r\nSet-Cookie: x", "a\\", "\u{e4}"] {
            assert_eq!(refusal("invalid_scope", scope(odd)).challenge(METADATA), None, "{odd}");
        }
        assert_eq!(refusal("invalid_scope", Needs::default()).challenge(METADATA), None);
    }

    #[test]
    fn req_112_a_weak_log_in_becomes_a_401_that_names_what_suffices() {
        let needs = Needs {
            acr_values: Some("urn:mfa urn:gold".to_owned()),
            max_age: Some(900),
            required_scope: None,
        };
        let challenge = refusal("insufficient_user_authentication", needs).challenge(METADATA);
        let challenge = challenge.expect("a challenge");
        assert_eq!(challenge.status, 401);
        assert_eq!(
            challenge.www_authenticate,
            format!(
                "Bearer error=\"insufficient_user_authentication\", acr_values=\"urn:mfa urn:gold\", max_age=\"900\", \
                 resource_metadata=\"{METADATA}\""
            )
        );
    }

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
            needs: Default::default(),
        };
        let error = Error::Refused(Box::new(Refusal { status: 400, body }));
        assert_eq!(
            error.to_string(),
            "invalid_scope (grant.not_permitted): The grant is unknown or not permitted. Check the names of target \
             and grant; the policy says who may get them. An operator sees why with: procura log show 0190 [trace 4bf9]"
        );
    }
}
