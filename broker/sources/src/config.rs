//! `[sources.NAME]` of `procura.toml`.

use std::{collections::BTreeMap, path::PathBuf};

use procura_wire::Name;
use serde::Deserialize;
use url::{Host, Url};

use crate::{
    aws::AwsConfig,
    reference::{Glob, is_segment},
    vault::LogIn,
};

/// One configured source; `kind` tells which.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceConfig {
    /// Mounted secrets.
    File(FileConfig),
    /// HashiCorp Vault or OpenBao.
    Vault(Box<VaultConfig>),
    /// AWS Secrets Manager.
    Aws(Box<AwsConfig>),
}

impl SourceConfig {
    /// What a bundle may refer to.
    pub(crate) fn allow(&self) -> &[Glob] {
        match self {
            Self::File(config) => &config.allow,
            Self::Vault(config) => &config.allow,
            Self::Aws(config) => &config.allow,
        }
    }

    /// Everything that is wrong with it, each with its key and what to write instead.
    pub fn mistakes(&self) -> Vec<String> {
        match self {
            Self::File(_) => vec![],
            Self::Vault(config) => config.mistakes(),
            Self::Aws(config) => config.mistakes(),
        }
    }

    /// Every path of a file or folder in it, to be taken from the folder of `procura.toml`.
    pub fn paths(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::File(config) => vec![&mut config.root],
            Self::Vault(config) => {
                let proofs = config.approle.iter_mut().map(|keys| &mut keys.secret_id_file);
                let tokens = [&mut config.jwt, &mut config.kubernetes].into_iter().flatten();
                let tokens = tokens.map(|keys| &mut keys.token_file);
                let others = config.token_file.iter_mut().chain(&mut config.ca_file);
                others.chain(proofs).chain(tokens).collect()
            }
            Self::Aws(_) => vec![],
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

/// `kind = "vault"`: secrets of KV engines, and of engines that make them. Exactly one of `token_file`, `approle`, `jwt` and `kubernetes` is set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// `https://host[:port]`; plain http on loopback only.
    pub address: Url,
    /// The namespace that everything here is in, log-in included, without slashes at its ends; the root's if absent.
    pub namespace: Option<String>,
    /// File with a token that somebody else puts there; looked at again when it changes or the token is refused.
    pub token_file: Option<PathBuf>,
    /// The auth method AppRole.
    pub approle: Option<AppRoleLogIn>,
    /// The auth method JWT.
    pub jwt: Option<RoleLogIn>,
    /// The auth method Kubernetes.
    pub kubernetes: Option<RoleLogIn>,
    /// The KV engines that may be read, by mount path, each with its version.
    #[serde(default)]
    pub mounts: BTreeMap<String, KvVersion>,
    /// Mount paths of engines that make a secret with a lease for each read, such as database; no part of another's path.
    #[serde(default)]
    pub dynamic: Vec<String>,
    /// PEM file of the only CAs to trust for this server; the system's roots if absent.
    pub ca_file: Option<PathBuf>,
    /// Paths, mount included, that a bundle may refer to; none if empty.
    #[serde(default)]
    pub allow: Vec<Glob>,
}

/// `approle`. A key that is not there is empty, which is a mistake.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppRoleLogIn {
    /// Where the method is mounted, without `auth/`; `approle` if absent.
    pub mount: Option<String>,
    /// The role's id, not its name.
    pub role_id: String,
    /// File with the secret id, read at each log-in.
    pub secret_id_file: PathBuf,
}

/// `jwt` and `kubernetes`. A key that is not there is empty, which is a mistake.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleLogIn {
    /// Where the method is mounted, without `auth/`; its own name if absent.
    pub mount: Option<String>,
    /// Name of the role at the method.
    pub role: String,
    /// File with the JWT, read at each log-in.
    pub token_file: PathBuf,
}

