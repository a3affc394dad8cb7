//! Connections of the administrator: a small pool for each version of its password.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{Either, ready, select},
};
use procura_core::{
    ports::{BoxFuture, Clock},
    source::{Attempt, RotationError, Source, SourceSecret, through_rotation},
};
use procura_wire::Secret;
use serde_json::Value;
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, Postgres},
};

use crate::{fault::Fault, settings::Settings};

/// Most connections to the target's database at the same time, per version of the password.
const CONNECTIONS: u32 = 8;
/// Most versions that connections are kept of: in a rotation the one in use, the next and those before are tried.
const POOLS: usize = 5;
/// How long to wait for a connection of its own.
const CONNECT: Duration = Duration::from_secs(3);
/// How long to wait for one of the pool, which may have to come back first; a deadline ends it earlier.
const ACQUIRE: Duration = Duration::from_secs(10);
/// How long one statement may take, a lock may be waited for, and a transaction may stand idle. Each is
/// shorter than the margin after which an intent is swept, so that nothing of a mint commits after that.
const TIMEOUTS: [(&str, &str); 3] = [
    ("statement_timeout", "4s"),
    ("lock_timeout", "3s"),
    ("idle_in_transaction_session_timeout", "3s"),
];

/// The target as its administrator reaches it.
pub(crate) struct Access {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) source: Arc<dyn Source>,
    /// Newest first, a few: callers that hold a version before, or try one, must not thrash.
    open: Mutex<Vec<Login>>,
}

/// The administrator with one version of its password.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) version: String,
    pool: PgPool,
    options: PgConnectOptions,
    clock: Arc<dyn Clock>,
}

impl Access {
    pub(crate) fn new(settings: Settings, clock: Arc<dyn Clock>, source: Arc<dyn Source>) -> Self {
        Self {
            settings,
            clock,
            source,
            open: Mutex::new(Vec::new()),
        }
    }

    /// Does something as the administrator, through a change of its password, until a moment of the monotonic clock.
    pub(crate) fn with<'a, T, Done>(
        &'a self,
        deadline: Duration,
        work: impl Fn(Login) -> Done + Send + Sync + 'a,
    ) -> BoxFuture<'a, Result<T, RotationError<Fault>>>
    where
        T: Send + 'a,
        Done: Future<Output = Result<T, Fault>> + Send + 'a,
    {
        let attempt = move |secret: Arc<SourceSecret>| -> BoxFuture<'a, Attempt<T, Fault>> {
            match self.login(&secret) {
                Ok(login) => Box::pin(work(login).map(move |outcome| self.attempted(&secret.version, outcome))),
                Err(fault) => Box::pin(ready(Attempt::Failed(fault))),
            }
        };
        Box::pin(async move {
            let attempts = through_rotation(&*self.source, &*self.clock, deadline, attempt);
            // The work ends itself at the deadline; this is for a source that hangs.
            let last = deadline + Duration::from_millis(250);
            before(&*self.clock, last, attempts)
                .await
                .unwrap_or(Err(RotationError::Failed(Fault::Late)))
        })
    }

    /// What was refused once need not be tried by all who wait for a connection: they look for another version at once.
    fn attempted<T>(&self, version: &str, outcome: Result<T, Fault>) -> Attempt<T, Fault> {
        match outcome {
            Ok(value) => Attempt::Done(value),
            Err(fault) if fault.is_refusal() => {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                for login in open.extract_if(.., |login| login.version == version) {
                    // Closed from here on; work under way ends as it would.
                    drop(login.pool.close());
                }
                Attempt::SecretRefused(fault.to_string())
            }
            Err(fault) => Attempt::Failed(fault),
        }
    }

    pub(crate) fn login(&self, secret: &SourceSecret) -> Result<Login, Fault> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = open.iter().find(|login| login.version == secret.version) {
            return Ok(login.clone());
        }
        let login = self.other_login(secret)?;
        open.insert(0, login.clone());
        // A pool that is dropped closes its connections as they come back.
        open.truncate(POOLS);
        Ok(login)
    }

    /// With a version that nothing else is done with.
    pub(crate) fn other_login(&self, secret: &SourceSecret) -> Result<Login, Fault> {
        let options = self.options(secret)?;
        Ok(Login {
            version: secret.version.clone(),
            pool: PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(ACQUIRE)
                .idle_timeout(Duration::from_secs(60))
                .connect_lazy_with(options.clone()),
            options,
            clock: Arc::clone(&self.clock),
        })
    }

    fn options(&self, secret: &SourceSecret) -> Result<PgConnectOptions, Fault> {
        let (user, password) = user_and_password(&secret.value, self.settings.user.as_deref())?;
        #[expect(clippy::disallowed_methods, reason = "the driver logs in with it")]
        let password = password.expose();
        let settings = &self.settings;
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&settings.host)
            .port(settings.port)
            .database(&settings.dbname)
            .username(&user)
            .password(password)
            .ssl_mode(settings.tls)
            .application_name("procura")
            .options(TIMEOUTS)
            // What sessions leave in other schemas must never be called by the administrator.
            .options([("search_path", "pg_catalog"), ("standard_conforming_strings", "on")])
            .disable_statement_logging();
        if let Some(role) = &settings.set_role {
            options = options.options([("role", role)]);
        }
        if let Some(ca_file) = &settings.ca_file {
            options = options.ssl_root_cert(ca_file);
        }
        Ok(options)
    }
}

