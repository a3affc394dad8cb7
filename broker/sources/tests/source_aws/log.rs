//! What no log shows.

use std::{cell::RefCell, io, sync::Once};

use procura_wire::Secret;
use tracing_subscriber::filter::LevelFilter;

use crate::bed::{Bed, environment};

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps for each thread, and so for each test, what is logged on it.
struct OfThisThread;

impl io::Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.extend(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Listens to everything, in the whole process and before any source is asked: a subscriber of one thread misses what
/// another thread logged first.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
        lines.with_writer(|| OfThisThread).with_ansi(false).init();
    });
}

/// What was logged on this thread since the last call.
fn heard() -> String {
    String::from_utf8(LINES.take()).expect("text")
}

/// What STS gave out.
fn given_out(answers: &[String]) -> Vec<String> {
    let part = |answer: &str, name: &str| {
        let (_, rest) = answer.split_once(&format!("<{name}>"))?;
        Some(rest.split_once('<')?.0.to_owned())
    };
    let names = ["SecretAccessKey", "SessionToken"];
    let parts = answers.iter().flat_map(|answer| names.map(|name| part(answer, name)));
    parts.flatten().collect()
}

#[tokio::test]
async fn attack_160_neither_secret_nor_credential_is_logged_at_any_level() {
    let bed = Bed::new("log").await;
    let first = bed.create("app", "canary-one").await;
    // Of the administrator.
    heard();
    let keys = format!(
        "role = 'arn:aws:iam::123456789012:role/reader'\nsts_endpoint = '{}'",
        bed.proxy.address
    );
    for keys in ["", &keys] {
        let app = bed.open(keys, "app");
        let read = app.current().await.expect("secret");
        app.write(&Secret::new("canary-two".to_owned()), &read.version)
            .await
            .expect("written");
        let refused = app.write(&Secret::new("canary-three".to_owned()), &first).await;
        assert!(refused.is_err());
        // Refused or not, it is the request that counts.
        let _ = app.rotate().await;
    }
    let log = heard();
    assert!(
        ["secret read", "secret written", "transmitting request"]
            .iter()
            .all(|line| log.contains(line)),
        "the log was listened to: {log}"
    );
    let mut secrets = given_out(&bed.proxy.answers());
    assert_eq!(secrets.len(), 2, "a role was assumed");
    secrets.extend(["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(environment));
    secrets.push("canary-".to_owned());
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}: {log}");
    }
}
