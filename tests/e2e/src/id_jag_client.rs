//! The MCP SDKs' own ways to present an ID-JAG.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Fault, Testbed,
    serve::{SERVER, Site},
};

const NPM_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/id-jag-client.mjs");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/id-jag-client.py");

/// What presents it.
#[derive(Debug, Clone, Copy)]
pub enum Sdk {
    /// The function of npm `@modelcontextprotocol/client`, which is told the token endpoint.
    NpmFunction,
    /// Its provider for clients of MCP servers, which is handed the broker's metadata.
    NpmProvider,
    /// The provider of Python `mcp`, by a transport that adds an authorization endpoint to the metadata.
    PythonProvider,
}

/// Presents the assertion, which is for `resource`, at the site's broker, which speaks TLS. Answers `response` or `error`.
pub async fn present(
    testbed: &Testbed,
    site: &Site<'_>,
    sdk: Sdk,
    (resource, assertion): (&str, &str),
) -> Result<Value, Fault> {
    let authority = site.authority.as_ref().ok_or("the site speaks no TLS")?;
    let ca = site.path("authority.pem");
    std::fs::write(&ca, &authority.certificate)?;
    let ask = json!({
        "issuer": site.identifier, "resource": resource, "client_id": SERVER, "client_secret": site.secret,
        "assertion": assertion, "ca": ca,
    });
    let node = |way: &str| {
        let mut node = Command::new("node");
        node.arg(NPM_CLIENT)
            .arg(testbed.npm())
            .arg(way)
            .env("NODE_EXTRA_CA_CERTS", &ca);
        node
    };
    let mut command = match sdk {
        Sdk::NpmFunction => node("function"),
        Sdk::NpmProvider => node("provider"),
        Sdk::PythonProvider => {
            let mut python = Command::new(testbed.python());
            python.arg(PYTHON_CLIENT);
            python
        }
    };
    let output = command.arg(ask.to_string()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(format!("{sdk:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