impl Login {
    /// A connection to the target's database.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>, Fault> {
        self.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => Fault::Unreachable,
            error => error.into(),
        })
    }

    /// The same, until a moment of the monotonic clock.
    pub(crate) async fn acquire_before(&self, deadline: Duration) -> Result<PoolConnection<Postgres>, Fault> {
        let acquired = before(&*self.clock, deadline, self.acquire()).await;
        acquired.unwrap_or(Err(Fault::Unreachable))
    }

    /// A connection of its own to the target's database.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Fault> {
        self.open(&self.options).await
    }

    /// The same to any database.
    pub(crate) async fn connect_to(&self, database: &str) -> Result<PgConnection, Fault> {
        let opened = self.open(&self.options.clone().database(database)).await;
        opened.map_err(|fault| match fault {
            Fault::Sql(sqlx::Error::Database(error)) => Fault::Other(format!("database {database}: {error}")),
            fault => fault,
        })
    }

    async fn open(&self, options: &PgConnectOptions) -> Result<PgConnection, Fault> {
        let deadline = self.clock.monotonic() + CONNECT;
        let connection = before(&*self.clock, deadline, PgConnection::connect_with(options)).await;
        Ok(connection.ok_or(Fault::Late)??)
    }

    pub(crate) async fn pause(&self, time: Duration) {
        self.clock.sleep(time).await;
    }
}

/// The result of the work, or `None` where a moment of the monotonic clock comes first.
pub(crate) async fn before<T>(clock: &dyn Clock, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let left = deadline.saturating_sub(clock.monotonic());
    match select(Box::pin(work), clock.sleep(left)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// The secret is `{"username", "password"}`, or the password of the role that the target names.
pub(crate) fn user_and_password(secret: &Secret, user: Option<&str>) -> Result<(String, Secret), Fault> {
    #[expect(clippy::disallowed_methods, reason = "taken apart for the driver")]
    let text = secret.expose();
    let field = |object: &Value, key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    let (named, password) = match serde_json::from_str::<Value>(text).ok().filter(Value::is_object) {
        Some(object) => (field(&object, "username"), field(&object, "password")),
        None => (None, Some(text.trim_end_matches(['\r', '\n']).to_owned())),
    };
    let password = password.filter(|password| !password.is_empty()).map(Secret::new);
    let password = password.ok_or_else(|| Fault::Other("the source's secret has no password".to_owned()))?;
    match (named, user) {
        (Some(named), Some(user)) if named != user => Err(Fault::Other(
            "the target's key user and the secret's username differ; remove one".to_owned(),
        )),
        (Some(named), _) => Ok((named, password)),
        (None, Some(user)) => Ok((user.to_owned(), password)),
        (None, None) => Err(Fault::Other(
            "neither the source's secret (username) nor the target (user) names the administrator".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(secret: &str, user: Option<&str>) -> Option<(String, Secret)> {
        user_and_password(&Secret::new(secret.to_owned()), user).ok()
    }

    #[test]
    fn the_administrator_comes_from_the_secret_or_from_the_target() {
        let expected = Some(("admin".to_owned(), Secret::new("pw".to_owned())));
        assert_eq!(read(r#"{"username":"admin","password":"pw"}"#, None), expected);
        assert_eq!(read(r#"{"password":"pw"}"#, Some("admin")), expected);
        assert_eq!(read("pw\n", Some("admin")), expected);
        assert_eq!(read(r#"{"username":"admin","password":"pw"}"#, Some("admin")), expected);
    }

    #[test]
    fn a_secret_that_says_too_little_or_two_things_is_refused() {
        assert_eq!(read("pw", None), None);
        assert_eq!(read("", Some("admin")), None);
        assert_eq!(read(r#"{"username":"admin"}"#, None), None);
        assert_eq!(read(r#"{"username":"other","password":"pw"}"#, Some("admin")), None);
    }
}
