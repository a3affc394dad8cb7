//! The broker's own token changes.

use std::{sync::Arc, time::Duration};

use procura_core::{
    kind::{MintError, ProofError},
    source::SourceSecret,
};
use procura_wire::Secret;
use serde_json::json;

use crate::{bed::Bed, on_both};

on_both! {
    no_mint_fails_while_the_token_rotates,
    a_token_that_stays_refused_is_given_up_at_the_deadline,
    the_source_may_hold_an_object,
    a_token_is_proved_before_it_is_used,
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

fn version(secret: &str) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(secret.to_owned()),
        version: "2".to_owned(),
    })
}
