//! HashiCorp Vault and OpenBao: KV engines, read with a token that is kept alive.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use procura_core::{
    ports::{BoxFuture, Clock},
    source::SourceSecret,
};
use procura_wire::{Secret, json};
use reqwest::{
    Certificate, Client, Method, StatusCode,
    header::{HeaderMap, HeaderValue},
    redirect,
};
use serde_json::Value;
use url::Url;

use crate::{
    cache::{FRESH, REFRESH, Trouble, Upstream, VersionKey},
    config::{KvVersion, VaultConfig, check_address},
    file::{MAX_BYTES, read_private},
    reference::is_segment,
};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Shortest time between two renewals.
const SHORTEST: Duration = Duration::from_secs(1);

/// One server.
pub(crate) struct Vault {
    http: Client,
    address: Url,
    token_file: PathBuf,
    mounts: BTreeMap<String, KvVersion>,
    clock: Arc<dyn Clock>,
    /// KV 1 has no versions of its own.
    versions: VersionKey,
    token: Mutex<Token>,
}

/// The token in use.
#[derive(Default)]
struct Token {
    value: Option<Arc<Secret>>,
    /// Whether the server was asked about its life.
    known: bool,
    /// When to renew it; never if it does not end or cannot be renewed.
    renew_at: Option<Duration>,
    /// The last attempt to keep it alive failed.
    ailing: bool,
}

/// Status and body of an answer.
type Answer = (StatusCode, Secret);

impl Vault {
    /// Reads `ca_file` and checks the settings; asks nobody.
    pub(crate) fn new(config: VaultConfig, clock: Arc<dyn Clock>, versions: VersionKey) -> Result<Self, String> {
        check_address(&config.address)?;
        if let Some(mount) = config.mounts.keys().find(|mount| !mount.split('/').all(is_segment)) {
            return Err(format!("mounts: {mount:?} is no path of a mount"));
        }
        Ok(Self {
            http: client(&config)?,
            address: config.address,
            token_file: config.token_file,
            mounts: config.mounts,
            clock,
            versions,
            token: Mutex::default(),
        })
    }

    /// Takes a token that was put in place of the old one and renews it at half of its lease. Answers when to be
    /// called again.
    pub(crate) async fn tend(&self) -> Duration {
        let outcome = self.keep_alive().await;
        let mut token = self.token();
        if let Err(Trouble::Away(problem) | Trouble::Gone(problem)) = &outcome
            && !token.ailing
        {
            tracing::warn!(address = %self.address, problem, "the Vault token cannot be kept alive");
        }
        token.ailing = outcome.is_err();
        let left = token.renew_at.map(|at| at.saturating_sub(self.clock.monotonic()));
        left.map_or(REFRESH, |left| left.clamp(SHORTEST, REFRESH))
    }

    async fn keep_alive(&self) -> Result<(), Trouble> {
        let token = self.read_token().await?;
        let now = self.clock.monotonic();
        let (known, due) = {
            let held = self.token();
            (held.known, held.renew_at.is_some_and(|at| at <= now))
        };
        let (method, path, part) = match (known, due) {
            (false, _) => (Method::GET, "auth/token/lookup-self", "data"),
            (true, true) => (Method::POST, "auth/token/renew-self", "auth"),
            (true, false) => return Ok(()),
        };
        let body = match self.call(method, path, &token).await? {
            (StatusCode::OK, body) => parse(&body)?,
            (status, _) => return Err(self.refused(status)),
        };
        let seconds = |name: &str| body[part][name].as_u64();
        let lease = seconds("lease_duration").or_else(|| seconds("ttl"));
        let renewable = body[part]["renewable"].as_bool().unwrap_or(false);
        let mut held = self.token();
        if held.value.as_ref().is_some_and(|value| Arc::ptr_eq(value, &token)) {
            held.known = true;
            held.renew_at = lease
                .filter(|lease| renewable && *lease > 0)
                .map(|lease| now + Duration::from_secs(lease) / 2);
        }
        Ok(())
    }

