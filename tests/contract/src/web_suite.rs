//! What every store does for the page.

#![expect(clippy::expect_used, reason = "the code of tests, kept in a library")]

use std::time::Duration;

use procura_core::{
    Timestamp,
    ledger::{Conditions, Event, Ledger, Outcome},
    web::{Activity, Counting, WEB_IDLE, WEB_LIFE, WEB_SESSIONS, WebSession, WebStore},
};
use procura_wire::Digest;
use serde_json::json;

use crate::ledger_suite::sample::{at, entry, name};

fn session(id: &str, person: &str, opened: Timestamp) -> WebSession {
    let who = json!({
        "issuer": "corp",
        "iss": "https://id.example.com",
        "sub": person,
        "client": "page",
        "groups": ["corp/sre"],
        "auth": {},
        "tenant": null,
        "file": Digest::of(b"file"),
    });
    WebSession {
        id: Digest::of(id.as_bytes()),
        person: format!("corp/{person}"),
        who: serde_json::from_value(who).expect("who"),
        opened,
        last_used: opened,
        ends: opened + WEB_LIFE,
    }
}

async fn has(store: &dyn WebStore, id: &str) -> bool {
    store
        .web_session(Digest::of(id.as_bytes()))
        .await
        .expect("read")
        .is_some()
}

/// A log-in reads back as it was kept, moves on with its use, and is gone when it ends.
pub async fn a_log_in_is_kept_until_it_ends(store: &dyn WebStore) {
    let one = session("one", "alice", at(0));
    store.open_web(one.clone()).await.expect("kept");
    let id = one.id;
    assert_eq!(store.web_session(id).await, Ok(Some(one.clone())));
    store.use_web(id, at(90)).await.expect("used");
    store.use_web(id, at(60)).await.expect("used");
    let used = WebSession {
        last_used: at(90),
        ..one
    };
    assert_eq!(store.web_session(id).await, Ok(Some(used)), "a use is not taken back");
    store.end_web(id).await.expect("ended");
    assert!(!has(store, "one").await);
    store.use_web(id, at(100)).await.expect("no change");
    assert!(!has(store, "one").await, "and does not come back");
}

/// Of one person the oldest goes; those of others, and those that have not ended, stay.
pub async fn log_ins_of_one_person_are_bounded(store: &dyn WebStore) {
    store.open_web(session("other", "bob", at(0))).await.expect("kept");
    for n in 0..=i64::from(WEB_SESSIONS) {
        store
            .open_web(session(&format!("s{n}"), "alice", at(n)))
            .await
            .expect("kept");
    }
    assert!(!has(store, "s0").await && has(store, "s1").await && has(store, "other").await);
    let late = at(100) + WEB_IDLE;
    store.open_web(session("late", "carol", late)).await.expect("kept");
    assert!(
        !has(store, "s1").await && !has(store, "other").await,
        "idle ones are forgotten"
    );
    assert!(has(store, "late").await);
}

/// Records are counted by stretch, event and outcome; only of the targets that are asked for, and only the newest.
pub async fn activity_is_counted(ledger: &dyn Ledger, store: &dyn WebStore) {
    for second in [-100, 10, 20, 70] {
        ledger
            .append(entry(second), Conditions::default())
            .await
            .expect("appended");
    }
    let counting = |targets: Option<Vec<&str>>, limit| Counting {
        since: at(0),
        step: Duration::from_secs(60),
        targets: targets.map(|targets| targets.into_iter().map(name).collect()),
        limit,
    };
    let sum = async |targets, limit| -> u64 {
        let counted = store.activity(counting(targets, limit)).await.expect("counted");
        counted.iter().map(|activity: &Activity| activity.count).sum()
    };
    let sample = entry(10).index;
    let target = sample.target.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(sum(None, 10).await, 3, "what is before is not counted");
    assert_eq!(sum(None, 2).await, 2);
    assert_eq!(sum(Some(vec![]), 10).await, 0);
    assert_eq!(sum(Some(vec!["elsewhere"]), 10).await, 0);
    assert_eq!(sum(Some(vec!["elsewhere", &target]), 10).await, 3);
    let counted = store.activity(counting(None, 10)).await.expect("counted");
    let of = |event: Event, outcome: Outcome| {
        counted
            .iter()
            .filter(|a| (a.event, a.outcome) == (event, outcome))
            .count()
    };
    assert_eq!(of(sample.event, sample.outcome), counted.len());
    let mut counts: Vec<_> = counted.iter().map(|activity| activity.count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2]);
}
