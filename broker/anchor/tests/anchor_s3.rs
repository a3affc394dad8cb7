//! The anchor in a bucket, of moto.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod kit;

use std::sync::Arc;

use procura_anchor::{S3Anchor, S3Config};
use procura_contract::{manual_clock::ManualClock, moto::Moto};
use procura_core::{
    log::{Anchor, AnchorError},
    ports::BoxFuture,
    source::{Source, SourceError, SourceSecret},
};
use procura_wire::Secret;
use reqwest::Client;

struct Key;

impl Source for Key {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let value = r#"{"access_key_id":"AKIAEXAMPLE","secret_access_key":"hunter2"}"#;
        let secret = SourceSecret {
            value: Secret::new(value.to_owned()),
            version: "1".to_owned(),
        };
        Box::pin(async { Ok(Arc::new(secret)) })
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        self.current()
    }
}

fn anchor(address: &str, bucket: &str) -> S3Anchor {
    let config = S3Config {
        endpoint: address.parse().expect("url"),
        region: "eu-central-1".to_owned(),
        bucket: bucket.to_owned(),
        prefix: "log/one".to_owned(),
        extra_ca: vec![],
    };
    S3Anchor::new(config, Arc::new(Key), Arc::new(ManualClock::default())).expect("anchor")
}

/// Moto takes any.
const OPERATOR: &str = "AWS4-HMAC-SHA256 Credential=a/20261120/eu-central-1/s3/aws4_request";

async fn bucket(moto: &Moto, name: &str) {
    let request = Client::builder()
        .build()
        .expect("client")
        .put(format!("{}/{name}", moto.address));
    let location = "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint>\
                    </CreateBucketConfiguration>";
    let answer = request.header("Authorization", OPERATOR).body(location);
    assert!(answer.send().await.expect("answer").status().is_success());
}

fn moto() -> Arc<Moto> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Moto::shared().unwrap_or_else(|problem| panic!("{problem}"))
}

#[tokio::test]
async fn notes_are_kept_in_their_order_and_no_position_is_had_twice() {
    let moto = moto();
    bucket(&moto, "notes").await;
    let (one, other) = (anchor(&moto.address, "notes"), anchor(&moto.address, "notes"));
    kit::keeps_notes_in_their_order(&one, &other).await;
    kit::only_one_of_two_has_a_position(&one, &other).await;
    let fresh = anchor(&moto.address, "notes");
    assert_eq!(fresh.last().await.expect("read").position, 8, "found without a list");
}

#[tokio::test]
async fn the_last_of_any_number_is_found() {
    let moto = moto();
    bucket(&moto, "many").await;
    let writer = anchor(&moto.address, "many");
    for number in 0..40 {
        writer.append(number, kit::note(number)).await.expect("appended");
        let found = anchor(&moto.address, "many").last().await.expect("read");
        assert_eq!((found.position, found.note), (number + 1, Some(kit::note(number))));
    }
}

#[tokio::test]
async fn a_bucket_that_is_away_or_not_there_is_no_empty_anchor() {
    let moto = moto();
    for (address, name, says) in [
        (moto.address.as_str(), "nobodys", "no bucket nobodys"),
        ("http://127.0.0.1:9", "notes", "error"),
    ] {
        let anchor = anchor(address, name);
        for problem in [anchor.last().await.map(drop), anchor.append(0, kit::note(0)).await] {
            let Err(AnchorError::Away(problem)) = problem else {
                panic!("{name} is away: {problem:?}");
            };
            assert!(problem.contains(says), "{problem}");
            assert!(
                !problem.contains("hunter2") && !problem.contains("Signature"),
                "{problem}"
            );
        }
    }
}

#[tokio::test]
async fn notes_that_vanish_are_noticed() {
    let moto = moto();
    bucket(&moto, "vanish").await;
    let anchor = anchor(&moto.address, "vanish");
    anchor.append(0, kit::note(0)).await.expect("appended");
    assert!(anchor.last().await.expect("read").note.is_some());
    let delete = Client::builder().build().expect("client");
    let object = format!("{}/vanish/log/one/{:020}", moto.address, 0);
    let deleted = delete.delete(object).header("Authorization", OPERATOR).send().await;
    assert!(deleted.expect("answer").status().is_success());
    assert!(matches!(anchor.last().await, Err(AnchorError::Away(_))));
}
