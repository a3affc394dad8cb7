//! What the tests share: moto, the proxy before it, and an administrator of the account.

use std::sync::Arc;

use aws_sdk_secretsmanager::{Client, operation::describe_secret::DescribeSecretOutput};
use procura_contract::{entropy::CountingEntropy, manual_clock::ManualClock, moto::Moto};
use procura_core::{
    ports::Clock,
    source::{Source, SourceSecret},
};
use procura_sources::Sources;

use crate::{log::listen, proxy::Proxy};

pub(crate) const REGION: &str = "eu-central-1";

/// Everything one test needs. Its secrets are below its own name.
pub(crate) struct Bed {
    pub(crate) proxy: Proxy,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) admin: Client,
    pub(crate) moto: Arc<Moto>,
    name: &'static str,
}

impl Bed {
    pub(crate) async fn new(name: &'static str) -> Self {
        listen();
        let moto = Moto::shared().expect("moto");
        Self {
            proxy: Proxy::start(&moto.address).await,
            clock: Arc::default(),
            admin: administrator(&moto.address).await,
            moto,
            name,
        }
    }

    /// A secret's name.
    pub(crate) fn secret(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    /// Makes a secret and answers the id of its version.
    pub(crate) async fn create(&self, name: &str, text: &str) -> String {
        let request = self.admin.create_secret().name(self.secret(name)).secret_string(text);
        let made = request.send().await.expect("a new secret");
        made.version_id.expect("its version")
    }

    /// Begins a rotation: another version, pending.
    pub(crate) async fn stage(&self, name: &str, text: &str) -> String {
        let request = self.admin.put_secret_value().secret_id(self.secret(name));
        let request = request.secret_string(text).version_stages("AWSPENDING");
        request
            .send()
            .await
            .expect("another version")
            .version_id
            .expect("its id")
    }

    /// Ends it: the label moves on.
    pub(crate) async fn promote(&self, name: &str, from: &str, to: &str) {
        let request = self.admin.update_secret_version_stage().secret_id(self.secret(name));
        let request = request.version_stage("AWSCURRENT");
        let request = request.remove_from_version_id(from).move_to_version_id(to);
        request.send().await.expect("the label moves");
    }

    pub(crate) async fn describe(&self, name: &str) -> DescribeSecretOutput {
        let request = self.admin.describe_secret().secret_id(self.secret(name));
        request.send().await.expect("the secret is there")
    }

    /// Sources with one named `aws` that goes through the proxy, with further keys.
    pub(crate) fn sources(&self, keys: &str) -> Sources {
        let settings = format!(
            "[aws]\nkind = 'aws'\nregion = '{REGION}'\nendpoint = '{}'\nallow = ['**']\n{keys}",
            self.proxy.address
        );
        let configs = toml::from_str(&settings).expect("settings");
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Sources::new(configs, clock, &CountingEntropy::default()).expect("sources")
    }

    /// The source of a secret; a field may follow the name.
    pub(crate) fn open(&self, keys: &str, name: &str) -> Arc<dyn Source> {
        let reference = format!("aws:{}", self.secret(name));
        self.sources(keys).open(&reference).expect("a reference")
    }
}

/// A client that goes past the proxy.
pub(crate) async fn administrator(endpoint: &str) -> Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(endpoint)
        .load()
        .await;
    Client::new(&config)
}

/// A variable that `cargo xtask test` sets: a part of the credentials for moto.
pub(crate) fn environment(name: &str) -> String {
    let value = std::env::var_os(name).and_then(|value| value.into_string().ok());
    value.unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test`"))
}

/// The clear text, for comparison.
#[expect(clippy::disallowed_methods, reason = "a test compares what it wrote itself")]
pub(crate) fn text(secret: &SourceSecret) -> &str {
    secret.value.expose()
}
