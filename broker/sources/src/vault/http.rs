//! Requests to one Vault server.

use std::{error::Error, fs, time::Duration};

use procura_wire::{Secret, json};
use reqwest::{
    Certificate, Client, Method, RequestBuilder, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde_json::Value;
use url::Url;

use crate::{cache::Trouble, config::VaultConfig, file::MAX_BYTES};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Status and body of an answer.
pub(super) type Answer = (StatusCode, Secret);

/// One server, in one of its namespaces.
pub(super) struct Server {
    http: Client,
    pub(super) address: Url,
    /// What every request carries.
    headers: HeaderMap,
}

impl Server {
    /// Reads `ca_file`; asks nobody.
    pub(super) fn new(config: &VaultConfig) -> Result<Self, String> {
        let mut headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-vault-request"),
            HeaderValue::from_static("true"),
        )]);
        if let Some(namespace) = &config.namespace {
            let value = HeaderValue::from_str(namespace).map_err(|_| "namespace: no path of a namespace".to_owned())?;
            headers.insert(HeaderName::from_static("x-vault-namespace"), value);
        }
        Ok(Self {
            http: client(config)?,
            address: config.address.clone(),
            headers,
        })
    }

    /// Asks with a token.
    pub(super) async fn call(&self, method: Method, path: &str, token: &Secret) -> Result<Answer, Trouble> {
        let request = self.http.request(method, self.url(path)?);
        self.send(with_token(request, token)?).await
    }

    /// Posts JSON with a token.
    pub(super) async fn write(&self, path: &str, token: &Secret, body: &Secret) -> Result<Answer, Trouble> {
        let request = with_token(self.http.post(self.url(path)?), token)?;
        self.send(with_json(request, body)).await
    }

    /// Posts JSON without a token.
    pub(super) async fn post(&self, path: &str, body: &Secret) -> Result<Answer, Trouble> {
        self.send(with_json(self.http.post(self.url(path)?), body)).await
    }

    fn url(&self, path: &str) -> Result<Url, Trouble> {
        self.address
            .join(&format!("/v1/{path}"))
            .map_err(|_| Trouble::Gone("the path makes no URL".to_owned()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, Trouble> {
        let away = |error: reqwest::Error| Trouble::Away(describe(&error.without_url()));
        let mut response = request.headers(self.headers.clone()).send().await.map_err(away)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            body.extend_from_slice(&chunk);
            if u64::try_from(body.len()).unwrap_or(u64::MAX) > MAX_BYTES {
                return Err(Trouble::Away("the answer is larger than 1 MiB".to_owned()));
            }
        }
        let body = String::from_utf8(body).map_err(|_| Trouble::Away("the answer is not UTF-8".to_owned()))?;
        Ok((response.status(), Secret::new(body)))
    }
}

fn with_token(request: RequestBuilder, token: &Secret) -> Result<RequestBuilder, Trouble> {
    #[expect(clippy::disallowed_methods, reason = "the token is presented to its own server")]
    let value = HeaderValue::from_str(token.expose());
    let mut value = value.map_err(|_| Trouble::Away("the token has bytes that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(request.header(HeaderName::from_static("x-vault-token"), value))
}

fn with_json(request: RequestBuilder, body: &Secret) -> RequestBuilder {
    #[expect(clippy::disallowed_methods, reason = "what is meant for the server is sent to it")]
    let body = body.expose().to_owned();
    request.header(CONTENT_TYPE, "application/json").body(body)
}

/// What an answer means that is neither wanted nor particular to the request.
pub(super) fn unwanted(status: StatusCode) -> Trouble {
    Trouble::Away(match status.as_u16() {
        300..=399 => "the server redirects, which is not followed; name the active node as address".to_owned(),
        503 => "the server is sealed".to_owned(),
        other => format!("the server answers {other}"),
    })
}

/// Reads the JSON of an answer.
pub(super) fn parse(body: &Secret) -> Result<Value, Trouble> {
    #[expect(clippy::disallowed_methods, reason = "the secret stands inside the answer")]
    let value = json::strict(body.expose().as_bytes());
    value.map_err(|fault| Trouble::Away(format!("the answer is unreadable: {fault}")))
}

/// A client that sends the token nowhere else: no redirects, no proxy.
fn client(config: &VaultConfig) -> Result<Client, String> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT);
    if let Some(path) = &config.ca_file {
        let pem = fs::read(path).map_err(|error| format!("ca_file {}: {}", path.display(), error.kind()))?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(format!("ca_file {}: holds no PEM certificate", path.display()));
        }
        builder = builder.tls_certs_only(certificates);
    } else if config.address.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| describe(&error))
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
