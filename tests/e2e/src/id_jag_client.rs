//! MCP clients of somebody else's that bring an ID-JAG.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Fault, Testbed,
    serve::{SERVER, Site},
};

const NPM_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/id-jag-client.mjs");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/id-jag-client.py");

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdJagClient {
    /// npm `@modelcontextprotocol/client`: sends the assertion and nothing else.
    Npm,
    /// Python `mcp`: discovers the token endpoint, and names the resource that it was refused at.
    Python,
}

impl IdJagClient {
    /// Presents the assertion at the site's broker, which speaks TLS, for that resource. Answers `response` or `error`.
    pub async fn present(
        self,
        testbed: &Testbed,
        site: &Site<'_>,
        assertion: &str,
        resource: &str,
    ) -> Result<Value, Fault> {
        let authority = site.authority.as_ref().ok_or("the site speaks no TLS")?;
        let ca = site.path("authority.pem");
        std::fs::write(&ca, &authority.certificate)?;
        let ask = json!({
            "issuer": site.identifier, "token_endpoint": format!("{}/token", site.identifier), "client_id": SERVER,
            "client_secret": site.secret, "assertion": assertion, "resource": resource,
        });
        let mut command = match self {
            Self::Npm => {
                let mut node = Command::new("node");
                node.arg(NPM_CLIENT).arg(testbed.npm()).env("NODE_EXTRA_CA_CERTS", &ca);
                node
            }
            Self::Python => {
                let mut python = Command::new(testbed.python());
                python.arg(PYTHON_CLIENT).env("SSL_CERT_FILE", &ca);
                python
            }
        };
        let output = command.arg(ask.to_string()).kill_on_drop(true).output().await?;
        if !output.status.success() {
            return Err(format!("{self:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
