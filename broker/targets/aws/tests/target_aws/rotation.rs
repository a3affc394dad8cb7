//! The broker's key changes at AWS first and in the source later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use procura_contract::recorder::{Seen, Turn};
use procura_core::{
    kind::{MintError, ProofError, RotateError},
    source::{Source, SourceSecret},
};
use procura_wire::Secret;

use crate::bed::{Bed, key, refusal};

fn by(seen: &Seen, key: &str) -> bool {
    seen.header("authorization").contains(key)
}

#[tokio::test]
async fn a_mint_waits_for_the_new_key_and_takes_it() {
    let refused = Arc::new(AtomicBool::new(false));
    let noticed = Arc::clone(&refused);
    let bed = Bed::with(move |seen| match by(seen, "AKIAFIRST") {
        true => {
            noticed.store(true, Ordering::SeqCst);
            refusal(
                403,
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            )
        }
        false => Turn::Pass,
    })
    .await;
    let asked = bed.ask();
    let minter = bed.minter();
    let mint = asked.mint(&*minter, &*bed.clock);
    let rotate = async {
        while !refused.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bed.source.rotate(&key("AKIASECOND0000000000"), "2");
    };
    let (minted, ()) = futures_util::future::join(mint, rotate).await;
    let minted = minted.expect("minted through the rotation");
    assert_eq!(minted.source_version.as_deref(), Some("2"));
    let keys: Vec<_> = bed.recorder.seen().iter().map(|seen| by(seen, "AKIASECOND")).collect();
    assert_eq!(keys, [false, true], "each version is tried once");
}

#[tokio::test]
async fn every_word_of_aws_for_a_bad_key_waits_for_a_better_one() {
    for (code, message) in [
        ("InvalidClientTokenId", "invalid"),
        ("SignatureDoesNotMatch", "does not match"),
        ("ExpiredToken", "expired"),
        ("UnrecognizedClientException", "unrecognized"),
        (
            "AccessDenied",
            "User: arn:aws:iam::1:user/old is not authorized to perform: sts:AssumeRole on resource: x",
        ),
    ] {
        let bed = Bed::with(move |seen| match by(seen, "AKIAFIRST") {
            true => refusal(403, code, message),
            false => Turn::Pass,
        })
        .await;
        bed.source.rotate(&key("AKIASECOND0000000000"), "2");
        let minted = bed.mint(&bed.ask()).await.expect(code);
        assert_eq!(minted.source_version.as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn a_key_that_stays_bad_is_refused_at_the_deadline_and_never_shown() {
    let bed = Bed::with(|_| refusal(403, "SignatureDoesNotMatch", "does not match")).await;
    let mut asked = bed.ask();
    asked.budget = Duration::from_secs(1);
    let outcome = bed.mint(&asked).await;
    let Err(MintError::Refused(problem)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        problem.contains("SignatureDoesNotMatch") && !problem.contains("canary"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_secret_that_is_no_key_is_named_and_not_shown() {
    let bed = Bed::new().await;
    bed.source.rotate("canary-of-a-password", "2");
    let _ = procura_core::source::Source::refetch(&*bed.source).await;
    let outcome = bed.mint(&bed.ask()).await;
    let Err(MintError::Failed(problem)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        problem.contains("secret_access_key") && !problem.contains("canary"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_key_is_proved_before_it_is_used_and_takes_no_role_for_that() {
    let bed = Bed::with(|seen| match by(seen, "AKIASECOND") {
        true => refusal(403, "InvalidClientTokenId", "invalid"),
        false => Turn::Pass,
    })
    .await;
    let minter = bed.minter();
    minter
        .prove(version(&key("AKIATHIRD00000000000")))
        .await
        .expect("proved");
    for bad in [&*key("AKIASECOND0000000000"), "hunter2"] {
        let proof = minter.prove(version(bad)).await;
        assert!(matches!(proof, Err(ProofError::Refused(_))), "{proof:?}");
    }
    assert!(bed.asked_of("AssumeRole").is_empty());
}

fn version(secret: &str) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(secret.to_owned()),
        version: "2".to_owned(),
    })
}

#[tokio::test]
async fn keys_take_turns_and_the_old_one_is_deleted_by_the_new_one() {
    let mut bed = Bed::new().await;
    bed.own["rotate_key"] = true.into();
    let first = bed.users_key().await;
    bed.source.rotate(&first, "1");
    let minter = bed.minter();
    let first = bed.source.refetch().await.expect("the key");
    let rotated = minter.rotate().await.expect("rotated");
    assert_eq!(rotated.version.as_deref(), Some("2"));
    let second = bed.source.refetch().await.expect("the key");
    assert!(
        first.value != second.value && bed.keys().await.len() == 2,
        "both work for the grace time"
    );
    let third = minter.rotate().await;
    assert!(
        matches!(&third, Err(RotateError::Failed(text)) if text.contains("two keys")),
        "{third:?}"
    );
    for _ in 0..2 {
        let retired = minter.retire(Arc::clone(&first), Arc::clone(&second)).await;
        retired.expect("retired");
        let keys = bed.keys().await;
        assert!(keys.len() == 1 && rotated.did.contains(&keys[0]), "{keys:?}");
    }
    assert!(bed.mint(&bed.ask()).await.is_ok(), "with the new one");
    bed.own["rotate_key"] = false.into();
    assert_eq!(bed.minter().rotate().await, Err(RotateError::Unable));
}

#[tokio::test]
async fn a_key_that_the_source_may_hold_is_kept_and_named() {
    let mut bed = Bed::new().await;
    bed.own["rotate_key"] = true.into();
    let first = bed.users_key().await;
    bed.source.rotate(&first, "1");
    bed.source.refetch().await.expect("the key");
    // Somebody else is quicker.
    bed.source.rotate(&first, "7");
    let rotated = bed.minter().rotate().await;
    let keys = bed.keys().await;
    let named = |text: &str| text.contains("version 7") && keys.iter().any(|key| text.contains(key));
    assert!(
        matches!(&rotated, Err(RotateError::Failed(text)) if named(text)),
        "{rotated:?}"
    );
    assert_eq!(keys.len(), 2);
}
