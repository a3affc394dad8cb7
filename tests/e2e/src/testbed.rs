//! What `cargo xtask test` installed and built, by the variables that it sets.

use std::path::PathBuf;

use tokio::sync::OnceCell;

use crate::{Fault, broker::Launch, keycloak::Keycloak, oidc_provider::OidcProvider};

/// The installed parts, and the servers that all cases of a run share. Dropped, it stops them.
pub struct Testbed {
    root: PathBuf,
    broker: PathBuf,
    failpoints: Option<PathBuf>,
    keycloak: OnceCell<Keycloak>,
    oidc_provider: OnceCell<OidcProvider>,
}

impl Testbed {
    /// From the environment. What is missing is an error that says how to get it.
    pub fn from_environment() -> Result<Self, Fault> {
        Ok(Self {
            root: named("PROCURA_TESTBED")?,
            broker: named("PROCURA_BIN")?,
            failpoints: named("PROCURA_FAILPOINTS_BIN").ok(),
            keycloak: OnceCell::new(),
            oidc_provider: OnceCell::new(),
        })
    }

    /// A broker in development mode, not started yet.
    pub fn dev(&self) -> Result<Launch, Fault> {
        Launch::dev(self.broker.clone())
    }

    /// The same, of the build that has failpoints.
    pub fn dev_with_failpoints(&self) -> Result<Launch, Fault> {
        let program = self.failpoints.clone().ok_or("PROCURA_FAILPOINTS_BIN is not set")?;
        Launch::dev(program)
    }

    /// Directory with `node_modules`.
    pub fn npm(&self) -> PathBuf {
        self.root.join("npm")
    }

    /// Python with the packages of `tests/testbed/requirements.txt`.
    pub fn python(&self) -> PathBuf {
        self.root.join("venv/bin/python")
    }

    /// The Keycloak of this run, started at its first use.
    pub async fn keycloak(&self) -> Result<&Keycloak, Fault> {
        let start = || Keycloak::start(self.root.join("keycloak"));
        self.keycloak.get_or_try_init(start).await
    }

    /// The oidc-provider of this run, started at its first use.
    pub async fn oidc_provider(&self) -> Result<&OidcProvider, Fault> {
        let start = || OidcProvider::start(self.npm());
        self.oidc_provider.get_or_try_init(start).await
    }
}

fn named(variable: &str) -> Result<PathBuf, Fault> {
    let value = std::env::var_os(variable);
    let path = value.ok_or_else(|| format!("{variable} is not set: run `cargo xtask test`"))?;
    Ok(PathBuf::from(path))
}
