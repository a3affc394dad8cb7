//! One question to an issuer (RFC 7662 section 2.1), and what its answer must look like.

use std::{collections::BTreeSet, error::Error, io, sync::PoisonError, time::Duration};

use procura_core::{
    ports::Clock,
    source::{SourceError, SourceSecret},
};
use procura_wire::{Reason, Secret, json};
use reqwest::{StatusCode, header};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::Peer;
use crate::{discovery, http::Http};

/// How long the metadata's word on where to ask counts.
const FOUND: Duration = Duration::from_secs(5 * 60);
const MAX_BODY: usize = 64 * 1024;

pub(super) struct Question<'a> {
    pub(super) http: &'a Http,
    pub(super) clock: &'a dyn Clock,
    pub(super) issuer: &'a str,
    pub(super) peer: &'a Peer,
}

/// The issuer takes the broker's secret for a wrong one.
struct Denied;

impl Question<'_> {
    /// What the issuer says of a token that is active.
    pub(super) async fn put(&self, token: &str) -> Result<Map<String, Value>, Reason> {
        let endpoint = self.endpoint().await?;
        let source = &self.peer.secret;
        let unread = |error: SourceError| no_secret(self.issuer, &error);
        let secret = source.current().await.map_err(unread)?;
        if let Ok(answer) = self.put_with(&endpoint, &secret, token).await? {
            return Ok(answer);
        }
        // It may have been rotated a moment ago.
        let tried = BTreeSet::from([secret.version.clone()]);
        let other = source.refused(&secret.version, &tried).await.map_err(unread)?;
        if other.version == secret.version {
            return Err(Reason::IntrospectUnavailable);
        }
        let answer = self.put_with(&endpoint, &other, token).await?;
        let answer = answer.map_err(|Denied| Reason::IntrospectUnavailable)?;
        source.works(&other.version);
        Ok(answer)
    }

    async fn put_with(
        &self,
        endpoint: &Url,
        secret: &SourceSecret,
        token: &str,
    ) -> Result<Result<Map<String, Value>, Denied>, Reason> {
        let (id, secret) = (encoded(&self.peer.config.client_id), encoded_secret(&secret.value));
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("token", token), ("token_type_hint", "access_token")])
            .finish();
        let request = self.http.post(endpoint).ok_or(Reason::IntrospectUnavailable)?;
        let request = request
            .basic_auth(id, Some(secret.as_str()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(form);
        let mut response = request.send().await.map_err(|error| reason(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => return Ok(Err(Denied)),
            _ => return Err(Reason::IntrospectUnavailable),
        }
        if !is_json(&response) {
            return Err(Reason::IntrospectUnavailable);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| reason(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Reason::IntrospectUnavailable);
            }
            body.extend_from_slice(&chunk);
        }
        read(&body).map(Ok)
    }

    /// Where to ask: as the bundle says, else as the issuer's metadata says.
    async fn endpoint(&self) -> Result<Url, Reason> {
        if let Some(text) = &self.peer.config.endpoint {
            return Url::parse(text).map_err(|_| Reason::IntrospectUnavailable);
        }
        let known = || self.peer.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        let found = known().clone();
        if let Some((url, _)) = found.filter(|(_, then)| now.saturating_sub(*then) < FOUND) {
            return Ok(url);
        }
        let url = discovery::introspection_endpoint(self.http, self.issuer).await;
        let url = url.map_err(|_| Reason::IntrospectUnavailable)?;
        *known() = Some((url.clone(), now));
        Ok(url)
    }
}

/// Only the JSON boolean `true` is active (RFC 7662 section 2.2).
fn read(body: &[u8]) -> Result<Map<String, Value>, Reason> {
    match json::strict(body) {
        Ok(Value::Object(answer)) if answer.get("active") == Some(&Value::Bool(true)) => Ok(answer),
        Ok(Value::Object(answer)) if answer.contains_key("active") => Err(Reason::IntrospectInactive),
        _ => Err(Reason::IntrospectUnavailable),
    }
}

/// Signed answers (RFC 9701) are of another type.
fn is_json(response: &reqwest::Response) -> bool {
    let value = response.headers().get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Form-encoded, as RFC 6749 section 2.3.1 wants both parts.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[expect(clippy::disallowed_methods, reason = "the broker authenticates itself to the issuer")]
fn encoded_secret(secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(encoded(secret.expose()))
}

pub(super) fn no_secret(issuer: &str, error: &SourceError) -> Reason {
    tracing::warn!(issuer, %error, "the secret to ask an issuer about tokens with cannot be read");
    Reason::IntrospectUnavailable
}

fn reason(error: &reqwest::Error) -> Reason {
    if error.is_timeout() {
        Reason::IntrospectTimeout
    } else if is_of_tls(error) {
        Reason::IntrospectUntrusted
    } else {
        Reason::IntrospectUnavailable
    }
}

/// Whether TLS failed: whoever answers cannot prove to be the issuer.
fn is_of_tls(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<rustls::Error>() {
            return true;
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as _),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_053_only_the_boolean_true_is_active() {
        assert!(read(br#"{"active":true,"sub":"alice"}"#).is_ok());
        for inactive in [
            r#"{"active":false}"#,
            r#"{"active":"true"}"#,
            r#"{"active":1,"sub":"alice"}"#,
            r#"{"active":null}"#,
            r#"{"active":[true]}"#,
        ] {
            assert_eq!(read(inactive.as_bytes()), Err(Reason::IntrospectInactive), "{inactive}");
        }
        for odd in [
            "",
            "true",
            "[true]",
            r#"{"Active":true}"#,
            r#"{"active":false,"active":true}"#,
        ] {
            assert_eq!(read(odd.as_bytes()), Err(Reason::IntrospectUnavailable), "{odd}");
        }
    }

    #[test]
    fn both_parts_of_basic_are_form_encoded() {
        assert_eq!(encoded("a:b c%"), "a%3Ab+c%25");
    }
}
