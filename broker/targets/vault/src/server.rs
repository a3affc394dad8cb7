//! Requests to one server.

use std::{error::Error, fs, time::Duration};

use procura_wire::{Secret, json};
use reqwest::{
    Certificate, Client, Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde_json::{Map, Value};
use url::Url;

use crate::{fault::Fault, settings::Settings};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Longest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;
/// Most of the server's own words that go into an error.
const MAX_WORDS: usize = 200;

/// One server, in one of its namespaces. It is asked directly: no redirects, no proxy.
pub(crate) struct Server {
    http: Client,
    address: Url,
    /// What every request carries; nothing of a request of ours can add to it.
    headers: HeaderMap,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `null` where there is no JSON.
    pub(crate) body: Value,
}

impl Server {
    /// Reads `ca_file`; asks nobody.
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let mut headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-vault-request"),
            HeaderValue::from_static("true"),
        )]);
        if let Some(namespace) = &settings.namespace {
            let value = HeaderValue::from_str(namespace).map_err(|_| "namespace: is no path".to_owned())?;
            headers.insert(HeaderName::from_static("x-vault-namespace"), value);
        }
        Ok(Self {
            http: client(settings)?,
            address: settings.address.clone(),
            headers,
        })
    }

    /// Reads the path, or writes these members to it.
    pub(crate) async fn ask(
        &self,
        token: &Secret,
        path: &str,
        body: Option<&Map<String, Value>>,
    ) -> Result<Answer, Fault> {
        let url = self.address.join(&format!("/v1/{path}"));
        let url = url.map_err(|_| Fault::Failed("the path makes no URL".to_owned()))?;
        let mut request = match body {
            None => self.http.request(Method::GET, url),
            Some(body) => {
                let text = serde_json::to_string(body).map_err(|error| Fault::Failed(error.to_string()))?;
                let request = self.http.request(Method::POST, url);
                request.header(CONTENT_TYPE, "application/json").body(text)
            }
        };
        request = request.headers(self.headers.clone());
        let response = request.header("x-vault-token", header(token)?).send().await;
        let response = response.map_err(|error| lost(error.without_url()))?;
        let status = response.status();
        let text = read(response).await?;
        #[expect(clippy::disallowed_methods, reason = "the answer is taken apart")]
        let body = json::strict(text.expose().as_bytes()).unwrap_or_default();
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The body of an answer that is what was wanted. `what` was asked for, with the broker's own token.
    pub(crate) fn wanted(self, what: &str) -> Result<Value, Fault> {
        match self.status.as_u16() {
            200 | 204 => Ok(self.body),
            403 => Err(Fault::Refused(self.words(what))),
            300..=499 => Err(Fault::Failed(self.words(what))),
            503 if self.is_asleep() => Err(Fault::Failed(self.words(what))),
            _ => Err(Fault::Unknown(self.words(what))),
        }
    }

    /// What the server says of an error, quoted and bounded.
    pub(crate) fn words(&self, what: &str) -> String {
        let status = self.status.as_u16();
        match status {
            300..=399 => {
                format!("{what}: the server redirects, which is not followed; name the active node as address")
            }
            503 if self.is_asleep() => format!("{what}: the server is sealed or stands by"),
            _ => {
                let said = self.body["errors"][0].as_str().unwrap_or("no message").trim();
                let said: String = said.chars().take(MAX_WORDS).collect();
                format!("{what}: the server answers {status}, {said:?}")
            }
        }
    }

    /// Whether the server itself says that it serves nothing now. A proxy's 503 may come after the deed.
    fn is_asleep(&self) -> bool {
        self.says(|text| text.contains("sealed") || text.contains("standby"))
    }

    /// Whether it says that there is no such accessor or lease (any more). A bare 404 does not: a namespace that is
    /// gone and a server that is no Vault answer that to everything.
    pub(crate) fn is_absence(&self) -> bool {
        let absent = |text: &str| text.contains("invalid accessor") || text.contains("invalid lease");
        self.status.is_client_error() && self.says(absent)
    }

    fn says(&self, what: impl Fn(&str) -> bool) -> bool {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(Value::as_str).any(what)
    }
}

/// A client that sends tokens nowhere else.
fn client(settings: &Settings) -> Result<Client, String> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(TIMEOUT);
    if let Some(path) = &settings.ca_file {
        let pem = fs::read(path).map_err(|error| format!("ca_file {path}: {}", error.kind()))?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(format!("ca_file {path}: holds no PEM certificate"));
        }
        builder = builder.tls_certs_only(certificates);
    } else if settings.address.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| describe(&error))
}

fn header(token: &Secret) -> Result<HeaderValue, Fault> {
    #[expect(clippy::disallowed_methods, reason = "the token is presented to its own server")]
    let value = HeaderValue::from_str(token.expose());
    let mut value = value.map_err(|_| Fault::Failed("the token has bytes that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(mut response: Response) -> Result<Secret, Fault> {
    let unknown = |problem: &str| Fault::Unknown(problem.to_owned());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(error.without_url()))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(unknown("the answer is larger than 1 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8(body).map_err(|_| unknown("the answer is not UTF-8"))?;
    Ok(Secret::new(body))
}

fn lost(error: reqwest::Error) -> Fault {
    match error.is_connect() || error.is_builder() {
        true => Fault::Failed(describe(&error)),
        false => Fault::Unknown(describe(&error)),
    }
}

/// An error with its causes, outermost first.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the server did not answer within 3 s".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_server_itself_can_say_that_it_did_nothing_for_being_asleep() {
        let answered = |body| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Answer { status, body }.wanted("auth/token/create")
        };
        for own in ["Vault is sealed", "Vault is in standby mode"] {
            assert!(
                matches!(answered(json!({ "errors": [own] })), Err(Fault::Failed(_))),
                "{own}"
            );
        }
        for body in [
            Value::Null,
            json!({ "errors": [] }),
            json!({ "errors": ["no healthy upstream"] }),
        ] {
            assert!(matches!(answered(body), Err(Fault::Unknown(_))));
        }
    }
}
