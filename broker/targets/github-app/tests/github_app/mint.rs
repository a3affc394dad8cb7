//! What is asked for, what is made of the answer, and what goes wrong.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use procura_contract::github::Quirk;
use procura_core::{
    kind::{MintError, ProofError},
    source::SourceSecret,
};
use procura_wire::Secret;
use serde_json::json;

use crate::bed::Bed;

#[tokio::test]
async fn a_token_reaches_what_the_grant_names_and_ends_with_the_plan() {
    let bed = Bed::new();
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    assert_eq!(
        bed.github.asked(),
        [json!({ "permissions": { "issues": "read" }, "repository_ids": [101, 102] })]
    );
    assert!(asked.is_within(&minted), "{:?}", minted.rights);
    assert_eq!(minted.end, asked.plan.end);
    let hour = Duration::from_secs(3600);
    assert_eq!(minted.lapses, Some(asked.plan.end - Duration::from_secs(300) + hour));
    assert!(minted.receipt.as_ref() == Some(&minted.value) && minted.value.len() > 520);
    assert_eq!(minted.source_version.as_deref(), Some("1"));
    assert_eq!(bed.read(&minted.value).await, Some(vec![101, 102]));
}

#[tokio::test]
async fn a_request_narrows_to_some_of_the_repositories() {
    let bed = Bed::new();
    let asked = bed.asked().with("repositories", &["102"]);
    let minted = bed.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted));
    assert!(minted.rights.sets["repository"].iter().eq(["102"]));
    assert_eq!(minted.details["repositories"], json!(["102"]));
    assert_eq!(bed.read(&minted.value).await, Some(vec![102]));
}

#[tokio::test]
async fn attack_169_what_is_outside_the_ceiling_or_no_id_is_not_asked_for() {
    let bed = Bed::new();
    for ids in [&["103"][..], &["101", "103"], &["0101"], &["corp/site"], &["+101"], &[]] {
        let refused = bed.mint(&bed.asked().with("repositories", ids)).await;
        assert!(matches!(refused, Err(MintError::Failed(_))), "{ids:?}");
    }
    let any = Bed::with(json!({ "permissions": { "issues": "read" } }), true);
    for ids in [&["corp/site"][..], &["0"], &["0101"], &["1e2"], &["-1"], &["all"], &[]] {
        let refused = any.mint(&any.asked().with("repositories", ids)).await;
        assert!(matches!(refused, Err(MintError::Failed(_))), "{ids:?}");
    }
    // Absent means all at GitHub, too.
    assert!(any.mint(&any.asked()).await.is_err());
    assert_eq!((bed.github.requests(), any.github.requests()), (0, 0));
    let asked = any.asked().with("repositories", &["103"]);
    let minted = any.mint(&asked).await.expect("minted");
    assert!(asked.is_within(&minted));
}

#[tokio::test]
async fn attack_146_more_than_was_asked_is_reported_as_it_is() {
    for quirk in [Quirk::AllRepositories, Quirk::SaysAll, Quirk::Wider, Quirk::Longer] {
        let bed = Bed::new();
        bed.github.quirk(quirk);
        let asked = bed.asked();
        let minted = bed.mint(&asked).await.expect("minted");
        assert!(!asked.is_within(&minted), "{quirk:?}: {:?}", minted.rights);
        bed.minter
            .undo(asked.undoable(minted.receipt.as_ref()))
            .await
            .expect("undone");
        assert_eq!(bed.github.live(), 0);
    }
}

#[tokio::test]
async fn a_higher_level_that_was_asked_for_covers_the_lower() {
    let bed = Bed::with(
        json!({ "permissions": { "issues": "write" }, "repository_ids": ["101"] }),
        false,
    );
    let asked = bed.asked();
    assert!(asked.is_within(&bed.mint(&asked).await.expect("minted")));
    let allowed = (bed.target.kind.rights)(&bed.target, &asked.plan);
    assert!(
        allowed.sets["permission"]
            .iter()
            .eq(["issues:read", "issues:write", "metadata:read"])
    );
}

#[tokio::test]
async fn a_token_without_an_end_is_revoked_at_once() {
    let bed = Bed::new();
    bed.github.quirk(Quirk::NoEnd);
    let refused = bed.mint(&bed.asked()).await;
    assert!(
        matches!(&refused, Err(MintError::Failed(problem)) if problem.contains("expires_at")),
        "{refused:?}"
    );
    assert_eq!(bed.github.live(), 0);
}

