//! Requests as a test sends them, and answers as it looks at them.

use std::{sync::Once, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_client::ProofKey;
use procura_wire::TOKEN_EXCHANGE;
use reqwest::{Certificate, Client, ClientBuilder, Identity, RequestBuilder, header::HeaderMap, redirect};
use serde_json::Value;

use crate::Fault;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, `null` where it is not JSON.
    pub body: Value,
}

impl Reply {
    /// A string member of the body, empty where it is absent.
    pub fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    /// The answer, if its status is that; otherwise an error that shows it.
    pub fn expect_status(self, status: u16) -> Result<Self, Fault> {
        if self.status == status {
            Ok(self)
        } else {
            Err(format!("expected {status}, got {}: {}", self.status, self.body).into())
        }
    }
}

/// A client for servers on this machine: no proxy, no redirects, 30 s.
pub fn client() -> Result<Client, Fault> {
    Ok(builder().build()?)
}

/// The same for those that a CA vouches for (PEM).
pub fn trusting(ca: &str) -> Result<Client, Fault> {
    let certificate = Certificate::from_pem(ca.as_bytes())?;
    Ok(builder().tls_certs_only([certificate]).tls_info(true).build()?)
}

/// The same with a client certificate and its key (PEM).
pub fn presenting(ca: &str, (certificate, key): &(String, String)) -> Result<Client, Fault> {
    let ca = Certificate::from_pem(ca.as_bytes())?;
    let builder = builder().tls_certs_only([ca]);
    let own = Identity::from_pem(format!("{certificate}{key}").as_bytes())?;
    Ok(builder.identity(own).build()?)
}

fn builder() -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        // The broker ends silent connections after 10 s: none is taken up again at that moment.
        .pool_idle_timeout(Duration::from_secs(5))
}

/// Sends it and reads the answer.
pub async fn send(request: RequestBuilder) -> Result<Reply, Fault> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    Ok(Reply { status, headers, body })
}

/// Posts a form, with Basic authentication where it is given.
pub async fn post_form(
    client: &Client,
    url: &str,
    basic: Option<(&str, &str)>,
    fields: &[(&str, &str)],
) -> Result<Reply, Fault> {
    let request = client.post(url).form(fields);
    send(match basic {
        Some((user, password)) => request.basic_auth(user, Some(password)),
        None => request,
    })
    .await
}

/// A form with a DPoP proof for that URL, to be sent.
pub fn proving(client: &Client, url: &str, key: &ProofKey, fields: &[(&str, &str)]) -> Result<RequestBuilder, Fault> {
    let proof = key.proof("POST", url, None, None)?;
    #[expect(clippy::disallowed_methods, reason = "the test sends it")]
    let request = client.post(url).header("DPoP", proof.expose());
    Ok(request.form(fields))
}

/// Gets a URL, with a bearer token where it is given.
pub async fn get(client: &Client, url: &str, bearer: Option<&str>) -> Result<Reply, Fault> {
    let request = client.get(url);
    send(match bearer {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

/// The least fields of a token exchange (RFC 8693 section 2.1); a test adds its own.
pub fn exchange<'a>(subject_token: &'a str, audience: &'a str, scope: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject_token),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", audience),
        ("scope", scope),
    ]
}

/// The header of a compact JWT, unverified.
pub fn unverified_header(token: &str) -> Result<Value, Fault> {
    unverified_part(token, 0)
}

/// The payload of a compact JWT, unverified.
pub fn unverified_claims(token: &str) -> Result<Value, Fault> {
    unverified_part(token, 1)
}

fn unverified_part(token: &str, index: usize) -> Result<Value, Fault> {
    let part = token.split('.').nth(index).ok_or("not a compact JWT")?;
    Ok(serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part)?)?)
}
