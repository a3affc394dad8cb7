//! An account at moto, with a proxy before it that notes what is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region};
use procura_contract::{
    moto::Moto,
    recorder::{Recorder, Turn},
};
use serde_json::{Value, json};

use crate::Fault;

/// moto's own account.
const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";

/// `list` needs the parameter `prefix`.
pub(super) const GRANTS: &[&str] = &[super::READ, "list"];

/// A role of its own.
pub struct Aws {
    /// Its name, without its path.
    pub role: String,
    recorder: Recorder,
    moto: Arc<Moto>,
    revokes: bool,
}

/// The broker's key, as its source holds it.
pub(super) fn broker_key() -> String {
    json!({ "access_key_id": "AKIABROKER0000000000", "secret_access_key": "canary-of-the-broker" }).to_string()
}

impl Aws {
    /// A new role; `revokes` says whether its target's sessions are ended early.
    pub async fn start(revokes: bool) -> Result<Self, Fault> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let moto = tokio::task::spawn_blocking(Moto::shared).await??;
        let role = format!("reports-e2e-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let aws = Self {
            recorder: Recorder::start(&moto.address, |_| Turn::Pass)?,
            role,
            moto,
            revokes,
        };
        let made = aws.iam().create_role().role_name(&aws.role).path("/agents/");
        let made = made.assume_role_policy_document("{}").max_session_duration(7200);
        made.send().await?;
        Ok(aws)
    }

    pub(super) fn keys(&self) -> String {
        let (role, address) = (&self.role, &self.recorder.address);
        let revoke = match self.revokes {
            true => format!("revoke = \"deny-older-than\"\niam_endpoint = \"{address}\"\n"),
            false => String::new(),
        };
        let grant = |name: &str, risk: &str, condition: &str| {
            format!(
                "[grants.{name}]\nrisk = \"{risk}\"\nttl = \"30m\"\nmax_ttl = \"1h\"\n[[grants.{name}.statements]]\nactions = \
                 [\"s3:ListBucket\"]\nresources = [\"arn:aws:s3:::reports\"]\n{condition}"
            )
        };
        let prefix = "where = { StringEquals = { \"s3:prefix\" = \"param:prefix\" } }\n[grants.list.params.prefix]\ntype = \
                      \"set\"\npattern = \"[0-9]{4}/\"\nrequired = true\n";
        format!(
            "role_arn = \"arn:aws:iam::{ACCOUNT}:role/agents/{role}\"\nregion = \"{REGION}\"\nendpoint = \
             \"{address}\"\n{revoke}{}{}{}",
            grant(super::READ, "read", ""),
            grant("list", "read", prefix),
            grant(super::HIDDEN, "write", ""),
        )
    }

    /// The forms of the requests for sessions, in their order.
    pub fn asked(&self) -> Vec<BTreeMap<String, String>> {
        let forms = self.recorder.seen().into_iter().map(|seen| seen.form());
        let is_one = |form: &BTreeMap<String, String>| form.get("Action").is_some_and(|action| action == "AssumeRole");
        forms.filter(is_one).collect()
    }

    /// Names of the sessions that were asked for.
    pub fn sessions(&self) -> BTreeSet<String> {
        let asked = self.asked().into_iter();
        asked.filter_map(|mut form| form.remove("RoleSessionName")).collect()
    }

    /// The ARN that a credential document is known by.
    pub async fn identity(&self, document: &Value) -> Result<String, Fault> {
        let text = |name: &str| document[name].as_str().unwrap_or_default();
        let key = Credentials::new(
            text("AccessKeyId"),
            text("SecretAccessKey"),
            Some(text("SessionToken").to_owned()),
            None,
            "test",
        );
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.moto.address)
            .credentials_provider(key);
        let client = aws_sdk_sts::Client::from_conf(config.build());
        let identity = client.get_caller_identity().send().await?;
        Ok(identity.arn.unwrap_or_default())
    }

    pub(super) async fn takes(&self, issued: &str) -> Result<bool, Fault> {
        let arn = self.identity(&serde_json::from_str(issued)?).await?;
        Ok(arn.contains(&format!("assumed-role/{}/p", self.role)))
    }

    /// The role's inline policies, by name.
    pub async fn policies(&self) -> Result<BTreeMap<String, String>, Fault> {
        let (iam, mut policies) = (self.iam(), BTreeMap::new());
        let listed = iam.list_role_policies().role_name(&self.role).send().await?;
        for name in listed.policy_names {
            let kept = iam.get_role_policy().role_name(&self.role).policy_name(&name);
            let kept = procura_wire::unescape(kept.send().await?.policy_document.as_bytes());
            policies.insert(name, kept.unwrap_or_default());
        }
        Ok(policies)
    }

    /// As an administrator of the account.
    fn iam(&self) -> aws_sdk_iam::Client {
        let config = aws_sdk_iam::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&self.moto.address)
            .credentials_provider(Credentials::new("AKIAADMIN00000000000", "admin", None, None, "test"));
        aws_sdk_iam::Client::from_conf(config.build())
    }
}
