//! Vault, as far as only the fake can show it.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use procura_contract::{
    manual_clock::ManualClock,
    vault::{FakeVault, ROOT_TOKEN},
};
use procura_core::{
    ports::Clock,
    source::{Attempt, RotationError, Source, through_rotation},
};
use procura_sources::{FAILED, FRESH, LAST_GOOD, REFRESH, Sources};
use serde_json::json;
use tempfile::TempDir;

use crate::kit::{settle, sources, text, write};

struct Bench {
    dir: TempDir,
    clock: Arc<ManualClock>,
    fake: FakeVault,
    sources: Sources,
}

fn settings(name: &str, address: &str, token_file: &Path) -> String {
    format!(
        "[{name}]\nkind = 'vault'\naddress = '{address}'\ntoken_file = '{}'\n\
         mounts = {{ kv = 2, secret = 1 }}\nallow = ['**']\n",
        token_file.display()
    )
}

fn bench() -> Bench {
    let dir = TempDir::new().expect("a folder");
    let clock = Arc::new(ManualClock::default());
    let fake = FakeVault::start(Arc::clone(&clock) as Arc<dyn Clock>).expect("the fake");
    let token_file = dir.path().join("token");
    write(&token_file, ROOT_TOKEN);
    fake.write("kv/app", &json!({ "password": "canary-one" }));
    Bench {
        sources: sources(&settings("vault", &fake.address, &token_file), &clock).expect("sources"),
        dir,
        clock,
        fake,
    }
}

impl Bench {
    fn app(&self) -> Arc<dyn Source> {
        self.sources.open("vault:kv/app").expect("source")
    }

    fn reads(&self) -> usize {
        self.fake.requests("GET /v1/kv/data/app")
    }

    /// Runs the background work until the future ends.
    async fn with_background<T>(&self, future: impl Future<Output = T>) -> T {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let work = self.sources.run(stopped.map(|_| ()).boxed());
        let future = async {
            let value = future.await;
            drop(stop);
            value
        };
        futures_util::future::join(work, future).await.1
    }

    /// Lets time pass in steps, so that the background work comes to its turn after each.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            settle(&self.clock).await;
            self.clock.advance(Duration::from_secs(1));
        }
        settle(&self.clock).await;
    }
}

