//! Who keeps the secret of a site's administrator, beside the file that it starts with.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use procura_contract::{
    manual_clock::ManualClock,
    moto::Moto,
    vault::{FakeVault, ROOT_TOKEN},
};
use procura_e2e::{Fault, harness::Outcome, serve::Site};
use serde_json::{Value, json};

const TARGET: &str = "policies/targets/tickets-db.toml";
const REGION: &str = "eu-central-1";

/// A source of each kind.
pub(crate) enum Keeper {
    File,
    Vault(FakeVault),
    Aws(Arc<Moto>),
}

impl Keeper {
    /// One of Vault, whose tokens never end.
    pub(crate) fn vault() -> Result<Self, Fault> {
        Ok(Self::Vault(FakeVault::start(Arc::new(ManualClock::default()))?))
    }

    /// One of Secrets Manager.
    pub(crate) async fn aws() -> Result<Self, Fault> {
        Ok(Self::Aws(tokio::task::spawn_blocking(Moto::shared).await??))
    }

    /// Lets a site that is not started yet read its secret there, and puts the first one there.
    pub(crate) async fn keep(&self, site: &Site<'_>, secret: &str) -> Outcome {
        let (source, reference) = match self {
            Self::File => return site.put_secret(secret),
            Self::Vault(vault) => {
                let token = site.path("vault-token");
                fs::write(&token, ROOT_TOKEN)?;
                fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
                let source = format!(
                    "[sources.vault]\nkind = \"vault\"\naddress = \"{}\"\ntoken_file = \"vault-token\"\n\
                     mounts = {{ kv = 2 }}\nallow = [\"kv/*\"]\n",
                    vault.address
                );
                (source, "vault:kv/target".to_owned())
            }
            Self::Aws(moto) => {
                let source = format!(
                    "[sources.aws]\nkind = \"aws\"\nregion = \"{REGION}\"\nendpoint = \"{}\"\nallow = [\"*\"]\n",
                    moto.address
                );
                (source, format!("aws:{}", name(site)))
            }
        };
        site.amend("procura.toml", |text| format!("{text}{source}"))?;
        site.amend(TARGET, |text| text.replace("db:target", &reference))?;
        match self {
            Self::Aws(moto) => {
                let body = json!({"Name": name(site), "SecretString": secret});
                ask(moto, "CreateSecret", &body).await
            }
            _ => self.put(site, secret).await,
        }
    }

    /// Puts another version there.
    pub(crate) async fn put(&self, site: &Site<'_>, secret: &str) -> Outcome {
        match self {
            Self::File => site.put_secret(secret),
            Self::Vault(vault) => {
                vault.write("kv/target", &serde_json::from_str::<Value>(secret)?);
                Ok(())
            }
            Self::Aws(moto) => {
                let body = json!({"SecretId": name(site), "SecretString": secret});
                ask(moto, "PutSecretValue", &body).await
            }
        }
    }
}

/// Sites share one moto.
fn name(site: &Site<'_>) -> String {
    site.database.administrator.clone()
}

/// An administrator of the account; moto looks at no signature.
async fn ask(moto: &Moto, action: &str, body: &Value) -> Outcome {
    let scope = format!("AKIACANARY0000000000/20261120/{REGION}/secretsmanager/aws4_request");
    let request = reqwest::Client::builder().no_proxy().build()?.post(&moto.address);
    let request = request
        .header("X-Amz-Target", format!("secretsmanager.{action}"))
        .header("Content-Type", "application/x-amz-json-1.1")
        .header(
            "Authorization",
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
        )
        .body(body.to_string());
    request.send().await?.error_for_status()?;
    Ok(())
}
