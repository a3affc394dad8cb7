//! Debian's Chromium, driven by npm `playwright-core` through `tests/e2e/page.mjs`.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::{Fault, Testbed};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/page.mjs");
const PROGRAM: &str = "/usr/bin/chromium";

/// Walks through the page as `asked` says; answers what it saw. Pictures go to the folder that `PROCURA_SCREENSHOTS`
/// names, where it is set.
pub async fn walk(testbed: &Testbed, mut asked: Value) -> Result<Value, Fault> {
    if !Path::new(PROGRAM).exists() {
        let text =
            "/usr/bin/chromium is missing: run `cargo xtask test --system-packages`, or install Debian's chromium";
        return Err(text.into());
    }
    asked["chromium"] = PROGRAM.into();
    if let Some(folder) = std::env::var_os("PROCURA_SCREENSHOTS") {
        asked["shots"] = folder.to_string_lossy().into();
    }
    let mut command = Command::new("node");
    command.arg(SCRIPT).arg(testbed.npm()).arg(asked.to_string());
    let output = command.kill_on_drop(true).output().await?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let seen: Value = serde_json::from_slice(&output.stdout)?;
    match seen["error"].as_str() {
        Some(error) => Err(format!("{error} at {}: {}", seen["at"], seen["text"]).into()),
        None => Ok(seen),
    }
}
