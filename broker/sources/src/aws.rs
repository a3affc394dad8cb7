//! AWS Secrets Manager.

mod client;
mod config;

use std::time::Duration;

use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::FutureExt;
use procura_core::{ports::BoxFuture, source::SourceSecret};
use procura_wire::Secret;
use tokio::sync::OnceCell;

use self::client::{client, trouble, trouble_without_words};
use crate::cache::{FRESH, Trouble, Upstream};

pub use self::config::AwsConfig;

/// Staging label of the version in use.
const CURRENT: &str = "AWSCURRENT";
/// Staging label of a version that is about to be.
const PENDING: &str = "AWSPENDING";

/// The secrets of one region, read as one role.
pub(crate) struct Aws {
    config: AwsConfig,
    /// Made at its first use, because the SDK reads its profile on a runtime.
    client: OnceCell<Client>,
}

impl Aws {
    pub(crate) fn new(config: AwsConfig) -> Self {
        Self {
            config,
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(|| client(&self.config)).await
    }

    /// What the API calls the secret: its name, or for another account's its ARN without the random end.
    fn id(&self, path: &str) -> String {
        let region = &self.config.region;
        let partition = match region.split('-').next() {
            Some("cn") => "aws-cn",
            Some("us") if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        match &self.config.account {
            Some(account) => format!("arn:{partition}:secretsmanager:{region}:{account}:secret:{path}"),
            None => path.to_owned(),
        }
    }

    async fn read_stage(&self, path: &str) -> Result<SourceSecret, Trouble> {
        let request = self.client().await.get_secret_value().secret_id(self.id(path));
        let answer = request.version_stage(&self.config.stage).send().await;
        let answer = answer.map_err(|error| trouble(&error))?;
        let value = match (answer.secret_string, answer.secret_binary) {
            (Some(text), _) => Secret::new(text),
            (None, Some(bytes)) => binary(bytes.into_inner()),
            (None, None) => return Err(Trouble::Away("the secret has no value".to_owned())),
        };
        let version = answer.version_id.ok_or_else(no_version)?;
        Ok(SourceSecret { value, version })
    }

    /// Writes a version aside, then moves the label over from the expected one, which the service refuses if it is not
    /// there any more. Takes the rights `PutSecretValue` and `UpdateSecretVersionStage`.
    async fn write_current(&self, path: &str, value: &Secret, expected: &str) -> Result<String, Trouble> {
        if self.config.stage != CURRENT {
            let problem = format!(
                "only a source of stage {CURRENT} can be written, and this one is of {}",
                self.config.stage
            );
            return Err(Trouble::Gone(problem));
        }
        let put = self.client().await.put_secret_value().secret_id(self.id(path));
        #[expect(
            clippy::disallowed_methods,
            reason = "the secret is handed to the source that keeps it"
        )]
        let put = put.secret_string(value.expose()).version_stages(PENDING);
        let put = put.send().await;
        let version = put.map_err(|error| trouble_without_words(&error))?.version_id;
        let version = version.ok_or_else(no_version)?;
        let moved = self.make_current(path, &version, expected).await;
        if moved.is_err() {
            // A label left there would keep Secrets Manager from rotating. The first error counts.
            let _ = self.forget_pending(path, &version).await;
        }
        moved.map(|()| version)
    }

    async fn make_current(&self, path: &str, version: &str, expected: &str) -> Result<(), Trouble> {
        let request = self.client().await.update_secret_version_stage();
        let request = request.secret_id(self.id(path)).version_stage(CURRENT);
        let request = request.move_to_version_id(version).remove_from_version_id(expected);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("InvalidParameterException") => Err(Trouble::Gone(format!(
                "nothing is changed, because {CURRENT} is not at version {} any more",
                expected.escape_debug()
            ))),
            Err(error) => Err(trouble(&error)),
        }
    }

    async fn forget_pending(&self, path: &str, version: &str) -> Result<(), Trouble> {
        let request = self.client().await.update_secret_version_stage();
        let request = request.secret_id(self.id(path)).version_stage(PENDING);
        let sent = request.remove_from_version_id(version).send().await;
        sent.map(|_| ()).map_err(|error| trouble(&error))
    }

    async fn begin_rotation(&self, path: &str) -> Result<(), Trouble> {
        let request = self.client().await.rotate_secret().secret_id(self.id(path));
        let begun = request.send().await;
        begun.map(|_| ()).map_err(|error| trouble(&error))
    }
}

fn no_version() -> Trouble {
    Trouble::Away("Secrets Manager answers without a version".to_owned())
}

/// Bytes as the text that they are, otherwise in base64.
fn binary(bytes: Vec<u8>) -> Secret {
    Secret::new(String::from_utf8(bytes).unwrap_or_else(|error| STANDARD.encode(error.as_bytes())))
}

impl Upstream for Aws {
    fn read<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<SourceSecret, Trouble>> {
        self.read_stage(path).boxed()
    }

    fn write<'a>(
        &'a self,
        path: &'a str,
        value: &'a Secret,
        expected_version: &'a str,
    ) -> BoxFuture<'a, Result<String, Trouble>> {
        self.write_current(path, value, expected_version).boxed()
    }

    fn rotate<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), Trouble>> {
        self.begin_rotation(path).boxed()
    }

    /// As for Vault. A secret in use costs a call every 5 s, far from any quota.
    fn fresh_for(&self) -> Duration {
        FRESH
    }

    fn generation(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(settings: &str) -> String {
        Aws::new(toml::from_str(settings).expect("settings")).id("prod/app")
    }

    #[test]
    fn another_accounts_secret_is_asked_for_by_its_arn() {
        assert_eq!(id("region = 'eu-central-1'"), "prod/app");
        for (region, partition) in [
            ("eu-central-1", "aws"),
            ("us-east-1", "aws"),
            ("us-gov-west-1", "aws-us-gov"),
            ("cn-north-1", "aws-cn"),
        ] {
            let settings = format!("region = '{region}'\naccount = '123456789012'");
            let expected = format!("arn:{partition}:secretsmanager:{region}:123456789012:secret:prod/app");
            assert_eq!(id(&settings), expected);
        }
    }
}
