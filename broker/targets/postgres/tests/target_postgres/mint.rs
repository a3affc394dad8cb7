//! What a minted log-in can do, and what is left of a mint that fails.

use std::time::Duration;

use futures_util::future::join_all;
use procura_core::{
    Timestamp,
    kind::{MintError, Undoable},
};
use procura_target_postgres::{DEMO_SQL, KIND};
use procura_wire::{PostgresCredential, Secret};

use crate::{
    bed::{Bed, ask, attempt, log_in, run},
    on_both,
    order::BUDGET,
};

on_both! {
    a_session_sees_its_own_rows_whatever_it_sets,
    claims_say_whom_the_role_was_made_for,
    what_is_reported_is_what_the_server_has,
    what_else_the_server_gave_is_reported_too,
    a_role_with_attributes_is_never_committed,
    connections_are_limited,
    attack_125_names_of_groups_and_users_stay_names,
    a_mint_past_the_deadline_leaves_nothing,
    a_group_that_is_not_there_leaves_nothing,
    sixteen_mints_and_undos_at_once_all_succeed,
    the_password_is_in_no_log_and_no_view,
}

#[expect(clippy::disallowed_methods, reason = "tests look inside")]
fn document(value: &Secret) -> (PostgresCredential, String) {
    let text = value.expose().to_owned();
    (serde_json::from_str(&text).expect("a document"), text)
}

