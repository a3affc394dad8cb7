//! The sample database of development mode, made by a superuser on a server that is there.

use std::str::FromStr;

use procura_core::ports::Entropy;
use procura_wire::Secret;
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};

use crate::{DEMO_SQL, SETUP_SQL, quote, scram};

/// The broker's role on the server.
const ADMINISTRATOR: &str = "procura_dev";
/// The sample database, as `policies/dev-postgres` names it.
const DATABASE: &str = "procura_demo";

/// The prepared server.
#[derive(Debug)]
pub struct Sample {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What the target's source holds: the administrator's name and new password as JSON.
    pub secret: Secret,
}

/// The server could not be prepared. Names it, never the password.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The URL is no URL of PostgreSQL.
    #[error("--postgres is postgresql://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url,
    /// The server refused or is away.
    #[error("PostgreSQL at {host}:{port}: {error}")]
    Server {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// What it said.
        error: sqlx::Error,
    },
}

/// Makes the administrator (CREATEROLE, no superuser), the sample database and what `setup.sql` and
/// `demo.sql` hold. A second time is no change, but for the administrator's password.
pub async fn prepare(superuser: &Secret, entropy: &dyn Entropy) -> Result<Sample, SampleError> {
    #[expect(clippy::disallowed_methods, reason = "the URL is parsed here, to connect with it")]
    let options = PgConnectOptions::from_str(superuser.expose()).map_err(|_| SampleError::Url)?;
    let (host, port) = (options.get_host().to_owned(), options.get_port());
    match make(options.disable_statement_logging(), entropy).await {
        Ok(secret) => Ok(Sample { host, port, secret }),
        Err(error) => Err(SampleError::Server { host, port, error }),
    }
}

async fn make(options: PgConnectOptions, entropy: &dyn Entropy) -> Result<Secret, sqlx::Error> {
    let (password, verifier) = scram::new_password(entropy);
    let mut server = PgConnection::connect_with(&options).await?;
    if !exists(
        &mut server,
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)",
        ADMINISTRATOR,
    )
    .await?
    {
        run(&mut server, format!("CREATE ROLE {ADMINISTRATOR} LOGIN CREATEROLE")).await?;
    }
    run(
        &mut server,
        format!("ALTER ROLE {ADMINISTRATOR} PASSWORD {}", quote::literal(&verifier)),
    )
    .await?;
    if !exists(
        &mut server,
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)",
        DATABASE,
    )
    .await?
    {
        run(&mut server, format!("CREATE DATABASE {DATABASE}")).await?;
    }
    server.close().await?;
    let mut database = PgConnection::connect_with(&options.database(DATABASE)).await?;
    run(&mut database, format!("SET procura.administrator = '{ADMINISTRATOR}'")).await?;
    run(&mut database, SETUP_SQL.to_owned()).await?;
    run(&mut database, DEMO_SQL.to_owned()).await?;
    database.close().await?;
    Ok(Secret::new(
        json!({"username": ADMINISTRATOR, "password": &**password}).to_string(),
    ))
}

async fn exists(server: &mut PgConnection, question: &'static str, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(question).bind(name).fetch_one(server).await
}

async fn run(server: &mut PgConnection, script: String) -> Result<(), sqlx::Error> {
    server.execute(sqlx::raw_sql(AssertSqlSafe(script))).await.map(|_| ())
}