impl VaultConfig {
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::from_iter(check_address("address", &self.address).err());
        mistakes.extend(LogIn::of(self).err());
        if let Some(namespace) = &self.namespace
            && !is_path(namespace)
        {
            mistakes.push(format!(
                "namespace: {namespace:?} is no path of a namespace, such as team or team/prod"
            ));
        }
        let odd = self.mounts.keys().filter(|mount| !is_path(mount));
        mistakes.extend(odd.map(|mount| format!("mounts: {mount:?} is no path of a mount")));
        mistakes.extend(self.dynamic.iter().filter_map(|mount| self.dynamic_mistake(mount)));
        if self.mounts.is_empty() && self.dynamic.is_empty() {
            mistakes.push("mounts: name the engines to read, for example mounts = { kv = 2 }".to_owned());
        }
        if let Some(keys) = &self.approle {
            let texts = [
                ("role_id", keys.role_id.is_empty()),
                ("secret_id_file", keys.secret_id_file.as_os_str().is_empty()),
            ];
            mistakes.extend(missing("approle", keys.mount.as_deref(), &texts));
        }
        for (way, keys) in [("jwt", &self.jwt), ("kubernetes", &self.kubernetes)] {
            if let Some(keys) = keys {
                let texts = [
                    ("role", keys.role.is_empty()),
                    ("token_file", keys.token_file.as_os_str().is_empty()),
                ];
                mistakes.extend(missing(way, keys.mount.as_deref(), &texts));
            }
        }
        mistakes
    }

    fn dynamic_mistake(&self, mount: &str) -> Option<String> {
        if !is_path(mount) {
            return Some(format!("dynamic: {mount:?} is no path of a mount"));
        }
        let kv = self.mounts.keys().find(|kv| overlaps(kv, mount))?;
        Some(format!(
            "dynamic: {mount} and {kv} of mounts overlap; an engine is one or the other"
        ))
    }
}

/// Whether one path is the other or lies below it.
fn overlaps(one: &str, other: &str) -> bool {
    let below = |path: &str, mount: &str| path.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'));
    one == other || below(one, other) || below(other, one)
}

/// Keys of a way to log in that are empty, and a mount that is no path of one.
fn missing(way: &str, mount: Option<&str>, keys: &[(&str, bool)]) -> Vec<String> {
    let empty = keys.iter().filter(|(_, empty)| *empty);
    let mut mistakes: Vec<_> = empty.map(|(key, _)| format!("{way}.{key} is missing")).collect();
    if let Some(mount) = mount.filter(|mount| !is_path(mount) || mount.starts_with("auth/")) {
        mistakes.push(format!(
            "{way}.mount: {mount:?} is no path of an auth method, such as {way} (without auth/)"
        ));
    }
    mistakes
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_segment)
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

/// Whether the address is one that secrets may be sent to; the error says what to write.
pub(crate) fn check_address(key: &str, address: &Url) -> Result<(), String> {
    let plain_origin = address.path() == "/"
        && address.query().is_none()
        && address.fragment().is_none()
        && address.username().is_empty()
        && address.password().is_none();
    if !plain_origin || address.host().is_none() {
        return Err(format!(
            "{key}: write https://host or https://host:port and nothing more"
        ));
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
        _ => Err(format!(
            "{key}: secrets are sent over https only (plain http on loopback excepted)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_https_origins_and_loopback_only() {
        let check = |text: &str| check_address("address", &text.parse().expect("url")).is_ok();
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
            format!("{vault}approle = {{ roleid = 'r' }}"),
            format!("{vault}jwt = {{ secret_id_file = '/s' }}"),
            vault.replace("kv = 2", "kv = 3"),
            vault.replace("'vault'", "'chest'"),
            "kind = 'file'\nroot = '/r'\nallow = ['../x']".to_owned(),
            "kind = 'file'\nroot = '/r'\nmode = 0".to_owned(),
        ] {
            assert!(toml::from_str::<SourceConfig>(&bad).is_err(), "{bad}");
        }
    }
}
