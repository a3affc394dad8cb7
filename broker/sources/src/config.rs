//! `[sources.NAME]` of `procura.toml`.

use std::{collections::BTreeMap, path::PathBuf};

use procura_wire::Name;
use serde::Deserialize;
use url::{Host, Url};

use crate::reference::Glob;

/// One configured source; `kind` tells which.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceConfig {
    /// Mounted secrets.
    File(FileConfig),
    /// HashiCorp Vault or OpenBao.
    Vault(VaultConfig),
}

impl SourceConfig {
    /// What a bundle may refer to.
    pub(crate) fn allow(&self) -> &[Glob] {
        match self {
            Self::File(config) => &config.allow,
            Self::Vault(config) => &config.allow,
        }
    }
}

/// `kind = "file"`: one file per secret, below one folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The folder. Links inside it may not lead out of it.
    pub root: PathBuf,
    /// Paths that a bundle may refer to; none if empty.
    #[serde(default)]
    pub allow: Vec<Glob>,
}

/// `kind = "vault"`: secrets of KV engines, read with a token that somebody else puts into a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// `https://host[:port]`; plain http on loopback only.
    pub address: Url,
    /// File with the token; looked at again when it changes or the token is refused.
    pub token_file: PathBuf,
    /// The KV engines that may be read, by mount path, each with its version.
    pub mounts: BTreeMap<String, KvVersion>,
    /// PEM file of the only CAs to trust for this server; the system's roots if absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Paths, mount included, that a bundle may refer to; none if empty.
    #[serde(default)]
    pub allow: Vec<Glob>,
}

/// Version of a KV engine, written as the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum KvVersion {
    /// 1: one value per path.
    V1,
    /// 2: versions per path.
    V2,
}

impl TryFrom<u8> for KvVersion {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            _ => Err("the version of a KV mount is 1 or 2"),
        }
    }
}

/// A source cannot be made from its settings.
#[derive(Debug, Clone, thiserror::Error)]
#[error("[sources.{name}] {problem}")]
pub struct SourceConfigError {
    /// The source.
    pub name: Name,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// Whether the address is one that a token may be sent to; the error says what to write.
pub(crate) fn check_address(address: &Url) -> Result<(), String> {
    let plain_origin = address.path() == "/"
        && address.query().is_none()
        && address.fragment().is_none()
        && address.username().is_empty()
        && address.password().is_none();
    if !plain_origin || address.host().is_none() {
        return Err("address: write https://host or https://host:port and nothing more".to_owned());
    }
    let loopback = match address.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match address.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err("address: a token is sent over https only (plain http on loopback excepted)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_https_origins_and_loopback_only() {
        let check = |text: &str| check_address(&text.parse().expect("url")).is_ok();
        for good in [
            "https://vault.example.com",
            "https://10.0.0.1:8200/",
            "http://127.0.0.1:8200",
            "http://[::1]:1",
            "http://localhost:8200",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "http://vault.example.com",
            "http://127.0.0.1.example.com",
            "https://user:pw@vault.example.com",
            "https://vault.example.com/v1",
            "https://vault.example.com/?x",
            "ftp://127.0.0.1",
            "unix:/run/vault",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn unknown_keys_kinds_and_versions_are_errors() {
        let vault = "kind = 'vault'\naddress = 'https://v.example.com'\ntoken_file = '/t'\nmounts = { kv = 2 }\n";
        assert!(toml::from_str::<SourceConfig>(vault).is_ok());
        for bad in [
            format!("{vault}retries = 3"),
            vault.replace("kv = 2", "kv = 3"),
            vault.replace("'vault'", "'chest'"),
            "kind = 'file'\nroot = '/r'\nallow = ['../x']".to_owned(),
            "kind = 'file'\nroot = '/r'\nmode = 0".to_owned(),
        ] {
            assert!(toml::from_str::<SourceConfig>(&bad).is_err(), "{bad}");
        }
    }
}
