//! The MCP SDK's own way to present an ID-JAG.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Fault, Testbed,
    serve::{SERVER, Site},
};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/id-jag-client.mjs");

/// Presents the assertion at the site's broker, which speaks TLS. Answers `response` or `error`.
///
/// Python's `mcp` cannot: it refuses metadata without an authorization endpoint, which RFC 8414 section 2 does not
/// demand of a server without grants that use one.
pub async fn present(testbed: &Testbed, site: &Site<'_>, assertion: &str) -> Result<Value, Fault> {
    let authority = site.authority.as_ref().ok_or("the site speaks no TLS")?;
    let ca = site.path("authority.pem");
    std::fs::write(&ca, &authority.certificate)?;
    let ask = json!({
        "token_endpoint": format!("{}/token", site.identifier), "client_id": SERVER, "client_secret": site.secret,
        "assertion": assertion,
    });
    let mut node = Command::new("node");
    node.arg(CLIENT).arg(testbed.npm()).env("NODE_EXTRA_CA_CERTS", &ca);
    let output = node.arg(ask.to_string()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
