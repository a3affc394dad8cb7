//! HashiCorp Vault and OpenBao: KV engines, read with a token that is kept alive.

mod http;
mod login;
mod session;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::FutureExt;
use procura_core::{
    ports::{BoxFuture, Clock},
    source::SourceSecret,
};
use procura_wire::Secret;
use reqwest::StatusCode;

use self::{
    http::{Server, parse},
    session::Session,
};
use crate::{
    cache::{FRESH, Trouble, Upstream, VersionKey},
    config::{KvVersion, VaultConfig},
};

pub(crate) use self::login::LogIn;

/// The KV engines of one server.
pub(crate) struct Vault {
    session: Session,
    mounts: BTreeMap<String, KvVersion>,
    /// KV 1 has no versions of its own.
    versions: VersionKey,
}

impl Vault {
    /// Reads `ca_file`; asks nobody.
    pub(crate) fn new(config: VaultConfig, clock: Arc<dyn Clock>, versions: VersionKey) -> Result<Self, String> {
        Ok(Self {
            session: Session::new(Server::new(&config)?, LogIn::of(&config)?, clock),
            mounts: config.mounts,
            versions,
        })
    }

    /// Gets a token, or keeps the one in use alive. Answers when to be called again.
    pub(crate) async fn tend(&self) -> Duration {
        self.session.tend().await
    }

    async fn read_kv(&self, path: &str) -> Result<SourceSecret, Trouble> {
        let (mount, version, rest) = self.mount_of(path)?;
        let url_path = match version {
            KvVersion::V1 => format!("{mount}/{rest}"),
            KvVersion::V2 => format!("{mount}/data/{rest}"),
        };
        let mut body = match self.session.get(&url_path).await? {
            (StatusCode::NOT_FOUND, _) => {
                let problem = "there is no secret at this path, or its latest version was deleted, or there is no such mount \
                               or namespace";
                return Err(Trouble::Gone(problem.to_owned()));
            }
            (_, body) => parse(&body)?,
        };
        let odd = || {
            Trouble::Away(format!(
                "the answer does not fit the KV version of {mount}; check mounts"
            ))
        };
        let mut data = body["data"].take();
        let number = match version {
            KvVersion::V1 => None,
            KvVersion::V2 => {
                let number = data["metadata"]["version"].as_u64().ok_or_else(odd)?;
                data = data["data"].take();
                Some(number)
            }
        };
        if !data.is_object() {
            return Err(odd());
        }
        let text = data.to_string();
        let version = number.map_or_else(|| self.versions.version(text.as_bytes()), |number| number.to_string());
        Ok(SourceSecret {
            value: Secret::new(text),
            version,
        })
    }

    /// The mount that holds the path, the longest if one lies below another, and the path below it.
    fn mount_of<'a>(&'a self, path: &'a str) -> Result<(&'a str, KvVersion, &'a str), Trouble> {
        let below = |mount: &str| path.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/'));
        self.mounts
            .iter()
            .filter_map(|(mount, version)| below(mount).map(|rest| (mount.as_str(), *version, rest)))
            .max_by_key(|(mount, ..)| mount.len())
            .ok_or_else(|| Trouble::Gone("the path lies in none of the configured mounts".to_owned()))
    }
}

impl Upstream for Vault {
    fn read<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<SourceSecret, Trouble>> {
        self.read_kv(path).boxed()
    }

    fn fresh_for(&self) -> Duration {
        FRESH
    }

    fn generation(&self) -> u64 {
        0
    }
}
