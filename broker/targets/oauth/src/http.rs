//! Requests to the upstream.

use std::{error::Error, fs, time::Duration};

use procura_wire::{Secret, json};
use reqwest::{
    Certificate, Client, RequestBuilder, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    redirect,
};
use serde_json::Value;
use url::{Url, form_urlencoded::byte_serialize};

/// Longest wait for an answer, and for the connection alone.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// Longest answer that is read.
const MAX_ANSWER: usize = 1024 * 1024;
/// Most of the upstream's own words that are logged.
const MAX_WORDS: usize = 200;

/// Asks the upstream directly: no redirects, no proxy.
pub(crate) struct Http(Client);

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    body: Secret,
}

/// There is no answer.
#[derive(Debug)]
pub(crate) enum Lost {
    /// Nothing was asked.
    Unsent(String),
    /// It may have been heard.
    Unanswered(String),
}

impl Lost {
    pub(crate) fn words(self) -> String {
        match self {
            Self::Unsent(problem) | Self::Unanswered(problem) => problem,
        }
    }
}

/// Fields of a form, some of them secret (RFC 6749 appendix B).
#[derive(Default)]
pub(crate) struct Form(String);

impl Form {
    pub(crate) fn field(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.extend(byte_serialize(name.as_bytes()));
        self.0.push('=');
        self.0.extend(byte_serialize(value.as_bytes()));
    }

    pub(crate) fn secret(&mut self, name: &str, value: &Secret) {
        #[expect(clippy::disallowed_methods, reason = "what is meant for the upstream is sent to it")]
        self.field(name, value.expose());
    }
}

impl Http {
    /// Reads `ca_file`; asks nobody. `plain` is for an upstream that speaks no TLS.
    pub(crate) fn new(ca_file: Option<&str>, plain: bool) -> Result<Self, String> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("procura/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT);
        if let Some(path) = ca_file {
            let pem = fs::read(path).map_err(|error| format!("ca_file {path}: {}", error.kind()))?;
            let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(format!("ca_file {path}: holds no PEM certificate"));
            }
            builder = builder.tls_certs_merge(certificates);
        } else if plain {
            builder = builder.tls_certs_only([]);
        }
        builder.build().map(Self).map_err(|error| describe(&error))
    }

    pub(crate) async fn get(&self, url: &Url) -> Result<Reply, Lost> {
        self.send(self.0.get(url.clone())).await
    }

    /// Posts a form, with an `Authorization` where the client proves itself by that.
    pub(crate) async fn post(&self, url: &Url, form: Form, auth: Option<HeaderValue>) -> Result<Reply, Lost> {
        let mut request = self
            .0
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(auth) = auth {
            request = request.header(AUTHORIZATION, auth);
        }
        self.send(request.body(form.0)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply, Lost> {
        let response = request.header(ACCEPT, "application/json").send().await;
        let response = response.map_err(|error| lost(error.without_url()))?;
        Ok(Reply {
            status: response.status().as_u16(),
            body: read(response).await?,
        })
    }
}

impl Reply {
    /// Its JSON; `null` where it is none.
    pub(crate) fn json(&self) -> Value {
        #[expect(clippy::disallowed_methods, reason = "the token stands inside the answer")]
        json::strict(self.body.expose().as_bytes()).unwrap_or_default()
    }

    /// `error` (RFC 6749 section 5.2). What else the upstream says may repeat what it was sent, and goes nowhere.
    pub(crate) fn error(&self) -> String {
        let json = self.json();
        let words = |name: &str| -> String {
            json[name]
                .as_str()
                .unwrap_or_default()
                .chars()
                .take(MAX_WORDS)
                .collect()
        };
        let error = words("error");
        tracing::warn!(status = self.status, ?error, "the upstream refuses");
        error
    }
}

async fn read(mut response: Response) -> Result<Secret, Lost> {
    let unanswered = |problem: &str| Lost::Unanswered(problem.to_owned());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(error.without_url()))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(unanswered("the answer is larger than 1 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8(body).map_err(|_| unanswered("the answer is not UTF-8"))?;
    Ok(Secret::new(body))
}

fn lost(error: reqwest::Error) -> Lost {
    match error.is_connect() || error.is_builder() {
        true => Lost::Unsent(describe(&error)),
        false => Lost::Unanswered(describe(&error)),
    }
}

/// An error with its causes, outermost first.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
