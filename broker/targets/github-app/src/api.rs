//! Requests to GitHub's REST API.

use std::{error::Error, time::Duration};

use procura_wire::{Secret, json};
use reqwest::{
    Client, Method, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect,
};
use serde_json::Value;

/// Longest wait for an answer, and for the connection alone.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// Longest answer that is read: a token for 500 repositories comes with some 6 KiB about each.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Most of GitHub's own words that go into an error.
const MAX_WORDS: usize = 200;

/// One API. It is asked directly: no redirects, no proxy.
pub(crate) struct Api {
    http: Client,
    base: String,
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Seconds to wait, where it says so.
    pub(crate) retry_after: Option<u32>,
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

impl Api {
    /// `base` has no slash at its end.
    pub(crate) fn new(base: &str) -> Result<Self, String> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("procura/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([
                (ACCEPT, HeaderValue::from_static("application/vnd.github+json")),
                (
                    "x-github-api-version".parse().map_err(|_| "no header".to_owned())?,
                    HeaderValue::from_static("2022-11-28"),
                ),
            ]))
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT);
        if base.starts_with("http:") {
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            http: builder.build().map_err(|error| describe(&error))?,
            base: base.to_owned(),
        })
    }

    /// Asks with a bearer token; `path` begins with a slash.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        body: Option<&str>,
    ) -> Result<Reply, Lost> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.header(AUTHORIZATION, bearer(token)?);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_owned());
        }
        let response = request.send().await.map_err(|error| lost(error.without_url()))?;
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        Ok(Reply {
            status: response.status().as_u16(),
            retry_after,
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

    /// What GitHub says of an error: its `message`, quoted and bounded.
    pub(crate) fn message(&self) -> String {
        let json = self.json();
        let message = json["message"].as_str().unwrap_or("no message");
        format!("{:?}", message.chars().take(MAX_WORDS).collect::<String>())
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, Lost> {
    #[expect(clippy::disallowed_methods, reason = "the token is presented to GitHub")]
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| Lost::Unsent("the token has bytes that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(mut response: Response) -> Result<Secret, Lost> {
    let unanswered = |problem: &str| Lost::Unanswered(problem.to_owned());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(error.without_url()))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(unanswered("the answer is larger than 4 MiB"));
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
