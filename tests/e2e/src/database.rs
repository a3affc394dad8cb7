//! A real PostgreSQL: databases in it to mint log-ins for, and to keep the store in.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio};

use procura_contract::postgres::Cluster;
use serde_json::json;
use tokio::{process::Command, sync::Mutex};

use crate::Fault;

const SETUP: &str = include_str!("../../../broker/targets/postgres/setup.sql");
const DEMO: &str = include_str!("../../../broker/targets/postgres/demo.sql");

/// A throwaway server with as many databases as are asked for.
pub struct Postgres {
    cluster: Cluster,
    /// How many were made. The lock also keeps two from being prepared at once: they share roles.
    made: Mutex<u32>,
}

impl Postgres {
    /// Starts one with the programs of `bin`, else those on PATH.
    pub fn start(bin: Option<PathBuf>) -> Result<Self, Fault> {
        Ok(Self {
            cluster: Cluster::start(bin)?,
            made: Mutex::new(0),
        })
    }

    /// An empty database; answers a superuser's URL.
    pub async fn empty(&self) -> Result<String, Fault> {
        let mut made = self.made.lock().await;
        *made += 1;
        let name = format!("db{made}");
        psql(&self.cluster.superuser_url, &format!("CREATE DATABASE {name}")).await?;
        Ok(self.cluster.url_of(&name))
    }

    /// A database with the sample tables and an administrator of its own: a CREATEROLE role that is no superuser.
    pub async fn target(&self) -> Result<Database, Fault> {
        let url = self.empty().await?;
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        let administrator = format!("admin_{name}");
        let _one_at_a_time = self.made.lock().await;
        let create = format!("CREATE ROLE {administrator} LOGIN CREATEROLE");
        psql(&self.cluster.superuser_url, &create).await?;
        let script = format!("SET procura.administrator = '{administrator}';\n{SETUP}\n{DEMO}");
        psql(&url, &script).await?;
        Ok(Database {
            port: self.cluster.port,
            name,
            administrator,
            url,
        })
    }

    /// Does something as the superuser, outside of any test's database.
    pub async fn administer(&self, sql: &str) -> Result<Vec<String>, Fault> {
        psql(&self.cluster.superuser_url, sql).await
    }

    /// Ends it as a crash does: connections break, nothing is flushed.
    pub fn stop(&mut self) -> Result<(), Fault> {
        Ok(self.cluster.stop()?)
    }

    /// Starts it again on the same port with what it had.
    pub fn resume(&mut self) -> Result<(), Fault> {
        Ok(self.cluster.resume()?)
    }
}

/// A database that log-ins are made for.
pub struct Database {
    /// Port on 127.0.0.1.
    pub port: u16,
    /// Its name.
    pub name: String,
    /// The broker's role there.
    pub administrator: String,
    url: String,
}

impl Database {
    /// Gives the administrator a password; answers the secret as a source keeps it.
    pub async fn set_password(&self, password: &str) -> Result<String, Fault> {
        let role = &self.administrator;
        psql(&self.url, &format!("ALTER ROLE {role} PASSWORD '{password}'")).await?;
        Ok(json!({"username": role, "password": password}).to_string())
    }

    /// Names of log-in roles: those of one installation, and whatever stands in the database's own list.
    pub async fn roles(&self, installation: &str) -> Result<BTreeSet<String>, Fault> {
        let sql = format!(
            "SELECT role FROM procura.session
             UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'p{installation}\\_%'"
        );
        Ok(psql(&self.url, &sql).await?.into_iter().collect())
    }

    /// Does something in it as the superuser.
    pub async fn administer(&self, sql: &str) -> Result<Vec<String>, Fault> {
        psql(&self.url, sql).await
    }
}

/// Runs statements with psql and answers the lines of their results.
pub async fn psql(url: &str, sql: &str) -> Result<Vec<String>, Fault> {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]);
    psql.args(["--set=ON_ERROR_STOP=1", "--command", sql, url]);
    psql.env_remove("PGDATABASE").stdin(Stdio::null());
    let output = psql
        .output()
        .await
        .map_err(|error| format!("cannot run psql: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("psql: {}", said.trim()).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}
