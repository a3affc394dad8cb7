//! The Vault suite, against the fake and against a real server where there is one.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::FutureExt;
use procura_contract::{
    manual_clock::ManualClock,
    vault::{FakeVault, ROOT_TOKEN},
    vault_suite::{Access, LogIn, NO_SERVER, Opened, Server, real_server, vault_suite},
};
use procura_core::{
    Timestamp,
    ports::{BoxFuture, Clock},
    source::Source,
};
use procura_sources::Sources;
use tempfile::TempDir;

use crate::kit::{Counting, settle};

#[tokio::test]
async fn the_suite_holds_against_the_fake() {
    let dir = TempDir::new().expect("a folder");
    let clock = Arc::new(ManualClock::default());
    let fake = FakeVault::start(Arc::clone(&clock) as Arc<dyn Clock>).expect("the fake");
    let server = Server {
        name: "the fake".to_owned(),
        address: fake.address.clone(),
        root_token: ROOT_TOKEN.to_owned(),
        database: String::new(),
    };
    suite(&server, dir.path(), Time::Manual(clock)).await;
}

#[tokio::test]
async fn the_suite_holds_against_a_real_server_where_there_is_one() {
    let dir = TempDir::new().expect("a folder");
    let Some(real) = real_server().await else {
        println!("{NO_SERVER}");
        return;
    };
    suite(&real.server, dir.path(), Time::Real).await;
}

async fn suite(server: &Server, folder: &Path, time: Time) {
    let id = std::process::id().to_string();
    vault_suite(server, &id, folder, |access| Running::open(access, time.clone())).await;
}

/// How time passes.
#[derive(Clone)]
enum Time {
    Manual(Arc<ManualClock>),
    Real,
}

/// Sources with their background work on a task of its own.
struct Running {
    sources: Arc<Sources>,
    time: Time,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn open(access: &Access<'_>, time: Time) -> Self {
        let clock: Arc<dyn Clock> = match &time {
            Time::Manual(clock) => Arc::clone(clock) as _,
            Time::Real => Arc::new(RealClock(tokio::time::Instant::now())),
        };
        let namespace = access.namespace.map(|name| format!("namespace = '{name}'\n"));
        let settings = format!(
            "[vault]\nkind = 'vault'\naddress = '{}'\n{}{}\nmounts = {{ {} = 1, {} = 2 }}\n\
             dynamic = ['{}']\nallow = ['**']",
            access.address,
            namespace.unwrap_or_default(),
            log_in(access.log_in),
            access.kv1,
            access.kv2,
            access.dynamic
        );
        let configs = toml::from_str(&settings).expect("settings");
        let sources = Arc::new(Sources::new(configs, clock, &Counting::default()).expect("sources"));
        let background = Arc::clone(&sources);
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        let task = tokio::spawn(async move { background.run(futures_util::future::pending().boxed()).await });
        Self { sources, time, task }
    }
}

fn log_in(way: LogIn<'_>) -> String {
    match way {
        LogIn::TokenFile(file) => format!("token_file = '{}'", file.display()),
        LogIn::AppRole {
            mount,
            role_id,
            secret_id_file,
        } => format!(
            "approle = {{ mount = '{mount}', role_id = '{role_id}', secret_id_file = '{}' }}",
            secret_id_file.display()
        ),
        LogIn::Jwt {
            kind,
            mount,
            role,
            token_file,
        } => format!(
            "{kind} = {{ mount = '{mount}', role = '{role}', token_file = '{}' }}",
            token_file.display()
        ),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Opened for Running {
    fn source(&self, path: &str) -> Arc<dyn Source> {
        self.sources.open(&format!("vault:{path}")).expect("a reference")
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        async move {
            match &self.time {
                Time::Real => tokio::time::sleep(time).await,
                Time::Manual(clock) => {
                    settle(clock).await;
                    clock.advance(time);
                    settle(clock).await;
                }
            }
        }
        .boxed()
    }
}

/// Real time, for a real server.
struct RealClock(tokio::time::Instant);

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed()
    }
}
