//! Logging in to Vault, as far as only the fake can show it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use procura_contract::{manual_clock::ManualClock, vault::FakeVault};
use procura_core::{ports::Clock, source::Source};
use procura_sources::{FAILED, Sources};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kit::{settle, sources, write};

const LOG_IN: &str = "POST /v1/auth/approle/login";
const RENEW: &str = "renew-self";
const READ: &str = r#"path "kv/*" { capabilities = ["read"] }"#;

struct Bench {
    dir: TempDir,
    clock: Arc<ManualClock>,
    fake: FakeVault,
    sources: Sources,
}

/// A source that logs in by AppRole, whose role is `procura` with these settings.
fn bench(mut role: Value) -> Bench {
    let dir = TempDir::new().expect("a folder");
    let clock = Arc::new(ManualClock::default());
    let fake = FakeVault::start(Arc::clone(&clock) as Arc<dyn Clock>).expect("the fake");
    let file = dir.path().join("secret-id");
    let settings = format!(
        "[vault]\nkind = 'vault'\naddress = '{}'\nmounts = {{ kv = 2 }}\nallow = ['**']\n\
         approle = {{ role_id = 'id-of-procura', secret_id_file = '{}' }}",
        fake.address,
        file.display()
    );
    fake.administer("sys/auth/approle", json!({ "type": "approle" }));
    fake.administer("sys/policies/acl/read", json!({ "policy": READ }));
    role["token_policies"] = json!(["read"]);
    fake.administer("auth/approle/role/procura", role);
    for path in ["kv/app", "kv/other"] {
        fake.write(path, &json!({ "password": "canary-one" }));
    }
    let bench = Bench {
        sources: sources(&settings, &clock).expect("sources"),
        dir,
        clock,
        fake,
    };
    bench.put(&bench.new_secret_id());
    bench
}

fn an_hour() -> Value {
    json!({ "token_ttl": "3600s", "token_max_ttl": "36000s" })
}

impl Bench {
    fn new_secret_id(&self) -> String {
        let answer = self.fake.administer("auth/approle/role/procura/secret-id", json!({}));
        answer["data"]["secret_id"].as_str().expect("a secret id").to_owned()
    }

    fn put(&self, secret_id: &str) {
        write(&self.dir.path().join("secret-id"), secret_id);
    }

    fn revoke_tokens(&self) {
        self.fake
            .administer("sys/leases/revoke-prefix/auth/approle/login", json!({}));
    }

    fn source(&self, path: &str) -> Arc<dyn Source> {
        self.sources.open(&format!("vault:{path}")).expect("source")
    }