    /// The token as its file has it now.
    async fn read_token(&self) -> Result<Arc<Secret>, Trouble> {
        let path = self.token_file.clone();
        let read = tokio::task::spawn_blocking(move || read_private(&path)).await;
        // The secrets are still there when their token is not: the last good value may serve.
        let value = match read {
            Ok(Ok(read)) => read,
            Ok(Err(Trouble::Away(problem) | Trouble::Gone(problem))) => {
                return Err(Trouble::Away(format!("token_file {problem}")));
            }
            Err(_) => return Err(Trouble::Away("token_file: the read was interrupted".to_owned())),
        };
        let mut held = self.token();
        Ok(match &held.value {
            Some(old) if **old == value => Arc::clone(old),
            _ => {
                let value = Arc::new(value);
                *held = Token {
                    value: Some(Arc::clone(&value)),
                    ..Token::default()
                };
                value
            }
        })
    }

    /// Reads a path; where the token is refused, once more with the one that is in the file now.
    async fn get(&self, path: &str) -> Result<Secret, Trouble> {
        let held = self.token().value.clone();
        let token = match held {
            Some(token) => token,
            None => self.read_token().await?,
        };
        let mut answer = self.call(Method::GET, path, &token).await?;
        if answer.0 == StatusCode::FORBIDDEN {
            let fresh = self.read_token().await?;
            if !Arc::ptr_eq(&fresh, &token) {
                answer = self.call(Method::GET, path, &fresh).await?;
            }
        }
        match answer {
            (StatusCode::OK, body) => Ok(body),
            (StatusCode::NOT_FOUND, _) => Err(Trouble::Gone(
                "there is no secret at this path, or its latest version was deleted".to_owned(),
            )),
            (status, _) => Err(self.refused(status)),
        }
    }

    /// What an answer without a secret means.
    fn refused(&self, status: StatusCode) -> Trouble {
        Trouble::Away(match status.as_u16() {
            403 => format!(
                "the server refuses the token for this path; check its policies, or put a valid token into {}",
                self.token_file.display()
            ),
            300..=399 => "the server redirects, which is not followed; name the active node as address".to_owned(),
            503 => "the server is sealed".to_owned(),
            other => format!("the server answers {other}"),
        })
    }

    async fn call(&self, method: Method, path: &str, token: &Secret) -> Result<Answer, Trouble> {
        let away = |error: reqwest::Error| Trouble::Away(describe(&error.without_url()));
        let url = self
            .address
            .join(&format!("/v1/{path}"))
            .map_err(|_| Trouble::Gone("the path makes no URL".to_owned()))?;
        #[expect(clippy::disallowed_methods, reason = "the token is presented to its own server")]
        let mut header =
            HeaderValue::from_str(token.expose()).map_err(|_| Trouble::Away("token_file holds no token".to_owned()))?;
        header.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (reqwest::header::HeaderName::from_static("x-vault-token"), header),
            (
                reqwest::header::HeaderName::from_static("x-vault-request"),
                HeaderValue::from_static("true"),
            ),
        ]);
        let mut response = self
            .http
            .request(method, url)
            .headers(headers)
            .send()
            .await
            .map_err(away)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            body.extend_from_slice(&chunk);
            if u64::try_from(body.len()).unwrap_or(u64::MAX) > MAX_BYTES {
                return Err(Trouble::Away("the answer is larger than 1 MiB".to_owned()));
            }
        }
        let body = String::from_utf8(body).map_err(|_| Trouble::Away("the answer is not UTF-8".to_owned()))?;
        Ok((response.status(), Secret::new(body)))
    }

    async fn read_kv(&self, path: &str) -> Result<SourceSecret, Trouble> {
        let (mount, version, rest) = self.mount_of(path)?;
        let url_path = match version {
            KvVersion::V1 => format!("{mount}/{rest}"),
            KvVersion::V2 => format!("{mount}/data/{rest}"),
        };
        let mut body = parse(&self.get(&url_path).await?)?;
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

    fn token(&self) -> MutexGuard<'_, Token> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A client that sends the token nowhere else: no redirects, no proxy.
fn client(config: &VaultConfig) -> Result<Client, String> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT);
    if let Some(path) = &config.ca_file {
        let pem = fs::read(path).map_err(|error| format!("ca_file {}: {}", path.display(), error.kind()))?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(format!("ca_file {}: holds no PEM certificate", path.display()));
        }
        builder = builder.tls_certs_only(certificates);
    } else if config.address.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| describe(&error))
}

fn parse(body: &Secret) -> Result<Value, Trouble> {
    #[expect(clippy::disallowed_methods, reason = "the secret stands inside the answer")]
    let value = json::strict(body.expose().as_bytes());
    value.map_err(|fault| Trouble::Away(format!("the answer is unreadable: {fault}")))
}

/// An error with its causes, outermost first.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the server did not answer within 3 s".to_owned();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
