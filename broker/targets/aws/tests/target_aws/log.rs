//! What the SDK would log does not reach the broker's log.

use std::{cell::RefCell, io, sync::Once};

use tracing_subscriber::filter::LevelFilter;

use crate::bed::{Bed, document, exposed};

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what is logged on a thread, which here is one test's.
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

/// Listens to everything, before anything is asked: what nobody listened to at first is not logged later either.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
        lines.with_writer(|| OfThisThread).with_ansi(false).init();
    });
}

#[tokio::test]
async fn attack_160_neither_key_nor_session_nor_parameter_is_logged_at_any_level() {
    let bed = Bed::new().await;
    let asked = bed.ask().with("prefix", &["canary-prefix/"]);
    let minted = bed.mint(&asked).await.expect("minted");
    bed.minter().undo(asked.undoable(None)).await.expect("undone");
    let heard = String::from_utf8(LINES.take()).expect("text");
    assert!(heard.contains("IAM.CreateRole"), "the test's own call is heard");
    assert!(!heard.contains("STS.AssumeRole") && !heard.contains("IAM.PutRolePolicy"));
    let credential = document(&minted);
    let secrets = [&credential.secret_access_key, &credential.session_token].map(exposed);
    for secret in secrets
        .into_iter()
        .chain(["canary-of-", "canary-token", "canary-prefix"])
    {
        let line = heard.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
