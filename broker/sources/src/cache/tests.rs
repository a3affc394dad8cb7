//! What no test from outside can bring about in order.

use procura_contract::manual_clock::ManualClock;
use tokio::sync::Semaphore;

use super::*;

/// Keeps a version; each read notes it when it begins, and ends when the test lets it.
struct Slow {
    kept: Mutex<&'static str>,
    turns: Semaphore,
}

impl Upstream for Slow {
    fn read<'a>(&'a self, _path: &'a str) -> BoxFuture<'a, Result<SourceSecret, Trouble>> {
        let version = (*self.kept.lock().expect("kept")).to_owned();
        async move {
            self.turns.acquire().await.expect("open").forget();
            let value = Secret::new(version.clone());
            Ok(SourceSecret { value, version })
        }
        .boxed()
    }

    fn write<'a>(&'a self, _: &'a str, _: &'a Secret, _: &'a str) -> BoxFuture<'a, Result<String, Trouble>> {
        *self.kept.lock().expect("kept") = "2";
        async { Ok("2".to_owned()) }.boxed()
    }

    fn fresh_for(&self) -> Duration {
        FRESH
    }

    fn generation(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_read_that_began_before_a_write_does_not_bring_the_old_value_back() {
    let upstream = Arc::new(Slow {
        kept: Mutex::new("1"),
        turns: Semaphore::new(0),
    });
    let reference = "slow:app".parse().expect("a reference");
    let clock = Arc::new(ManualClock::default());
    let entry = Entry(Arc::new(Cache::new(reference, Arc::clone(&upstream) as _, clock)));
    let mut early = entry.current();
    assert!(futures_util::poll!(&mut early).is_pending());
    let value = Secret::new("two".to_owned());
    let mut write = entry.write(&value, "1");
    assert!(futures_util::poll!(&mut write).is_pending(), "it looks again");
    upstream.turns.add_permits(2);
    assert_eq!(write.await.expect("written"), "2");
    assert_eq!(early.await.expect("secret").version, "2");
    assert_eq!(entry.current().await.expect("secret").version, "2");
    assert_eq!(
        upstream.turns.available_permits(),
        0,
        "read once more, and then from the cache"
    );
}
