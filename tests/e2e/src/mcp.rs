//! The example MCP server of the client library, and the real clients that call its tools.

use std::{fs, path::Path, process::ExitStatus, time::Duration};

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Fault, Testbed, process::Process};

const START: Duration = Duration::from_secs(30);
const NPM_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mcp-client.mjs");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mcp-client.py");

/// `client-lib/examples/tickets-server`, running. Dropped, it is killed.
pub struct TicketsServer {
    /// Its MCP endpoint.
    pub url: String,
    process: Process,
    _dir: TempDir,
}

impl TicketsServer {
    pub(crate) async fn start(program: &Path, settings: &Value) -> Result<Self, Fault> {
        let dir = TempDir::new()?;
        let (file, output) = (dir.path().join("settings.json"), dir.path().join("stdout"));
        fs::write(&file, settings.to_string())?;
        let mut command = std::process::Command::new(program);
        command.arg(file);
        let mut process = Process::start(command, dir.path())?;
        let url = process
            .until(START, async || {
                fs::read_to_string(&output).ok()?.strip_suffix('\n').map(str::to_owned)
            })
            .await?;
        Ok(Self {
            url,
            process,
            _dir: dir,
        })
    }

    /// Asks it to stop and waits until it has reported what it must.
    pub async fn stop(mut self) -> Result<ExitStatus, Fault> {
        self.process.signal(Signal::TERM)?;
        self.process.ended(START).await
    }
}

/// A client of somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpClient {
    /// npm `@modelcontextprotocol/client`
    Npm,
    /// npm `@modelcontextprotocol/sdk`, the one before it.
    NpmSdk,
    /// Python `mcp`
    Python,
}

/// What a client saw.
#[derive(Debug, Deserialize)]
pub struct Called {
    /// The revision of the protocol that was agreed on.
    pub protocol: String,
    /// An answer for each call.
    pub results: Vec<ToolResult>,
}

/// The result of a tool.
#[derive(Debug, Deserialize)]
pub struct ToolResult {
    /// Its text.
    pub text: String,
    /// Whether it is an error.
    pub error: bool,
}

impl McpClient {
    /// Connects with a token and calls tools, one after the other.
    pub async fn call(
        self,
        testbed: &Testbed,
        server: &TicketsServer,
        token: &str,
        calls: &[(&str, Value)],
    ) -> Result<Called, Fault> {
        let mut command = match self {
            Self::Npm | Self::NpmSdk => {
                let mut node = Command::new("node");
                let package = if self == Self::Npm { "client" } else { "sdk" };
                node.arg(NPM_CLIENT).arg(testbed.npm()).arg(package);
                node
            }
            Self::Python => {
                let mut python = Command::new(testbed.python());
                python.arg(PYTHON_CLIENT);
                python
            }
        };
        command.args([&server.url, token, &serde_json::to_string(calls)?]);
        let output = command.kill_on_drop(true).output().await?;
        if !output.status.success() {
            return Err(format!("{self:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