#[tokio::test]
async fn sixteen_callers_share_one_read() {
    let bench = bench();
    bench.fake.hold(true);
    let app = bench.app();
    let callers = join_all((0..16).map(|_| app.current()));
    let release = async {
        while bench.reads() == 0 {
            tokio::task::yield_now().await;
        }
        bench.fake.hold(false);
    };
    let (answers, ()) = futures_util::future::join(callers, release).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(bench.reads(), 1);
    let refetches = join_all((0..16).map(|_| app.refetch())).await;
    assert!(refetches.iter().all(Result::is_ok));
    assert_eq!(bench.reads(), 2, "refetches share one too");
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nobody_with_it() {
    let bench = bench();
    bench.fake.hold(true);
    let app = bench.app();
    let mut gone = app.current();
    assert!(futures_util::poll!(&mut gone).is_pending());
    let stays = app.current();
    drop(gone);
    bench.fake.hold(false);
    assert!(stays.await.is_ok());
}

#[tokio::test]
async fn equal_references_share_one_cache() {
    let bench = bench();
    bench.app().current().await.expect("secret");
    let (first, second) = (bench.app(), bench.app());
    let before = bench.reads();
    first.current().await.expect("secret");
    second.current().await.expect("secret");
    assert_eq!(bench.reads() - before, 1);
}

#[tokio::test]
async fn a_fresh_value_is_served_and_a_stale_one_is_asked_for() {
    let bench = bench();
    let app = bench.app();
    app.current().await.expect("secret");
    bench.fake.write("kv/app", &json!({ "password": "two" }));
    bench.clock.advance(FRESH - Duration::from_millis(1));
    assert_eq!(app.current().await.expect("secret").version, "1");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(app.current().await.expect("secret").version, "2");
    assert_eq!(bench.reads(), 2);
}

#[tokio::test]
async fn what_is_in_use_is_refreshed_before_anybody_asks() {
    let bench = bench();
    let app = bench.app();
    bench
        .with_background(async {
            app.current().await.expect("secret");
            bench.fake.write("kv/app", &json!({ "password": "two" }));
            bench.pass(REFRESH.as_secs() * 2).await;
            let reads = bench.reads();
            assert_eq!(app.current().await.expect("secret").version, "2");
            assert_eq!(bench.reads(), reads, "nobody waited for the server");
        })
        .await;
}

#[tokio::test]
async fn the_last_good_value_serves_for_its_time_and_no_longer() {
    let bench = bench();
    let app = bench.app();
    app.current().await.expect("secret");
    bench.fake.break_with(Some(503));
    bench.clock.advance(LAST_GOOD - Duration::from_millis(1));
    assert_eq!(app.current().await.expect("last good").version, "1");
    let reads = bench.reads();
    app.current().await.expect("last good");
    assert_eq!(bench.reads(), reads, "a source known to be away holds nobody up");
    bench.clock.advance(Duration::from_millis(1));
    let error = app.current().await.expect_err("too old").to_string();
    assert!(error.contains("sealed") && error.contains("vault:kv/app"), "{error}");
    bench.fake.break_with(None);
    bench.clock.advance(FAILED);
    assert_eq!(app.current().await.expect("back").version, "1");
}

#[tokio::test]
async fn a_failure_without_a_good_value_is_not_asked_again_within_a_second() {
    let bench = bench();
    bench.fake.break_with(Some(500));
    let app = bench.app();
    for _ in 0..10 {
        assert!(app.current().await.is_err());
    }
    assert_eq!(bench.reads(), 1);
}

#[tokio::test]
async fn what_was_deleted_has_no_last_good_value() {
    let bench = bench();
    let app = bench.app();
    app.current().await.expect("secret");
    bench.fake.break_with(Some(404));
    assert!(app.refetch().await.is_err());
    assert!(app.current().await.is_err());
}

#[tokio::test]
async fn a_source_that_is_away_breaks_only_itself() {
    let bench = bench();
    let token_file = bench.dir.path().join("token");
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = format!("http://{}", closed.local_addr().expect("its address"));
    drop(closed);
    let both = settings("vault", &bench.fake.address, &token_file) + &settings("away", &address, &token_file);
    let sources = sources(&both, &bench.clock).expect("an absent server does not keep the broker from starting");
    let away = sources.open("away:kv/app").expect("source");
    assert!(away.current().await.is_err());
    assert!(sources.open("vault:kv/app").expect("source").current().await.is_ok());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let bench = bench();
    bench.fake.break_with(Some(307));
    let error = bench.app().current().await.expect_err("refused").to_string();
    assert!(error.contains("not followed"), "{error}");
}

#[tokio::test]
async fn neither_secret_nor_token_shows_in_errors_or_debug() {
    let bench = bench();
    let app = bench.app();
    let secret = app.current().await.expect("secret");
    let mut seen = format!("{secret:?}");
    for reference in [
        "vault:kv/app#missing",
        "vault:secret/app",
        "vault:other/app",
        "vault:kv/none",
    ] {
        let error = bench
            .sources
            .open(reference)
            .expect("source")
            .current()
            .await
            .expect_err(reference);
        seen += &format!("{error:?} {error}");
    }
    write(&bench.dir.path().join("token"), "wrong-canary\u{1}");
    bench.clock.advance(FRESH);
    bench.fake.break_with(Some(403));
    let error = app.refetch().await.expect_err("refused");
    seen += &format!("{error:?} {error}");
    assert!(!seen.contains("canary") && !seen.contains(ROOT_TOKEN), "{seen}");
}

#[tokio::test]
async fn attack_148_a_secret_rotated_under_way_is_read_again_within_the_deadline() {
    let bench = bench();
    let app = bench.app();
    app.current().await.expect("secret");
    let deadline = bench.clock.monotonic() + Duration::from_secs(5);
    // The target has taken the second password already; the source follows after three looks.
    let attempt = through_rotation(&*app, &*bench.clock, deadline, async |secret| match text(&secret) {
        r#"{"password":"two"}"# => Attempt::Done(secret.version.clone()),
        _ => Attempt::<_, ()>::SecretRefused("password".to_owned()),
    });
    let rotate = async {
        for look in 1..=3 {
            settle(&bench.clock).await;
            assert_eq!(bench.reads(), 1 + look, "one look at once, then one every 250 ms");
            if look == 3 {
                bench.fake.write("kv/app", &json!({ "password": "two" }));
            }
            bench.clock.advance(Duration::from_millis(250));
        }
    };
    let (outcome, ()) = futures_util::future::join(attempt, rotate).await;
    assert_eq!(outcome.expect("rotated"), "2");
}

#[tokio::test]
async fn a_secret_that_stays_refused_is_given_up_at_the_deadline() {
    let bench = bench();
    let app = bench.app();
    let deadline = bench.clock.monotonic() + Duration::from_secs(5);
    let attempt = through_rotation(&*app, &*bench.clock, deadline, async |_| {
        Attempt::<(), ()>::SecretRefused("password".to_owned())
    });
    let mut attempt = std::pin::pin!(attempt);
    let outcome = loop {
        tokio::select! {
            outcome = &mut attempt => break outcome,
            () = settle(&bench.clock) => bench.clock.advance(Duration::from_millis(250)),
        }
    };
    assert!(matches!(outcome, Err(RotationError::Refused(_))));
    assert!(bench.clock.monotonic() < deadline);
}

#[tokio::test]
async fn a_token_is_renewed_at_half_of_its_lease() {
    let bench = bench();
    let token = bench.fake.make_token(Duration::from_secs(60), true);
    write(&bench.dir.path().join("token"), &token);
    let app = bench.app();
    bench
        .with_background(async {
            bench.pass(29).await;
            assert_eq!(bench.fake.requests("renew-self"), 0);
            bench.pass(2).await;
            assert_eq!(bench.fake.requests("renew-self"), 1);
            bench.pass(300).await;
            assert!(app.refetch().await.is_ok());
        })
        .await;
}

#[tokio::test]
async fn a_token_file_that_everybody_may_read_is_refused() {
    let bench = bench();
    let token_file = bench.dir.path().join("token");
    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o644)).expect("mode");
    let error = bench.app().current().await.expect_err("refused").to_string();
    assert!(
        error.contains("open to everybody") && !error.contains(ROOT_TOKEN),
        "{error}"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_errors_that_name_the_source() {
    let clock = Arc::new(ManualClock::default());
    let good = settings("vault", "https://vault.example.com", Path::new("/run/token"));
    assert!(sources(&good, &clock).is_ok());
    let approle = "approle = { role_id = 'r', secret_id_file = '/s' }";
    let another = |line: &str| good.replace("token_file = '/run/token'", line);
    for fine in [
        approle,
        "jwt = { role = 'r', token_file = '/t' }",
        "kubernetes = { role = 'r', token_file = '/t', mount = 'clusters/one' }\nnamespace = 'team/prod'",
    ] {
        assert!(sources(&another(fine), &clock).is_ok(), "{fine}");
    }
    for (bad, problem) in [
        (good.replace("https", "http"), "over https only"),
        (good.replace(".com", ".com/v1"), "nothing more"),
        (good.replace("kv =", "\"../sys\" ="), "no path of a mount"),
        (format!("{good}ca_file = '/nowhere/ca.pem'"), "/nowhere/ca.pem"),
        (
            another(""),
            "name one way to log in: token_file, approle, jwt or kubernetes",
        ),
        (
            format!("{good}{approle}"),
            "token_file, approle: name one way to log in only",
        ),
        (
            another("approle = { secret_id_file = '/s' }"),
            "approle.role_id is missing",
        ),
        (
            another("approle = { role_id = 'r' }"),
            "approle.secret_id_file is missing",
        ),
        (another("jwt = {}"), "jwt.role is missing; jwt.token_file is missing"),
        (
            another("kubernetes = { role = 'r', token_file = '/t', mount = 'auth/kubernetes' }"),
            "kubernetes.mount: \"auth/kubernetes\" is no path",
        ),
        (format!("{good}namespace = 'team/'"), "namespace: \"team/\" is no path"),
        (format!("{good}namespace = \"a\\nX-Vault-Token: b\""), "namespace: "),
        (
            good.replace("https", "http").replace("kv =", "\"../sys\" =") + approle,
            "over https only (plain http on loopback excepted); token_file, approle: name one way to log in only; \
             mounts: ",
        ),
    ] {
        let error = sources(&bad, &clock).err().expect("refused").to_string();
        assert!(
            error.starts_with("[sources.vault] ") && error.contains(problem),
            "{error}"
        );
    }
}