async fn a_session_sees_its_own_rows_whatever_it_sets(bed: &Bed) {
    bed.as_owner(DEMO_SQL).await;
    let target = bed.target(&["support_reader"]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut alice = log_in(&minted.value).await.expect("log-in");
    let own = "SELECT string_agg(DISTINCT owner, ',') || count(*)::text FROM support.tickets";
    assert_eq!(ask::<String>(&mut alice, own).await, "dev/alice2");
    let settings = [
        "SET search_path = pg_temp, support",
        "SET application_name = 'dev/bob'",
        "SET procura.subject = 'dev/bob'",
        "SET procura.administrator = 'dev/bob'",
        "SET ROLE support_reader",
        "SET ROLE app_owner",
        "SET SESSION AUTHORIZATION postgres",
        "SET SESSION AUTHORIZATION app_owner",
        "SET session_replication_role = replica",
        "SET TimeZone = 'Pacific/Kiritimati'",
        "CREATE FUNCTION pg_temp.claim(text) RETURNS text LANGUAGE sql AS $$ SELECT 'dev/bob'::text $$",
        "CREATE TEMP TABLE session (role name, subject text)",
        "CREATE TEMP VIEW tickets AS SELECT * FROM support.tickets",
        "CREATE SCHEMA mine",
        "UPDATE procura.session SET subject = 'dev/bob'",
        "DELETE FROM procura.session",
        "ALTER TABLE support.tickets DISABLE ROW LEVEL SECURITY",
        "CREATE OR REPLACE FUNCTION procura.claim(what text) RETURNS text LANGUAGE sql AS $$ SELECT 'dev/bob'::text $$",
        "ALTER ROLE CURRENT_USER SET search_path = pg_temp",
        "ALTER ROLE CURRENT_USER CREATEROLE",
        "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
        "ALTER ROLE CURRENT_USER CONNECTION LIMIT 100",
        "ALTER ROLE CURRENT_USER RENAME TO dev_bob",
    ];
    for setting in settings {
        let _ = attempt(&mut alice, setting).await;
        assert_eq!(ask::<String>(&mut alice, own).await, "dev/alice2", "after {setting}");
    }
    run(&mut alice, "SET row_security = off").await;
    let all = attempt(&mut alice, "SELECT * FROM support.tickets").await;
    assert!(all.is_err(), "row security cannot be put off");
    assert!(attempt(&mut alice, "SELECT * FROM procura.session").await.is_err());
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}

async fn claims_say_whom_the_role_was_made_for(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut alice = log_in(&minted.value).await.expect("log-in");
    let claims = "SELECT string_agg(coalesce(procura.claim(what), '-'), ' ')
        FROM unnest(ARRAY['subject', 'subject_kind', 'actor', 'server', 'session', 'issuance', 'param:team',
                          'param:other', 'unknown']) AS what";
    let expected = format!(
        "dev/alice user dev/bot tickets {} {} blue - -",
        asked.session, asked.issuance
    );
    assert_eq!(ask::<String>(&mut alice, claims).await, expected);
    let mut dba = bed.superuser(&bed.database).await;
    let none = "SELECT count(procura.claim(what)) FROM unnest(ARRAY['subject', 'actor', 'param:team']) AS what";
    assert_eq!(
        ask::<i64>(&mut dba, none).await,
        0,
        "a role without a row has no claims"
    );
    run(
        &mut dba,
        "UPDATE procura.session SET until = now() - interval '1 second'",
    )
    .await;
    let after = "SELECT procura.claim('subject') IS NULL";
    assert!(ask::<bool>(&mut alice, after).await, "no claim outlives its credential");
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}

async fn what_is_reported_is_what_the_server_has(bed: &Bed) {
    let groups = [format!("{}_a", bed.database), format!("{}_b", bed.database)];
    for group in &groups {
        bed.group(group).await;
    }
    let target = bed.target(&[&groups[0], &groups[1]]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    assert_eq!(minted.rights, (KIND.rights)(&target, &asked.plan));
    assert!(minted.end <= asked.plan.end && asked.plan.end < minted.end + Duration::from_micros(1));
    assert_eq!(minted.source_version.as_deref(), Some("1"));
    assert_eq!(
        serde_json::to_string(&minted.details).expect("json"),
        r#"{"team":"blue"}"#
    );
    let (credential, text) = document(&minted.value);
    assert_eq!((credential.version, credential.port), (1, bed.cluster.port));
    assert_eq!(credential.user, asked.handle.as_str());
    assert!(text.contains("\"sslmode\":\"disable\"") && credential.expiration == minted.end.to_string());
    let mut dba = bed.superuser(&bed.database).await;
    let kept: String = ask(
        &mut dba,
        &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", asked.handle),
    )
    .await;
    assert!(kept.starts_with("SCRAM-SHA-256$4096:"), "{kept}");
    if bed.version == crate::bed::Version::Newer {
        let mut session = log_in(&minted.value).await.expect("log-in");
        assert!(
            attempt(&mut session, &format!("SET ROLE {}", groups[0])).await.is_err(),
            "members cannot become the group"
        );
    }
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}

/// Makes the server change each new role behind the mint's back.
async fn tamper(bed: &Bed, change: &str) {
    let mut dba = bed.superuser(&bed.database).await;
    let trigger = format!(
        "CREATE OR REPLACE FUNCTION public.tamper() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
             $f$ BEGIN EXECUTE format('{change}', NEW.role); RETURN NEW; END $f$;
         CREATE OR REPLACE TRIGGER tamper BEFORE INSERT ON procura.session
             FOR EACH ROW EXECUTE FUNCTION public.tamper()"
    );
    run(&mut dba, &trigger).await;
}

async fn what_else_the_server_gave_is_reported_too(bed: &Bed) {
    let (group, extra) = (format!("{}_reader", bed.database), format!("{}_extra", bed.database));
    bed.group(&group).await;
    bed.group(&extra).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    for change in [
        format!("GRANT {extra} TO %I"),
        "ALTER ROLE %I CONNECTION LIMIT 50".to_owned(),
        "ALTER ROLE %I CONNECTION LIMIT -1".to_owned(),
    ] {
        tamper(bed, &change).await;
        let asked = bed.ask(&target, "alice");
        let outcome = asked.mint(&*minter).await;
        match outcome {
            Ok(minted) => assert!(
                !minted.rights.within(&(KIND.rights)(&target, &asked.plan)),
                "after {change}"
            ),
            // From 16 on a membership that allows SET ROLE is refused here already.
            Err(error) => assert!(
                error.to_string().contains("more than any grant"),
                "after {change}: {error}"
            ),
        }
        minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
    }
    tamper(bed, "ALTER ROLE %I VALID UNTIL ''2999-01-01''").await;
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    assert!(minted.end > asked.plan.end, "a later end is reported");
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}

async fn a_role_with_attributes_is_never_committed(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    for attribute in ["SUPERUSER", "CREATEDB", "CREATEROLE", "BYPASSRLS", "REPLICATION"] {
        tamper(bed, &format!("ALTER ROLE %I {attribute}")).await;
        let asked = bed.ask(&target, "alice");
        let outcome = asked.mint(&*minter).await;
        // The server itself lets nobody but a superuser touch a superuser.
        assert!(
            matches!(&outcome, Err(MintError::Failed(_))),
            "{attribute}: {outcome:?}"
        );
        assert!(bed.is_gone(asked.handle.as_str()).await, "{attribute}");
    }
}

async fn connections_are_limited(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = crate::order::target(bed.cluster.port, &bed.database, &[&group], 1);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let _first = log_in(&minted.value).await.expect("log-in");
    assert!(log_in(&minted.value).await.is_err());
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}

async fn attack_125_names_of_groups_and_users_stay_names(bed: &Bed) {
    let group = format!(r#"{} "; DROP TABLE x; -- '"#, bed.database);
    bed.group(&format!("\"{}\"", group.replace('"', "\"\""))).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let user = "admin'--\n$$ \\ %2f/..";
    let asked = bed.ask(&target, user);
    let minted = asked.mint(&*minter).await.expect("minted");
    assert_eq!(minted.rights, (KIND.rights)(&target, &asked.plan));
    let mut session = log_in(&minted.value).await.expect("log-in");
    assert_eq!(
        ask::<String>(&mut session, "SELECT procura.claim('subject')").await,
        format!("dev/{user}")
    );
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}

async fn a_mint_past_the_deadline_leaves_nothing(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let deadline = minter.prepare(BUDGET).await;
    let deadline = deadline.expect("prepared").expect("external");
    let outcome = asked.mint_until(&*minter, deadline - BUDGET).await;
    assert!(
        matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("deadline")),
        "{outcome:?}"
    );
    assert!(bed.is_gone(asked.handle.as_str()).await);
    let again = asked.mint_until(&*minter, Timestamp::MAX).await;
    assert!(again.is_ok(), "the connection is fit for the next: {again:?}");
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}

async fn a_group_that_is_not_there_leaves_nothing(bed: &Bed) {
    let target = bed.target(&["no_such_group"]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let outcome = asked.mint(&*minter).await;
    assert!(matches!(&outcome, Err(MintError::Failed(_))), "{outcome:?}");
    assert!(bed.is_gone(asked.handle.as_str()).await);
}

async fn sixteen_mints_and_undos_at_once_all_succeed(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let one = async |user: usize| {
        for _ in 0..5 {
            let asked = bed.ask(&target, &format!("user{user}"));
            let minted = asked.mint(&*minter).await.expect("minted");
            if user.is_multiple_of(4) {
                let mut session = log_in(&minted.value).await.expect("log-in");
                run(&mut session, "CREATE TEMP TABLE t (a int)").await;
            }
            minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
            assert!(bed.is_gone(asked.handle.as_str()).await);
        }
    };
    join_all((0..16).map(one)).await;
}

async fn the_password_is_in_no_log_and_no_view(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let minter = bed.minter(&target);
    let asked = bed.ask(&target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut session = log_in(&minted.value).await.expect("log-in");
    run(&mut session, "SELECT 1").await;
    let (credential, _) = document(&minted.value);
    let mut dba = bed.superuser(&bed.database).await;
    let activity: String = ask(&mut dba, "SELECT string_agg(query, ' ') FROM pg_stat_activity").await;
    let seen = bed.cluster.log() + &activity;
    assert!(
        seen.contains(&format!("CREATE ROLE \"{}\"", asked.handle)),
        "statements are logged"
    );
    #[expect(clippy::disallowed_methods, reason = "looked for where it must not be")]
    let password = credential.password.expose();
    assert!(!seen.contains(password), "the clear password was seen");
    assert!(!format!("{minted:?}").contains(password));
    minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
}
