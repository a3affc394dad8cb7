//! Findings that are told once.

use procura_core::usage::Alert;
use procura_wire::Digest;

use super::UsageUnderTest;
use crate::ledger_suite::sample::at;

/// At least once, one at a time, and its body is gone when it is settled.
pub async fn an_alert_is_kept_once_and_taken_by_one(store: &mut impl UsageUnderTest) {
    let (usage, other) = (store.usage(), store.usage_replica().await);
    let alert = |what: &str| Alert {
        key: Digest::of(what.as_bytes()),
        found: at(0),
        body: format!(r#"{{"finding":"{what}"}}"#),
        attempts: 0,
    };
    assert_eq!(usage.alert(vec![alert("a"), alert("b")]).await, Ok(2));
    assert_eq!(other.alert(vec![alert("b"), alert("c")]).await, Ok(1));
    assert_eq!(usage.take_alerts(at(-1), at(9), 9).await, Ok(Vec::new()), "not yet");
    let mine = usage.take_alerts(at(1), at(60), 2).await.expect("taken");
    let theirs = other.take_alerts(at(1), at(60), 9).await.expect("taken");
    assert_eq!((mine.len(), theirs.len()), (2, 1));
    assert!(
        mine.iter()
            .all(|alert| alert.attempts == 1 && alert.body.contains("finding"))
    );
    usage.settle_alert(mine[0].key).await.expect("settled");
    let again = usage.take_alerts(at(60), at(120), 9).await.expect("taken");
    assert_eq!(again.len(), 2);
    assert!(
        again
            .iter()
            .all(|alert| alert.attempts == 2 && alert.key != mine[0].key)
    );
    assert_eq!(
        usage
            .alert(vec![Alert {
                key: mine[0].key,
                ..alert("a")
            }])
            .await,
        Ok(0),
        "told once"
    );
}
