//! Bodies of answers (RFC 6749 section 5, RFC 7009, RFC 7662, RFC 8693 section 2.2) and of use reports.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Secret, TokenType};

/// A successful exchange, as a client reads it (RFC 8693 section 2.2.1). The broker writes the same
/// members itself, in its one place that turns outcomes into JSON.
#[derive(Debug, Deserialize)]
pub struct TokenResponse {
    /// The credential: a token, or a credential document as JSON text.
    pub access_token: Secret,
    /// What it is.
    pub issued_token_type: TokenType,
    /// `Bearer` or `N_A`.
    pub token_type: String,
    /// Seconds until it ends.
    pub expires_in: u64,
    /// The grants' short names, separated by spaces.
    pub scope: String,
    /// What was granted, as RFC 9396 objects.
    #[serde(default)]
    pub authorization_details: Vec<Value>,
    /// Id of the session that it belongs to.
    pub session: String,
    /// Id of the issuance in the log.
    pub issuance_id: String,
    /// Never to be served from a cache: each call asks for its own.
    #[serde(default)]
    pub per_call: bool,
}

/// What a better subject token must have, so that an MCP server can ask its caller for one (RFC 9470 section 3, RFC 6750
/// section 3.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// One of these, separated by spaces, the preferred one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr_values: Option<String>,
    /// Longest age of the log-in in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
    /// All scopes that the operation requires, separated by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_scope: Option<String>,
}

/// An error answer (RFC 6749 section 5.2) with our stable `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// OAuth error code.
    pub error: String,
    /// One static sentence; names the parameter where the fault is in the caller's own input.
    pub error_description: String,
    /// Page that explains the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_uri: Option<String>,
    /// Stable code of the [`Reason`](crate::Reason).
    pub reason: String,
    /// Trace id of the request.
    pub trace_id: String,
    /// Id of the record in the log, once the caller was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuance_id: Option<String>,
    /// In development mode only: the deciding rules and what would have matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Value>,
    /// What a better subject token must have.
    #[serde(flatten)]
    pub needs: Needs,
}

/// How far a revocation came (our extension to RFC 7009).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevocationStatus {
    /// The target confirmed that it is gone.
    Done,
    /// Accepted; the target has not confirmed yet and is asked until it does.
    Queued,
    /// Cannot be taken back everywhere; it ends at the stated time.
    Until,
}

/// Answer of `POST /revoke`. Empty for a value that is unknown or another server's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationResponse {
    /// How far it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_status: Option<RevocationStatus>,
    /// RFC 3339 time, for `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Answer of `POST /introspect` (RFC 7662 section 2.2): an inactive one carries nothing else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IntrospectionResponse {
    /// Whether the credential is live.
    pub active: bool,
    /// The other members, present only while active.
    #[serde(flatten)]
    pub claims: serde_json::Map<String, Value>,
}

/// How a use of a cached credential ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UseOutcome {
    /// The call succeeded.
    Ok,
    /// The call failed.
    Error,
}

/// One use of a cached credential, as its server reports it. Arguments are never sent, only their hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseReport {
    /// The issuance that was used.
    pub issuance_id: String,
    /// The tool that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// JSON-RPC id of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: UseOutcome,
    /// Size of the result, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// SHA-256 of the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_sha256: Option<Digest>,
}

/// Body of `POST /v1/uses`: 1 to 256 uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseReports {
    /// The uses.
    pub uses: Vec<UseReport>,
}
