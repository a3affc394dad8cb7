//! What rate limits counted.

use procura_core::limits::Counted;
use procura_wire::Digest;

use super::{LedgerUnderTest, sample::at};

fn counted(name: &str, ends: i64, count: u64) -> Counted {
    Counted {
        key: Digest::of(name.as_bytes()),
        ends: at(ends),
        count,
    }
}

/// Each replica is told the sum, per key and window.
pub async fn counts_of_all_replicas_are_added(store: &mut impl LedgerUnderTest) {
    let (one, other) = (store.ledger(), store.replica().await);
    let first = vec![counted("a", 60, 2), counted("b", 60, 5)];
    let mut sums = one.count(first.clone(), at(0)).await.expect("counted");
    sums.sort_by_key(|counted| counted.count);
    assert_eq!(sums, first);
    let sums = other.count(vec![counted("a", 60, 3)], at(1)).await;
    assert_eq!(sums, Ok(vec![counted("a", 60, 5)]));
    let sums = one.count(vec![counted("a", 120, 1)], at(1)).await;
    assert_eq!(sums, Ok(vec![counted("a", 120, 1)]), "each window for itself");
    let kept = other.counted(at(2), 2).await.expect("read");
    assert_eq!(kept.iter().map(|counted| counted.count).collect::<Vec<_>>(), [5, 5]);
}

/// A restart forgets no window that has not ended; one that has ended is gone.
pub async fn counts_outlive_a_restart_until_their_window_ends(store: &mut impl LedgerUnderTest) {
    let both = vec![counted("a", 60, 2), counted("a", 3600, 7)];
    store.ledger().count(both, at(0)).await.expect("counted");
    store.reopen().await;
    let ledger = store.ledger();
    let kept = ledger.counted(at(59), 9).await.expect("read");
    assert_eq!(kept, [counted("a", 3600, 7), counted("a", 60, 2)]);
    assert_eq!(ledger.counted(at(60), 9).await, Ok(vec![counted("a", 3600, 7)]));
    let sums = ledger.count(vec![counted("a", 3600, 1)], at(60)).await;
    assert_eq!(sums, Ok(vec![counted("a", 3600, 8)]));
    assert_eq!(
        ledger.counted(at(0), 9).await,
        Ok(vec![counted("a", 3600, 8)]),
        "forgotten"
    );
}
