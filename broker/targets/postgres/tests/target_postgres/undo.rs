//! Whatever a session did, an undo leaves nothing of it but the tables that it made.

use std::time::Duration;

use procura_core::ids::Handle;
use procura_core::kind::Undoable;
use sqlx::Connection;

use crate::{
    bed::{Bed, Version, ask, attempt, log_in, run},
    on_both,
};

on_both! {
    undo_ends_what_never_was_and_what_is_gone_already,
    undo_touches_no_role_of_others,
    open_sessions_end_with_their_locks_and_temporary_objects,
    a_session_cannot_come_back_with_a_password_of_its_own,
    tables_stay_behind_and_code_does_not,
    the_inventory_names_only_roles_of_this_installation,
    a_lock_that_others_hold_delays_an_undo_and_no_more,
}

async fn undo_ends_what_never_was_and_what_is_gone_already(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    minter.undo(Undoable::by(&asked.handle)).await.expect("never was");
    asked.mint(&*minter).await.expect("minted");
    let both = futures_util::future::join(
        minter.undo(Undoable::by(&asked.handle)),
        minter.undo(Undoable::by(&asked.handle)),
    )
    .await;
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    minter.undo(Undoable::by(&asked.handle)).await.expect("gone already");
    assert!(bed.is_gone(asked.handle.as_str()).await);
}

async fn undo_touches_no_role_of_others(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let minter = bed.minter(&bed.target(&[&group]));
    for name in [group.as_str(), "postgres", "pother001_0123456789abcdef0123456789abcdef"] {
        assert!(
            minter
                .undo(Undoable::by(&Handle::from_kept(name.to_owned())))
                .await
                .is_err(),
            "{name}"
        );
    }
}

async fn open_sessions_end_with_their_locks_and_temporary_objects(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let mut dba = bed.superuser(&bed.database).await;
    run(
        &mut dba,
        &format!("CREATE TABLE shared (a int); GRANT SELECT, UPDATE ON shared TO {group}"),
    )
    .await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut first = log_in(&minted.value).await.expect("log-in");
    run(&mut first, "BEGIN; LOCK TABLE shared IN ROW EXCLUSIVE MODE").await;
    let mut second = log_in(&minted.value).await.expect("log-in");
    run(
        &mut second,
        "CREATE TEMP TABLE t (a int); CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE TYPE pg_temp.kind AS ENUM ('a'); LISTEN news; SELECT pg_advisory_lock(1)",
    )
    .await;
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
    assert!(bed.is_gone(asked.handle.as_str()).await);
    for session in [&mut first, &mut second] {
        assert!(attempt(session, "SELECT 1").await.is_err());
    }
    assert!(log_in(&minted.value).await.is_err());
    run(
        &mut dba,
        "BEGIN; LOCK TABLE shared IN ACCESS EXCLUSIVE MODE NOWAIT; COMMIT",
    )
    .await;
}

