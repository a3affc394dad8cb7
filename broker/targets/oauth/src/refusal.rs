//! Errors of the upstream (RFC 6749 section 5.2, RFC 7009 section 2.2.1).

use crate::http::Reply;

/// Why the upstream does not do it, in our words.
pub(crate) enum Refusal {
    /// It does not accept the client's credential.
    Client(String),
    /// It revokes no tokens of this type.
    UnsupportedTokenType,
    Other(String),
}

pub(crate) fn refusal(reply: &Reply) -> Refusal {
    let other = |problem: &str| Refusal::Other(problem.to_owned());
    match (reply.status, reply.error().as_str()) {
        (401, _) | (_, "invalid_client") => {
            Refusal::Client("the upstream does not accept the client's credential".into())
        }
        (_, "unsupported_token_type") => Refusal::UnsupportedTokenType,
        (_, "unauthorized_client" | "unsupported_grant_type") => {
            other("the upstream does not let this client use the grant_type: allow it there")
        }
        (_, "invalid_scope") => {
            other("the upstream does not let this client have one of the scopes: assign them there")
        }
        (_, "invalid_target") => other("the upstream does not know the resource or audience for this client"),
        (_, "invalid_grant" | "invalid_request" | "access_denied") => {
            other("the upstream refuses the request; its own words are in the log")
        }
        (429, _) => other("the upstream has had too many requests (429)"),
        (300..=399, _) => other("the upstream redirects, which is not followed"),
        (status, _) => Refusal::Other(format!("the upstream answers {status}; its own words are in the log")),
    }
}
