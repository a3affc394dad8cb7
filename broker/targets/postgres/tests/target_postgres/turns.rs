//! Proving a version of the administrator's secret, and two log-ins that take turns.

use std::{sync::Arc, time::Duration};

use futures_util::future::{Either, join_all, select};
use procura_core::{
    catalogue::Target,
    kind::{Minter, ProofError, RotateError, Undoable},
    source::{Source, SourceSecret},
    staged::{Staged, tend},
};
use procura_target_postgres::KIND;
use serde_json::json;

use crate::{
    bed::{Bed, PASSWORD, Version, ask, attempt, log_in, run},
    ports::{RealClock, kind_ports, secret},
};

/// Makes two tests of each function: one on 15, one on the newer version.
macro_rules! with_turns_on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_15 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(super::Turns::new(crate::bed::Version::Fifteen).await).await; })+
        }
        mod on_newer {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(super::Turns::new(crate::bed::Version::Newer).await).await; })+
        }
    };
}

with_turns_on_both! {
    a_version_that_works_is_proved_and_nothing_stays,
    a_version_that_cannot_do_what_a_mint_does_is_refused,
    a_group_that_is_not_there_is_no_fault_of_the_secret,
    the_log_ins_take_turns_and_undo_what_the_other_made,
    a_source_that_another_has_changed_keeps_what_it_has,
    a_password_that_is_not_the_old_one_any_more_is_not_taken_away,
    only_the_other_log_in_is_given_a_password_and_only_by_the_broker,
    a_secret_of_another_role_is_not_rotated,
    no_mint_fails_while_the_log_ins_take_turns,
}

struct Turns {
    bed: Bed,
    target: Target,
    group: String,
}

impl Turns {
    async fn new(version: Version) -> Self {
        let bed = Bed::new(version).await;
        let group = format!("{}_reader", bed.database);
        bed.group(&group).await;
        let (bed, target) = bed.with_turns(&[&group]).await;
        Self { bed, target, group }
    }

    fn minter(&self) -> Arc<dyn Minter> {
        self.bed.minter(&self.target)
    }

    fn login(&self, turn: &str) -> String {
        format!("{}_{turn}", self.bed.administrator)
    }

    fn secret(&self, user: &str, password: &str) -> Arc<SourceSecret> {
        secret(json!({"username": user, "password": password}).to_string(), 99)
    }

    /// Mints, logs in, undoes.
    async fn works(&self, minter: &dyn Minter) {
        let asked = self.bed.ask(&self.target, "alice");
        let minted = asked.mint(minter).await.expect("minted");
        log_in(&minted.value).await.expect("logged in");
        minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
        assert!(self.bed.is_gone(asked.handle.as_str()).await);
    }

    #[expect(clippy::disallowed_methods, reason = "the test logs in with it")]
    async fn logs_in(&self, secret: &SourceSecret) -> bool {
        let fields: serde_json::Value = serde_json::from_str(secret.value.expose()).expect("JSON");
        let text = |name: &str| fields[name].as_str().expect("text").to_owned();
        let (user, password) = (text("username"), text("password"));
        self.bed.log_in(&user, &password, &self.bed.database).await.is_ok()
    }
}

async fn a_version_that_works_is_proved_and_nothing_stays(turns: Turns) {
    // Other tests have roles of their own on the same server.
    let minter = turns.bed.minter_of(&turns.target, "proof001");
    minter.probe().await.expect("set up well");
    minter.prove(turns.bed.source.held()).await.expect("proved");
    assert_eq!(minter.inventory().await.expect("inventory"), []);
    let mut dba = turns.bed.superuser(&turns.bed.database).await;
    let rows: i64 = ask(&mut dba, "SELECT count(*) FROM procura.session").await;
    assert_eq!(rows, 0);
    turns.works(&*turns.minter()).await;
}

