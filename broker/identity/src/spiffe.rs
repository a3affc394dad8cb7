//! Trust domains and their bundles (SPIFFE Trust Domain and Bundle, section 4; SPIFFE Federation, section 5).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use procura_core::ports::Clock;
use procura_wire::{Reason, json};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value, json as value};
use tokio::io::AsyncReadExt;
use url::Url;

use crate::{
    anchors::Anchors,
    cached::{Cached, FRESH, Kept},
    discovery,
    http::{Http, MAX_BODY},
    jwk::KeySet,
};

/// Limits of `spiffe_refresh_hint`.
const MIN_HINT: Duration = Duration::from_secs(10);
const MAX_HINT: Duration = Duration::from_secs(15 * 60);
/// A file is looked at again after this.
const FILE_FRESH: Duration = Duration::from_secs(5);
/// Authorities of one bundle.
const MAX_ROOTS: usize = 64;

/// Where the bundle of a trust domain is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleSource {
    /// An endpoint whose certificate the web's authorities vouch for (profile `https_web`).
    Endpoint(Url),
    /// A file, read again and again.
    File(PathBuf),
}

/// The trust domains that the administrator named.
pub(crate) struct TrustDomains {
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    domains: BTreeMap<String, (BundleSource, Cached<Bundle>)>,
}

/// What vouches for the workloads of a trust domain.
pub(crate) struct Bundle {
    /// For X.509-SVIDs.
    pub(crate) anchors: Anchors,
    /// For JWT-SVIDs.
    pub(crate) keys: KeySet,
    sequence: Option<u64>,
    fresh: Duration,
}

impl Kept for Bundle {
    fn fresh(&self) -> Duration {
        self.fresh
    }
}

impl Bundle {
    /// Reads a JWK Set whose keys say by `use` what they vouch for; others are left out.
    fn read(document: &Value) -> Result<Self, Reason> {
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(Reason::JwksRefused)?.iter().filter_map(Value::as_object);
        let of = |to: &'static str| {
            let keys = keys.clone();
            keys.filter(move |key| key.get("use").is_some_and(|of| of == to))
        };
        let roots: Vec<_> = of("x509-svid").filter_map(root).take(MAX_ROOTS + 1).collect();
        if roots.len() > MAX_ROOTS {
            return Err(Reason::JwksRefused);
        }
        let tokens: Vec<_> = of("jwt-svid").map(without_use).collect();
        let number = |member: &str| document.get(member).and_then(Value::as_u64);
        let hint = number("spiffe_refresh_hint").filter(|hint| *hint > 0);
        Ok(Self {
            anchors: Anchors::new(roots).map_err(|_| Reason::JwksRefused)?,
            keys: KeySet::read(&value!({ "keys": tokens }))?,
            sequence: number("spiffe_sequence"),
            fresh: hint.map_or(FRESH, |hint| Duration::from_secs(hint).clamp(MIN_HINT, MAX_HINT)),
        })
    }
}

/// The one certificate of an X.509 authority.
fn root(key: &Map<String, Value>) -> Option<CertificateDer<'static>> {
    match &key.get("x5c")?.as_array()?[..] {
        [one] => Some(BASE64_STANDARD.decode(one.as_str()?).ok()?.into()),
        _ => None,
    }
}

/// `jwt-svid` is no use that key sets elsewhere know.
fn without_use(key: &Map<String, Value>) -> Map<String, Value> {
    let mut key = key.clone();
    key.remove("use");
    key
}

impl TrustDomains {
    pub(crate) fn new(http: Arc<Http>, clock: Arc<dyn Clock>, sources: BTreeMap<String, BundleSource>) -> Self {
        let domains = sources.into_iter();
        Self {
            http,
            clock,
            domains: domains
                .map(|(name, source)| (name, (source, Cached::default())))
                .collect(),
        }
    }

    /// The bundle of that trust domain, fetched again where it does not have what is looked for.
    pub(crate) async fn bundle(&self, domain: &str, has: impl Fn(&Bundle) -> bool) -> Result<Arc<Bundle>, Reason> {
        let (source, cached) = self.domains.get(domain).ok_or(Reason::ClientMtls)?;
        let fetch = async {
            let before = cached.current(self.clock.as_ref()).ok();
            let fetched = self.fetch(source, before.and_then(|bundle| bundle.sequence)).await;
            if let Err(reason) = &fetched {
                tracing::warn!(
                    trust_domain = domain,
                    reason = reason.code(),
                    "the bundle of a trust domain cannot be had"
                );
            }
            fetched
        };
        cached.get(self.clock.as_ref(), has, fetch).await
    }

    /// Trust domains whose bundles cannot be had, and how long those that are known still serve.
    pub(crate) fn running_out(&self) -> impl Iterator<Item = (String, Duration)> {
        let now = self.clock.monotonic();
        self.domains
            .iter()
            .filter_map(move |(name, (_, cached))| Some((format!("spiffe://{name}"), cached.running_out(now)?)))
    }

    /// A bundle that is older than the one before is not taken: somebody may want a key back that was given up.
    async fn fetch(&self, source: &BundleSource, before: Option<u64>) -> Result<Bundle, Reason> {
        let bundle = match source {
            BundleSource::Endpoint(url) => {
                let document = self.http.get(url).await;
                Bundle::read(&document.map_err(|fault| discovery::reason(fault, url))?)?
            }
            BundleSource::File(path) => Bundle {
                fresh: FILE_FRESH,
                ..Bundle::read(&file(path).await?)?
            },
        };
        match (before, bundle.sequence) {
            (Some(before), Some(now)) if now < before => Err(Reason::JwksRefused),
            _ => Ok(bundle),
        }
    }
}

async fn file(path: &PathBuf) -> Result<Value, Reason> {
    let away = |error: std::io::Error| {
        tracing::debug!(%error, path = %path.display(), "a bundle cannot be read");
        Reason::IssuerUnavailable
    };
    let file = tokio::fs::File::open(path).await.map_err(away)?;
    let mut text = Vec::new();
    let most = MAX_BODY as u64 + 1;
    file.take(most).read_to_end(&mut text).await.map_err(away)?;
    if text.len() > MAX_BODY {
        return Err(Reason::JwksRefused);
    }
    json::strict(&text).map_err(|_| Reason::JwksRefused)
}
