//! Requests to the broker.

use std::{error::Error as _, time::Duration};

use procura_wire::{ErrorBody, Secret, UseReports};
use reqwest::{
    Certificate, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    redirect,
};

use crate::{
    error::{Error, Refusal},
    identification::Identification,
    proof::{ProofKey, Proofs},
};

/// How often a request is sent at most while somebody has to wait for it.
pub(crate) const TRIES: u32 = 3;
/// Longest pause between two tries, whatever `Retry-After` says.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause before a new try where the broker named none.
const PAUSE: Duration = Duration::from_millis(250);
/// Largest answer.
const MAX_ANSWER: usize = 256 * 1024;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The broker and who we are there.
pub(crate) struct Broker {
    client: reqwest::Client,
    base: Url,
    /// Its issuer identifier, as it was given.
    issuer: String,
    pub(crate) client_id: String,
    identification: Identification,
    pub(crate) proofs: Option<Proofs>,
}

/// What is sent. The request is made anew for each try, because an assertion serves once.
#[derive(Clone, Copy)]
pub(crate) enum Post<'a> {
    /// An exchange, with its `traceparent`.
    Token(&'a [(&'a str, &'a str)], Option<&'a HeaderValue>),
    /// Reports of uses.
    Uses(&'a UseReports),
}

/// What makes a [`Broker`].
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) identification: Identification,
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) proof_key: Option<ProofKey>,
    pub(crate) timeout: Duration,
}

/// A failed try.
struct Failure {
    error: Error,
    /// When to try again; never if the same request fails the same way.
    pause: Option<Duration>,
}

