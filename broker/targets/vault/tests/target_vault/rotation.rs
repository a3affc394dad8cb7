//! The broker's own token changes.

use std::{sync::Arc, time::Duration};

use procura_core::{
    kind::{MintError, ProofError, RotateError},
    source::SourceSecret,
};
use procura_wire::Secret;
use serde_json::{Value, json};

use crate::{bed::Bed, on_both};

on_both! {
    no_mint_fails_while_the_token_rotates,
    a_token_that_stays_refused_is_given_up_at_the_deadline,
    the_source_may_hold_an_object,
    a_token_is_proved_before_it_is_used,
    an_engines_own_credential_is_rotated_by_its_path,
}

async fn no_mint_fails_while_the_token_rotates(bed: &Bed) {
    let target = bed.target(json!({}));
    let minter = bed.open(&target);
    let mut old = bed.broker_token().await;
    bed.put_broker_token(&old).await;
    for version in ["3", "4"] {
        bed.minted(&bed.ask(&target), &*minter).await;
        bed.post("auth/token/revoke", json!({ "token": old })).await;
        let new = bed.broker_token().await;
        let asked = bed.ask(&target);
        let put = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            bed.source.rotate(&new, version);
        };
        let ((minted, _), ()) = tokio::join!(bed.minted(&asked, &*minter), put);
        assert_eq!(minted.source_version.as_deref(), Some(version));
        old = new;
    }
}

async fn a_token_that_stays_refused_is_given_up_at_the_deadline(bed: &Bed) {
    bed.put_broker_token("canary-wrong").await;
    let target = bed.target(json!({}));
    let (mut asked, minter) = (bed.ask(&target), bed.open(&target));
    asked.budget = Duration::from_secs(1);
    let error = bed.mint(&asked, &*minter).await.expect_err("refused");
    assert!(matches!(error, MintError::Refused(_)), "{error:?}");
    assert!(!error.to_string().contains("canary"), "{error}");
}

async fn the_source_may_hold_an_object(bed: &Bed) {
    let token = bed.broker_token().await;
    bed.put_broker_token(&json!({ "token": token }).to_string()).await;
    let target = bed.target(json!({}));
    bed.minted(&bed.ask(&target), &*bed.open(&target)).await;
}

async fn a_token_is_proved_before_it_is_used(bed: &Bed) {
    let minter = bed.open(&bed.target(json!({})));
    minter.prove(version(&bed.broker_token().await)).await.expect("proved");
    for bad in ["canary-wrong", "{}"] {
        let proof = minter.prove(version(bad)).await;
        assert!(
            matches!(&proof, Err(ProofError::Refused(text)) if !text.contains("canary")),
            "{proof:?}"
        );
    }
}

/// Of a real server's database many tests share the one credential, so only the fake's is rotated.
async fn an_engines_own_credential_is_rotated_by_its_path(bed: &Bed) {
    let minter = |path: Value| {
        let mut target = bed.target(json!({}));
        target.settings.insert("rotate_path".to_owned(), path);
        bed.open(&target)
    };
    let path = format!("db-{}/rotate-root/db", bed.id);
    if bed.fake.is_some() {
        let rotated = minter(json!(path)).rotate().await.expect("rotated");
        assert_eq!(
            (rotated.did, rotated.version),
            (format!("Vault has rotated {path}"), None)
        );
    }
    let elsewhere = minter(json!("other/rotate-root/db")).rotate().await;
    assert!(
        matches!(&elsewhere, Err(RotateError::Failed(text)) if text.contains("other/rotate-root/db")),
        "{elsewhere:?}"
    );
    let without = bed.open(&bed.target(json!({})));
    assert_eq!(without.rotate().await, Err(RotateError::Unable));
}

fn version(secret: &str) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(secret.to_owned()),
        version: "2".to_owned(),
    })
}
