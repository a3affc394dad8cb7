//! A second real issuer: the npm package oidc-provider, run by `tests/e2e/oidc-provider.mjs`.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use procura_client::ProofKey;
use reqwest::Client;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    Fault,
    http::{self, Reply},
    process::Process,
};

const START: Duration = Duration::from_secs(30);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oidc-provider.mjs");

/// The client that may introspect, and its secret.
pub const INTROSPECTS: (&str, &str) = ("broker", "broker-secret-broker-secret-broker-secret");

/// The client that gets tokens by client credentials, scope `tools`, with [`OidcProvider::upstream_key`].
pub const UPSTREAM: &str = "upstream";

/// Form of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 9068, `typ` is `at+jwt`.
    Jwt,
    /// To be introspected.
    Opaque,
}

/// A running oidc-provider. Dropped, it is killed.
pub struct OidcProvider {
    /// Its issuer identifier.
    pub issuer: String,
    /// Private key of the client [`UPSTREAM`], a JWK.
    pub upstream_key: String,
    token_endpoint: String,
    http: Client,
    _process: Process,
    _dir: TempDir,
}

/// Tokens by client credentials.
#[derive(Deserialize)]
pub(crate) struct Issued {
    pub(crate) made: usize,
    pub(crate) live: usize,
}

/// First line of the script's output.
#[derive(Deserialize)]
struct Started {
    issuer: String,
    token_endpoint: String,
    upstream_key: String,
}

impl OidcProvider {
    pub(crate) async fn start(npm: PathBuf) -> Result<Self, Fault> {
        let dir = TempDir::new()?;
        let mut command = Command::new("node");
        command.arg(SCRIPT).arg(npm);
        let mut process = Process::start(command, dir.path())?;
        let output = dir.path().join("stdout");
        let started: Started = process
            .until(START, async || serde_json::from_slice(&fs::read(&output).ok()?).ok())
            .await?;
        Ok(Self {
            issuer: started.issuer,
            upstream_key: started.upstream_key,
            token_endpoint: started.token_endpoint,
            http: http::client()?,
            _process: process,
            _dir: dir,
        })
    }

    /// A fresh access token for `subject` with that audience.
    pub async fn token(&self, subject: &str, audience: &str, format: Format) -> Result<String, Fault> {
        let format = match format {
            Format::Jwt => "jwt",
            Format::Opaque => "opaque",
        };
        let fields = [("sub", subject), ("aud", audience), ("format", format)];
        let reply = http::post_form(&self.http, &self.token_endpoint, None, &fields)
            .await?
            .expect_status(200)?;
        Ok(reply.text("access_token").to_owned())
    }

    /// A fresh access token of its client [`INTROSPECTS`] itself, bound to the key by the issuer's own DPoP.
    pub async fn bound_token(&self, key: &ProofKey, audience: &str) -> Result<String, Fault> {
        let url = format!("{}/token", self.issuer);
        let fields = [
            ("grant_type", "client_credentials"),
            ("resource", audience),
            ("scope", "tools"),
        ];
        let request = http::proving(&self.http, &url, key, &fields)?;
        let request = request.basic_auth(INTROSPECTS.0, Some(INTROSPECTS.1));
        let reply = http::send(request).await?.expect_status(200)?;
        Ok(reply.text("access_token").to_owned())
    }

    /// Signs with a new key from now on. The ones before it stay published, but for the one of that id.
    pub async fn rotate_key(&self, gone: Option<&str>) -> Result<(), Fault> {
        let url = format!("{}/rotate", self.issuer);
        let fields = [("gone", gone.unwrap_or_default())];
        let reply = http::post_form(&self.http, &url, None, &fields).await?;
        reply.expect_status(200).map(drop)
    }

    /// How many tokens were made for [`UPSTREAM`], and how many of them live.
    pub(crate) async fn issued(&self) -> Result<Issued, Fault> {
        let url = format!("{}/issued", self.issuer);
        let reply = http::get(&self.http, &url, None).await?.expect_status(200)?;
        Ok(serde_json::from_value(reply.body)?)
    }

    /// Asks it about a token, as the client that the broker is (RFC 7662).
    pub async fn introspect(&self, token: &str) -> Result<Reply, Fault> {
        let url = format!("{}/token/introspection", self.issuer);
        http::post_form(&self.http, &url, Some(INTROSPECTS), &[("token", token)])
            .await?
            .expect_status(200)
    }
}
