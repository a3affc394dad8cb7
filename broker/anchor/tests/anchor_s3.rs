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
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

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

/// A service with one note: its answers to `GET` of that note, to `GET` of others, and to `PUT`.
#[expect(clippy::disallowed_methods, reason = "it lives as long as its test")]
async fn service(note: &'static str, others: &'static str, put: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]);
            let answer = match request.split_once(' ') {
                Some(("PUT", _)) => put,
                Some(("GET", path)) if path.starts_with("/notes/log/one/00000000000000000000?") => note,
                _ => others,
            };
            let answer = format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

const NOTHING: &str = "404 Not Found\r\nContent-Length: 0";
const REFUSED: &str = "412 Precondition Failed\r\nContent-Length: 0";

#[tokio::test]
async fn attack_193_a_note_below_a_delete_marker_is_no_free_place() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    const MARKER: &str = "404 Not Found\r\nContent-Length: 0\r\nx-amz-delete-marker: true";
    let kept = "200 OK\r\nContent-Length: 0";
    for (note, others) in [(MARKER, NOTHING), (kept, MARKER)] {
        let address = service(note, others, REFUSED).await;
        let found = anchor(&address, "notes").last().await;
        let Err(AnchorError::Unfit(problem)) = found else {
            panic!("a deleted note: {found:?}");
        };
        assert!(problem.contains("somebody deleted the note log/one/0"), "{problem}");
    }
}

#[tokio::test]
async fn attack_194_a_service_that_writes_over_notes_is_no_anchor() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kept = "200 OK\r\nContent-Length: 0";
    let found = anchor(&service(kept, NOTHING, kept).await, "notes").last().await;
    let Err(AnchorError::Unfit(problem)) = found else {
        panic!("written over: {found:?}");
    };
    assert!(
        problem.contains("bucket notes: it writes over what is there"),
        "{problem}"
    );
    let found = anchor(&service(kept, NOTHING, REFUSED).await, "notes").last().await;
    assert_eq!(found.expect("read").position, 1);
}
