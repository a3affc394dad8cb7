//! What cargo knows of the workspace.

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::Value;

use crate::run::{cargo, output};

/// The parts of `cargo metadata` that matter here.
pub(crate) struct Workspace {
    /// Its root.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Names of the test binaries that need servers: those with `test = false`.
    pub(crate) server_tests: BTreeSet<String>,
    /// Whether the broker can be built with failpoints.
    pub(crate) has_failpoints: bool,
}

impl Workspace {
    pub(crate) fn read() -> Result<Self, String> {
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1", "--no-deps"]);
        let metadata: Value = serde_json::from_slice(&output(command)?)
            .map_err(|error| format!("cannot read the output of cargo metadata: {error}"))?;
        let path = |key: &str| PathBuf::from(metadata[key].as_str().unwrap_or_default());
        Ok(Self {
            root: path("workspace_root"),
            target: path("target_directory"),
            server_tests: server_tests(&metadata),
            has_failpoints: packages(&metadata)
                .any(|package| package["name"] == "procura" && package["features"].get("failpoints").is_some()),
        })
    }
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn server_tests(metadata: &Value) -> BTreeSet<String> {
    packages(metadata)
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter(|target| target["kind"][0] == "test" && target["test"] == false)
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect()
}
