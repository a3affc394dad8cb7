//! Commands as clients of the broker's API.

use std::{path::PathBuf, time::Duration};

use axum::body::Bytes;
use procura_wire::{ErrorBody, Secret};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::{Host, Url};

use super::{Failure, print::plain};
use crate::dev::DevFile;

/// Where the broker is, and who asks.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// The broker's issuer URL; without it ./.procura/dev.json says
    #[arg(long, env = "PROCURA_URL")]
    url: Option<Url>,
    /// File with the bearer token (or PROCURA_TOKEN holds it)
    #[arg(long)]
    token_file: Option<PathBuf>,
}

/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The same for one that comes in pieces.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

impl Connection {
    /// The base URL and the bearer token that were given, if any.
    pub(crate) fn given(&self) -> Result<(Option<Url>, Option<Secret>), Failure> {
        let token = match &self.token_file {
            Some(path) => Some(read_secret(path)?),
            None => super::environment("PROCURA_TOKEN").map(Secret::new),
        };
        Ok((self.url.clone(), token))
    }

    /// The operators' API, by what was given or by the development broker of this folder.
    pub(crate) fn open(&self) -> Result<Api, Failure> {
        let (base, token) = match self.given()? {
            (Some(url), Some(token)) => (format!("{}/v1", url.as_str().trim_end_matches('/')), token),
            (None, None) => {
                let dev = DevFile::read()?;
                (dev.api, dev.operator_token)
            }
            (Some(_), None) => return Err(Failure::usage("--url needs a token: --token-file or PROCURA_TOKEN")),
            (None, Some(_)) => {
                return Err(Failure::usage(
                    "a token needs the broker's address: --url or PROCURA_URL",
                ));
            }
        };
        Ok(Api {
            http: client(&base)?,
            base,
            token,
        })
    }
}

/// A secret that a file holds, without the line end that editors add.
pub(crate) fn read_secret(path: &std::path::Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path);
    let mut text = text.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    text.truncate(text.trim_end().len());
    Ok(Secret::new(text))
}

/// The one HTTP client of a command. Secrets go over TLS, or to a broker on this machine.
pub(crate) fn client(url: &str) -> Result<reqwest::Client, Failure> {
    let builder = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    let url = Url::parse(url).map_err(Failure::usage)?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        let text = "the broker's address must begin with https://, or be http:// at a loopback address";
        return Err(Failure::usage(text));
    }
    // A proxy of the environment has no business between a command and the broker beside it.
    let builder = if loopback { builder.no_proxy() } else { builder };
    builder.build().map_err(Failure::found)
}

/// The operators' API of one broker.
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    token: Secret,
}

impl Api {
    /// `GET`; parameters without a value are left out.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, Option<String>)]) -> Result<Value, Failure> {
        json(&self.send(Method::GET, self.url(path, query)?).await?)
    }

    /// `GET` of what comes in pieces; `last` is the event after which they go on.
    #[expect(
        clippy::disallowed_methods,
        reason = "the token authenticates the command to its broker"
    )]
    pub(crate) async fn pieces(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        last: Option<&str>,
    ) -> Result<Response, Failure> {
        let request = self.http.get(self.url(path, query)?).timeout(LONG);
        let request = request.bearer_auth(self.token.expose());
        let request = match last {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        answered(request).await
    }

    fn url(&self, path: &str, query: &[(&str, Option<String>)]) -> Result<Url, Failure> {
        let given = query
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let mut url: Url = format!("{}{path}", self.base).parse().map_err(Failure::usage)?;
        url.query_pairs_mut().extend_pairs(given);
        Ok(url)
    }

    /// `GET` of what is no JSON.
    pub(crate) async fn bytes(&self, path: &str) -> Result<Bytes, Failure> {
        let url = format!("{}{path}", self.base).parse().map_err(Failure::usage)?;
        self.send(Method::GET, url).await
    }

    /// `POST` of nothing but the path.
    pub(crate) async fn post(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.base).parse().map_err(Failure::usage)?;
        json(&self.send(Method::POST, url).await?)
    }

    /// `DELETE`
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.base).parse().map_err(Failure::usage)?;
        json(&self.send(Method::DELETE, url).await?)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the token authenticates the command to its broker"
    )]
    async fn send(&self, method: Method, url: Url) -> Result<Bytes, Failure> {
        body(self.http.request(method, url).bearer_auth(self.token.expose())).await
    }
}

/// Sends a request and reads its JSON answer.
pub(crate) async fn answer(request: RequestBuilder) -> Result<Value, Failure> {
    json(&body(request).await?)
}

fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::found("the answer is not JSON; is this a broker?"))
}

async fn body(request: RequestBuilder) -> Result<Bytes, Failure> {
    answered(request).await?.bytes().await.map_err(away)
}

/// The answer, unless it is a refusal.
async fn answered(request: RequestBuilder) -> Result<Response, Failure> {
    let response = request.send().await.map_err(away)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(refusal(status, &response.bytes().await.map_err(away)?))
}

pub(super) fn away(error: reqwest::Error) -> Failure {
    let cause = std::error::Error::source(&error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    let url = error
        .url()
        .map(|url| url.origin().ascii_serialization())
        .unwrap_or_default();
    Failure::Away(format!("the broker at {url} does not answer{cause}"))
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let Ok(error) = serde_json::from_slice::<ErrorBody>(body) else {
        return Failure::found(format!("the answer is {status}; is this a broker?"));
    };
    let mut text = format!("{} ({})", plain(&error.error_description), plain(&error.reason));
    if let Some(explanation) = &error.explanation {
        let internal = super::print::value(&explanation["reason"]);
        if internal != error.reason {
            text += &format!("\n  the log says: {internal}");
        }
        for near in explanation["near"].as_array().into_iter().flatten() {
            let (rule, clause) = (super::print::value(&near["rule"]), super::print::value(&near["clause"]));
            text += &format!("\n  rule {rule} came near; not true: {clause}");
        }
        let rules = super::print::value(&explanation["rules"]);
        if !rules.is_empty() {
            text += &format!("\n  decided by: {rules}");
        }
    }
    match &error.issuance_id {
        Some(id) => text += &format!("\n  record: {}", plain(id)),
        None => text += &format!("\n  trace: {}", plain(&error.trace_id)),
    }
    match status {
        StatusCode::SERVICE_UNAVAILABLE => Failure::Away(text),
        StatusCode::NOT_FOUND => Failure::Unknown(text),
        _ => Failure::Found(text),
    }
}

#[cfg(test)]
mod tests {
    use super::client;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for (url, sent) in [
            ("https://broker.example.com", true),
            ("http://127.0.0.1:8420/v1", true),
            ("http://[::1]:8420", true),
            ("http://broker.example.com", false),
            ("http://127.0.0.1.evil.example:80", false),
            ("http://127.0.0.1:80@evil.example", false),
            ("ftp://broker.example.com", false),
        ] {
            assert_eq!(client(url).is_ok(), sent, "{url}");
        }
    }
}
