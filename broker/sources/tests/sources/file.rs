//! Mounted secrets.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
    time::Duration,
};

use crate::kit::{sources, text, write};
use futures_util::FutureExt;
use procura_contract::manual_clock::ManualClock;
use procura_sources::Sources;
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
    clock: Arc<ManualClock>,
    sources: Sources,
}

fn bench() -> Bench {
    let dir = TempDir::new().expect("a folder");
    let clock = Arc::new(ManualClock::default());
    fs::create_dir(dir.path().join("root")).expect("the root");
    let settings = format!(
        "[file]\nkind = 'file'\nallow = ['**']\nroot = '{}/root'",
        dir.path().display()
    );
    Bench {
        sources: sources(&settings, &clock).expect("sources"),
        dir,
        clock,
    }
}

impl Bench {
    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    async fn read(&self, path: &str) -> Result<String, String> {
        let source = self
            .sources
            .open(&format!("file:{path}"))
            .map_err(|error| error.to_string())?;
        match source.current().await {
            Ok(secret) => Ok(text(&secret).to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[tokio::test]
async fn reads_text_and_fields_without_the_final_line_end() {
    let bench = bench();
    write(&bench.root().join("plain"), "s3cret\n");
    write(&bench.root().join("admin.json"), r#"{"user":"u","password":"p"}"#);
    assert_eq!(bench.read("plain").await.as_deref(), Ok("s3cret"));
    assert_eq!(bench.read("admin.json#password").await.as_deref(), Ok("p"));
    assert_eq!(
        bench.read("admin.json").await.as_deref(),
        Ok(r#"{"user":"u","password":"p"}"#)
    );
}

#[tokio::test]
async fn refuses_files_that_everybody_may_touch() {
    let bench = bench();
    let path = bench.root().join("open");
    write(&path, "canary");
    for mode in [0o644, 0o604, 0o602, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        let problem = bench.read("open").await.expect_err("refused");
        assert!(
            problem.contains("open to everybody") && !problem.contains("canary"),
            "{problem}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).expect("mode");
    assert_eq!(bench.read("open").await.as_deref(), Ok("canary"));
}

#[tokio::test]
async fn refuses_links_out_of_the_root_folders_and_what_is_too_large() {
    let bench = bench();
    write(&bench.dir.path().join("outside"), "canary");
    symlink(bench.dir.path().join("outside"), bench.root().join("absolute")).expect("link");
    symlink("../outside", bench.root().join("relative")).expect("link");
    symlink("..", bench.root().join("up")).expect("link");
    fs::create_dir(bench.root().join("folder")).expect("folder");
    write(&bench.root().join("large"), &"x".repeat((1 << 20) + 1));
    for (path, expected) in [
        ("absolute", "link out of its root"),
        ("relative", "link out of its root"),
        ("up/outside", "link out of its root"),
        ("folder", "not a regular file"),
        ("large", "larger than 1 MiB"),
        ("missing", "not found"),
    ] {
        let problem = bench.read(path).await.expect_err("refused");
        assert!(
            problem.contains(expected) && !problem.contains("canary"),
            "{path}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_hostile_reference_is_refused_before_any_file_is_touched() {
    let bench = bench();
    write(&bench.dir.path().join("outside"), "canary");
    for path in [
        "../outside",
        "/etc/hostname",
        "%2e%2e/outside",
        "a\0b",
        "a/../../outside",
        "",
    ] {
        let problem = bench.read(path).await.expect_err("refused");
        assert!(
            problem.contains("a path is made of") && !problem.contains('\0'),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn allow_bounds_bundles_and_not_the_configuration_itself() {
    let bench = bench();
    let settings = format!(
        "[file]\nkind = 'file'\nallow = ['postgres-*']\nroot = '{}'",
        bench.root().display()
    );
    let sources = sources(&settings, &bench.clock).expect("sources");
    assert!(sources.open("file:postgres-admin.json").is_ok());
    let refused = sources.open("file:token-keys.json").err().expect("refused");
    assert!(refused.problem.contains("does not cover"), "{refused}");
    assert!(sources.open_own("file:token-keys.json").is_ok());
    assert!(sources.open("other:postgres-admin.json").is_err(), "not configured");
}

#[tokio::test]
async fn without_allow_a_bundle_reaches_nothing() {
    let clock = Arc::new(ManualClock::default());
    let sources = sources("[file]\nkind = 'file'\nroot = '/run/secrets'", &clock).expect("sources");
    assert!(sources.open("file:a").is_err());
}

/// Mounts content the way Kubernetes does: files are links through `..data`, which is swapped.
fn mount(root: &Path, generation: &str, secret: &str) {
    fs::create_dir(root.join(generation)).expect("folder");
    write(&root.join(generation).join("password"), secret);
    symlink(generation, root.join("..data_tmp")).expect("link");
    fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swap");
    if !root.join("password").exists() {
        symlink("..data/password", root.join("password")).expect("link");
    }
}

#[tokio::test]
async fn a_swapped_mount_is_noticed_by_the_watch_alone() {
    let bench = bench();
    mount(&bench.root(), "..v1", "one");
    let source = bench.sources.open("file:password").expect("source");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let work = bench.sources.run(stopped.map(|_| ()).boxed());
    let look = async {
        while bench.clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        let first = source.current().await.expect("secret");
        assert_eq!(text(&first), "one");
        mount(&bench.root(), "..v2", "two");
        // No time passes by the broker's clock, so that only the watch can tell.
        for _ in 0..500 {
            if text(&source.current().await.expect("secret")) == "two" {
                let second = source.current().await.expect("secret");
                assert_ne!(first.version, second.version);
                drop(stop);
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the watch did not report the swap");
    };
    futures_util::future::join(work, look).await;
}

#[tokio::test]
async fn without_a_watch_the_file_is_looked_at_again_after_a_second() {
    let bench = bench();
    let path = bench.root().join("a");
    write(&path, "one");
    let source = bench.sources.open("file:a").expect("source");
    assert_eq!(text(&source.current().await.expect("secret")), "one");
    write(&path, "other");
    assert_eq!(text(&source.current().await.expect("secret")), "one", "fresh");
    assert_eq!(
        text(&source.refetch().await.expect("secret")),
        "other",
        "asked past the cache"
    );
    write(&path, "a third one");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(text(&source.current().await.expect("secret")), "a third one");
}