impl Broker {
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        let base = check_url(&settings.url)?;
        // The secret goes to this one place.
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.timeout.min(Duration::from_secs(3)))
            .timeout(settings.timeout);
        if let Some(pem) = &settings.ca {
            let certificates = Certificate::from_pem_bundle(pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(Error::Setting("the CA is no PEM certificate".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        } else if base.scheme() == "http" {
            builder = builder.tls_certs_only([]).no_proxy();
        }
        Ok(Self {
            client: builder.build().map_err(|error| Error::Setting(describe(error)))?,
            base,
            issuer: settings.url,
            client_id: settings.client_id,
            identification: settings.identification,
            proofs: settings.proof_key.map(Proofs::new),
        })
    }

    /// Sends it, up to `tries` times where the broker cannot be reached or answers 503. A nonce that the broker asks
    /// for is sent at once (RFC 9449 section 8).
    pub(crate) async fn send(&self, post: Post<'_>, mut tries: u32) -> Result<Secret, Error> {
        let mut challenged = false;
        loop {
            let Failure { error, pause } = match self.try_once(self.request(post).await?).await {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            match pause {
                _ if error.is_nonce_wanted() && !challenged => {
                    challenged = true;
                    continue;
                }
                Some(pause) if tries > 1 => tokio::time::sleep(pause).await,
                _ => return Err(error),
            }
            tries -= 1;
        }
    }

    async fn request(&self, post: Post<'_>) -> Result<RequestBuilder, Error> {
        let assertion = self.identification.assertion(&self.client_id, &self.issuer).await?;
        Ok(match (post, assertion) {
            (Post::Token(fields, traceparent), assertion) => {
                let mut request = self.form("/token", fields, assertion.as_ref());
                if let Some(proofs) = &self.proofs {
                    request = with_proof(request, &proofs.next("POST", self.at("/token").as_str())?);
                }
                match traceparent {
                    Some(value) => request.header("traceparent", value),
                    None => request,
                }
            }
            (Post::Uses(reports), None) => self.basic("/v1/uses").json(reports),
            (Post::Uses(reports), Some(assertion)) => {
                let reports = serde_json::to_string(reports).map_err(|error| Error::Unreadable(error.to_string()))?;
                self.form("/v1/uses", &[("reports", &reports)], Some(&assertion))
            }
        })
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// A request that HTTP Basic authenticates (RFC 6749 section 2.3.1), where there is a secret.
    fn basic(&self, path: &str) -> RequestBuilder {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let Identification::Secret(secret) = &self.identification else {
            return self.client.post(self.at(path));
        };
        #[expect(clippy::disallowed_methods, reason = "the client authenticates itself to its broker")]
        let secret = encode(secret.expose());
        let request = self.client.post(self.at(path));
        request.basic_auth(encode(&self.client_id), Some(secret))
    }

    /// A form (RFC 6749 appendix B), authenticated by the assertion in it (RFC 7521 section 4.2) or else by secret.
    fn form(&self, path: &str, fields: &[(&str, &str)], assertion: Option<&Secret>) -> RequestBuilder {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        if let Some(assertion) = assertion {
            #[expect(clippy::disallowed_methods, reason = "the client authenticates itself to its broker")]
            let assertion = assertion.expose();
            body.append_pair("client_id", &self.client_id)
                .append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", assertion);
        }
        self.basic(path)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.finish())
    }

    /// The broker's URL, as the cache key has it.
    pub(crate) fn url(&self) -> &str {
        self.base.as_str()
    }

    async fn try_once(&self, request: RequestBuilder) -> Result<Secret, Failure> {
        let response = request.send().await.map_err(lost)?;
        let nonce = response
            .headers()
            .get("DPoP-Nonce")
            .and_then(|nonce| nonce.to_str().ok());
        if let (Some(proofs), Some(nonce)) = (&self.proofs, nonce) {
            proofs.remember(nonce);
        }
        answer(response).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the proof goes along with its request")]
fn with_proof(request: RequestBuilder, proof: &Secret) -> RequestBuilder {
    request.header("DPoP", proof.expose())
}

fn lost(error: reqwest::Error) -> Failure {
    Failure {
        // After a timeout the broker may still be at work; another try would double it.
        pause: (!error.is_timeout()).then_some(PAUSE),
        error: Error::Unreachable(describe(error)),
    }
}

async fn answer(response: Response) -> Result<Secret, Failure> {
    let odd = |problem: &str| Failure {
        error: Error::Unreadable(problem.to_owned()),
        pause: None,
    };
    let status = response.status();
    let pause = (status == StatusCode::SERVICE_UNAVAILABLE).then(|| pause(&response));
    let body = read(response).await.map_err(lost)?;
    let body = body.ok_or_else(|| odd("it is too long or no text"))?;
    if status.is_success() {
        return Ok(body);
    }
    #[expect(clippy::disallowed_methods, reason = "an error answer holds no secret; it is parsed")]
    let parsed = serde_json::from_str::<ErrorBody>(body.expose());
    let Ok(body) = parsed else {
        let problem = format!("status {status} without an error body");
        return Err(Failure {
            error: if status.is_server_error() {
                Error::Unreachable(problem)
            } else {
                Error::Unreadable(problem)
            },
            pause,
        });
    };
    let refusal = Box::new(Refusal {
        status: status.as_u16(),
        body,
    });
    Err(Failure {
        error: if status == StatusCode::SERVICE_UNAVAILABLE {
            Error::Unavailable(refusal)
        } else {
            Error::Refused(refusal)
        },
        pause,
    })
}

fn pause(response: &Response) -> Duration {
    let seconds = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE)
}

/// The body; `None` where it is too long or not UTF-8.
async fn read(mut response: Response) -> Result<Option<Secret>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(body).ok().map(Secret::new))
}

/// https, or http to a loopback address.
fn check_url(text: &str) -> Result<Url, Error> {
    let refused = |problem: &str| Error::Setting(format!("broker URL: {problem}"));
    let url = Url::parse(text).map_err(|_| refused("it is no URL"))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() || url.query().is_some() => {
            Err(refused("it holds more than scheme, host, port and path"))
        }
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err(refused("it must be https (http on loopback excepted)")),
    }
}

/// An error with its causes, without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
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
    use super::*;

    #[test]
    fn secrets_go_to_https_and_loopback_only() {
        for good in [
            "https://b.example.com",
            "https://b.example.com/procura/",
            "http://127.0.0.1:1",
            "http://localhost",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://b.example.com",
            "https://u:p@b.example.com",
            "b.example.com",
            "https://b.example.com?x",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
