//! Clients of STS and IAM with the broker's own key: a pair for each version of it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig};
use futures_util::{
    FutureExt,
    future::{Either, ready, select},
};
use procura_core::{
    ports::{BoxFuture, Clock},
    source::{Attempt, RotationError, Source, SourceSecret, through_rotation},
};
use procura_wire::Secret;
use serde::Deserialize;
use tracing::{Dispatch, instrument::WithSubscriber};

use crate::{fault::Fault, settings::Settings};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long to wait for one answer, before the request is sent again.
const ANSWER: Duration = Duration::from_secs(4);
/// How often a request is sent while AWS throttles or is not reached. A session whose answer was lost is nobody's.
const ATTEMPTS: u32 = 3;

/// AWS as the broker reaches it.
pub(crate) struct Access {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) source: Arc<dyn Source>,
    /// Newest first, two at most: callers that still hold the version before must not thrash.
    open: Mutex<Vec<Login>>,
}

/// The broker with one version of its key.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) version: String,
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) iam: aws_sdk_iam::Client,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// `{"access_key_id", "secret_access_key"}`, for a temporary one with `session_token`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessKey {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
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

    /// Does something with the key, through a change of it, until a moment of the monotonic clock.
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
                Ok(login) => {
                    let done = before(&*self.clock, deadline, unlogged(work(login)));
                    Box::pin(done.map(|done| attempted(done.unwrap_or(Err(Fault::Late)))))
                }
                Err(fault) => Box::pin(ready(Attempt::Failed(fault))),
            }
        };
        Box::pin(async move {
            let attempts = through_rotation(&*self.source, &*self.clock, deadline, attempt);
            // The work ends itself at the deadline; this is for a source that hangs.
            let last = deadline + Duration::from_millis(250);
            let hangs = || {
                Err(RotationError::Failed(Fault::Other(
                    "the source does not answer".to_owned(),
                )))
            };
            before(&*self.clock, last, attempts).await.unwrap_or_else(hangs)
        })
    }

    fn login(&self, secret: &SourceSecret) -> Result<Login, Fault> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(login) = open.iter().find(|login| login.version == secret.version) {
            return Ok(login.clone());
        }
        let login = self.log_in(secret)?;
        open.insert(0, login.clone());
        open.truncate(2);
        Ok(login)
    }

    /// The key and nothing else: no environment, profile or instance is asked.
    pub(crate) fn log_in(&self, secret: &SourceSecret) -> Result<Login, Fault> {
        let (settings, key) = (&self.settings, credentials(&secret.value)?);
        let region = Region::new(settings.region.clone());
        let retry = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ANSWER)
            .build();
        let mut sts = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .credentials_provider(key.clone())
            .retry_config(retry.clone())
            .timeout_config(timeouts.clone());
        sts.set_endpoint_url(settings.endpoint.clone());
        let mut iam = aws_sdk_iam::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .credentials_provider(key)
            .retry_config(retry)
            .timeout_config(timeouts);
        iam.set_endpoint_url(settings.iam_endpoint.clone());
        Ok(Login {
            version: secret.version.clone(),
            sts: aws_sdk_sts::Client::from_conf(sts.build()),
            iam: aws_sdk_iam::Client::from_conf(iam.build()),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "taken apart for what it is used for")]
fn read(secret: &Secret) -> Result<AccessKey, Fault> {
    // What serde says may show parts of the secret.
    serde_json::from_str(secret.expose()).map_err(|_| {
        Fault::Other(
            "the source's secret is not {\"access_key_id\", \"secret_access_key\"}, with \"session_token\" for a temporary key"
                .to_owned(),
        )
    })
}

/// The public half of a key.
pub(crate) fn key_id(secret: &Secret) -> Result<String, Fault> {
    Ok(read(secret)?.access_key_id)
}

#[expect(clippy::disallowed_methods, reason = "taken apart for the SDK, which signs with it")]
fn credentials(secret: &Secret) -> Result<Credentials, Fault> {
    let key = read(secret)?;
    let token = key.session_token.map(|token| token.expose().to_owned());
    let secret = key.secret_access_key.expose();
    Ok(Credentials::new(key.access_key_id, secret, token, None, "procura"))
}

/// Runs an operation of the SDK without its log, which at level TRACE has requests and answers as far as it sees fit.
pub(crate) async fn unlogged<T>(operation: impl Future<Output = T>) -> T {
    operation.with_subscriber(Dispatch::none()).await
}

fn attempted<T>(outcome: Result<T, Fault>) -> Attempt<T, Fault> {
    match outcome {
        Ok(value) => Attempt::Done(value),
        Err(fault) if fault.is_refusal() => Attempt::SecretRefused(fault.to_string()),
        Err(fault) => Attempt::Failed(fault),
    }
}

/// The result of the work, or `None` where a moment of the monotonic clock comes first.
async fn before<T>(clock: &dyn Clock, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let left = deadline.saturating_sub(clock.monotonic());
    match select(Box::pin(work), clock.sleep(left)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(secret: &str) -> Result<Credentials, Fault> {
        credentials(&Secret::new(secret.to_owned()))
    }

    #[test]
    fn a_key_is_read_and_never_shown() {
        let key =
            taken(r#"{"access_key_id":"AKIA1","secret_access_key":"hunter2","session_token":"hunter3"}"#).expect("key");
        assert_eq!((key.access_key_id(), key.session_token()), ("AKIA1", Some("hunter3")));
        assert_eq!(
            taken(r#"{"access_key_id":"AKIA1","secret_access_key":"x"}"#)
                .expect("key")
                .session_token(),
            None
        );
        for bad in [
            "hunter2",
            r#"{"access_key_id":"AKIA1"}"#,
            r#"{"access_key_id":"AKIA1","secret_access_key":7}"#,
            r#"{"access_key_id":"AKIA1","secret_access_key":"hunter2","password":"hunter2"}"#,
        ] {
            let text = taken(bad).expect_err("refused").to_string();
            assert!(text.contains("access_key_id") && !text.contains("hunter2"), "{text}");
        }
    }
}
