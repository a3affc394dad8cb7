//! All configured sources of a running broker.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::{join, join_all, select};
use procura_core::{
    ports::{BoxFuture, Clock, Entropy},
    source::{Source, SourceError},
};
use procura_wire::Name;

use crate::{
    aws::Aws,
    cache::{Cache, Entry, REFRESH, Upstream, VersionKey},
    config::{SourceConfig, SourceConfigError},
    file::Files,
    reference::{Glob, Reference},
    vault::Vault,
};

/// The configured sources, each with the secrets that are in use.
pub struct Sources {
    sources: BTreeMap<Name, Configured>,
    clock: Arc<dyn Clock>,
    /// By reference. What nobody holds any more is forgotten, its secret with it.
    entries: Mutex<BTreeMap<String, Weak<Cache>>>,
}

struct Configured {
    allow: Vec<Glob>,
    system: System,
}

#[derive(Clone)]
enum System {
    Files(Arc<Files>),
    Vault(Arc<Vault>),
    Aws(Arc<Aws>),
}

impl System {
    fn new(config: SourceConfig, clock: &Arc<dyn Clock>, versions: VersionKey) -> Result<Self, String> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes.join("; "));
        }
        Ok(match config {
            SourceConfig::File(file) => Self::Files(Arc::new(Files::new(file.root, versions))),
            SourceConfig::Vault(vault) => Self::Vault(Arc::new(Vault::new(*vault, Arc::clone(clock), versions)?)),
            SourceConfig::Aws(aws) => Self::Aws(Arc::new(Aws::new(*aws))),
        })
    }

    fn upstream(&self) -> Arc<dyn Upstream> {
        match self {
            Self::Files(files) => Arc::clone(files) as _,
            Self::Vault(vault) => Arc::clone(vault) as _,
            Self::Aws(aws) => Arc::clone(aws) as _,
        }
    }

    /// Does what is due and answers when to be called again.
    async fn tend(&self) -> Duration {
        match self {
            Self::Files(files) => {
                files.watch();
                REFRESH
            }
            Self::Vault(vault) => vault.tend().await,
            Self::Aws(_) => REFRESH,
        }
    }
}

impl Sources {
    /// Checks the settings. No source is asked, so that one that is away does not keep the broker from starting.
    pub fn new(
        configs: BTreeMap<Name, SourceConfig>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, SourceConfigError> {
        let versions = VersionKey::new(entropy);
        let mut sources = BTreeMap::new();
        for (name, config) in configs {
            let allow = config.allow().to_vec();
            match System::new(config, &clock, versions) {
                Ok(system) => sources.insert(name, Configured { allow, system }),
                Err(problem) => return Err(SourceConfigError { name, problem }),
            };
        }
        Ok(Self {
            sources,
            clock,
            entries: Mutex::default(),
        })
    }

    /// The secret that a bundle refers to, if the source's `allow` covers it. Equal references share one
    /// cache. Asks no source; what is wrong there shows when the secret is read.
    pub fn open(&self, reference: &str) -> Result<Arc<dyn Source>, SourceError> {
        self.find(reference, true)
    }

    /// The same for a reference that stands in `procura.toml` itself and so need not be allowed: the broker's own
    /// keys should be out of every bundle's reach.
    pub fn open_own(&self, reference: &str) -> Result<Arc<dyn Source>, SourceError> {
        self.find(reference, false)
    }

    fn find(&self, text: &str, bounded: bool) -> Result<Arc<dyn Source>, SourceError> {
        let refused = |problem: String| SourceError {
            reference: text.escape_debug().take(200).collect(),
            problem,
        };
        let reference: Reference = text.parse().map_err(|error| refused(format!("{error}")))?;
        let source = self.sources.get(&reference.source).ok_or_else(|| {
            let name = &reference.source;
            refused(format!("there is no [sources.{name}] in procura.toml"))
        })?;
        if bounded && !source.allow.iter().any(|glob| glob.matches(&reference.path)) {
            let name = &reference.source;
            return Err(refused(format!("allow of [sources.{name}] does not cover this path")));
        }
        let mut entries = self.entries();
        entries.retain(|_, entry| entry.strong_count() > 0);
        if let Some(cache) = entries.get(text).and_then(Weak::upgrade) {
            return Ok(Arc::new(Entry(cache)));
        }
        let cache = Arc::new(Cache::new(reference, source.system.upstream(), Arc::clone(&self.clock)));
        entries.insert(text.to_owned(), Arc::downgrade(&cache));
        Ok(Arc::new(Entry(cache)))
    }

    /// Background work until `stop`: watches folders, keeps tokens alive, looks again at secrets in use. The broker
    /// runs it once; without it every value is read anew when its freshness ends.
    pub async fn run(&self, stop: BoxFuture<'static, ()>) {
        let work = async {
            loop {
                let pause = self.tend().await;
                self.clock.sleep(pause).await;
            }
        };
        select(stop, pin!(work)).await;
    }

    async fn tend(&self) -> Duration {
        let pauses = join_all(self.sources.values().map(|source| source.system.tend()));
        let live: Vec<_> = self.entries().values().filter_map(Weak::upgrade).collect();
        let (pauses, _) = join(pauses, join_all(live.into_iter().map(Cache::refresh))).await;
        pauses.into_iter().min().unwrap_or(REFRESH)
    }

    /// What runs out and is not renewed: references that cannot be read, and how long their last good values still
    /// serve; sources by name whose token ends.
    pub fn running_out(&self) -> Vec<(String, Duration)> {
        let live: Vec<_> = self.entries().values().filter_map(Weak::upgrade).collect();
        let tokens = self.sources.iter().filter_map(|(name, source)| {
            let left = match &source.system {
                System::Vault(vault) => vault.token_left()?,
                System::Files(_) | System::Aws(_) => return None,
            };
            Some((name.to_string(), left))
        });
        live.iter()
            .filter_map(|cache| cache.running_out())
            .chain(tokens)
            .collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Weak<Cache>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