async fn a_version_that_cannot_do_what_a_mint_does_is_refused(turns: Turns) {
    let minter = turns.minter();
    let (a, other) = (turns.login("a"), format!("{}_other", turns.bed.administrator));
    let mut dba = turns.bed.superuser(&turns.bed.database).await;
    run(&mut dba, &format!("CREATE ROLE {other} LOGIN PASSWORD 'other'")).await;
    for (what, bad) in [
        ("a wrong password", turns.secret(&a, "wrong")),
        ("a role that may not take set_role", turns.secret(&other, "other")),
        ("no password", secret("{}".to_owned(), 99)),
    ] {
        let proof = minter.prove(bad).await;
        assert!(matches!(proof, Err(ProofError::Refused(_))), "{what}: {proof:?}");
    }
    let role = &turns.bed.administrator;
    run(&mut dba, &format!("REVOKE INSERT ON procura.session FROM {role}")).await;
    let proof = minter.prove(turns.bed.source.held()).await;
    assert!(
        matches!(&proof, Err(ProofError::Refused(text)) if text.contains("session")),
        "{proof:?}"
    );
    run(
        &mut dba,
        &format!("GRANT INSERT ON procura.session TO {role}; ALTER ROLE {role} NOCREATEROLE"),
    )
    .await;
    let proof = minter.prove(turns.bed.source.held()).await;
    assert!(
        matches!(&proof, Err(ProofError::Refused(text)) if text.contains("role")),
        "{proof:?}"
    );
}

async fn a_group_that_is_not_there_is_no_fault_of_the_secret(turns: Turns) {
    let mut target = turns.target.clone();
    target.grants = turns.bed.target(&[&turns.group, "not_made_yet"]).grants;
    turns
        .bed
        .minter(&target)
        .prove(turns.bed.source.held())
        .await
        .expect("proved");
}

