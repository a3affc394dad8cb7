//! A real PostgreSQL: databases in it to mint log-ins for, and to keep the store in.

use std::{collections::BTreeSet, path::PathBuf};

use procura_contract::postgres::Cluster;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, ValueRef, postgres::PgRow};
use tokio::sync::Mutex;

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
        query(&self.cluster.superuser_url, &format!("CREATE DATABASE {name}")).await?;
        Ok(self.cluster.url_of(&name))
    }

    /// A database with the sample tables and an administrator of its own: a CREATEROLE role that is no superuser.
    pub async fn target(&self) -> Result<Database, Fault> {
        let url = self.empty().await?;
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        let administrator = format!("admin_{name}");
        let _one_at_a_time = self.made.lock().await;
        let create = format!("CREATE ROLE {administrator} LOGIN CREATEROLE");
        query(&self.cluster.superuser_url, &create).await?;
        let script = format!("SET procura.administrator = '{administrator}';\n{SETUP}\n{DEMO}");
        query(&url, &script).await?;
        Ok(Database {
            port: self.cluster.port,
            name,
            administrator,
            url,
        })
    }

    /// Does something as the superuser, outside of any test's database.
    pub async fn administer(&self, sql: &str) -> Result<Vec<String>, Fault> {
        query(&self.cluster.superuser_url, sql).await
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
        query(&self.url, &format!("ALTER ROLE {role} PASSWORD '{password}'")).await?;
        Ok(json!({"username": role, "password": password}).to_string())
    }

    /// Puts two log-ins that take turns in the place of the administrator's own; answers the secret of the first, and the
    /// lines of the target's file that name them.
    pub async fn take_turns(&self) -> Result<(String, String), Fault> {
        let role = &self.administrator;
        let sql = format!(
            "ALTER ROLE {role} NOLOGIN PASSWORD NULL;
             CREATE ROLE {role}_a LOGIN PASSWORD 'turn' IN ROLE {role};
             CREATE ROLE {role}_b LOGIN IN ROLE {role}"
        );
        query(&self.url, &sql).await?;
        let secret = json!({"username": format!("{role}_a"), "password": "turn"}).to_string();
        let lines = format!("set_role = \"{role}\"\nrotate_logins = [\"{role}_a\", \"{role}_b\"]\n");
        Ok((secret, lines))
    }

    /// Names of log-in roles: those of one installation, and whatever stands in the database's own list.
    pub async fn roles(&self, installation: &str) -> Result<BTreeSet<String>, Fault> {
        let sql = format!(
            "SELECT role FROM procura.session
             UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'p{installation}\\_%'"
        );
        Ok(query(&self.url, &sql).await?.into_iter().collect())
    }

    /// Does something in it as the superuser.
    pub async fn administer(&self, sql: &str) -> Result<Vec<String>, Fault> {
        query(&self.url, sql).await
    }
}

/// Runs statements, sent at once as `psql -c` sends them, and answers the rows of their results: columns as text
/// with `|` between them.
pub async fn query(url: &str, sql: &str) -> Result<Vec<String>, Fault> {
    let mut connection = PgConnection::connect(url).await?;
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
    connection.close().await?;
    rows.iter().map(line).collect()
}

fn line(row: &PgRow) -> Result<String, Fault> {
    let values = (0..row.len()).map(|column| {
        let value = row.try_get_raw(column)?;
        // Statements that are sent without arguments are answered in text.
        Ok(if value.is_null() { "" } else { value.as_str()? }.to_owned())
    });
    Ok(values.collect::<Result<Vec<_>, Fault>>()?.join("|"))
}
