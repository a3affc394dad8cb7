//! A sample database on a PostgreSQL server, for `procura dev --postgres URL`.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use procura_sources::{FileConfig, SourceConfig};
use procura_target_postgres::{DEMO_SQL, SETUP_SQL};
use procura_wire::{Name, Secret};
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};
use url::Url;

use super::state::State;
use crate::{
    assembly::Machine,
    cli::{Failure, keys, plain},
};

/// The broker's role on the server.
const ADMINISTRATOR: &str = "procura_dev";
/// The sample database, as the bundle names it.
const DATABASE: &str = "procura_demo";
/// The source of the administrator's password, as the bundle names it: `dev:postgres`.
const SOURCE: &str = "dev";

/// Prepares the server (`url` is a superuser's) and answers the bundle's folder and its source.
pub(super) async fn prepare(
    url: &Url,
    state: &State,
    machine: &Machine,
) -> Result<(PathBuf, BTreeMap<Name, SourceConfig>), Failure> {
    let server = Server::of(url)?;
    let mut random = [0; 24];
    machine.entropy.fill(&mut random);
    let password = URL_SAFE_NO_PAD.encode(random);
    server.run(None, &role_and_database(&password)).await?;
    let demo = format!("SET procura.administrator = '{ADMINISTRATOR}';\n{SETUP_SQL}\n{DEMO_SQL}");
    server.run(Some(DATABASE), &demo).await?;
    let root = state.folder("secrets")?;
    let secret = json!({"username": ADMINISTRATOR, "password": password}).to_string();
    keys::replace(&root.join("postgres"), &Secret::new(secret))?;
    let folder = state.postgres_bundle(&server.host, server.port)?;
    let allow = vec!["postgres".parse().map_err(Failure::usage)?];
    let source = SourceConfig::File(FileConfig { root, allow });
    let name = SOURCE.parse().map_err(Failure::usage)?;
    Ok((folder, BTreeMap::from([(name, source)])))
}

/// A second time is no change, but for the password.
fn role_and_database(password: &str) -> String {
    format!(
        "SELECT 'CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE'
          WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ADMINISTRATOR}') \\gexec
         ALTER ROLE {ADMINISTRATOR} PASSWORD '{password}';
         SELECT 'CREATE DATABASE {DATABASE}'
          WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec\n"
    )
}

/// The server that the URL names.
struct Server {
    host: String,
    port: u16,
    /// Variables of libpq: unlike arguments, other users of the machine do not see them.
    variables: Vec<(&'static str, String)>,
}

impl Server {
    fn of(url: &Url) -> Result<Self, Failure> {
        let wrong = || Failure::usage("--postgres is postgresql://USER:PASSWORD@HOST:PORT/DATABASE");
        let read = |text: &str| procura_wire::unescape(text.replace('+', "%2B").as_bytes()).ok_or_else(wrong);
        if !matches!(url.scheme(), "postgresql" | "postgres") || url.query().is_some() {
            return Err(wrong());
        }
        let host = read(url.host_str().ok_or_else(wrong)?)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = url.port().unwrap_or(5432);
        let variables = [
            ("PGHOST", host.clone()),
            ("PGPORT", port.to_string()),
            ("PGUSER", read(url.username())?),
            ("PGPASSWORD", read(url.password().unwrap_or_default())?),
            ("PGDATABASE", read(url.path().trim_start_matches('/'))?),
        ];
        let variables = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Ok(Self { host, port, variables })
    }

    /// Runs a script with psql.
    async fn run(&self, database: Option<&str>, script: &str) -> Result<(), Failure> {
        let mut psql = Command::new("psql");
        psql.args([
            "--no-psqlrc",
            "--no-password",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--file=-",
        ]);
        psql.envs(self.variables.iter().map(|(name, value)| (name, value)));
        psql.envs(database.map(|database| ("PGDATABASE", database)));
        psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |problem: String| {
            let lines: Vec<_> = problem.lines().map(|line| plain(line.trim())).collect();
            let (host, port) = (&self.host, self.port);
            Failure::usage(format!("PostgreSQL at {host}:{port}: {}", lines.join("; ")))
        };
        let started = psql.spawn();
        let mut psql = started.map_err(|error| failed(format!("psql (of PostgreSQL's client programs): {error}")))?;
        if let Some(mut input) = psql.stdin.take() {
            // Where psql does not read on, it says why.
            let _ = input.write_all(script.as_bytes()).await;
        }
        let output = psql
            .wait_with_output()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Option<Vec<String>> {
        let server = Server::of(&url.parse().expect("url")).ok()?;
        Some(
            server
                .variables
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        )
    }

    #[test]
    fn a_url_becomes_variables() {
        assert_eq!(
            server("postgresql://me:p%40+@db.example/app").expect("server"),
            [
                "PGHOST=db.example",
                "PGPORT=5432",
                "PGUSER=me",
                "PGPASSWORD=p@+",
                "PGDATABASE=app"
            ]
        );
        assert_eq!(
            server("postgres://[::1]:6000").expect("server"),
            ["PGHOST=::1", "PGPORT=6000"]
        );
        assert_eq!(server("https://db.example/app"), None);
        assert_eq!(server("postgresql:///app?host=/tmp"), None);
    }
}