    fn log_ins(&self) -> usize {
        self.fake.requests(LOG_IN)
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

#[tokio::test]
async fn all_who_need_a_token_wait_for_one_log_in() {
    let bench = bench(an_hour());
    let (app, other) = (bench.source("kv/app"), bench.source("kv/other"));
    for round in 1..=3 {
        let readers = join_all([&app, &other].map(|source| source.refetch())).await;
        assert!(readers.iter().all(Result::is_ok));
        assert_eq!(bench.log_ins(), round);
        bench.revoke_tokens();
    }
}

#[tokio::test]
async fn a_refused_log_in_is_tried_again_after_pauses_that_grow() {
    let bench = bench(an_hour());
    bench.put("wrong-canary");
    let app = bench.source("kv/app");
    let mut tries = vec![];
    for second in 0..200 {
        assert!(app.refetch().await.is_err());
        if tries.len() < bench.log_ins() {
            tries.push(second);
        }
        bench.clock.advance(FAILED);
    }
    assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    bench.put(&bench.new_secret_id());
    bench.clock.advance(Duration::from_secs(60));
    assert!(app.refetch().await.is_ok());
    bench.revoke_tokens();
    assert!(app.refetch().await.is_ok(), "no pause after a log-in that was of use");
}

#[tokio::test]
async fn a_path_that_the_role_may_not_read_makes_no_storm_of_log_ins() {
    let bench = bench(an_hour());
    bench.fake.forbid(Some("kv/data/app"));
    let (app, other) = (bench.source("kv/app"), bench.source("kv/other"));
    for _ in 0..600 {
        let error = app.refetch().await.expect_err("forbidden").to_string();
        assert!(error.contains("check the policies that auth/approle gives"), "{error}");
        assert!(other.refetch().await.is_ok());
        bench.clock.advance(FAILED);
    }
    let log_ins = bench.log_ins();
    assert!((10..=16).contains(&log_ins), "{log_ins} in 10 minutes");
    bench.fake.forbid(None);
    assert!(app.refetch().await.is_ok());
}

#[tokio::test]
async fn a_path_that_is_refused_does_not_delay_the_log_in_that_is_due() {
    let bench = bench(json!({ "token_ttl": "20s", "token_max_ttl": "20s", "token_type": "batch" }));
    bench.fake.forbid(Some("kv/data/app"));
    let (app, other) = (bench.source("kv/app"), bench.source("kv/other"));
    for second in 0..120 {
        assert!(app.refetch().await.is_err());
        assert!(other.refetch().await.is_ok(), "after {second} s");
        bench.pass(1).await;
    }
}

#[tokio::test]
async fn a_token_is_renewed_at_half_of_its_life_until_the_server_caps_it() {
    let bench = bench(json!({ "token_ttl": "60s", "token_max_ttl": "90s" }));
    bench.pass(29).await;
    assert_eq!((bench.log_ins(), bench.fake.requests(RENEW)), (1, 0));
    bench.pass(2).await;
    assert_eq!((bench.log_ins(), bench.fake.requests(RENEW)), (1, 1));
    bench.pass(45).await;
    assert_eq!(
        (bench.log_ins(), bench.fake.requests(RENEW)),
        (2, 2),
        "less than 30 s of 60 s were left"
    );
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_replaced_at_half_of_its_life() {
    let bench = bench(json!({ "token_ttl": "60s", "token_max_ttl": "60s", "token_type": "batch" }));
    bench.pass(29).await;
    assert_eq!(bench.log_ins(), 1);
    bench.pass(2).await;
    assert_eq!((bench.log_ins(), bench.fake.requests(RENEW)), (2, 0));
}

#[tokio::test]
async fn a_renewal_that_is_refused_is_followed_by_a_log_in() {
    let bench = bench(json!({ "token_ttl": "60s", "token_max_ttl": "600s" }));
    bench.pass(1).await;
    bench.revoke_tokens();
    bench.pass(31).await;
    assert_eq!((bench.log_ins(), bench.fake.requests(RENEW)), (2, 1));
}

#[tokio::test]
async fn a_server_that_is_away_costs_no_token() {
    let bench = bench(json!({ "token_ttl": "60s", "token_max_ttl": "600s" }));
    let app = bench.source("kv/app");
    app.current().await.expect("secret");
    bench.fake.break_with(Some(503));
    bench.pass(40).await;
    bench.fake.break_with(None);
    bench.pass(40).await;
    assert!(app.refetch().await.is_ok());
    assert_eq!(bench.log_ins(), 1, "it was renewed in time");
}

#[tokio::test]
async fn the_last_good_value_serves_while_nobody_can_log_in() {
    let bench = bench(an_hour());
    let app = bench.source("kv/app");
    app.current().await.expect("secret");
    bench.put("wrong-canary");
    bench.revoke_tokens();
    assert!(app.refetch().await.is_err());
    assert_eq!(app.current().await.expect("last good").version, "1");
}

#[tokio::test]
async fn a_log_in_that_its_caller_leaves_is_begun_again_by_the_next() {
    let bench = bench(an_hour());
    let app = bench.source("kv/app");
    bench.fake.hold(true);
    let mut leaves = app.refetch();
    while bench.log_ins() == 0 {
        assert!(futures_util::poll!(&mut leaves).is_pending());
        tokio::task::yield_now().await;
    }
    drop(leaves);
    bench.fake.hold(false);
    assert!(
        app.refetch().await.is_err(),
        "callers that leave make no storm of log-ins"
    );
    assert_eq!(bench.log_ins(), 1);
    bench.clock.advance(FAILED);
    assert!(app.refetch().await.is_ok());
}

#[tokio::test]
async fn an_answer_without_a_token_is_no_log_in() {
    let bench = bench(an_hour());
    bench.fake.break_with(Some(200));
    let error = bench
        .source("kv/app")
        .current()
        .await
        .expect_err("no token")
        .to_string();
    assert!(error.contains("auth/approle/login answers without a token"), "{error}");
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_proof_nor_token_shows_in_errors_or_log() {
    let bench = bench(an_hour());
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let app = bench.source("kv/app");
    app.current().await.expect("secret");
    let mut seen = String::new();
    for proof in ["wrong-canary", "wrong-canary\u{1}\"", "fake-secret-id-none"] {
        bench.put(proof);
        bench.revoke_tokens();
        let error = app.refetch().await.expect_err("refused");
        seen += &format!("{error} {error:?}");
        bench.pass(70).await;
    }
    bench.fake.break_with(Some(400));
    seen += &app.refetch().await.expect_err("broken").to_string();
    let log = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    seen += &String::from_utf8(log).expect("text");
    assert!(
        seen.contains("a secret cannot be read"),
        "the log was listened to: {seen}"
    );
    for secret in ["canary", "fake-token-", "fake-secret-id-"] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
}
