//! Telling a webhook: the same client, and the same limits of where it goes.

use reqwest::header::CONTENT_TYPE;
use url::Url;

use crate::Identity;

/// A webhook did not take what it was told. Holds nothing of what it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// Outgoing connections do not go there.
    #[error("its address may not be reached; see [network] allow")]
    Forbidden,
    /// There was no answer.
    #[error("it does not answer")]
    Unavailable,
    /// The answer was not a success; a redirect is none.
    #[error("it answers with status {0}")]
    Status(u16),
}

impl Identity {
    /// Posts a JSON document under the rules for issuers: https, public addresses or allowed ones, no redirect, 3 s.
    pub async fn post(&self, url: &Url, headers: &[(&'static str, String)], body: String) -> Result<(), PostError> {
        let mut request = self.http.post(url).ok_or(PostError::Forbidden)?;
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let sent = request.header(CONTENT_TYPE, "application/json").body(body).send().await;
        let status = sent.map_err(|_| PostError::Unavailable)?.status();
        match status.is_success() {
            true => Ok(()),
            false => Err(PostError::Status(status.as_u16())),
        }
    }
}
