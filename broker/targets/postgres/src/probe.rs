//! Whether the target is set up, and whether the group roles that its grants name are safe to give away.

use sqlx::{Connection, PgConnection};

use crate::{access::Login, fault::Fault, settings::Settings};

const ADMINISTRATOR: &str = include_str!("probe/administrator.sql");
const GROUPS: &str = include_str!("probe/groups.sql");
const DATABASE: &str = include_str!("probe/database.sql");

/// Every problem, in words.
pub(crate) async fn problems(login: Login, settings: &Settings) -> Result<Vec<String>, Fault> {
    let groups: Vec<String> = settings.groups.iter().cloned().collect();
    let (mut problems, databases) = {
        let mut connection = login.acquire().await?;
        let mut problems: Vec<String> = sqlx::query_scalar(ADMINISTRATOR).fetch_all(&mut *connection).await?;
        problems.extend(ask(&mut connection, GROUPS, &groups).await?);
        let databases: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database
             WHERE datallowconn AND has_database_privilege(oid, 'CONNECT') ORDER BY 1",
        )
        .fetch_all(&mut *connection)
        .await?;
        (problems, databases)
    };
    for database in databases {
        let mut connection = login.connect_to(&database).await?;
        problems.extend(ask(&mut connection, DATABASE, &groups).await?);
        connection.close().await?;
    }
    Ok(problems)
}

async fn ask(connection: &mut PgConnection, question: &'static str, groups: &[String]) -> Result<Vec<String>, Fault> {
    Ok(sqlx::query_scalar(question).bind(groups).fetch_all(connection).await?)
}
