//! The kind's keys in target files.

use procura_core::{
    catalogue::Target,
    kind::{Key, KeyType, SettingFault},
};
use url::{Host, Url};

use crate::grant::{self, Shape};

pub(crate) const TARGET_KEYS: &[Key] = &[
    Key {
        name: "role_arn",
        ty: KeyType::Text,
        required: true,
        doc: "The IAM role whose sessions are handed out; grants narrow it.",
    },
    Key {
        name: "external_id",
        ty: KeyType::Text,
        required: false,
        doc: "What the role's trust policy wants as sts:ExternalId.",
    },
    Key {
        name: "region",
        ty: KeyType::Text,
        required: true,
        doc: "The region whose STS is asked.",
    },
    Key {
        name: "endpoint",
        ty: KeyType::Text,
        required: false,
        doc: "URL of STS, where it is not the region's own.",
    },
    Key {
        name: "iam_endpoint",
        ty: KeyType::Text,
        required: false,
        doc: "URL of IAM, where it is not AWS's own.",
    },
    Key {
        name: "revoke",
        ty: KeyType::Text,
        required: false,
        doc: "deny-older-than: a session is ended early by a policy on its role that denies it everything. Without it a \
              session lives until its end.",
    },
    Key {
        name: "rotate_key",
        ty: KeyType::Bool,
        required: false,
        doc: "true: procura rotate makes a new access key of the broker's user and deletes the one before after the grace \
              time. The source must be writable.",
    },
];

/// The one way to end a session early.
const DENY: &str = "deny-older-than";

/// A target's own keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) role: Role,
    pub(crate) external_id: Option<String>,
    pub(crate) region: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) iam_endpoint: Option<String>,
    pub(crate) revokes: bool,
    pub(crate) rotates: bool,
    /// The longest `max_ttl` of its grants, seconds.
    pub(crate) longest: u64,
}

/// An IAM role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) arn: String,
    /// Twelve digits.
    pub(crate) account: String,
    /// Without its path.
    pub(crate) name: String,
}

impl Settings {
    /// Reads a target; the faults are for its author.
    pub(crate) fn read(target: &Target) -> Result<Self, Vec<SettingFault>> {
        let text = |key: &str| {
            target
                .settings
                .get(key)
                .and_then(|value| value.as_str())
                .map(str::to_owned)
        };
        let mut faults = Vec::new();
        let mut fault = |key, problem: &str| faults.push(own_fault(key, problem));
        let role = Role::read(&text("role_arn").unwrap_or_default());
        if role.is_none() {
            fault(
                "role_arn",
                "is no ARN of a role, such as arn:aws:iam::123456789012:role/reports",
            );
        }
        let external_id = text("external_id");
        if external_id.as_deref().is_some_and(|id| !is_external_id(id)) {
            fault("external_id", "is not 2 to 1224 of A-Z a-z 0-9 and +=,.@:/_-");
        }
        let region = text("region").unwrap_or_default();
        if !is_region(&region) {
            fault("region", "is no region, such as eu-central-1");
        }
        for key in ["endpoint", "iam_endpoint"] {
            if let Some(problem) = text(key).and_then(|url| endpoint_fault(&url)) {
                fault(key, problem);
            }
        }
        let revoke = text("revoke");
        if revoke.as_deref().is_some_and(|way| way != DENY) {
            fault(
                "revoke",
                "is not deny-older-than; leave it out where nothing ends a session early",
            );
        }
        let rotates = target.settings.get("rotate_key").and_then(|value| value.as_bool());
        let rotates = rotates.unwrap_or(false);
        if text("iam_endpoint").is_some() && revoke.is_none() && !rotates {
            fault(
                "iam_endpoint",
                "is of use with revoke and rotate_key only; take it out, or add revoke = \"deny-older-than\"",
            );
        }
        faults.extend(target.grants.iter().flat_map(|(name, grant)| {
            let problems = Shape::read(grant, role.as_ref()).err().unwrap_or_default();
            problems.into_iter().map(|(key, problem)| SettingFault {
                grant: Some(name.clone()),
                key,
                problem,
            })
        }));
        match role.filter(|_| faults.is_empty()) {
            Some(role) => Ok(Self {
                role,
                external_id,
                region,
                endpoint: text("endpoint"),
                iam_endpoint: text("iam_endpoint"),
                revokes: revoke.is_some(),
                rotates,
                longest: target
                    .grants
                    .values()
                    .map(|grant| grant.max_ttl.as_secs())
                    .max()
                    .unwrap_or(0),
            }),
            None => Err(faults),
        }
    }
}

/// What the schema of the keys cannot say.
pub(crate) fn check(target: &Target) -> Vec<SettingFault> {
    Settings::read(target).err().unwrap_or_default()
}

impl Role {
    /// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`
    pub(crate) fn read(arn: &str) -> Option<Self> {
        let path = grant::of_iam(arn, "role/", is_account)?;
        let account = arn.split(':').nth(4)?;
        let name = path.rsplit('/').next().filter(|name| (1..=64).contains(&name.len()))?;
        Some(Self {
            arn: arn.to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
        })
    }
}

fn own_fault(key: &'static str, problem: &str) -> SettingFault {
    SettingFault {
        grant: None,
        key,
        problem: problem.to_owned(),
    }
}

pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The SDK makes a host name of it.
fn is_region(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.len() <= 32 && text.contains('-') && text.split('-').all(part)
}

fn is_external_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@:/_-".contains(&byte);
    (2..=1224).contains(&text.len()) && text.bytes().all(plain)
}

fn endpoint_fault(text: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(text) else {
        return Some("is no URL");
    };
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    match url.scheme() {
        "https" | "http" if !bare || !matches!(url.path(), "" | "/") => Some("has more than scheme, host and port"),
        "https" => None,
        "http" if is_loopback => None,
        _ => Some("is not https; http is for a loopback address only"),
    }
}
