//! From a folder of policy files to a bundle in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use procura_core::{
    catalogue::{Catalogue, ServerAuth, Target},
    judgement::Judge,
    kind::{KindPorts, Minter},
    ledger::{Ledger, StoreError},
    ports::{Signer, Snapshot},
    staged::Staged,
};
use procura_policy::{Bundle, Mistake, Options};
use procura_sources::Sources;
use procura_wire::{Digest, Name};

use crate::{assembly::Machine, kinds::KINDS, seal::Seals};

/// What minters are made with, bundle after bundle.
pub(crate) struct Workshop {
    pub(crate) folder: PathBuf,
    pub(crate) options: Options,
    pub(crate) machine: Machine,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) seals: Arc<Seals>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) issuer: String,
    pub(crate) stages: Stages,
    pub(crate) proofs: Proofs,
}

/// What servers can prove themselves by here, beside secrets.
#[derive(Default)]
pub(crate) struct Proofs {
    /// Certificates reach the broker: it speaks TLS, or a proxy forwards them.
    pub(crate) certificates: bool,
    /// There are roots for `tls_client_auth`.
    pub(crate) client_ca: bool,
    /// Trust domains whose bundles are had.
    pub(crate) trust_domains: BTreeSet<String>,
}

impl Proofs {
    /// Why a server that proves itself so never could.
    fn missing(&self, auth: &ServerAuth) -> Option<String> {
        match auth {
            ServerAuth::TlsClient(_) | ServerAuth::SelfSigned(_) if !self.certificates => Some(
                "no certificate reaches this broker; name cert and key in [tls] of procura.toml, or in [proxy] the \
                 header that a proxy forwards certificates in"
                    .to_owned(),
            ),
            ServerAuth::TlsClient(_) if !self.client_ca => {
                Some("nobody vouches for its certificate; name client_ca in [tls] of procura.toml".to_owned())
            }
            ServerAuth::Spiffe(pattern) if !self.trust_domains.contains(&pattern.trust_domain) => Some(format!(
                "procura.toml has no [spiffe.NAME] with trust_domain = \"{}\"",
                pattern.trust_domain
            )),
            _ => None,
        }
    }
}

/// Which version of its secret each target uses, from one bundle to the next: by target, reference and place, so that
/// another secret or another system begins anew.
#[derive(Default)]
pub(crate) struct Stages(Mutex<BTreeMap<[String; 3], Weak<Staged>>>);

