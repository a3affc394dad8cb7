//! HashiCorp Vault and OpenBao: KV engines and engines that make secrets, read with a token that is kept alive.

mod dynamic;
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
use serde_json::{Value, json};

use self::{
    dynamic::Leases,
    http::{Server, parse, unwanted},
    session::Session,
};
use crate::{
    cache::{FRESH, Trouble, Upstream, VersionKey},
    config::{KvVersion, VaultConfig},
};

pub(crate) use self::login::LogIn;

/// The engines of one server.
pub(crate) struct Vault {
    session: Session,
    mounts: BTreeMap<String, KvVersion>,
    /// Mounts whose secrets are made for each read.
    dynamic: Vec<String>,
    leases: Leases,
    /// KV 1 has no versions of its own.
    versions: VersionKey,
}

impl Vault {
    /// Reads `ca_file`; asks nobody.
    pub(crate) fn new(config: VaultConfig, clock: Arc<dyn Clock>, versions: VersionKey) -> Result<Self, String> {
        Ok(Self {
            session: Session::new(Server::new(&config)?, LogIn::of(&config)?, clock),
            mounts: config.mounts,
            dynamic: config.dynamic,
            leases: Leases::default(),
            versions,
        })
    }

    /// How long the token in use still lives, where nothing renews or replaces it.
    pub(crate) fn token_left(&self) -> Option<Duration> {
        self.session.token_left()
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
        let mut body = match self.session.ask(&url_path, None).await? {
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

    async fn write_kv(&self, path: &str, value: &Secret, expected: &str) -> Result<String, Trouble> {
        let (mount, version, rest) = self.mount_of(path)?;
        let refused = |problem: &str| Err(Trouble::Gone(problem.to_owned()));
        if version == KvVersion::V1 {
            return refused(
                "a KV engine of version 1 cannot be written without the risk of overwriting; use version 2",
            );
        }
        let Ok(expected) = expected.parse::<u64>() else {
            return refused("the expected version is no number");
        };
        let data @ Value::Object(_) = parse(value)? else {
            return refused("Vault takes a JSON object only");
        };
        let body = Secret::new(json!({ "options": { "cas": expected }, "data": data }).to_string());
        match self.session.ask(&format!("{mount}/data/{rest}"), Some(&body)).await? {
            (StatusCode::OK, body) => match parse(&body)?["data"]["version"].as_u64() {
                Some(version) => Ok(version.to_string()),
                None => refused("the answer names no version; check mounts"),
            },
            (StatusCode::BAD_REQUEST, _) => Err(Trouble::Gone(format!(
                "the server refuses the write (400): the current version is another than {expected}"
            ))),
            (status, _) => Err(unwanted(status)),
        }
    }

    fn is_dynamic(&self, path: &str) -> bool {
        let mut mounts = self.dynamic.iter();
        mounts.any(|mount| {
            path.strip_prefix(mount.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
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
        match self.is_dynamic(path) {
            true => self.leases.read(&self.session, path).boxed(),
            false => self.read_kv(path).boxed(),
        }
    }

    fn write<'a>(
        &'a self,
        path: &'a str,
        value: &'a Secret,
        expected_version: &'a str,
    ) -> BoxFuture<'a, Result<String, Trouble>> {
        self.write_kv(path, value, expected_version).boxed()
    }

    fn fresh_for(&self) -> Duration {
        FRESH
    }

    fn generation(&self) -> u64 {
        self.leases.replaced()
    }

    fn refused(&self, path: &str) {
        if self.is_dynamic(path) {
            self.leases.refuse(path, self.session.clock.monotonic());
        }
    }

    fn end_of(&self, path: &str, version: &str) -> Option<Duration> {
        self.is_dynamic(path).then(|| self.leases.end_of(path, version))
    }
}
