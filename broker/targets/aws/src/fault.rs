//! What goes wrong between here and AWS.

use std::error::Error;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use hyper_util::client::legacy::Error as Connection;

/// Longest part of AWS's own words in a text.
const WORDS: usize = 300;

/// A call to AWS failed. Holds no secret: AWS's messages name users and roles, never a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// AWS said no.
    #[error("AWS answers {code}: {words}{hint}")]
    Refused {
        code: String,
        words: String,
        /// What to do, where that is known.
        hint: &'static str,
    },
    /// Nothing was sent.
    #[error("no connection to AWS; are region, endpoint and network right? ({0})")]
    Unreachable(String),
    /// It was sent, and what became of it is not known.
    #[error("{0}")]
    Unknown(String),
    /// What it did or has is not what must be.
    #[error("{0}")]
    Other(String),
    /// The time is over.
    #[error("AWS did not answer in time")]
    Late,
}

impl Fault {
    /// Whether AWS said so.
    pub(crate) fn has_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }

    /// Whether the key itself was refused: it is unknown, inactive, expired or changed. Also where its user may not take
    /// the role: another one, which a rotation brings, may.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Refused { code, words, .. } = self else {
            return false;
        };
        let key = [
            "InvalidClientTokenId",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "ExpiredTokenException",
            "UnrecognizedClientException",
        ];
        key.contains(&code.as_str()) || code == "AccessDenied" && words.contains("sts:AssumeRole")
    }

    /// Whether AWS may have done what was asked.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Late)
    }
}

impl<E> From<SdkError<E>> for Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let of_aws = error
            .raw_response()
            .is_some_and(|answer| answer.status().is_server_error());
        match (&error, error.code()) {
            (SdkError::ServiceError(_), Some(code)) if !of_aws => Self::Refused {
                hint: hint(code),
                code: shown(code),
                words: shown(error.message().unwrap_or_default()),
            },
            (SdkError::ServiceError(_), code) => {
                Self::Unknown(format!("AWS failed ({})", shown(code.unwrap_or("no code"))))
            }
            (SdkError::ConstructionFailure(_), _) => Self::Other(format!("no request was made: {}", causes(&error))),
            (SdkError::DispatchFailure(_), _) if was_not_connected(&error) => Self::Unreachable(causes(&error)),
            (SdkError::TimeoutError(_), _) => Self::Late,
            // Its causes may show parts of what was answered.
            (SdkError::ResponseError(_), _) => Self::Unknown("the answer of AWS is unreadable".to_owned()),
            _ => Self::Unknown(format!("no answer from AWS: {}", causes(&error))),
        }
    }
}

fn hint(code: &str) -> &'static str {
    match code {
        "AccessDenied" => {
            "; the role must trust the broker's user for sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity, and the \
             user's own policy must allow what the target asks of it"
        }
        "PackedPolicyTooLarge" => {
            "; policy and tags together are too large for AWS once packed: shorten statements, parameters or tags"
        }
        "LimitExceeded" => {
            "; the role has no room for another inline policy: those of the broker go when what they deny has ended"
        }
        _ => "",
    }
}

/// Somebody else's words, on one line and not too many.
fn shown(text: &str) -> String {
    text.chars().take(WORDS).flat_map(char::escape_debug).collect()
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<_> = chain(error).skip(1).map(ToString::to_string).collect();
    shown(&texts.join(": "))
}

fn was_not_connected(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.downcast_ref().is_some_and(Connection::is_connect))
}
