//! For several replicas, all of them active.

mod insert;
mod sql;

use std::{str::FromStr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use procura_core::{
    ledger::Entry,
    ports::{Clock, Entropy},
};
use procura_wire::Secret;
use sqlx::{
    Connection, PgConnection, Postgres,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions},
};

use crate::{
    db::{Db, Fault, bind_arguments, statements},
    ledger::Store,
    open::{Given, OnFatal, OpenError, Opened},
    sql::Sql,
};

/// The ledger in a PostgreSQL database.
pub type PostgresLedger = Store<Postgres>;

const READERS: u32 = 16;

/// Opens the database and brings its schema up to date; replicas may do so at once. Needs a Tokio runtime.
/// The role must own the schema that its `search_path` names first.
pub async fn open(
    url: &Secret,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    on_fatal: OnFatal,
) -> Result<PostgresLedger, OpenError> {
    let given = Given {
        clock,
        entropy,
        on_fatal,
    };
    let options = options(url)?;
    let place = format!(
        "PostgreSQL at {}:{}, database {}",
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or("of the user's name")
    );
    let store = match schema(options).await {
        Ok(opened) => opened.start(given).await,
        Err(error) => Err(error),
    };
    store.map_err(|error| OpenError::Unusable {
        place,
        problem: format!("{error}; the role of the URL must be able to log in and own the database"),
    })
}

fn options(url: &Secret) -> Result<PgConnectOptions, OpenError> {
    #[expect(clippy::disallowed_methods, reason = "the driver needs the password in the URL")]
    let options = PgConnectOptions::from_str(url.expose());
    // The parser's own error may quote the URL.
    let options = options.map_err(|_| OpenError::Unusable {
        place: "PostgreSQL".to_owned(),
        problem: "the URL is not of the form postgres://user:password@host:port/database".to_owned(),
    })?;
    Ok(options
        .application_name("procura")
        .statement_cache_capacity(64)
        .options([
            ("statement_timeout", "30s"),
            // Whatever the server's own setting is: a commit that is answered is durable.
            ("synchronous_commit", "on"),
            // A replica that is stopped inside a transaction holds up those who wait for its rows, and hides
            // its leases from their sweep; this ends it before the margin of an intent is over.
            ("idle_in_transaction_session_timeout", "5s"),
        ]))
}

async fn schema(options: PgConnectOptions) -> Result<Opened<Postgres>, sqlx::Error> {
    let mut conn = PgConnection::connect_with(&options).await?;
    sqlx::migrate!("../../migrations/postgres")
        .run_direct(None, &mut conn, false)
        .await?;
    let pool = PgPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options.clone());
    Ok(Opened {
        conn,
        pool,
        options,
        lock: None,
        alone: false,
    })
}

bind_arguments!(PgArguments);

impl Db for Postgres {
    const SQL: Sql = sql::SQL;
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

    statements!(PgArguments);

    fn insert<'c>(conn: &'c mut PgConnection, entries: &'c [&'c Entry]) -> BoxFuture<'c, Result<u64, sqlx::Error>> {
        Box::pin(insert::insert(conn, entries))
    }

    fn fault(error: &sqlx::Error) -> Fault {
        let Some(error) = error.as_database_error() else {
            return match error {
                sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Fault::Statement,
                _ => Fault::Unavailable,
            };
        };
        let code = error.code().unwrap_or_default().into_owned();
        match code.get(..2) {
            // Data, constraints; and what another transaction was in the way of: alone it will pass.
            Some("22" | "23" | "40") => Fault::Statement,
            _ => Fault::Unavailable,
        }
    }

    /// The connection was lost, or the server was being ended: it may have committed before.
    fn commit_is_uncertain(error: &sqlx::Error) -> bool {
        match error.as_database_error() {
            Some(error) => error
                .code()
                .is_none_or(|code| code.starts_with("57") || code.starts_with("58")),
            None => true,
        }
    }
}
