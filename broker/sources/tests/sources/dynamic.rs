//! Secrets that an engine of Vault makes for each read, as far as only the fake can show it.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use procura_contract::{manual_clock::ManualClock, vault::FakeVault};
use procura_core::{
    ports::Clock,
    source::{Attempt, Source, through_rotation},
};
use procura_sources::{FRESH, Sources};
use serde_json::json;
use tempfile::TempDir;

use crate::kit::{settle, sources, write};

const READ: &str = "GET /v1/database/creds/app";
const RENEW: &str = "POST /v1/sys/leases/renew";

struct Bench {
    _dir: TempDir,
    clock: Arc<ManualClock>,
    fake: FakeVault,
    sources: Sources,
}

/// A source whose role `database/creds/app` gives leases of this life, read with a token of that life.
fn bench(ttl: &str, max_ttl: &str, token_ttl: Duration) -> Bench {
    let dir = TempDir::new().expect("a folder");
    let clock = Arc::new(ManualClock::default());
    let fake = FakeVault::start(Arc::clone(&clock) as Arc<dyn Clock>).expect("the fake");
    fake.administer("sys/mounts/database", json!({ "type": "database" }));
    fake.administer("database/roles/app", json!({ "default_ttl": ttl, "max_ttl": max_ttl }));
    let file = dir.path().join("token");
    write(&file, &fake.make_token(token_ttl, true));
    let settings = format!(
        "[vault]\nkind = 'vault'\naddress = '{}'\ntoken_file = '{}'\ndynamic = ['database']\nallow = ['**']",
        fake.address,
        file.display()
    );
    Bench {
        sources: sources(&settings, &clock).expect("sources"),
        _dir: dir,
        clock,
        fake,
    }
}

const HOUR: Duration = Duration::from_secs(3600);

impl Bench {
    fn app(&self) -> Arc<dyn Source> {
        self.sources.open("vault:database/creds/app").expect("source")
    }

    /// How many leases were made, and how often one was renewed.
    fn made_and_renewed(&self) -> (usize, usize) {
        (self.fake.requests(READ), self.fake.requests(RENEW))
    }

    /// Runs the background work for so long, in steps of a second.
    async fn pass(&self, seconds: u64) {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let work = self.sources.run(stopped.map(|_| ()).boxed());
        let time = async {
            for _ in 0..seconds {
                settle(&self.clock).await;
                self.clock.advance(Duration::from_secs(1));
            }
            settle(&self.clock).await;
            drop(stop);
        };
        futures_util::future::join(work, time).await;
    }
}

async fn version(source: &Arc<dyn Source>) -> String {
    source.current().await.expect("secret").version.clone()
}

#[tokio::test]
async fn all_who_read_a_path_share_one_lease() {
    let bench = bench("600s", "3600s", HOUR);
    let fields = ["username", "password"].map(|field| {
        let reference = format!("vault:database/creds/app#{field}");
        bench.sources.open(&reference).expect("source")
    });
    let whole = bench.app();
    let readers = join_all([&fields[0], &fields[1], &whole, &whole].map(version)).await;
    assert!(readers.iter().all(|version| *version == readers[0]), "{readers:?}");
    assert_eq!(bench.made_and_renewed(), (1, 0));
}

#[tokio::test]
async fn a_lease_is_renewed_at_half_of_its_life_and_replaced_when_that_is_cut_short() {
    let bench = bench("60s", "80s", HOUR);
    let app = bench.app();
    let first = version(&app).await;
    bench.pass(29).await;
    assert_eq!(bench.made_and_renewed(), (1, 0));
    bench.pass(6).await;
    assert_eq!(bench.made_and_renewed(), (1, 1));
    assert_eq!(version(&app).await, first);
    // The next renewal gives less than half of 60 s.
    bench.pass(30).await;
    assert_eq!(bench.made_and_renewed(), (2, 2));
    assert_ne!(version(&app).await, first, "the cache serves the new one at once");
}

#[tokio::test]
async fn a_lease_that_may_not_be_renewed_is_replaced() {
    let bench = bench("60s", "600s", HOUR);
    bench.fake.forbid(Some("sys/leases/renew"));
    let app = bench.app();
    let first = version(&app).await;
    bench.pass(36).await;
    assert_eq!(bench.made_and_renewed(), (2, 1));
    assert_ne!(version(&app).await, first);
}