async fn a_session_cannot_come_back_with_a_password_of_its_own(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut session = log_in(&minted.value).await.expect("log-in");
    run(&mut session, "ALTER ROLE CURRENT_USER PASSWORD 'my-own'").await;
    session.close().await.expect("closed");
    let come_back = async {
        loop {
            match bed.log_in(asked.handle.as_str(), "my-own", &bed.database).await {
                Ok(mut session) => while attempt(&mut session, "SELECT pg_sleep(0.001)").await.is_ok() {},
                Err(error)
                    if error
                        .as_database_error()
                        .is_some_and(|e| e.code().as_deref() == Some("28P01")) =>
                {
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    let ((), undone) = futures_util::future::join(come_back, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        minter.undo(Undoable::by(&asked.handle)).await
    })
    .await;
    undone.expect("undone");
    assert!(bed.is_gone(asked.handle.as_str()).await);
}

/// What a session may leave where its group may create: in the target's database and in another.
const LEFT: &str = "
    CREATE TABLE work.data AS SELECT 1 AS a;
    CREATE SEQUENCE work.numbers;
    CREATE VIEW work.seen AS SELECT * FROM work.data;
    CREATE TYPE work.kind AS ENUM ('a', 'b');
    CREATE DOMAIN work.small AS int CHECK (VALUE < 10);
    CREATE FUNCTION work.secret() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
    CREATE FUNCTION work.react() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER react BEFORE INSERT ON work.data FOR EACH ROW EXECUTE FUNCTION work.react();
    CREATE PROCEDURE work.go() LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION work.step(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
    CREATE AGGREGATE work.total(int) (SFUNC = work.step, STYPE = int, INITCOND = '0');
    CREATE OPERATOR work.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = work.step);
    CREATE OPERATOR work.!! (RIGHTARG = int, FUNCTION = int4um);
    CREATE COLLATION work.plain (LOCALE = 'C');
    CREATE STATISTICS work.many ON a, (a + 1) FROM work.data;
    CREATE TEXT SEARCH CONFIGURATION work.words (COPY = simple);
    CREATE SCHEMA left_schema;
    CREATE TABLE left_schema.more (a int DEFAULT work.secret());
    GRANT SELECT ON work.data TO PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA work GRANT SELECT ON TABLES TO PUBLIC;
    SELECT lo_create(0);
";

async fn tables_stay_behind_and_code_does_not(bed: &Bed) {
    let group = format!("{}_maker", bed.database);
    bed.group(&group).await;
    let other = format!("{}_other", bed.database);
    let mut dba = bed.superuser("postgres").await;
    run(&mut dba, &format!("CREATE DATABASE {other} OWNER app_owner")).await;
    for database in [&bed.database, &other] {
        let mut dba = bed.superuser(database).await;
        let rights = format!(
            "CREATE SCHEMA work; GRANT USAGE, CREATE ON SCHEMA work TO {group};
             GRANT CREATE ON DATABASE {database} TO {group}"
        );
        run(&mut dba, &rights).await;
    }
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut session = log_in(&minted.value).await.expect("log-in");
    run(&mut session, "ALTER ROLE CURRENT_USER PASSWORD 'my-own'").await;
    let mut elsewhere = bed
        .log_in(asked.handle.as_str(), "my-own", &other)
        .await
        .expect("log-in");
    run(&mut session, LEFT).await;
    run(&mut elsewhere, LEFT).await;
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
    assert!(bed.is_gone(asked.handle.as_str()).await);
    for database in [&bed.database, &other] {
        let mut dba = bed.superuser(database).await;
        let kept = "SELECT string_agg(DISTINCT c.relname || ' ' || r.rolname, ', ' ORDER BY c.relname || ' ' || r.rolname)
             FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
             WHERE c.relnamespace IN ('work'::regnamespace, 'left_schema'::regnamespace) AND c.relkind IN ('r', 'v', 'S')";
        assert_eq!(
            ask::<String>(&mut dba, kept).await,
            "data procura_left, more procura_left, numbers procura_left, seen procura_left"
        );
        let code = "SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = 'work'::regnamespace)
                         + (SELECT count(*) FROM pg_operator WHERE oprnamespace = 'work'::regnamespace)
                         + (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)
                         + (SELECT count(*) FROM pg_default_acl)";
        assert_eq!(ask::<i64>(&mut dba, code).await, 0);
        assert_eq!(ask::<i32>(&mut dba, "SELECT a FROM work.data").await, 1);
    }
}

async fn the_inventory_names_only_roles_of_this_installation(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let installation = format!("i{:0>7}", bed.database.trim_start_matches("app_"));
    let target = bed.target(&[&group]);
    let minter = bed.minter_of(&target, &installation);
    let asked = crate::order::Asked::new(&target, "alice", &installation);
    asked.mint(&*minter).await.expect("minted");
    let mut dba = bed.superuser(&bed.database).await;
    for like in [
        format!("p{installation}_x"),
        format!("p{installation}x{}", "0".repeat(32)),
        format!("P{}", &asked.handle.as_str()[1..]),
    ] {
        run(&mut dba, &format!("CREATE ROLE \"{like}\"")).await;
    }
    assert_eq!(minter.inventory().await.expect("inventory"), vec![asked.handle.clone()]);
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
    assert_eq!(minter.inventory().await.expect("inventory"), Vec::new());
}

async fn a_lock_that_others_hold_delays_an_undo_and_no_more(bed: &Bed) {
    let group = format!("{}_maker", bed.database);
    bed.group(&group).await;
    let mut dba = bed.superuser(&bed.database).await;
    run(
        &mut dba,
        &format!("CREATE SCHEMA work; GRANT USAGE, CREATE ON SCHEMA work TO {group}"),
    )
    .await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut session = log_in(&minted.value).await.expect("log-in");
    run(&mut session, "CREATE TABLE work.data (a int)").await;
    run(&mut dba, "BEGIN; SELECT * FROM work.data").await;
    assert!(
        minter.undo(Undoable::by(&asked.handle)).await.is_err(),
        "not undone, and it says so"
    );
    assert!(log_in(&minted.value).await.is_err(), "but nobody can use it");
    run(&mut dba, "COMMIT").await;
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
    assert!(bed.is_gone(asked.handle.as_str()).await);
}

async fn prepared_transactions_are_rolled_back(bed: &Bed) {
    let group = format!("{}_writer", bed.database);
    bed.group(&group).await;
    let mut dba = bed.superuser(&bed.database).await;
    run(
        &mut dba,
        &format!("CREATE TABLE shared (a int); GRANT INSERT ON shared TO {group}"),
    )
    .await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut session = log_in(&minted.value).await.expect("log-in");
    run(
        &mut session,
        r"BEGIN; INSERT INTO shared VALUES (1); PREPARE TRANSACTION 'it''s \ mine'",
    )
    .await;
    run(&mut session, "ALTER ROLE CURRENT_USER PASSWORD 'my-own'").await;
    let mut elsewhere = bed
        .log_in(asked.handle.as_str(), "my-own", "postgres")
        .await
        .expect("log-in");
    run(
        &mut elsewhere,
        "BEGIN; SELECT pg_advisory_xact_lock(5); PREPARE TRANSACTION 'other'",
    )
    .await;
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
    assert!(bed.is_gone(asked.handle.as_str()).await);
    assert_eq!(ask::<i64>(&mut dba, "SELECT count(*) FROM shared").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_are_rolled_back_on_15() {
    let bed = Bed::alone(Version::Fifteen, &["max_prepared_transactions=10"]).await;
    prepared_transactions_are_rolled_back(&bed).await;
    let group = format!("{}_writer", bed.database);
    let refused = bed.minter(&bed.target(&[&group])).probe().await.expect_err("refused");
    assert!(refused.to_string().contains("max_prepared_transactions"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_are_rolled_back_on_newer() {
    prepared_transactions_are_rolled_back(&Bed::new(Version::Newer).await).await;
}
