//! What the two engines must offer to the code that they share.

use std::time::Duration;

use futures_util::future::BoxFuture;
use procura_core::{Timestamp, ledger::Entry};
use sqlx::{Database, FromRow, SqlStr, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::sql::Sql;

/// A value bound to a statement. Where a value may be absent it goes into a JSON text instead.
#[derive(Debug, Clone)]
pub enum Arg {
    /// An id.
    Id(Uuid),
    /// A number or a time in microseconds.
    Int(i64),
    /// Text, JSON too.
    Text(String),
    /// A digest or content.
    Bytes(Vec<u8>),
}

impl From<Uuid> for Arg {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<Timestamp> for Arg {
    fn from(time: Timestamp) -> Self {
        Self::Int(time.as_microsecond())
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Arg {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// A row that can be read from either engine.
pub trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static {}

impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin + 'static {}

/// What an error of the engine means for the transaction that it happened in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One of the rows cannot be stored; others could be.
    Statement,
    /// Nothing can be written now; nothing was stored.
    Unavailable,
    /// The file cannot be trusted any more: the process must end and recover at its next start.
    Fatal,
}

/// An engine.
pub trait Db: Database {
    /// The statements that are written differently for each engine.
    const SQL: Sql;

    /// Opens a transaction for writing.
    const BEGIN: &'static str;

    /// Longest wait for each step of a transaction, where the engine may fall silent without an error.
    const PATIENCE: Option<Duration>;

    /// Runs a statement and reads all its rows.
    fn rows<'c, R: Row>(
        conn: &'c mut Self::Connection,
        sql: SqlStr,
        args: Vec<Arg>,
    ) -> BoxFuture<'c, Result<Vec<R>, sqlx::Error>>;

    /// Runs a statement and answers how many rows it changed.
    fn run<'c>(conn: &'c mut Self::Connection, sql: SqlStr, args: Vec<Arg>) -> BoxFuture<'c, Result<u64, sqlx::Error>>;

    /// Inserts records and their side rows that are not there yet; answers the number of rows of both tables.
    fn insert<'c>(conn: &'c mut Self::Connection, entries: &'c [&'c Entry]) -> BoxFuture<'c, Result<u64, sqlx::Error>>;

    /// What an error before or at the commit means.
    fn fault(error: &sqlx::Error) -> Fault;

    /// Whether a commit that failed this way may have been carried out all the same.
    fn commit_is_uncertain(error: &sqlx::Error) -> bool;
}

/// Implements [`Db::rows`] and [`Db::run`], which differ in their types only.
macro_rules! statements {
    ($arguments:ty) => {
        fn rows<'c, R: $crate::db::Row>(
            conn: &'c mut Self::Connection,
            sql: sqlx::SqlStr,
            args: Vec<$crate::db::Arg>,
        ) -> futures_util::future::BoxFuture<'c, Result<Vec<R>, sqlx::Error>> {
            Box::pin(async move {
                let args = arguments(args).map_err(sqlx::Error::Encode)?;
                sqlx::query_as_with::<Self, R, $arguments>(sql, args)
                    .fetch_all(conn)
                    .await
            })
        }

        fn run<'c>(
            conn: &'c mut Self::Connection,
            sql: sqlx::SqlStr,
            args: Vec<$crate::db::Arg>,
        ) -> futures_util::future::BoxFuture<'c, Result<u64, sqlx::Error>> {
            Box::pin(async move {
                let args = arguments(args).map_err(sqlx::Error::Encode)?;
                let done = sqlx::query_with::<Self, $arguments>(sql, args)
                    .execute(conn)
                    .await?;
                Ok(done.rows_affected())
            })
        }
    };
}

/// Binds the values in their order.
macro_rules! bind_arguments {
    ($arguments:ty) => {
        fn arguments(args: Vec<$crate::db::Arg>) -> Result<$arguments, sqlx::error::BoxDynError> {
            use sqlx::Arguments as _;
            let mut bound = <$arguments>::default();
            for arg in args {
                match arg {
                    $crate::db::Arg::Id(id) => bound.add(id)?,
                    $crate::db::Arg::Int(number) => bound.add(number)?,
                    $crate::db::Arg::Text(text) => bound.add(text)?,
                    $crate::db::Arg::Bytes(bytes) => bound.add(bytes)?,
                }
            }
            Ok(bound)
        }
    };
}

pub(crate) use {bind_arguments, statements};
