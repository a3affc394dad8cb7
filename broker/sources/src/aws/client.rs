//! The SDK's client, as the settings have it.

use std::{error::Error, fmt::Write, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_sdk_secretsmanager::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata, SdkError},
};
use futures_util::FutureExt;
use procura_core::ports::BoxFuture;

use super::AwsConfig;
use crate::cache::Trouble;

/// Longest wait for the answer to an operation, its second attempt and the search for credentials included.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The background asks again soon anyway, so that more attempts would only add to a throttle.
const ATTEMPTS: u32 = 2;
/// Longest part of the service's own words in a problem.
const WORDS: usize = 300;

/// Looks at environment and profile; asks nobody.
pub(super) fn client(config: &AwsConfig) -> BoxFuture<'_, Client> {
    make(config).boxed()
}

async fn make(config: &AwsConfig) -> Client {
    let shared = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(config.region.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build())
        .load()
        .await;
    let mut settings = Builder::from(&shared);
    if let Some(endpoint) = &config.endpoint {
        settings = settings.endpoint_url(endpoint.as_str());
    }
    if let Some(role) = &config.role {
        settings = settings.credentials_provider(assumed(role, config, shared).await);
    }
    Client::from_conf(settings.build())
}

/// Credentials of the role; the SDK asks for new ones before they end.
async fn assumed(role: &str, config: &AwsConfig, shared: SdkConfig) -> AssumeRoleProvider {
    let mut sts = shared.into_builder();
    sts.set_endpoint_url(config.sts_endpoint.as_ref().map(|url| url.as_str().to_owned()));
    let mut provider = AssumeRoleProvider::builder(role).session_name("procura");
    if let Some(id) = &config.external_id {
        provider = provider.external_id(id);
    }
    let sts = sts.build();
    match sts.credentials_provider() {
        Some(found) => provider.configure(&sts).build_from_provider(found).await,
        None => provider.configure(&sts).build().await,
    }
}

/// What a failed operation means.
pub(super) fn trouble<E>(error: &SdkError<E>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(code) = error.code() else {
        return Trouble::Away(unanswered(error));
    };
    let words: String = error.message().unwrap_or_default().chars().take(WORDS).collect();
    let words = words.escape_debug();
    match code {
        "ResourceNotFoundException" => Trouble::Gone(format!(
            "Secrets Manager has no such secret, or no version of it at this stage ({words}); check region, account and stage"
        )),
        "InvalidRequestException" => Trouble::Gone(format!("Secrets Manager does not serve this secret: {words}")),
        "AccessDeniedException" | "AccessDenied" => Trouble::Gone(format!(
            "Secrets Manager refuses: {words}; check the policies of the role, of the secret and of its key"
        )),
        code => Trouble::Away(format!("Secrets Manager answers {}: {words}", code.escape_debug())),
    }
}

/// The same for an operation whose request has a secret, which the service's words may repeat.
pub(super) fn trouble_without_words<E>(error: &SdkError<E>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error.code() {
        Some(code) => Trouble::Away(format!("Secrets Manager answers {}", code.escape_debug())),
        None => Trouble::Away(unanswered(error)),
    }
}

fn unanswered<E: Error + 'static>(error: &SdkError<E>) -> String {
    match error {
        SdkError::TimeoutError(_) => {
            "no answer within 3 s from Secrets Manager, or from where its credentials come from".to_owned()
        }
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            format!("Secrets Manager cannot be asked{}", causes(error))
        }
        // Its causes may show parts of what was answered.
        _ => "the answer of Secrets Manager is unreadable".to_owned(),
    }
}

/// The causes of an error, each after a colon, outermost first.
fn causes(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
