//! What a failing disk does: nobody is answered any more, and the process is told to end.

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use procura_contract::{entropy::CountingEntropy, ledger_suite::sample::entry, manual_clock::ManualClock};
use procura_core::ledger::{Conditions, Ledger};
use procura_store::sqlite;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_io_error_at_the_commit_answers_nobody_and_ends_the_process() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (told, mut problem) = tokio::sync::mpsc::unbounded_channel();
    let told = Mutex::new(told);
    let ledger = sqlite::open(
        &dir.path().join("procura.db"),
        Arc::new(ManualClock::default()),
        Arc::new(CountingEntropy::default()),
        Arc::new(move |problem: &str| {
            let _ = told.lock().expect("lock").send(problem.to_owned());
        }),
    )
    .await
    .expect("opened");
    ledger.append(entry(1), Conditions::default()).await.expect("appended");

    fail::cfg("store-fsync", "return").expect("set");
    let lost = entry(2);
    let mut waiter = ledger.append(lost.clone(), Conditions::default());
    tokio::select! {
        problem = problem.recv() => assert_eq!(problem.as_deref(), Some("an injected I/O error")),
        answer = &mut waiter => panic!("answered: {answer:?}"),
    }
    fail::remove("store-fsync");
    let later = ledger.append(entry(3), Conditions::default());
    for waiter in [waiter, later] {
        assert_eq!(waiter.now_or_never(), None);
    }
    ledger.close().await;
}
