//! A role at moto, a minter of it, and everything that the minter asks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use aws_sdk_iam::config::{BehaviorVersion, Credentials, Region};
use procura_contract::{
    asked::{Asked, GivenSource, INSTALLATION, open, target},
    moto::Moto,
    recorder::{Recorder, Seen, Turn},
};
use procura_core::{
    Timestamp,
    catalogue::Target,
    ids::{Handle, IssuanceId},
    kind::{MintError, Minted, Minter},
    params::{ParamSpec, ParamType, ParamValue},
    ports::{BoxFuture, Clock},
};
use procura_target_aws::KIND;
use procura_wire::{AwsCredential, Secret};
use serde_json::{Value, json};
use uuid::Uuid;

/// moto's own account.
pub(crate) const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";

pub(crate) struct Bed {
    pub(crate) role: String,
    pub(crate) recorder: Recorder,
    pub(crate) source: Arc<GivenSource>,
    pub(crate) clock: Arc<RealClock>,
    pub(crate) own: Value,
    pub(crate) grant: Value,
    /// Admin of moto.
    pub(crate) iam: aws_sdk_iam::Client,
    moto: Arc<Moto>,
}

impl Bed {
    /// A role of its own, whose requests all pass.
    pub(crate) async fn new() -> Self {
        Self::with(|_| Turn::Pass).await
    }

    pub(crate) async fn with(turn: impl Fn(&Seen) -> Turn + Send + Sync + 'static) -> Self {
        crate::log::listen();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let moto = tokio::task::spawn_blocking(Moto::shared)
            .await
            .expect("ran")
            .expect("moto");
        let recorder = Recorder::start(&moto.address, turn).expect("a proxy");
        let role = format!("reports-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let iam = iam(&moto.address);
        let made = iam
            .create_role()
            .role_name(&role)
            .path("/agents/")
            .assume_role_policy_document("{}");
        made.max_session_duration(7200).send().await.expect("a role");
        Self {
            own: json!({
                "role_arn": format!("arn:aws:iam::{ACCOUNT}:role/agents/{role}"), "region": REGION,
                "endpoint": recorder.address, "iam_endpoint": recorder.address, "revoke": "deny-older-than",
            }),
            grant: json!({ "statements": [
                { "actions": ["s3:ListBucket"], "resources": ["arn:aws:s3:::reports"],
                  "where": { "StringEquals": { "s3:prefix": "param:prefix" } } },
            ] }),
            role,
            recorder,
            source: GivenSource::new(&key("AKIAFIRST00000000000")),
            clock: Arc::new(RealClock(tokio::time::Instant::now())),
            iam,
            moto,
        }
    }

    pub(crate) fn target(&self) -> Target {
        let mut target = target(&KIND, &self.own, &self.grant);
        for grant in target.grants.values_mut() {
            grant.max_ttl = Duration::from_secs(3600);
            let spec = ParamSpec {
                ty: ParamType::Set(None),
                required: true,
            };
            grant.params.insert("prefix".to_owned(), spec);
        }
        target
    }

    /// An hour of the reports of 2026.
    pub(crate) fn ask(&self) -> Asked {
        self.ask_for(&self.target())
    }

    pub(crate) fn ask_for(&self, target: &Target) -> Asked {
        let mut asked = Asked::new(target, self.clock.now()).with("prefix", &["2026/"]);
        asked.plan.end = self.clock.now() + Duration::from_secs(3600);
        asked
    }

    pub(crate) fn minter(&self) -> Arc<dyn Minter> {
        open(&self.target(), self.source.clone(), self.clock.clone()).expect("opened")
    }

    pub(crate) async fn mint(&self, asked: &Asked) -> Result<Minted, MintError> {
        asked.mint(&*self.minter(), &*self.clock).await
    }

    /// Requests of that action, as forms.
    pub(crate) fn asked_of(&self, action: &str) -> Vec<std::collections::BTreeMap<String, String>> {
        let forms = self.recorder.seen().into_iter().map(|seen| seen.form());
        forms
            .filter(|form| form.get("Action").is_some_and(|is| is == action))
            .collect()
    }

    /// What the credential says that it is.
    pub(crate) async fn identity(&self, credential: &AwsCredential) -> String {
        let key = Credentials::new(
            &credential.access_key_id,
            exposed(&credential.secret_access_key),
            Some(exposed(&credential.session_token).to_owned()),
            None,
            "test",
        );
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.moto.address)
            .credentials_provider(key);
        let client = aws_sdk_sts::Client::from_conf(config.build());
        let identity = client.get_caller_identity().send().await.expect("an identity");
        identity.arn.unwrap_or_default()
    }

    /// A key of a user of its own, as the source keeps it.
    pub(crate) async fn users_key(&self) -> String {
        self.iam
            .create_user()
            .user_name(&self.role)
            .send()
            .await
            .expect("a user");
        let made = self.iam.create_access_key().user_name(&self.role).send().await;
        let made = made.expect("a key").access_key.expect("a key");
        json!({ "access_key_id": made.access_key_id, "secret_access_key": made.secret_access_key }).to_string()
    }

    /// Ids of that user's keys.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let listed = self.iam.list_access_keys().user_name(&self.role).send().await;
        let listed = listed.expect("a list").access_key_metadata;
        listed.into_iter().filter_map(|key| key.access_key_id).collect()
    }

    /// Names of the role's inline policies.
    pub(crate) async fn policies(&self) -> Vec<String> {
        let listed = self.iam.list_role_policies().role_name(&self.role).send().await;
        listed.expect("a list").policy_names
    }
}

fn iam(address: &str) -> aws_sdk_iam::Client {
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(address)
        .credentials_provider(Credentials::new("AKIAADMIN00000000000", "admin", None, None, "test"));
    aws_sdk_iam::Client::from_conf(config.build())
}

/// The source's secret.
pub(crate) fn key(id: &str) -> String {
    let secret = format!("canary-of-{id}");
    json!({ "access_key_id": id, "secret_access_key": secret, "session_token": "canary-token" }).to_string()
}

/// An answer of AWS that says no.
pub(crate) fn refusal(status: u16, code: &str, message: &str) -> Turn {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    Turn::Answer(
        status,
        format!("<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"),
    )
}

pub(crate) fn is(seen: &Seen, action: &str) -> bool {
    seen.form().get("Action").is_some_and(|is| is == action)
}

/// A handle of an issuance so long ago.
pub(crate) fn handle_of(now: Timestamp, ago: Duration) -> Handle {
    let issued = (now - ago).as_millisecond();
    let millis = u64::try_from(issued).expect("after 1970");
    Handle::new(
        INSTALLATION,
        IssuanceId(uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10]).into_uuid()),
    )
}

#[expect(clippy::disallowed_methods, reason = "the test looks into the document")]
pub(crate) fn exposed(secret: &Secret) -> &str {
    secret.expose()
}

pub(crate) fn document(minted: &Minted) -> AwsCredential {
    serde_json::from_str(exposed(&minted.value)).expect("a document")
}

pub(crate) fn text(value: &str) -> ParamValue {
    ParamValue::Text(value.to_owned())
}

pub(crate) fn handle(asked: &Asked) -> &Handle {
    asked.undoable(None).handle
}

pub(crate) struct RealClock(tokio::time::Instant);

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port, and moto has the same time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// An id of its own, where handles must differ.
pub(crate) fn other_handle() -> Handle {
    Handle::new("zzzz9999", IssuanceId(Uuid::from_u128(9)))
}
