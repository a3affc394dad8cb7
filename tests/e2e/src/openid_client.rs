//! An OAuth client of somebody else's: npm `openid-client`, run by `tests/e2e/openid-client.mjs`.

use std::fs;

use serde_json::Value;
use tokio::process::Command;

use crate::{Fault, Testbed, serve::Site};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openid-client.mjs");

/// Lets it exchange with DPoP at a site that speaks TLS; answers what it prints.
pub async fn with_dpop(testbed: &Testbed, site: &Site<'_>, arguments: &[&str]) -> Result<Value, Fault> {
    let authority = site.authority.as_ref().ok_or("it speaks no TLS")?;
    let trusted = site.path("authority.pem");
    fs::write(&trusted, &authority.certificate)?;
    let mut command = Command::new("node");
    command.arg(SCRIPT).arg(testbed.npm()).args(arguments);
    command.env("NODE_EXTRA_CA_CERTS", trusted);
    let output = command.kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
