//! Taking a log-in role back. Every step can be done again; the last one confirms.

use std::time::Duration;

use procura_core::ids::Handle;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::types::Oid};

use crate::{
    access::Login,
    fault::Fault,
    quote::{ident, literal},
};

/// How often the whole is tried while others change the same rows of the catalogues, or undo the same role.
const ATTEMPTS: u32 = 5;
/// Looks at the sessions before giving up until the next call; with [`LOOK`] about 5 s.
const LOOKS: u32 = 100;
/// Time between two looks. A log-in that was let in just before NOLOGIN shows itself within it.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn undo(login: Login, handle: &Handle) -> Result<(), Fault> {
    let mut attempt = 1;
    loop {
        match undo_once(&login, handle).await {
            Err(fault) if (fault.may_pass() || fault.is_absence()) && attempt < ATTEMPTS => {
                login.pause(Duration::from_millis(20) * attempt).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn undo_once(login: &Login, handle: &Handle) -> Result<(), Fault> {
    let mut connection = login.acquire().await?;
    let connection = &mut *connection;
    if let Some(role) = find(connection, handle).await? {
        close_door(connection, handle).await?;
        end_sessions(login, connection, role).await?;
        failpoint!("postgres-undo-half");
        roll_back_prepared(login, connection, handle).await?;
        for database in databases(connection, role).await? {
            clear(&mut login.connect_to(&database).await?, handle, role).await?;
        }
    }
    drop_role(connection, handle).await?;
    match find(connection, handle).await? {
        None => Ok(()),
        Some(_) => Err(Fault::Other(format!("role {handle} is still there"))),
    }
}

async fn find(connection: &mut PgConnection, handle: &Handle) -> Result<Option<Oid>, Fault> {
    let found = sqlx::query_scalar("SELECT oid FROM pg_roles WHERE rolname = $1");
    Ok(found.bind(handle.as_str()).fetch_optional(connection).await?)
}

/// No new session, also not with the password that a session may have set itself.
async fn close_door(connection: &mut PgConnection, handle: &Handle) -> Result<(), Fault> {
    let statement = format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", ident(handle.as_str()));
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    Ok(())
}

/// Ends sessions until two looks in a row find none.
async fn end_sessions(login: &Login, connection: &mut PgConnection, role: Oid) -> Result<(), Fault> {
    let mut found_none = false;
    for _ in 0..LOOKS {
        let ended: i64 =
            sqlx::query_scalar("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usesysid = $1")
                .bind(role)
                .fetch_one(&mut *connection)
                .await?;
        match (ended, found_none) {
            (0, true) => return Ok(()),
            (0, false) => found_none = true,
            _ => found_none = false,
        }
        login.pause(LOOK).await;
    }
    Err(Fault::Other("its sessions do not end".to_owned()))
}

/// Prepared transactions can be ended by their owner only, in the database they belong to.
async fn roll_back_prepared(login: &Login, connection: &mut PgConnection, handle: &Handle) -> Result<(), Fault> {
    let prepared: Vec<(String, String)> =
        sqlx::query_as("SELECT gid, database::text FROM pg_prepared_xacts WHERE owner = $1::text::name")
            .bind(handle.as_str())
            .fetch_all(connection)
            .await?;
    for (gid, database) in prepared {
        let mut there = login.connect_to(&database).await?;
        for statement in [
            format!("SET ROLE {}", ident(handle.as_str())),
            format!("ROLLBACK PREPARED {}", literal(&gid)),
        ] {
            there.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
        }
        there.close().await?;
    }
    Ok(())
}

/// Databases in which the role owns something or is named in a privilege.
async fn databases(connection: &mut PgConnection, role: Oid) -> Result<Vec<String>, Fault> {
    let names = sqlx::query_scalar(
        "SELECT DISTINCT coalesce(d.datname, current_database())::text
         FROM pg_shdepend AS s LEFT JOIN pg_database AS d ON d.oid = s.dbid
         WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1
         ORDER BY 1",
    );
    Ok(names.bind(role).fetch_all(connection).await?)
}

/// Drops what is code or could call it; tables and what else holds data go to `procura_left`. The role's
/// memberships are still there: through them the administrator may look into the schemas.
async fn clear(connection: &mut PgConnection, handle: &Handle, role: Oid) -> Result<(), Fault> {
    let mut transaction = connection.begin().await?;
    let dropped: Vec<String> = sqlx::query_scalar(
        "SELECT format('DROP %s IF EXISTS %s CASCADE',
                       CASE o.type WHEN 'function' THEN 'ROUTINE' WHEN 'procedure' THEN 'ROUTINE' WHEN 'aggregate' THEN 'ROUTINE'
                                   WHEN 'statistics object' THEN 'STATISTICS' ELSE replace(o.type, '-', ' ') END,
                       o.identity)
         FROM pg_shdepend AS s, pg_identify_object(s.classid, s.objid, s.objsubid) AS o
         WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND s.deptype = 'o'
           AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND s.classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass,
                                 'pg_largeobject'::regclass, 'pg_default_acl'::regclass,
                                 'pg_user_mapping'::regclass)
         ORDER BY s.classid <> 'pg_extension'::regclass, s.classid <> 'pg_proc'::regclass, s.objid",
    )
    .bind(role)
    .fetch_all(&mut *transaction)
    .await?;
    let role = ident(handle.as_str());
    let hand_over = [
        format!("REASSIGN OWNED BY {role} TO procura_left"),
        format!("DROP OWNED BY {role}"),
    ];
    for statement in dropped.into_iter().chain(hand_over) {
        transaction.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The row and the role; its memberships go with it.
async fn drop_role(connection: &mut PgConnection, handle: &Handle) -> Result<(), Fault> {
    let mut transaction = connection.begin().await?;
    sqlx::query("DELETE FROM procura.session WHERE role = $1::text::name")
        .bind(handle.as_str())
        .execute(&mut *transaction)
        .await?;
    let statement = format!("DROP ROLE IF EXISTS {}", ident(handle.as_str()));
    transaction.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    transaction.commit().await?;
    Ok(())
}
