//! The words on the wire: RFC 8693 vocabulary, token types, credential documents,
//! reasons and secret newtypes. No IO; the broker and its clients share these types.

mod basic;
mod credential;
mod digest;
mod form;
pub mod json;
mod message;
mod name;
mod reason;
mod secret;
mod token_type;
mod tool;

pub use basic::{MAX_CLIENT_ID, MAX_CLIENT_SECRET, basic};
pub use credential::{AwsCredential, PostgresCredential, VaultCredential};
pub use digest::{Digest, MalformedDigest};
pub use form::{Form, FormFault, unescape};
pub use message::{
    ErrorBody, IntrospectionResponse, Needs, RevocationResponse, RevocationStatus, TokenResponse, UseOutcome,
    UseReport, UseReports,
};
pub use name::{MalformedName, Name, QualifiedId};
pub use reason::{OAuthError, Reason};
pub use secret::Secret;
pub use token_type::{JWT_BEARER, TOKEN_EXCHANGE, TokenType, UnknownTokenType};
pub use tool::tool_definition;
