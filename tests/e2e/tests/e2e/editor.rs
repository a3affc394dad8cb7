//! What an editor makes of the schemas: the language server that *Even Better TOML* is built on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use procura_e2e::{Fault, Testbed, harness::Outcome};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/editor.mjs");
const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");

pub(crate) async fn the_language_server_completes_keys_and_finds_no_fault_with_the_examples(
    testbed: &Testbed,
) -> Outcome {
    let folder = TempDir::new()?;
    let (begun, wrong) = (folder.path().join("begun.toml"), folder.path().join("wrong.toml"));
    fs::write(&begun, "owner = \"support@example.com\"\n")?;
    fs::write(&wrong, "owner = 3\nresuorce = \"https://tickets.example/mcp\"\n")?;
    let mut command = Command::new("node");
    command
        .arg(SCRIPT)
        .arg(testbed.npm())
        .arg(Path::new(POLICIES).join("schemas"));
    let examples = examples()?;
    command.arg("servers").arg(&begun);
    for (schema, path) in &examples {
        command.arg(schema).arg(path);
    }
    command.arg("servers").arg(&wrong);
    let output = command.kill_on_drop(true).output().await?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let of = |path: &Path| &said[path.to_string_lossy().as_ref()];
    let offered = &of(&begun)["offered"];
    for key in ["resource", "auth", "grants", "session_ttl"] {
        assert!(
            offered[key].as_str().is_some_and(|help| !help.is_empty()),
            "{key}: {offered}"
        );
    }
    assert!(offered["owner"].is_null(), "it stands there already: {offered}");
    for (_, path) in &examples {
        assert_eq!(of(path)["underlined"], json!([]), "{}", path.display());
    }
    let underlined = of(&wrong)["underlined"].to_string();
    assert!(
        underlined.contains("resuorce") && underlined.contains("3 is not of type"),
        "{underlined}"
    );
    Ok(())
}

/// Every TOML file of the bundles that come along, with the schema that is for it.
fn examples() -> Result<Vec<(String, PathBuf)>, Fault> {
    let mut found = Vec::new();
    let mut folders = vec![
        Path::new(POLICIES).join("dev"),
        Path::new(POLICIES).join("dev-postgres"),
        Path::new(POLICIES).join("examples"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let named = if path.ends_with("bundle.toml") {
                    path.file_stem()
                } else {
                    folder.file_name()
                };
                found.push((named.unwrap_or_default().to_string_lossy().into_owned(), path));
            }
        }
    }
    assert!(found.len() > 50, "{} examples", found.len());
    Ok(found)
}
