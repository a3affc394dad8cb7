//! Reads the text of `procura.toml` and collects every mistake in it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use procura_sources::{Reference, SourceConfig};
use procura_wire::Name;
use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::{Config, Mistake, Network, Store, Tls};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    issuer: Spanned<String>,
    policies: Spanned<PathBuf>,
    listen: ListenKeys,
    store: Spanned<StoreKeys>,
    keys: Keys,
    log: Option<log::LogTable>,
    #[serde(default)]
    sources: BTreeMap<Name, Spanned<SourceConfig>>,
    #[serde(default)]
    network: Network,
    tls: Option<TlsKeys>,
    proxy: Option<peers::ProxyKeys>,
    #[serde(default)]
    spiffe: BTreeMap<Name, Spanned<peers::SpiffeKeys>>,
    mint_budget: Option<Spanned<String>>,
    alerts: Option<alerts::AlertKeys>,
    web: Option<web::PageKeys>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenKeys {
    address: Spanned<SocketAddr>,
    #[serde(default = "loopback_admin")]
    admin: SocketAddr,
    #[serde(default)]
    plain_http_on_loopback: bool,
}

fn loopback_admin() -> SocketAddr {
    ([127, 0, 0, 1], 8421).into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreKeys {
    sqlite: Option<PathBuf>,
    postgres_url_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    token: KeySource,
    seal: Option<KeySource>,
    log: Option<KeySource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySource {
    /// `NAME:PATH` at a `[sources.NAME]`.
    source: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsKeys {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    extra_ca: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

/// Time for an external mint, and the least that it may be set to.
const MINT_BUDGET: Duration = Duration::from_secs(10);
const MIN_MINT_BUDGET: Duration = Duration::from_secs(5);
const MAX_MINT_BUDGET: Duration = Duration::from_secs(60);

/// Reads and checks the text; relative paths are taken from `folder`.
pub(super) fn check(text: &str, folder: &Path) -> Result<Config, Vec<Mistake>> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        let problem = error.message().to_owned();
        vec![Mistake { line, problem }]
    })?;
    let mut checker = Checker {
        text,
        folder,
        mistakes: vec![],
    };
    let config = checker.config(file);
    if checker.mistakes.is_empty() {
        config.ok_or_else(Vec::new)
    } else {
        Err(checker.mistakes)
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// Collects every mistake of a file whose form is right.
struct Checker<'a> {
    text: &'a str,
    folder: &'a Path,
    mistakes: Vec<Mistake>,
}

impl Checker<'_> {
    fn config(&mut self, file: File) -> Option<Config> {
        let plain = file.listen.plain_http_on_loopback;
        let issuer = self.issuer(&file.issuer, plain);
        let policies = self.path(file.policies.as_ref());
        let store = self.store(&file.store);
        let token_keys = self.reference("keys.token.source", &file.keys.token.source, &file.sources);
        let seal_keys = file.keys.seal.as_ref();
        let seal_keys = seal_keys.map(|keys| self.reference("keys.seal.source", &keys.source, &file.sources));
        let log = self.log(file.log, file.keys.log.as_ref(), &file.sources);
        let alerts = self.alerts(file.alerts, &file.sources);
        let web = self.web(file.web, &file.sources);
        let sources = file
            .sources
            .into_iter()
            .map(|(name, source)| {
                let source = self.source(&name, source);
                (name, source)
            })
            .collect();
        let tls = self.tls(file.tls, &file.listen);
        let proxy = self.proxy(file.proxy);
        let trust_domains = self.trust_domains(file.spiffe);
        let mint_budget = file.mint_budget.map_or(Some(MINT_BUDGET), |text| self.budget(&text));
        Some(Config {
            issuer: issuer?,
            policies,
            address: file.listen.address.into_inner(),
            admin: file.listen.admin,
            store: store?,
            token_keys: token_keys?,
            seal_keys: seal_keys.flatten(),
            log: log?,
            sources,
            network: file.network,
            tls: tls?,
            proxy,
            trust_domains,
            mint_budget: mint_budget?,
            alerts,
            web,
        })
    }

    fn wrong(&mut self, at: Option<usize>, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            line: at.map(|at| line_of(self.text, at)),
            problem: problem.into(),
        });
    }

    fn issuer(&mut self, issuer: &Spanned<String>, plain: bool) -> Option<Url> {
        let at = Some(issuer.span().start);
        let Ok(url) = issuer.get_ref().parse::<Url>() else {
            self.wrong(at, "issuer is not a URL; write https://HOST");
            return None;
        };
        let user = !url.username().is_empty() || url.password().is_some();
        let bare = url.query().is_none() && url.fragment().is_none() && !user;
        if !bare || url.host_str().is_none() || issuer.get_ref().ends_with('/') {
            self.wrong(
                at,
                "issuer must have a host, and no user, query, fragment or slash at its end",
            );
        }
        let loopback = url.host_str().is_some_and(|host| matches!(host, "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => {}
            "http" if plain && loopback => {}
            _ => self.wrong(at, "issuer must be https"),
        }
        Some(url)
    }

    fn store(&mut self, store: &Spanned<StoreKeys>) -> Option<Store> {
        let keys = store.get_ref();
        match (&keys.sqlite, &keys.postgres_url_file) {
            (Some(path), None) => Some(Store::Sqlite(self.path(path))),
            (None, Some(path)) => Some(Store::Postgres(self.path(path))),
            _ => {
                self.wrong(
                    Some(store.span().start),
                    "[store] names one of sqlite and postgres_url_file",
                );
                None
            }
        }
    }

    fn reference(
        &mut self,
        key: &str,
        text: &Spanned<String>,
        sources: &BTreeMap<Name, Spanned<SourceConfig>>,
    ) -> Option<String> {
        let reference = match text.get_ref().parse::<Reference>() {
            Ok(reference) => reference,
            Err(error) => {
                self.wrong(Some(text.span().start), format!("{key}: {error}"));
                return None;
            }
        };
        if !sources.contains_key(&reference.source) {
            let problem = format!("{key}: there is no [sources.{}]", reference.source);
            self.wrong(Some(text.span().start), problem);
        }
        Some(text.get_ref().clone())
    }

    fn source(&mut self, name: &Name, source: Spanned<SourceConfig>) -> SourceConfig {
        let at = source.span().start;
        let mut source = source.into_inner();
        for mistake in source.mistakes() {
            self.wrong(Some(at), format!("[sources.{name}] {mistake}"));
        }
        for path in source.paths() {
            *path = self.path(path);
        }
        source
    }

    fn tls(&mut self, keys: Option<TlsKeys>, listen: &ListenKeys) -> Option<Tls> {
        let at = Some(listen.address.span().start);
        let (cert, key, extra_ca, client_ca) = match keys {
            Some(keys) => (keys.cert, keys.key, keys.extra_ca, keys.client_ca),
            None => (None, None, None, None),
        };
        let server = match (cert, key) {
            (Some(cert), Some(key)) => Some((self.path(&cert), self.path(&key))),
            (None, None) => None,
            _ => {
                self.wrong(None, "[tls] needs both cert and key");
                return None;
            }
        };
        let loopback = listen.address.get_ref().ip().is_loopback();
        if server.is_none() && !(loopback && listen.plain_http_on_loopback) {
            let problem = "serve speaks TLS: name cert and key in [tls]; behind a proxy on this machine \
                           listen on a loopback address and set plain_http_on_loopback = true";
            self.wrong(at, problem);
        }
        let extra_ca = extra_ca.map(|path| self.path(&path));
        let client_ca = client_ca.map(|path| self.path(&path));
        Some(Tls {
            server,
            extra_ca,
            client_ca,
        })
    }

    fn budget(&mut self, text: &Spanned<String>) -> Option<Duration> {
        let time = text.get_ref().parse::<jiff::SignedDuration>().ok();
        let time = time.and_then(|time| Duration::try_from(time).ok());
        let time = time.filter(|time| (MIN_MINT_BUDGET..=MAX_MINT_BUDGET).contains(time));
        if time.is_none() {
            self.wrong(Some(text.span().start), "mint_budget is a time between 5s and 60s");
        }
        time
    }

    /// A path of the file. What `procura dev` made is never served from.
    fn path(&mut self, path: &Path) -> PathBuf {
        let path = self.folder.join(path);
        if path
            .components()
            .any(|part| part == Component::Normal(".procura".as_ref()))
        {
            let problem = format!(
                "{}: what lies under .procura/ is for `procura dev` only",
                path.display()
            );
            self.wrong(None, problem);
        }
        path
    }
}

mod alerts;
mod log;
mod peers;
#[cfg(test)]
mod tests;
mod web;
