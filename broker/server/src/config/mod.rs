//! `procura.toml`: read once at start, checked whole, and dropped after assembly.

mod check;

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use procura_identity::BundleSource;
use procura_sources::SourceConfig;
use procura_wire::Name;
use serde::Deserialize;
use url::Url;

use crate::http::Proxy;

/// A checked configuration of `procura serve`. Paths are relative to the file's folder.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) issuer: Url,
    pub(crate) policies: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) store: Store,
    /// Reference to the JWK set that tokens are signed with.
    pub(crate) token_keys: String,
    /// Reference to the JWK set that receipts are sealed with; only some kinds of targets need it.
    pub(crate) seal_keys: Option<String>,
    pub(crate) log: Log,
    pub(crate) sources: BTreeMap<Name, SourceConfig>,
    pub(crate) network: Network,
    pub(crate) tls: Tls,
    /// Whose forwarded headers are believed.
    pub(crate) proxy: Proxy,
    /// Where the bundle of each trust domain is had.
    pub(crate) trust_domains: BTreeMap<String, BundleSource>,
    pub(crate) mint_budget: Duration,
    /// Who is told of findings.
    pub(crate) alerts: Option<Alerts>,
    /// The page for auditors and operators; `None` is no page.
    pub(crate) web: Option<WebKeys>,
}

/// Who is told of what `procura report novel` finds.
#[derive(Debug)]
pub(crate) struct Alerts {
    pub(crate) webhook: Url,
    /// Reference to the secret that findings are signed with.
    pub(crate) secret: String,
}

/// How people log in at the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebKeys {
    /// Alias of an issuer of the bundle with `operators = true`.
    pub(crate) issuer: Name,
    /// What the issuer knows the page as.
    pub(crate) client_id: String,
    /// Reference to the secret that it proves that with, `NAME:PATH`.
    pub(crate) client_secret: String,
}

/// Where the log, sessions and leases are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Store {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A file with the URL of a PostgreSQL database; it holds a password.
    Postgres(PathBuf),
}

/// Where the log is signed and anchored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// Reference to the JWK set that checkpoints are signed with.
    pub(crate) keys: String,
    pub(crate) anchor: Anchor,
}

/// Where checkpoints are kept, out of the store's reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// An append-only file on another volume.
    File(PathBuf),
    /// A bucket.
    S3(Bucket),
}

/// A bucket of what speaks the API of Amazon S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) endpoint: Url,
    pub(crate) region: String,
    pub(crate) bucket: String,
    /// What the names of objects begin with.
    pub(crate) prefix: String,
    /// Reference to the key that may create and read objects.
    pub(crate) credentials: String,
    /// Roots that are trusted beside the system's, PEM: those of `[tls]`.
    pub(crate) extra_ca: Vec<String>,
}

/// What outgoing connections may reach beside public addresses.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    /// Hosts, addresses or networks, as the bundle's URLs write them.
    #[serde(default)]
    pub(crate) allow: Vec<String>,
}

/// Certificates.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// Certificate chain and key of the public listener, PEM; `None` only on loopback.
    pub(crate) server: Option<(PathBuf, PathBuf)>,
    /// Roots that are trusted beside the system's, PEM.
    pub(crate) extra_ca: Option<PathBuf>,
    /// Roots that vouch for certificates of servers, PEM.
    pub(crate) client_ca: Option<PathBuf>,
}

/// One mistake, with its line where it stands in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mistake {
    line: Option<usize>,
    problem: String,
}

/// Everything that is wrong with a configuration file.
#[derive(Debug)]
pub(crate) struct ConfigError {
    path: PathBuf,
    mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, mistake) in self.mistakes.iter().enumerate() {
            let end = if count == 0 { "" } else { "\n" };
            match mistake.line {
                Some(line) => write!(f, "{end}{}:{line}: {}", self.path.display(), mistake.problem)?,
                None => write!(f, "{end}{}: {}", self.path.display(), mistake.problem)?,
            }
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks the file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let fail = |mistakes| ConfigError {
            path: path.to_owned(),
            mistakes,
        };
        let text = fs::read_to_string(path).map_err(|error| {
            let problem = format!("cannot be read: {error}");
            fail(vec![Mistake { line: None, problem }])
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        check::check(&text, folder).map_err(fail)
    }
}
