//! The peer: npm's oidc-provider, which signs a JWT per client credentials grant and keeps nothing.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;

use crate::{Fault, bundle::API, process::Process};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/oidc-provider.mjs");
/// The client that the script registers, and its secret.
const CLIENT: &str = "broker:broker-secret-broker-secret-broker-secret";

/// A running oidc-provider. Dropped, it is killed.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    process: Process,
}

#[derive(Deserialize)]
struct Started {
    issuer: String,
}

impl Peer {
    /// Starts it from a folder with `node_modules`.
    pub(crate) async fn start(npm: &Path, folder: &Path) -> Result<Self, Fault> {
        let mut command = Command::new("node");
        command.arg(SCRIPT).arg(npm).env("NODE_ENV", "production");
        let mut process = Process::start("peer", command, folder)?;
        let output = folder.join("peer.out");
        let started: Started = process
            .until(folder, async || serde_json::from_slice(&fs::read(&output).ok()?).ok())
            .await?;
        let address = started.issuer.trim_start_matches("http://").parse()?;
        Ok(Self { address, process })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// `Authorization` of its client.
    pub(crate) fn authorization() -> String {
        format!("Basic {}", BASE64_STANDARD.encode(CLIENT))
    }

    /// The form of one grant.
    pub(crate) fn form() -> String {
        let fields = [
            ("grant_type", "client_credentials"),
            ("scope", "tools"),
            ("resource", API),
        ];
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).finish()
    }
}