#[tokio::test]
async fn attack_145_an_error_after_the_deed_and_no_answer_in_time_are_uncertain() {
    let bed = Bed::new();
    bed.github.quirk(Quirk::FailsAfter);
    let failed = bed.mint(&bed.asked()).await;
    assert!(matches!(failed, Err(MintError::Uncertain(_))), "{failed:?}");

    let bed = Bed::new();
    bed.github.hold(true);
    let asked = bed.asked();
    let late = async {
        while bed.github.requests() == 0 {
            tokio::task::yield_now().await;
        }
        bed.clock.advance(asked.budget);
    };
    let (late, ()) = join(bed.mint(&asked), late).await;
    assert!(matches!(late, Err(MintError::Uncertain(_))), "{late:?}");
    bed.github.hold(false);
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_made() {
    let Bed {
        github,
        clock,
        target,
        minter,
        ..
    } = Bed::new();
    drop(github);
    let asked = procura_contract::asked::Asked::new(&target, procura_core::ports::Clock::now(&*clock));
    let failed = asked.mint(&*minter, &*clock).await;
    assert!(matches!(failed, Err(MintError::Failed(_))), "{failed:?}");
}

#[tokio::test]
async fn what_github_refuses_is_named() {
    let said = |failed: Result<_, MintError>| match failed {
        Err(MintError::Failed(problem)) => problem,
        other => format!("{other:?}"),
    };
    let write = json!({ "permissions": { "contents": "write", "issues": "read" }, "repository_ids": ["101"] });
    let bed = Bed::with(write, false);
    let problem = said(bed.mint(&bed.asked()).await);
    assert!(problem.contains("does not grant contents:write:"), "{problem}");

    let bed = Bed::with(
        json!({ "permissions": { "issues": "read" }, "repository_ids": ["999"] }),
        false,
    );
    let problem = said(bed.mint(&bed.asked()).await);
    assert!(problem.contains("{999}"), "{problem}");

    let bed = Bed::new();
    bed.github.quirk(Quirk::Limited);
    let problem = said(bed.mint(&bed.asked()).await);
    assert!(problem.contains("again in 30 s"), "{problem}");

    bed.github.uninstall();
    let problem = said(bed.mint(&bed.asked()).await);
    assert!(problem.contains("removed"), "{problem}");
}

#[tokio::test]
async fn attack_148_a_rotated_key_is_taken_from_its_source_within_the_mint() {
    let bed = Bed::new();
    bed.mint(&bed.asked()).await.expect("minted");
    let next = bed.github.new_pkcs1_key();
    bed.source.rotate(&json!({ "private_key": next }).to_string(), "2");
    bed.github.drop_older_keys();
    let minted = bed.mint(&bed.asked()).await.expect("minted");
    assert_eq!(minted.source_version.as_deref(), Some("2"));
    assert_eq!(minted.details, Default::default());
}

#[tokio::test]
async fn a_key_that_github_does_not_know_is_refused_and_one_that_is_none_never_tried() {
    let bed = Bed::new();
    bed.github.new_key();
    bed.github.drop_older_keys();
    let mut asked = bed.asked();
    asked.budget = Duration::ZERO;
    // The clock stands still, so that a deadline that has come is no obstacle.
    let refused = bed.mint(&asked).await;
    assert!(
        matches!(&refused, Err(MintError::Refused(problem)) if problem.contains("clock")),
        "{refused:?}"
    );
    let before = bed.github.requests();
    bed.source
        .rotate("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", "2");
    let broken = bed.mint(&bed.asked()).await;
    assert!(matches!(broken, Err(MintError::Source(_))), "{broken:?}");
    assert_eq!(bed.github.requests(), before + 1, "once with the key before");
}

#[tokio::test]
async fn the_probe_names_what_the_installation_lacks() {
    let bed = Bed::new();
    assert!(bed.minter.probe().await.is_ok());
    let admin = json!({ "permissions": { "issues": "admin", "contents": "read" }, "repository_ids": ["101"] });
    let lacking = Bed::with(admin, false).minter.probe().await;
    assert!(lacking.is_err_and(|error| error.to_string().contains("does not grant issues:admin:")));
    bed.github.uninstall();
    assert!(bed.minter.probe().await.is_err());
}

#[tokio::test]
async fn a_key_is_proved_before_it_is_used_and_makes_no_token_for_that() {
    let bed = Bed::new();
    let (older, newer) = (bed.github.new_key(), bed.github.new_key());
    bed.github.drop_older_keys();
    let prove = async |version: &str, secret: &str| {
        let (value, version) = (Secret::new(secret.to_owned()), version.to_owned());
        bed.minter.prove(Arc::new(SourceSecret { value, version })).await
    };
    prove("2", &newer).await.expect("proved");
    for (version, bad) in [("3", &*older), ("4", "no key")] {
        let proof = prove(version, bad).await;
        assert!(matches!(proof, Err(ProofError::Refused(_))), "{proof:?}");
    }
    assert!(bed.github.asked().is_empty());
}
