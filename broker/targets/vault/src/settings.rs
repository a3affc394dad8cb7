//! The kind's keys in target files.

use std::collections::BTreeSet;

use procura_core::{
    catalogue::Target,
    kind::{Key, KeyType, SettingFault},
};
use url::{Host, Url};

use crate::grant;

pub(crate) const TARGET_KEYS: &[Key] = &[
    Key {
        name: "address",
        ty: KeyType::Text,
        required: true,
        doc: "https://host[:port] of the active node; plain http for a loopback host only.",
    },
    Key {
        name: "namespace",
        ty: KeyType::Text,
        required: false,
        doc: "The namespace that everything is in; the root's if unset.",
    },
    Key {
        name: "token_role",
        ty: KeyType::Text,
        required: true,
        doc: "The token role that tokens are made through.",
    },
    Key {
        name: "ca_file",
        ty: KeyType::Text,
        required: false,
        doc: "PEM file of the only certificate authorities to trust; the system's if unset.",
    },
    Key {
        name: "rotate_path",
        ty: KeyType::Text,
        required: false,
        doc: "What procura rotate writes to, so that Vault rotates an engine's own credential: database/rotate-root/NAME.",
    },
];

/// A target's own keys.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) address: Url,
    pub(crate) namespace: Option<String>,
    pub(crate) token_role: String,
    pub(crate) ca_file: Option<String>,
    pub(crate) rotate_path: Option<String>,
    /// Every policy that one of its grants names.
    pub(crate) policies: BTreeSet<String>,
    /// Whether one of its grants reads or writes a path.
    pub(crate) has_paths: bool,
}

impl Settings {
    /// Reads a target; the faults are for its author.
    pub(crate) fn read(target: &Target) -> Result<Self, Vec<SettingFault>> {
        let text = |key: &str| target.settings.get(key)?.as_str().map(str::to_owned);
        let mut faults = Vec::new();
        let mut fault = |key, problem: &str| {
            faults.push(SettingFault {
                grant: None,
                key,
                problem: problem.to_owned(),
            });
        };
        let address = text("address").and_then(|text| text.parse().ok());
        if !address.as_ref().is_some_and(is_origin) {
            fault(
                "address",
                "is no https://host or https://host:port (plain http for a loopback host only)",
            );
        }
        let namespace = text("namespace");
        if namespace.as_ref().is_some_and(|path| !is_path(path)) {
            fault("namespace", "is no path of a namespace, such as team or team/prod");
        }
        let token_role = text("token_role").unwrap_or_default();
        if !is_segment(&token_role) {
            fault("token_role", "is no name of a token role");
        }
        let rotate_path = text("rotate_path");
        let rotates = |path: &String| is_path(path) && path.split('/').skip(1).any(|part| part == "rotate-root");
        if rotate_path.as_ref().is_some_and(|path| !rotates(path)) {
            fault(
                "rotate_path",
                "is no path such as database/rotate-root/orders or aws/config/rotate-root",
            );
        }
        let grants = target.grants.iter();
        faults.extend(grants.flat_map(|(name, grant)| grant::faults(name, grant)));
        match (address, faults.is_empty()) {
            (Some(address), true) => Ok(Self {
                address,
                namespace,
                token_role,
                ca_file: text("ca_file"),
                rotate_path,
                policies: target.grants.values().flat_map(grant::policies).collect(),
                has_paths: target.grants.values().any(|grant| grant::path(grant).is_some()),
            }),
            _ => Err(faults),
        }
    }
}

/// What the schema of the keys cannot say.
pub(crate) fn check(target: &Target) -> Vec<SettingFault> {
    Settings::read(target).err().unwrap_or_default()
}

/// Segments of plain characters, none of which begins with a dot: it has no escapes and leads nowhere else.
pub(crate) fn is_path(text: &str) -> bool {
    text.split('/').all(is_segment)
}

pub(crate) fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain)
}

/// Whether a token may be sent there.
fn is_origin(address: &Url) -> bool {
    let bare = address.path() == "/"
        && address.query().is_none()
        && address.fragment().is_none()
        && address.username().is_empty()
        && address.password().is_none();
    let loopback = match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    bare && address.host().is_some() && (address.scheme() == "https" || address.scheme() == "http" && loopback)
}
