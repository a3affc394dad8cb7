//! Writing through a source.

use std::{path::Path, sync::Arc};

use procura_contract::{
    manual_clock::ManualClock,
    vault::{FakeVault, ROOT_TOKEN},
};
use procura_core::{ports::Clock, source::Source};
use procura_sources::Sources;
use procura_wire::Secret;
use serde_json::json;
use tempfile::TempDir;

use crate::kit::{sources, text, write};

struct Bench {
    dir: TempDir,
    fake: FakeVault,
    sources: Sources,
}

fn settings(address: &str, dir: &Path) -> String {
    format!(
        "[vault]\nkind = 'vault'\naddress = '{address}'\ntoken_file = '{dir}/token'\n\
         mounts = {{ kv = 2, secret = 1 }}\nallow = ['**']\n\
         [file]\nkind = 'file'\nroot = '{dir}'\nallow = ['**']\n",
        dir = dir.display()
    )
}

fn bench() -> Bench {
    let dir = TempDir::new().expect("a folder");
    let clock = Arc::new(ManualClock::default());
    let fake = FakeVault::start(Arc::clone(&clock) as Arc<dyn Clock>).expect("the fake");
    write(&dir.path().join("token"), ROOT_TOKEN);
    for path in ["kv/app", "secret/app"] {
        fake.write(path, &json!({ "password": "one" }));
    }
    Bench {
        sources: sources(&settings(&fake.address, dir.path()), &clock).expect("sources"),
        dir,
        fake,
    }
}

impl Bench {
    fn open(&self, reference: &str) -> Arc<dyn Source> {
        self.sources.open(reference).expect("source")
    }
}

fn secret(value: &str) -> Secret {
    Secret::new(value.to_owned())
}

#[tokio::test]
async fn a_version_of_kv_2_follows_the_expected_one_and_is_served_at_once() {
    let bench = bench();
    let app = bench.open("vault:kv/app");
    assert_eq!(app.current().await.expect("secret").version, "1");
    let version = app.write(&secret(r#"{"password":"two"}"#), "1").await.expect("written");
    assert_eq!(version, "2");
    let served = app.current().await.expect("secret");
    assert_eq!((text(&served), served.version.as_str()), (r#"{"password":"two"}"#, "2"));
}

#[tokio::test]
async fn a_write_over_another_version_than_the_expected_one_changes_nothing() {
    let bench = bench();
    let app = bench.open("vault:kv/app");
    app.current().await.expect("secret");
    bench.fake.write("kv/app", &json!({ "password": "somebody else's" }));
    let canary = secret(r#"{"password":"canary"}"#);
    let error = app.write(&canary, "1").await.expect_err("refused").to_string();
    assert!(
        error.contains("the current version is another than 1") && !error.contains("canary"),
        "{error}"
    );
    let served = app.current().await.expect("secret");
    assert_eq!(served.version, "2", "looked at again at once");
    assert!(text(&served).contains("somebody else's"));
}

#[tokio::test]
async fn what_cannot_be_written_says_why() {
    let bench = bench();
    write(&bench.dir.path().join("app"), "one");
    let object = r#"{"password":"two"}"#;
    for (reference, value, expected, said) in [
        ("vault:kv/app#password", object, "1", "a single field cannot be written"),
        ("vault:kv/app", "canary", "1", "unreadable"),
        ("vault:kv/app", r#"["canary"]"#, "1", "a JSON object only"),
        ("vault:kv/app", object, "abc", "no number"),
        ("vault:secret/app", object, "1", "use version 2"),
        ("vault:other/app", object, "1", "none of the configured mounts"),
        ("file:app", "two", "1", "a source of this kind cannot be written"),
    ] {
        let error = bench.open(reference).write(&secret(value), expected).await;
        let error = error.expect_err(reference).to_string();
        assert!(
            error.contains(said) && !error.contains("canary"),
            "{reference}: {error}"
        );
    }
    assert_eq!(bench.fake.requests("POST /v1/kv"), 0);
    assert_eq!(bench.fake.requests("POST /v1/secret"), 0);
    for reference in ["vault:kv/app", "file:app"] {
        let error = bench.open(reference).rotate().await.expect_err(reference).to_string();
        assert!(error.contains("no rotation of its own"), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_may_not_write_is_named() {
    let bench = bench();
    let token = bench.fake.make_token(std::time::Duration::ZERO, false);
    write(&bench.dir.path().join("token"), &token);
    bench.fake.forbid(Some("kv/data/app"));
    let app = bench.open("vault:kv/app");
    let error = app.write(&secret("{}"), "1").await.expect_err("forbidden").to_string();
    assert!(error.contains("the server refuses the token for this path"), "{error}");
}
