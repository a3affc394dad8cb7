//! The administrator's password changes under load, in the target first and in the source later.

use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use procura_core::kind::{MintError, Undoable};

use crate::{
    bed::{Bed, PASSWORD, run},
    on_both,
};

on_both! {
    no_mint_fails_while_the_password_rotates,
    a_password_that_stays_wrong_is_refused_at_the_deadline,
}

async fn no_mint_fails_while_the_password_rotates(bed: &Bed) {
    let group = format!("{}_reader", bed.database);
    bed.group(&group).await;
    let target = bed.target(&[&group]);
    let mut dba = bed.superuser(&bed.database).await;
    let rotate = async {
        for turn in 0_u32.. {
            let password = format!("password-{turn}");
            run(
                &mut dba,
                &format!("ALTER ROLE {} PASSWORD '{password}'", bed.administrator),
            )
            .await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            bed.source.rotate(&password);
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    };
    let shared = bed.minter(&target);
    let call = async |user: usize| {
        let mut versions = Vec::new();
        for _ in 0..3 {
            // Half of them log in anew each time, the others find pools of earlier versions.
            let minter = if user.is_multiple_of(2) {
                bed.minter(&target)
            } else {
                shared.clone()
            };
            let asked = bed.ask(&target, &format!("user{user}"));
            let minted = asked.mint(&*minter).await.expect("minted through the rotation");
            versions.push(minted.source_version.expect("a version"));
            minter.undo(Undoable::by(&asked.handle)).await.expect("undone");
        }
        versions
    };
    let versions = match select(Box::pin(join_all((0..16).map(call))), Box::pin(rotate)).await {
        Either::Left((versions, _)) => versions,
        Either::Right(_) => panic!("the rotation ended"),
    };
    let versions: std::collections::BTreeSet<_> = versions.into_iter().flatten().collect();
    assert!(versions.len() > 1, "{versions:?}");
}

async fn a_password_that_stays_wrong_is_refused_at_the_deadline(bed: &Bed) {
    let target = bed.target(&["some_group"]);
    let minter = bed.minter(&target);
    let mut dba = bed.superuser(&bed.database).await;
    run(
        &mut dba,
        &format!("ALTER ROLE {} PASSWORD 'another'", bed.administrator),
    )
    .await;
    let outcome = minter.prepare(Duration::from_secs(1)).await;
    let Err(MintError::Refused(problem)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(!problem.contains(PASSWORD), "{problem}");
}

#[tokio::test]
async fn a_server_that_is_away_is_named_at_the_deadline() {
    let target = crate::order::target(1, "nowhere", &["some_group"], 1);
    let ports = crate::ports::kind_ports(crate::ports::FakeSource::new("admin", PASSWORD), "test0001");
    let minter = (procura_target_postgres::KIND.open)(&"db".parse().expect("name"), &target, ports).expect("opened");
    let outcome = minter.prepare(Duration::from_millis(500)).await;
    assert!(
        matches!(&outcome, Err(MintError::Failed(problem)) if problem.contains("is it up")),
        "{outcome:?}"
    );
}