#[tokio::test]
async fn what_nobody_uses_is_not_kept_alive() {
    let bench = bench("60s", "36000s", HOUR);
    let app = bench.app();
    version(&app).await;
    bench.pass(700).await;
    let (made, renewed) = bench.made_and_renewed();
    bench.pass(300).await;
    assert_eq!(bench.made_and_renewed(), (made, renewed));
    version(&app).await;
    assert_eq!(bench.made_and_renewed(), (made + 1, renewed), "its lease has ended");
}

#[tokio::test]
async fn the_last_good_value_never_serves_past_the_end_of_its_lease() {
    let bench = bench("60s", "600s", HOUR);
    let app = bench.app();
    let first = version(&app).await;
    bench.fake.break_with(Some(503));
    bench.clock.advance(Duration::from_millis(59_999));
    assert_eq!(version(&app).await, first);
    bench.clock.advance(Duration::from_millis(1));
    assert!(app.current().await.is_err(), "the lease is over");
}

#[tokio::test]
async fn a_fresh_value_is_not_served_past_the_end_of_its_lease() {
    let bench = bench("4s", "4s", HOUR);
    let app = bench.app();
    let first = version(&app).await;
    bench.clock.advance(Duration::from_secs(4));
    assert!(Duration::from_secs(4) < FRESH);
    assert_ne!(version(&app).await, first);
}

#[tokio::test]
async fn the_last_good_value_never_serves_past_the_end_of_the_token_that_read_it() {
    let bench = bench("600s", "600s", Duration::from_secs(60));
    let app = bench.app();
    // The background has looked the token up before.
    bench.pass(1).await;
    version(&app).await;
    bench.fake.break_with(Some(503));
    bench.clock.advance(Duration::from_secs(60));
    assert!(app.current().await.is_err(), "the token is over, and the lease with it");
}

#[tokio::test]
async fn a_target_that_refuses_everything_gets_no_leases_without_end() {
    let bench = bench("600s", "3600s", HOUR);
    let app = bench.app();
    for _ in 0..1200 {
        app.refetch().await.expect("secret");
        bench.clock.advance(Duration::from_millis(250));
    }
    let (made, _) = bench.made_and_renewed();
    assert!((5..=12).contains(&made), "{made} in 5 minutes");
    bench.clock.advance(Duration::from_secs(300));
    let before = version(&app).await;
    assert_ne!(
        app.refetch().await.expect("secret").version,
        before,
        "no pause after one that was good"
    );
}

#[tokio::test]
async fn a_secret_that_the_target_does_not_know_any_more_is_replaced_within_the_deadline() {
    let bench = bench("600s", "3600s", HOUR);
    let app = bench.app();
    let refused = version(&app).await;
    bench.clock.advance(Duration::from_secs(60));
    let deadline = bench.clock.monotonic() + Duration::from_secs(5);
    let attempt = through_rotation(&*app, &*bench.clock, deadline, async |secret| {
        match secret.version == refused {
            true => Attempt::<_, ()>::SecretRefused("password".to_owned()),
            false => Attempt::Done(secret.version.clone()),
        }
    });
    assert_ne!(attempt.await.expect("another"), refused);
    assert_eq!(bench.made_and_renewed(), (2, 0));
}

#[tokio::test]
async fn an_engine_without_leases_is_an_error_that_says_so() {
    let bench = bench("600s", "3600s", HOUR);
    bench.fake.administer("sys/mounts/database", json!({ "type": "kv" }));
    bench
        .fake
        .administer("database/creds/app", json!({ "password": "canary" }));
    let error = bench.app().current().await.expect_err("no lease").to_string();
    assert!(error.contains("dynamic") && !error.contains("canary"), "{error}");
}

#[test]
fn mounts_that_cannot_be_dynamic_are_mistakes() {
    let clock = Arc::new(ManualClock::default());
    let head = "[vault]\nkind = 'vault'\naddress = 'https://vault.example.com'\ntoken_file = '/run/token'\n";
    let opened = |rest: &str| sources(&format!("{head}{rest}"), &clock);
    assert!(opened("dynamic = ['database', 'clusters/one']").is_ok());
    for (bad, problem) in [
        ("", "mounts: name the engines"),
        ("dynamic = ['../sys']", "dynamic: \"../sys\" is no path"),
        (
            "dynamic = ['kv']\nmounts = { kv = 2 }",
            "dynamic: kv and kv of mounts overlap",
        ),
        (
            "dynamic = ['kv/a']\nmounts = { kv = 2 }",
            "dynamic: kv/a and kv of mounts overlap",
        ),
    ] {
        let error = opened(bad).err().expect("refused").to_string();
        assert!(error.contains(problem), "{error}");
    }
}
