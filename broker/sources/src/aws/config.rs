//! The settings of `kind = "aws"`.

use serde::Deserialize;
use url::Url;

use super::CURRENT;
use crate::{
    config::check_address,
    reference::{Glob, is_segment},
};

/// `kind = "aws"`: secrets of AWS Secrets Manager in one region. Credentials come from where the AWS SDK finds them: the
/// environment, a profile, a web identity, the container's endpoint or the instance's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsConfig {
    /// `eu-central-1`
    pub region: String,
    /// Where Secrets Manager is asked, if not at the region's own endpoint: `https://host[:port]`; plain http on loopback
    /// only.
    pub endpoint: Option<Url>,
    /// ARN of a role to assume with the credentials that were found.
    pub role: Option<String>,
    /// What the role's trust policy asks for.
    pub external_id: Option<String>,
    /// Where STS is asked for the role, if not at the region's own endpoint; as `endpoint`.
    pub sts_endpoint: Option<Url>,
    /// Account whose secrets these are, 12 digits; the one of the credentials if absent.
    pub account: Option<String>,
    /// Staging label of the version that is read; `AWSCURRENT` if absent.
    #[serde(default = "current")]
    pub stage: String,
    /// Names that a bundle may refer to; none if empty.
    #[serde(default)]
    pub allow: Vec<Glob>,
}

fn current() -> String {
    CURRENT.to_owned()
}

impl AwsConfig {
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let endpoints = [("endpoint", &self.endpoint), ("sts_endpoint", &self.sts_endpoint)];
        let endpoints = endpoints
            .into_iter()
            .filter_map(|(key, url)| Some((key, url.as_ref()?)));
        let mut mistakes: Vec<_> = endpoints
            .filter_map(|(key, url)| check_address(key, url).err())
            .collect();
        let mut wrong = |problem: String| mistakes.push(problem);
        if !is_region(&self.region) {
            wrong(format!("region: {:?} is no region, such as eu-central-1", self.region));
        }
        match &self.role {
            Some(role) if !is_role(role) => wrong(format!(
                "role: {role:?} is no ARN of a role, such as arn:aws:iam::123456789012:role/procura"
            )),
            Some(_) => {}
            None => {
                let needless = [
                    ("external_id", self.external_id.is_some()),
                    ("sts_endpoint", self.sts_endpoint.is_some()),
                ];
                for (key, _) in needless.iter().filter(|(_, there)| *there) {
                    wrong(format!(
                        "{key} is of use with role only; name the role, or take {key} out"
                    ));
                }
            }
        }
        if let Some(id) = &self.external_id
            && !is_external_id(id)
        {
            wrong("external_id: write 2 to 1224 of A-Z a-z 0-9 + = , . @ : / _ -".to_owned());
        }
        if let Some(account) = &self.account
            && !is_account(account)
        {
            wrong(format!(
                "account: {account:?} is no account; write its 12 digits as text"
            ));
        }
        if self.stage.len() > 256 || !is_segment(&self.stage) {
            wrong(format!(
                "stage: {:?} is no staging label, such as AWSCURRENT or AWSPENDING",
                self.stage
            ));
        }
        mistakes
    }
}

/// The SDK makes a host name of it.
fn is_region(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 32 && text.contains('-') && text.split('-').all(part)
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `arn:PARTITION:iam::ACCOUNT:role/PATH`
fn is_role(text: &str) -> bool {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
        return false;
    };
    let name = resource.strip_prefix("role/").unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&byte);
    partition.starts_with("aws") && is_account(account) && !name.is_empty() && name.bytes().all(plain)
}

fn is_external_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@:/_-".contains(&byte);
    (2..=1224).contains(&text.len()) && text.bytes().all(plain)
}
