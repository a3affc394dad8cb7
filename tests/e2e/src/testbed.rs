//! What `cargo xtask test` installed and built, by the variables that it sets.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    Fault, authority::Authority, broker::Launch, database::Postgres, issuer::Issuer, keycloak::Keycloak,
    mcp::TicketsServer, oidc_provider::OidcProvider,
};

/// The installed parts, and the servers that all cases of a run share. Dropped, it stops them.
pub struct Testbed {
    root: PathBuf,
    broker: PathBuf,
    failpoints: Option<PathBuf>,
    keycloak: OnceCell<Keycloak>,
    oidc_provider: OnceCell<OidcProvider>,
    issuer: OnceCell<Issuer>,
    postgres: OnceCell<Postgres>,
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
            issuer: OnceCell::new(),
            postgres: OnceCell::new(),
        })
    }

    /// The broker's program.
    pub fn broker(&self) -> &Path {
        &self.broker
    }

    /// A broker in development mode, not started yet.
    pub fn dev(&self) -> Result<Launch, Fault> {
        Launch::dev(self.broker.clone())
    }

    /// The same, of the build that has failpoints.
    pub fn dev_with_failpoints(&self) -> Result<Launch, Fault> {
        Launch::dev(self.failpoints()?.to_owned())
    }

    /// The program of the build that has failpoints.
    pub fn failpoints(&self) -> Result<&Path, Fault> {
        let program = self.failpoints.as_deref();
        Ok(program.ok_or("PROCURA_FAILPOINTS_BIN is not set: run `cargo xtask test`")?)
    }

    /// The example MCP server with these settings. Cargo builds it beside the broker.
    pub async fn tickets_server(&self, settings: &Value) -> Result<TicketsServer, Fault> {
        TicketsServer::start(&self.broker.with_file_name("examples/tickets-server"), settings).await
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

    /// A Keycloak of the caller's own that speaks TLS.
    pub async fn keycloak_over_tls(&self, authority: &Authority) -> Result<Keycloak, Fault> {
        Keycloak::start_over_tls(self.root.join("keycloak"), authority).await
    }

    /// The issuer over TLS of this run, whose tokens the test makes.
    pub async fn issuer(&self) -> Result<&Issuer, Fault> {
        self.issuer.get_or_try_init(Issuer::start).await
    }

    /// The PostgreSQL server of this run, started at its first use.
    pub async fn postgres(&self) -> Result<&Postgres, Fault> {
        self.postgres.get_or_try_init(async || Postgres::start(None)).await
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
