//! `.procura/dev.json`: where the development broker of a folder is, for scripts and commands.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use procura_wire::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::cli::{Failure, keys};

/// The folder of development mode, in the current one.
pub(crate) const FOLDER: &str = ".procura";

/// What the file says.
#[derive(Debug, Deserialize)]
pub(crate) struct DevFile {
    pub(crate) issuer: String,
    pub(crate) subject_token_endpoint: String,
    pub(crate) token_endpoint: String,
    pub(crate) jwks_uri: String,
    pub(crate) introspection_endpoint: String,
    pub(crate) revocation_endpoint: String,
    /// A server of the bundle.
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    /// A target that it may reach.
    pub(crate) audience: String,
    /// A grant there that needs no tool.
    pub(crate) scope: String,
    /// A tool that may reach it too.
    pub(crate) tool: String,
    /// Base of `/v1`.
    pub(crate) api: String,
    pub(crate) operator_token: Secret,
    pub(crate) pid: u32,
}

impl DevFile {
    fn path() -> PathBuf {
        Path::new(FOLDER).join("dev.json")
    }

    /// Reads the file of the current folder.
    pub(crate) fn read() -> Result<Self, Failure> {
        let path = Self::path();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|_| Failure::usage(format!("{} is not one that procura dev wrote", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::Away(
                "no broker here: start `procura dev` in this folder, or name one with --url".to_owned(),
            )),
            Err(error) => Err(Failure::usage(format!("{}: {error}", path.display()))),
        }
    }

    /// Writes the file, whole, readable by its owner only.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        keys::replace(&Self::path(), &self.text())
    }

    /// Removes the file; whoever looks for it finds that no broker runs.
    pub(crate) fn remove() {
        if let Err(error) = fs::remove_file(Self::path()) {
            tracing::warn!(%error, "dev.json stays");
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a file of mode 0600 that scripts take the credentials from"
    )]
    fn text(&self) -> Secret {
        let members = json!({
            "issuer": self.issuer,
            "subject_token_endpoint": self.subject_token_endpoint,
            "token_endpoint": self.token_endpoint,
            "jwks_uri": self.jwks_uri,
            "introspection_endpoint": self.introspection_endpoint,
            "revocation_endpoint": self.revocation_endpoint,
            "client_id": self.client_id,
            "client_secret": self.client_secret.expose(),
            "audience": self.audience,
            "scope": self.scope,
            "tool": self.tool,
            "api": self.api,
            "operator_token": self.operator_token.expose(),
            "pid": self.pid,
        });
        Secret::new(format!("{members:#}\n"))
    }
}
