//! Making a log-in role: one transaction, read back before it ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use procura_core::{
    Timestamp,
    kind::{MintOrder, Rights},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{
    fault::Fault,
    quote::{ident, literal},
    scram,
};

/// The first version in which a membership says what it gives.
pub(crate) const MEMBERSHIP_OPTIONS: u32 = 160_000;

/// What to make.
pub(crate) struct Making<'a> {
    pub(crate) order: MintOrder<'a>,
    pub(crate) groups: BTreeSet<String>,
    pub(crate) connections: i64,
    pub(crate) verifier: &'a str,
    /// The plan's end in the server's resolution, rounded down.
    pub(crate) end: Timestamp,
    pub(crate) deadline: Timestamp,
    /// Set when COMMIT is sent: from then on nobody knows until the server answers.
    pub(crate) committing: AtomicBool,
}

/// What was made, as the server tells.
pub(crate) struct Made {
    pub(crate) rights: Rights,
    pub(crate) end: Timestamp,
}

/// Makes the role, its memberships and its row, unless it is past the deadline by the server's clock.
pub(crate) async fn mint(connection: &mut PgConnection, making: &Making<'_>) -> Result<Made, Fault> {
    if !scram::is_verifier(making.verifier) {
        return Err(Fault::Other("the password's verifier is malformed".to_owned()));
    }
    let options = connection.server_version_num() >= Some(MEMBERSHIP_OPTIONS);
    let role = making.order.handle.as_str();
    let mut transaction = connection.begin().await?;
    // Simple protocol: a prepared statement would keep the verifier.
    transaction
        .execute(sqlx::raw_sql(AssertSqlSafe(create(making))))
        .await?;
    write_row(&mut transaction, making).await?;
    // Last, since a grant locks the group for all other mints until COMMIT.
    transaction
        .execute(sqlx::raw_sql(AssertSqlSafe(memberships(role, &making.groups, options))))
        .await?;
    let made = read_back(&mut transaction, role).await?;
    transaction
        .execute(sqlx::raw_sql(AssertSqlSafe(not_after(making.deadline))))
        .await?;
    failpoint!("postgres-before-commit");
    making.committing.store(true, Ordering::Relaxed);
    transaction.commit().await?;
    failpoint!("postgres-after-commit");
    Ok(made)
}

fn create(making: &Making<'_>) -> String {
    format!(
        "CREATE ROLE {} LOGIN INHERIT CONNECTION LIMIT {} PASSWORD {} VALID UNTIL {}",
        ident(making.order.handle.as_str()),
        making.connections,
        literal(making.verifier),
        literal(&making.end.to_string()),
    )
}

pub(crate) fn memberships(role: &str, groups: &BTreeSet<String>, options: bool) -> String {
    let (to_us, to_it) = match options {
        true => (" WITH INHERIT TRUE, SET TRUE", " WITH INHERIT TRUE, SET FALSE"),
        false => ("", ""),
    };
    let role = ident(role);
    let mut statements = format!("GRANT {role} TO CURRENT_USER{to_us}");
    // In the order of their names, so that two mints never wait for each other.
    for group in groups {
        statements += &format!("; GRANT {} TO {role}{to_it}", ident(group));
    }
    statements
}

fn not_after(deadline: Timestamp) -> String {
    format!(
        "DO $$ BEGIN IF clock_timestamp() > timestamptz {} THEN \
         RAISE EXCEPTION 'the deadline of this mint is over'; END IF; END $$",
        literal(&deadline.to_string())
    )
}

async fn write_row(connection: &mut PgConnection, making: &Making<'_>) -> Result<(), Fault> {
    let MintOrder {
        plan, caller, handle, ..
    } = making.order;
    let grants: Vec<String> = plan.grants.iter().map(ToString::to_string).collect();
    let params = serde_json::to_string(&plan.params).map_err(|error| Fault::Other(error.to_string()))?;
    sqlx::query(
        "INSERT INTO procura.session
             (role, issuance, session, subject, subject_kind, actor, server, grants, params, until)
         VALUES
             ($1::text::name, $2::text::uuid, $3::text::uuid, $4, $5, $6, $7, $8, $9::text::jsonb, $10::text::timestamptz)",
    )
    .bind(handle.as_str())
    .bind(making.order.issuance.to_string())
    .bind(making.order.session.to_string())
    .bind(caller.subject.principal.id().to_string())
    .bind(caller.subject.principal.kind())
    .bind(caller.actor.agent.as_ref().map(ToString::to_string))
    .bind(caller.server.name.as_str())
    .bind(grants)
    .bind(params)
    .bind(making.end.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads what the role may do. An attribute that no grant can ask for is an error here already.
async fn read_back(connection: &mut PgConnection, role: &str) -> Result<Made, Fault> {
    let (excess, handed, connections, until, groups): (bool, bool, i32, Option<i64>, Vec<String>) = sqlx::query_as(
        "SELECT r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls,
                EXISTS (SELECT FROM pg_auth_members AS m
                        WHERE m.member = r.oid
                          AND (m.admin_option OR (to_jsonb(m) ->> 'set_option')::boolean)),
                r.rolconnlimit,
                (extract(epoch FROM r.rolvaliduntil) * 1000000)::bigint,
                ARRAY(SELECT g.rolname::text FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid
                      WHERE m.member = r.oid)
         FROM pg_roles AS r
         WHERE r.rolname = $1",
    )
    .bind(role)
    .fetch_one(connection)
    .await?;
    if excess || handed {
        return Err(Fault::Other(
            "the role that was made may do more than any grant".to_owned(),
        ));
    }
    let end = until.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let end = end.ok_or_else(|| Fault::Other("the role that was made has no end".to_owned()))?;
    // -1 is no limit.
    let connections = if connections < 0 { i64::MAX } else { connections.into() };
    Ok(Made {
        rights: Rights {
            sets: BTreeMap::from([("member_of", groups.into_iter().collect())]),
            numbers: BTreeMap::from([("connection_limit", connections)]),
        },
        end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_come_in_one_order_and_quoted() {
        let groups = BTreeSet::from(["b".to_owned(), "A\"; --".to_owned()]);
        assert_eq!(
            memberships("h", &groups, true),
            "GRANT \"h\" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE; \
             GRANT \"A\"\"; --\" TO \"h\" WITH INHERIT TRUE, SET FALSE; \
             GRANT \"b\" TO \"h\" WITH INHERIT TRUE, SET FALSE"
        );
        assert!(!memberships("h", &groups, false).contains("WITH"));
    }
}
