//! From a folder of policy files to a bundle in force.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use procura_core::{
    catalogue::Catalogue,
    judgement::Judge,
    kind::{KindPorts, Minter},
    ledger::{Ledger, StoreError},
    ports::{Signer, Snapshot},
};
use procura_policy::{Bundle, Mistake, Options};
use procura_sources::Sources;
use procura_wire::Name;

use crate::{assembly::Machine, kinds::KINDS};

/// What minters are made with, bundle after bundle.
pub(crate) struct Workshop {
    pub(crate) folder: PathBuf,
    pub(crate) options: Options,
    pub(crate) machine: Machine,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) issuer: String,
}

/// Why a bundle was not put in force. The last good one stays.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// Everything that is wrong with it.
    Mistakes(Vec<Mistake>),
    /// A target's minter could not be made, or its source may not be used.
    Target(String),
    /// Its content could not be kept.
    Store(StoreError),
}

impl Rejected {
    /// How many mistakes there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Mistakes(mistakes) => mistakes.len(),
            Self::Target(_) | Self::Store(_) => 1,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mistakes(mistakes) => {
                let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Target(problem) => f.write_str(problem),
            Self::Store(error) => write!(f, "the bundle cannot be kept: {error}"),
        }
    }
}

/// Reads and checks a folder, on the thread that calls.
pub(crate) fn load(folder: &Path, options: Options) -> Result<(Bundle, Arc<dyn Judge>), Vec<Mistake>> {
    let bundle = Bundle::read(folder)?;
    let loaded = procura_policy::load(&bundle, &KINDS, options)?;
    Ok((bundle, Arc::new(loaded)))
}

impl Workshop {
    /// Reads the folder and makes what it declares ready: whole or not at all. Its content is in the
    /// store before anybody can act under it.
    pub(crate) async fn make(&self) -> Result<Snapshot, Rejected> {
        let (folder, options) = (self.folder.clone(), self.options);
        let loaded = tokio::task::spawn_blocking(move || load(&folder, options)).await;
        let loaded = loaded.map_err(|_| Rejected::Target("the bundle could not be checked".to_owned()))?;
        let (bundle, judge) = loaded.map_err(Rejected::Mistakes)?;
        let minters = self.minters(judge.catalogue())?;
        let kept = self.ledger.keep_bundle(judge.digest(), bundle.content()).await;
        kept.map_err(Rejected::Store)?;
        Ok(Snapshot { judge, minters })
    }

    fn minters(&self, catalogue: &Catalogue) -> Result<BTreeMap<Name, Arc<dyn Minter>>, Rejected> {
        let mut minters = BTreeMap::new();
        for (name, target) in &catalogue.targets {
            let source = target
                .source
                .as_deref()
                .map(|reference| self.sources.open(reference))
                .transpose();
            let source = source.map_err(|error| Rejected::Target(format!("targets/{name}.toml: {error}")))?;
            let ports = KindPorts {
                clock: Arc::clone(&self.machine.clock),
                entropy: Arc::clone(&self.machine.entropy),
                signer: Arc::clone(&self.signer),
                source,
                installation: self.ledger.installation().to_owned(),
                issuer: self.issuer.clone(),
                issuers: catalogue.issuers.keys().cloned().collect(),
            };
            let minter = (target.kind.open)(name, target, ports);
            minters.insert(
                name.clone(),
                minter.map_err(|error| Rejected::Target(error.to_string()))?,
            );
        }
        Ok(minters)
    }
}