async fn the_log_ins_take_turns_and_undo_what_the_other_made(turns: Turns) {
    let minter = turns.minter();
    let first = turns.bed.source.held();
    let asked = turns.bed.ask(&turns.target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut session = log_in(&minted.value).await.expect("logged in");
    run(&mut session, "CREATE TEMP TABLE t ()").await;
    let rotated = minter.rotate().await.expect("rotated");
    assert_eq!(rotated.version.as_deref(), Some("2"));
    let second = turns.bed.source.held();
    assert!(turns.logs_in(&first).await && turns.logs_in(&second).await, "both work");
    #[expect(clippy::disallowed_methods, reason = "what else the source keeps stays")]
    let kept = second.value.expose().contains("the DBA's") && second.value.expose().contains(&turns.login("b"));
    assert!(kept);
    minter
        .undo(Undoable::by(&asked.handle))
        .await
        .expect("undone by the other");
    assert!(turns.bed.is_gone(asked.handle.as_str()).await);
    turns.works(&*minter).await;
    for _ in 0..2 {
        minter
            .retire(Arc::clone(&first), Arc::clone(&second))
            .await
            .expect("retired");
        assert!(!turns.logs_in(&first).await && turns.logs_in(&second).await);
    }
    assert_eq!(minter.rotate().await.expect("rotated").version.as_deref(), Some("3"));
    assert!(!turns.logs_in(&first).await, "its password is a new one");
    assert!(turns.logs_in(&turns.bed.source.held()).await && turns.logs_in(&second).await);
    turns.works(&*minter).await;
}

async fn a_source_that_another_has_changed_keeps_what_it_has(turns: Turns) {
    let minter = turns.minter();
    let first = turns.bed.source.held();
    // The broker has not seen it yet.
    turns.bed.source.rotate(PASSWORD);
    let held = turns.bed.source.held().version.clone();
    let rotated = minter.rotate().await;
    assert!(
        matches!(&rotated, Err(RotateError::Failed(text)) if text.contains("version")),
        "{rotated:?}"
    );
    assert_eq!(turns.bed.source.held().version, held);
    assert!(turns.logs_in(&first).await);
    turns.works(&*minter).await;
}

async fn a_password_that_is_not_the_old_one_any_more_is_not_taken_away(turns: Turns) {
    let minter = turns.minter();
    let first = turns.bed.source.held();
    minter.rotate().await.expect("rotated");
    let second = turns.bed.source.held();
    minter.rotate().await.expect("rotated again");
    // A replica that has slept through the second rotation.
    let stale = minter.retire(Arc::clone(&first), second).await;
    assert!(matches!(stale, Err(ProofError::Failed(_))), "{stale:?}");
    assert!(turns.logs_in(&turns.bed.source.held()).await);
    minter
        .retire(first, turns.bed.source.held())
        .await
        .expect("nothing to do");
    assert!(turns.logs_in(&turns.bed.source.held()).await);
}

async fn only_the_other_log_in_is_given_a_password_and_only_by_the_broker(turns: Turns) {
    let bed = &turns.bed;
    let (a, b, role) = (turns.login("a"), turns.login("b"), &bed.administrator);
    let verifier = "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA";
    let mut us = bed.log_in(&a, PASSWORD, &bed.database).await.expect("logged in");
    run(&mut us, &format!("SET ROLE {role}")).await;
    let set = |login: &str, verifier: &str| format!("SELECT procura.set_login('{login}', '{verifier}')");
    for (login, verifier) in [
        (&*a, verifier),
        (&**role, verifier),
        ("app_owner", verifier),
        ("postgres", verifier),
        (&*b, "plain"),
        (&*b, "md5d41d8cd98f00b204e9800998ecf8427e"),
        (&*b, ""),
    ] {
        assert!(
            attempt(&mut us, &set(login, verifier)).await.is_err(),
            "{login}, {verifier}"
        );
    }
    run(&mut us, &set(&b, verifier)).await;
    let minter = turns.minter();
    let asked = bed.ask(&turns.target, "alice");
    let minted = asked.mint(&*minter).await.expect("minted");
    let mut session = log_in(&minted.value).await.expect("logged in");
    assert!(attempt(&mut session, &set(&b, verifier)).await.is_err(), "a session");
}

async fn a_secret_of_another_role_is_not_rotated(turns: Turns) {
    turns
        .bed
        .source
        .put(&json!({"username": "somebody", "password": "x"}).to_string());
    turns.bed.source.refetch().await.expect("seen");
    let rotated = turns.minter().rotate().await;
    assert!(
        matches!(&rotated, Err(RotateError::Failed(text)) if text.contains("somebody")),
        "{rotated:?}"
    );
    let plain = turns.bed.minter(&turns.bed.target(&[&turns.group]));
    assert_eq!(plain.rotate().await, Err(RotateError::Unable));
}

async fn no_mint_fails_while_the_log_ins_take_turns(turns: Turns) {
    let clock = Arc::new(RealClock::new());
    let staged = Staged::new("db".parse().expect("name"), turns.bed.source.clone() as _, clock as _);
    let staged = Arc::new(staged);
    let ports = kind_ports(staged.clone() as _, "test0001");
    let minter = (KIND.open)(&"db".parse().expect("name"), &turns.target, ports).expect("opened");
    let rotate = async {
        loop {
            minter.rotate().await.expect("rotated");
            let newest = turns.bed.source.held().version.clone();
            while staged.stage().active.as_ref() != Some(&newest) {
                staged.current().await.expect("seen");
                tend(&staged, &*minter).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let call = async |user: usize| {
        let mut versions = Vec::new();
        for _ in 0..4 {
            let asked = turns.bed.ask(&turns.target, &format!("user{user}"));
            let minted = asked.mint(&*minter).await.expect("minted through the rotation");
            versions.push(minted.source_version.expect("a version"));
            minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
        }
        versions
    };
    let mut versions = match select(Box::pin(join_all((0..32).map(call))), Box::pin(rotate)).await {
        Either::Left((versions, _)) => versions.concat(),
        Either::Right(((), _)) => unreachable!("it rotates on and on"),
    };
    versions.sort();
    versions.dedup();
    assert!(versions.len() > 2, "{versions:?}");
}

#[tokio::test]
async fn a_server_that_is_away_proves_nothing_either_way() {
    let target = crate::order::target(1, "nowhere", &["some_group"], 1);
    let ports = kind_ports(crate::ports::FakeSource::new("admin", PASSWORD), "test0001");
    let minter = (KIND.open)(&"db".parse().expect("name"), &target, ports).expect("opened");
    let proof = minter
        .prove(secret(json!({"username": "admin", "password": "x"}).to_string(), 1))
        .await;
    assert!(matches!(proof, Err(ProofError::Failed(_))), "{proof:?}");
}
