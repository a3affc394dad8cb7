//! The probe names what is missing and what is unsafe. One test per server, since what PUBLIC may do anywhere counts.

use crate::bed::{Bed, Version, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_names_every_problem_on_15() {
    let bed = Bed::alone(Version::Fifteen, &[]).await;
    every_problem_is_named(&bed).await;
    refused(
        &bed,
        "GRANT CREATE ON SCHEMA public TO reader",
        "REVOKE CREATE ON SCHEMA public FROM reader",
        "schema public",
    )
    .await;
    refused(
        &bed,
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "schema public",
    )
    .await;
    let database = &bed.database;
    refused(
        &bed,
        &format!("GRANT CREATE ON DATABASE {database} TO reader"),
        &format!("REVOKE CREATE ON DATABASE {database} FROM reader"),
        "may create schemas",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_names_every_problem_on_newer() {
    let bed = Bed::alone(Version::Newer, &[]).await;
    every_problem_is_named(&bed).await;
    let us = &bed.administrator;
    refused(
        &bed,
        &format!("REVOKE reader FROM {us}"),
        &format!("GRANT reader TO {us} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"),
        "ADMIN OPTION on reader",
    )
    .await;
    refused(
        &bed,
        &format!("GRANT procura_left TO {us} WITH SET FALSE GRANTED BY app_owner"),
        &format!("GRANT procura_left TO {us} WITH SET TRUE GRANTED BY app_owner"),
        "no member of procura_left",
    )
    .await;
    let database = &bed.database;
    accepted(&bed, &format!("GRANT CREATE ON DATABASE {database} TO reader")).await;
}

async fn every_problem_is_named(bed: &Bed) {
    bed.group("reader").await;
    attributes_of_groups(bed).await;
    rights_of_groups(bed).await;
    roles_of_groups(bed).await;
    the_administrator(bed).await;
    what_setup_made(bed).await;
}

async fn attributes_of_groups(bed: &Bed) {
    accepted(
        bed,
        "CREATE ROLE inner_role NOLOGIN; CREATE ROLE outer_role NOLOGIN; GRANT inner_role TO outer_role;
         GRANT outer_role TO reader; CREATE TABLE shared (a int); GRANT SELECT, INSERT ON shared TO inner_role",
    )
    .await;
    // Each through two memberships.
    for (attribute, problem) in [
        ("SUPERUSER", "through inner_role it is a superuser"),
        ("CREATEROLE", "may create roles"),
        ("CREATEDB", "may create databases"),
        ("REPLICATION", "may replicate"),
        ("BYPASSRLS", "bypasses row security"),
        ("LOGIN", "may log in"),
    ] {
        let (set, unset) = (
            format!("ALTER ROLE inner_role {attribute}"),
            format!("ALTER ROLE inner_role NO{attribute}"),
        );
        refused(bed, &set, &unset, problem).await;
    }
}

async fn rights_of_groups(bed: &Bed) {
    refused(
        bed,
        "ALTER TABLE shared OWNER TO inner_role",
        "ALTER TABLE shared OWNER TO postgres",
        "owns tables",
    )
    .await;
    for holder in ["inner_role", "PUBLIC"] {
        let (set, unset) = (
            format!("GRANT TRIGGER ON shared TO {holder}"),
            format!("REVOKE TRIGGER ON shared FROM {holder}"),
        );
        refused(bed, &set, &unset, "may create triggers on public.shared").await;
    }
    refused(
        bed,
        "GRANT SELECT ON shared TO inner_role WITH GRANT OPTION",
        "REVOKE GRANT OPTION FOR SELECT ON shared FROM inner_role",
        "may grant rights to others on public.shared",
    )
    .await;
    refused(
        bed,
        "GRANT UPDATE ON procura.session TO PUBLIC",
        "REVOKE UPDATE ON procura.session FROM PUBLIC",
        "may touch procura.session",
    )
    .await;
}

async fn roles_of_groups(bed: &Bed) {
    for role in ["pg_write_all_data", "pg_execute_server_program"] {
        refused(
            bed,
            &format!("GRANT {role} TO inner_role"),
            &format!("REVOKE {role} FROM inner_role"),
            "predefined role",
        )
        .await;
    }
    refused(
        bed,
        "CREATE ROLE handed; GRANT handed TO inner_role WITH ADMIN OPTION",
        "REVOKE handed FROM inner_role",
        "may grant a role to others",
    )
    .await;
    refused(
        bed,
        "GRANT procura_left TO inner_role",
        "REVOKE procura_left FROM inner_role",
        "broker's own powers",
    )
    .await;
    refused(
        bed,
        "ALTER ROLE reader RENAME TO reader2",
        "ALTER ROLE reader2 RENAME TO reader",
        "group role reader does not exist",
    )
    .await;
}

async fn the_administrator(bed: &Bed) {
    let us = &bed.administrator;
    refused(
        bed,
        &format!("ALTER ROLE {us} SUPERUSER"),
        &format!("ALTER ROLE {us} NOSUPERUSER"),
        "administrator is a superuser",
    )
    .await;
    refused(
        bed,
        &format!("ALTER ROLE {us} NOCREATEROLE"),
        &format!("ALTER ROLE {us} CREATEROLE"),
        "lacks CREATEROLE",
    )
    .await;
    refused(
        bed,
        &format!("ALTER ROLE {us} NOINHERIT"),
        &format!("ALTER ROLE {us} INHERIT"),
        "NOINHERIT",
    )
    .await;
    refused(
        bed,
        &format!("REVOKE DELETE ON procura.session FROM {us}"),
        &format!("GRANT DELETE ON procura.session TO {us}"),
        "lacks SELECT, INSERT or DELETE",
    )
    .await;
}

async fn what_setup_made(bed: &Bed) {
    let us = &bed.administrator;
    refused(
        bed,
        &format!("ALTER TABLE procura.session OWNER TO {us}"),
        &format!(
            "ALTER TABLE procura.session OWNER TO app_owner; GRANT SELECT, INSERT, DELETE ON procura.session TO {us}"
        ),
        "administrator owns",
    )
    .await;
    refused(
        bed,
        "ALTER FUNCTION procura.claim(text) SECURITY INVOKER",
        "ALTER FUNCTION procura.claim(text) SECURITY DEFINER",
        "not the function of setup.sql",
    )
    .await;
    refused(
        bed,
        "ALTER SCHEMA procura RENAME TO hidden",
        "ALTER SCHEMA hidden RENAME TO procura",
        "run setup.sql",
    )
    .await;
    refused(
        bed,
        "CREATE DATABASE closed; REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
        "GRANT CONNECT ON DATABASE closed TO PUBLIC",
        "lacks CONNECT on database closed",
    )
    .await;
}

async fn refused(bed: &Bed, set: &str, unset: &str, problem: &str) {
    run_each(bed, set).await;
    let refusal = bed.minter(&bed.target(&["reader"])).probe().await.expect_err(set);
    assert!(refusal.to_string().contains(problem), "after {set}: {refusal}");
    accepted(bed, unset).await;
}

async fn accepted(bed: &Bed, statements: &str) {
    run_each(bed, statements).await;
    let probed = bed.minter(&bed.target(&["reader"])).probe().await;
    assert!(probed.is_ok(), "after {statements}: {probed:?}");
}

/// One by one, since CREATE DATABASE runs in no transaction.
async fn run_each(bed: &Bed, statements: &str) {
    let mut dba = bed.superuser(&bed.database).await;
    for statement in statements.split(';') {
        run(&mut dba, statement).await;
    }
}
