//! Puts a broker together from its settings.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use procura_core::{
    exchange::Reuse,
    ids::ReplicaId,
    limits::Limiter,
    ports::{Active, Clock, Entropy, Ports, Signer},
    source::Source,
};
use procura_identity::{Builtin, HttpOptions, Identity, IdentityOptions, Vouchers};
use procura_target_jwt::Keyring;
use procura_wire::{Digest, Name};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::{
    bundle::Workshop,
    cli::Failure,
    clock::{SystemClock, SystemEntropy},
    dev::DevIssuer,
    health::Health,
    http::{App, Host, Proxy, Site, Streams},
    log,
    store::Engine,
    telemetry::{self, Failures},
    web::Web,
};

/// What a process has before it knows its settings.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: PrometheusHandle,
}

impl Machine {
    pub(crate) fn start() -> Result<Self, Failure> {
        Ok(Self {
            clock: Arc::new(SystemClock::start()),
            entropy: Arc::new(SystemEntropy),
            metrics: telemetry::numbers().map_err(Failure::found)?,
        })
    }
}

/// How tokens and secrets are verified.
#[derive(Default)]
pub(crate) struct Trust {
    pub(crate) http: HttpOptions,
    pub(crate) builtin: Option<Builtin>,
    pub(crate) dev_secrets: BTreeMap<Name, Digest>,
    pub(crate) vouchers: Vouchers,
    pub(crate) proxy: Proxy,
}

/// The broker's own keys and where they come from.
pub(crate) struct Keys {
    pub(crate) ring: Arc<Keyring>,
    /// Where the signing keys come from, looked at again and again; `None` where keys stay as they are.
    pub(crate) source: Option<Watched>,
    /// The same of the keys that seal.
    pub(crate) seal_source: Option<Watched>,
    /// The log, with the keys that sign it.
    pub(crate) log: log::Parts,
}

/// A source of keys and the version that is in force.
pub(crate) type Watched = (Arc<dyn Source>, String);

/// A broker that is ready to serve.
pub(crate) struct Broker {
    pub(crate) ports: Arc<Ports>,
    pub(crate) engine: Engine,
    pub(crate) workshop: Workshop,
    pub(crate) keys: Keys,
    pub(crate) identity: Arc<Identity>,
    pub(crate) health: Arc<Health>,
    pub(crate) failures: Arc<Failures>,
    pub(crate) proxy: Arc<Proxy>,
    /// Tasks of requests.
    pub(crate) requests: TaskTracker,
    /// Answers that have no end of their own.
    pub(crate) streams: Arc<Streams>,
    /// The page, where there is one.
    pub(crate) web: Option<Arc<Web>>,
}

/// Puts the parts together and the first bundle in force; every mistake of it is an error here.
pub(crate) async fn build(
    engine: Engine,
    workshop: Workshop,
    keys: Keys,
    trust: Trust,
    mint_budget: Duration,
) -> Result<Broker, Failure> {
    let snapshot = workshop.make().await.map_err(Failure::usage)?;
    let Machine { clock, entropy, .. } = workshop.machine.clone();
    let identity = Identity::new(IdentityOptions {
        issuer: workshop.issuer.clone(),
        http: trust.http,
        builtin: trust.builtin,
        dev_secrets: trust.dev_secrets,
        signer: Arc::clone(&workshop.signer),
        vouchers: trust.vouchers,
        clock: Arc::clone(&clock),
    });
    let sources = Arc::clone(&workshop.sources);
    let opener = Arc::new(move |reference: &str| sources.open(reference));
    let identity = Arc::new(identity.map_err(Failure::usage)?.with_secrets(opener));
    let ledger = engine.ledger();
    let limiter = Limiter::open(&*ledger, clock.now()).await.map_err(Failure::found)?;
    let ports = Arc::new(Ports {
        tokens: Arc::clone(&identity) as _,
        active: Active::new(snapshot),
        replica: ReplicaId::new(clock.now(), entropy.as_ref()),
        installation: ledger.installation().to_owned(),
        issuer: workshop.issuer.clone(),
        sealer: Arc::clone(&workshop.seals) as _,
        reuse: Reuse::default(),
        limiter,
        mint_budget,
        clock,
        entropy,
        ledger,
    });
    let health = Arc::new(Health::default());
    let requests = TaskTracker::new();
    let streams = Arc::new(Streams::new(requests.clone(), Arc::clone(&ports.clock)));
    let signs = signs(&keys.ring);
    health.note(|report| report.signs = signs);
    Ok(Broker {
        ports,
        engine,
        workshop,
        keys,
        identity,
        health,
        failures: Arc::default(),
        proxy: Arc::new(trust.proxy),
        requests,
        streams,
        web: None,
    })
}

/// The issuer identifier of a URL: without the slash that parsing adds to a bare host.
pub(crate) fn identifier(issuer: &Url) -> String {
    issuer.as_str().trim_end_matches('/').to_owned()
}

/// Whether a key is active.
pub(crate) fn signs(ring: &Keyring) -> bool {
    ring.sign("probe", b"{}").is_ok()
}

impl Broker {
    /// What handlers need.
    pub(crate) fn app(&self, issuer: &Url, dev: Option<Arc<DevIssuer>>) -> Arc<App> {
        Arc::new(App {
            ports: Arc::clone(&self.ports),
            usage: self.engine.usage(),
            keys: Arc::clone(&self.keys.ring),
            log: Arc::clone(&self.keys.log.log),
            site: Site {
                issuer: self.ports.issuer.clone(),
                dev: dev.is_some(),
            },
            host: Host::of(issuer),
            proxy: Arc::clone(&self.proxy),
            requests: self.requests.clone(),
            streams: Arc::clone(&self.streams),
            failures: Arc::clone(&self.failures),
            dev,
            web: self.web.clone(),
        })
    }
}
