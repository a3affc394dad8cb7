//! A running broker.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

pub use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    Fault,
    http::{self, Reply},
    process::Process,
};

const START: Duration = Duration::from_secs(30);

/// What `procura dev` tells scripts in `.procura/dev.json`.
#[derive(Clone, Deserialize)]
pub struct DevFile {
    /// The broker's issuer identifier.
    pub issuer: String,
    /// Answers a POST with a subject token for the broker's own server.
    pub subject_token_endpoint: String,
    /// The exchange.
    pub token_endpoint: String,
    /// The broker's public keys.
    pub jwks_uri: String,
    /// RFC 7662.
    pub introspection_endpoint: String,
    /// RFC 7009.
    pub revocation_endpoint: String,
    /// A registered server.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// A target.
    pub audience: String,
    /// A grant there that needs no tool.
    pub scope: String,
    /// A tool that may reach the grant too.
    pub tool: String,
    /// Base of `/v1`.
    pub api: String,
    /// Bearer token for it.
    pub operator_token: String,
    /// Process id of the broker.
    pub pid: u32,
}

/// A broker to be started in a directory of its own. It can be started again in the same one.
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    dir: Arc<TempDir>,
}

impl Launch {
    pub(crate) fn dev(program: PathBuf) -> Result<Self, Fault> {
        Ok(Self {
            program,
            arguments: ["dev", "--listen", "127.0.0.1:0"].map(str::to_owned).into(),
            variables: Vec::new(),
            dir: Arc::new(TempDir::new()?),
        })
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The directory that it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until it serves.
    pub async fn start(&self) -> Result<Broker, Fault> {
        let file = self.dir().join(".procura/dev.json");
        let mut command = Command::new(&self.program);
        command
            // Started by a test and not by `cargo run`, so that what it prints can be pasted.
            .env_remove("CARGO")
            // Nor does what is installed here choose the bundle.
            .env_remove("PATH")
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir());
        let mut process = Process::start(command, self.dir())?;
        let pid = process.id();
        let dev = process
            .until(START, async || {
                let dev: DevFile = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
                // One that was killed leaves its file behind.
                (dev.pid == pid).then_some(dev)
            })
            .await?;
        Ok(Broker {
            dev,
            http: http::client()?,
            process,
            _dir: Arc::clone(&self.dir),
        })
    }
}

/// A broker that serves. Dropped, it is killed.
pub struct Broker {
    /// How to reach it.
    pub dev: DevFile,
    /// A client to reach it with.
    pub http: reqwest::Client,
    process: Process,
    _dir: Arc<TempDir>,
}

impl Broker {
    /// Everything that it wrote to standard error, also before a restart.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Sends it a signal (`STOP`, `CONT`, `HUP`).
    pub fn signal(&self, signal: Signal) -> Result<(), Fault> {
        self.process.signal(signal)
    }

    /// Asks it to stop and waits for its drain.
    pub async fn stop(mut self) -> Result<ExitStatus, Fault> {
        self.process.signal(Signal::TERM)?;
        self.process.ended(START).await
    }

    /// `kill -9`
    pub async fn kill(mut self) -> Result<(), Fault> {
        self.process.signal(Signal::KILL)?;
        self.process.ended(START).await.map(drop)
    }

    /// Waits until it ends by itself, as it does at a failpoint.
    pub async fn ended(mut self) -> Result<ExitStatus, Fault> {
        self.process.ended(START).await
    }

    /// A subject token of the development issuer.
    pub async fn subject_token(&self) -> Result<String, Fault> {
        let request = self.http.post(&self.dev.subject_token_endpoint);
        let reply = http::send(request.header("Procura-Dev", "1"))
            .await?
            .expect_status(200)?;
        Ok(reply.text("access_token").to_owned())
    }

    /// Posts a form to one of its endpoints as its registered server.
    pub async fn post(&self, endpoint: &str, fields: &[(&str, &str)]) -> Result<Reply, Fault> {
        let server = (self.dev.client_id.as_str(), self.dev.client_secret.as_str());
        http::post_form(&self.http, endpoint, Some(server), fields).await
    }

    /// Posts to the token endpoint as its registered server.
    pub async fn exchange(&self, fields: &[(&str, &str)]) -> Result<Reply, Fault> {
        self.post(&self.dev.token_endpoint, fields).await
    }

    /// Posts to the token endpoint as its registered server, with a DPoP proof.
    pub async fn exchange_proving(&self, fields: &[(&str, &str)], proof: &str) -> Result<Reply, Fault> {
        let request = self.http.post(&self.dev.token_endpoint).header("DPoP", proof);
        let request = request.basic_auth(&self.dev.client_id, Some(&self.dev.client_secret));
        http::send(request.form(fields)).await
    }

    /// Gets a path below `/v1` as the operator; it begins with `/`.
    pub async fn api(&self, path: &str) -> Result<Reply, Fault> {
        let url = format!("{}{path}", self.dev.api);
        http::get(&self.http, &url, Some(&self.dev.operator_token)).await
    }

    /// The record of an issuance.
    pub async fn record(&self, issuance: &str) -> Result<Reply, Fault> {
        self.api(&format!("/issuances/{issuance}")).await
    }
}