/// Why a bundle was not put in force. The last good one stays.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// Everything that is wrong with it.
    Mistakes(Vec<Mistake>),
    /// A server could never authenticate.
    Server(String),
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
            Self::Server(_) | Self::Target(_) | Self::Store(_) => 1,
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
            Self::Server(problem) | Self::Target(problem) => f.write_str(problem),
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
        self.check_proofs(judge.catalogue())?;
        self.check_held(judge.catalogue()).await?;
        self.check_introspection(judge.catalogue())?;
        let staged = self.staged(judge.catalogue())?;
        let minters = self.minters(judge.catalogue(), &staged)?;
        let kept = self.ledger.keep_bundle(judge.digest(), bundle.content()).await;
        kept.map_err(Rejected::Store)?;
        Ok(Snapshot { judge, minters, staged })
    }

    /// Refuses a bundle with a server that could never authenticate here.
    fn check_proofs(&self, catalogue: &Catalogue) -> Result<(), Rejected> {
        let servers = catalogue.servers.iter();
        let missing = servers.filter_map(|(name, server)| Some((name, self.proofs.missing(&server.auth)?)));
        let lines: Vec<_> = missing
            .map(|(name, problem)| format!("servers/{name}.toml: {problem}"))
            .collect();
        if lines.is_empty() {
            Ok(())
        } else {
            Err(Rejected::Server(lines.join("\n")))
        }
    }

    /// Refuses a bundle without a place that credentials wait to be undone at.
    async fn check_held(&self, catalogue: &Catalogue) -> Result<(), Rejected> {
        let held = self.ledger.leased_places().await.map_err(Rejected::Store)?;
        let lost: Vec<_> = held
            .into_iter()
            .filter(|(name, place)| {
                let there = catalogue.targets.get(name).is_some_and(|target| target.place() == *place);
                !there && !catalogue.abandoned.contains(name)
            })
            .map(|(name, place)| {
                format!(
                    "targets/{name}.toml: credentials at {place} are not undone yet (`procura lease list --target {name}`); \
                     put the target back as it was until they are gone, or give them up in bundle.toml: \
                     abandon = [\"{name}\"]"
                )
            })
            .collect();
        match lost.is_empty() {
            true => Ok(()),
            // Its own database may come up on another port.
            false if self.options.allow_builtin => {
                tracing::warn!("{}", lost.join("\n"));
                Ok(())
            }
            false => Err(Rejected::Target(lost.join("\n"))),
        }
    }

    /// Refuses a bundle with an issuer that is asked about tokens with a secret that may not be read.
    fn check_introspection(&self, catalogue: &Catalogue) -> Result<(), Rejected> {
        for (name, issuer) in &catalogue.issuers {
            let Some(introspection) = &issuer.trust.introspection else {
                continue;
            };
            let opened = self.sources.open(&introspection.secret);
            opened.map_err(|error| Rejected::Target(format!("issuers/{name}.toml: {error}")))?;
        }
        Ok(())
    }

    /// The bundle whose predecessors were withdrawn last, as far as it can be read; none where `unless` was settled ever.
    pub(crate) async fn settled(&self, unless: Digest) -> Result<Option<Arc<dyn Judge>>, StoreError> {
        let Some(content) = self.ledger.settled_bundle(unless).await? else {
            return Ok(None);
        };
        let options = self.options;
        let read = move || {
            let bundle = Bundle::from_content(&content).ok()?;
            procura_policy::load(&bundle, &KINDS, options).ok()
        };
        let read = tokio::task::spawn_blocking(read).await.ok().flatten();
        if read.is_none() {
            tracing::warn!(
                "the bundle before cannot be read by this version: what it gave and this one does not is left"
            );
        }
        Ok(read.map(|loaded| Arc::new(loaded) as _))
    }

    fn staged(&self, catalogue: &Catalogue) -> Result<BTreeMap<Name, Arc<Staged>>, Rejected> {
        let targets = catalogue.targets.iter();
        let stage = |(name, target): (&Name, &Target)| Some((name.clone(), self.stage(name, target).transpose()?));
        let staged = targets.filter_map(stage);
        staged.map(|(name, staged)| Ok((name, staged?))).collect()
    }

    /// The source of a target as it was under the bundle before, if it is the same.
    fn stage(&self, name: &Name, target: &Target) -> Result<Option<Arc<Staged>>, Rejected> {
        let Some(reference) = &target.source else {
            return Ok(None);
        };
        let source = self.sources.open(reference);
        let source = source.map_err(|error| Rejected::Target(format!("targets/{name}.toml: {error}")))?;
        let mut stages = self.stages.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.retain(|_, staged| staged.strong_count() > 0);
        let key = [name.to_string(), reference.clone(), target.place()];
        if let Some(staged) = stages.get(&key).and_then(Weak::upgrade) {
            return Ok(Some(staged));
        }
        let staged = Arc::new(Staged::new(name.clone(), source, Arc::clone(&self.machine.clock)));
        stages.insert(key, Arc::downgrade(&staged));
        Ok(Some(staged))
    }

    fn minters(
        &self,
        catalogue: &Catalogue,
        staged: &BTreeMap<Name, Arc<Staged>>,
    ) -> Result<BTreeMap<Name, Arc<dyn Minter>>, Rejected> {
        let mut minters = BTreeMap::new();
        for (name, target) in &catalogue.targets {
            if target.kind.receipts && !self.seals.can_seal() {
                return Err(Rejected::Target(format!(
                    "targets/{name}.toml: what a target of kind {} is undone with must be kept sealed; name a key as \
                     [keys.seal] in procura.toml (`procura keys new --seal FILE`)",
                    target.kind.name
                )));
            }
            let ports = KindPorts {
                clock: Arc::clone(&self.machine.clock),
                entropy: Arc::clone(&self.machine.entropy),
                signer: Arc::clone(&self.signer),
                source: staged.get(name).map(|staged| Arc::clone(staged) as _),
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

#[cfg(test)]
mod tests {
    use procura_core::certificate::CertificateName;

    use super::*;

    fn auth(method: &str) -> ServerAuth {
        match method {
            "tls" => ServerAuth::TlsClient(CertificateName::SanDns("a.example".to_owned())),
            "self" => ServerAuth::SelfSigned(vec![]),
            _ => ServerAuth::Spiffe("spiffe://example.org/a".parse().expect("pattern")),
        }
    }

    #[test]
    fn a_server_that_could_never_authenticate_is_refused() {
        let missing = |proofs: &Proofs, method: &str| proofs.missing(&auth(method)).unwrap_or_default();
        let none = Proofs::default();
        assert!(missing(&none, "tls").contains("[tls]") && missing(&none, "self").contains("[proxy]"));
        let wanted = "procura.toml has no [spiffe.NAME] with trust_domain = \"example.org\"";
        assert_eq!(missing(&none, "spiffe"), wanted);
        let spoken = Proofs {
            certificates: true,
            ..Proofs::default()
        };
        assert!(missing(&spoken, "tls").contains("client_ca"));
        assert_eq!(missing(&spoken, "self"), "");
        let all = Proofs {
            certificates: true,
            client_ca: true,
            trust_domains: BTreeSet::from(["example.org".to_owned()]),
        };
        for method in ["tls", "self", "spiffe"] {
            assert_eq!(missing(&all, method), "", "{method}");
        }
        assert!(none.missing(&ServerAuth::BuiltinDev).is_none());
    }
}
