//! `procura serve`

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum_server::tls_rustls::RustlsConfig;
use procura_identity::{BundleSource, Cached, HttpOptions, Vouchers};
use procura_policy::Options;
use procura_sources::Sources;
use procura_target_jwt::Keyring;
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use crate::{
    alerts::{self, Webhook},
    assembly::{self, Broker, Keys, Machine, Trust, Watched},
    background::{Revocation, Watch},
    bundle::{Proofs, Stages, Workshop},
    cli::Failure,
    config::{self, Alerts, Config, Tls, WebKeys},
    expiry,
    health::Health,
    http, log,
    running::{Doors, Running, Signals, bind},
    seal::Seals,
    store::Engine,
    telemetry::{self, Logs},
    tls,
    web::Web,
};

/// Runs until a signal.
pub(crate) async fn run(path: &Path, revocation: Revocation, epoch: log::Epoch) -> Result<(), Failure> {
    let mut config = Config::read(path).map_err(Failure::usage)?;
    telemetry::logs(Logs::Json);
    let signals = Signals::listen()?;
    // From here on, so that one that comes while the broker starts neither ends it nor is lost.
    let hangups = signal(SignalKind::hangup()).map_err(Failure::found)?;
    let doors = doors(&config).await?;
    let address = doors.public.address();
    let admin = doors.admin.as_ref().map(|admin| admin.address().to_string());
    let certificate = doors.tls.clone().zip(config.tls.server.clone());
    let (issuer, path) = (config.issuer.clone(), config.issuer.path().to_owned());
    let alerts = config.alerts.take();
    let broker = Arc::new(build(config, epoch).await?);
    let webhook = alerts.map(|alerts| webhook(alerts, &broker)).transpose()?;
    let routes = http::public(broker.app(&issuer, None), &path);
    let running = Running::start(Arc::clone(&broker), routes, doors, (Watch::Sum, revocation));
    tracing::info!(%address, admin, issuer = broker.ports.issuer, "serving");
    if let Some((tls, files)) = certificate {
        note_end(&broker.health, &files.0);
        let renewing = renew(hangups, tls, files, Arc::clone(&broker.health));
        running.background.also(renewing);
    }
    if let Some(webhook) = webhook {
        running.background.also(alerts::run(broker, webhook));
    }
    running.until(signals).await;
    Ok(())
}

fn webhook(alerts: Alerts, broker: &Broker) -> Result<Webhook, Failure> {
    let secret = broker.workshop.sources.open_own(&alerts.secret);
    Ok(Webhook {
        url: alerts.webhook,
        secret: secret.map_err(|error| Failure::usage(format!("[alerts] secret: {error}")))?,
    })
}

/// Reads the certificate again on SIGHUP.
async fn renew(mut hangups: Signal, tls: RustlsConfig, (cert, key): (PathBuf, PathBuf), health: Arc<Health>) {
    while hangups.recv().await.is_some() {
        match tls::config(&cert, &key).await {
            Ok(config) => {
                tls.reload_from_config(config);
                note_end(&health, &cert);
                tracing::info!("certificate read");
            }
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }
}

fn note_end(health: &Health, cert: &Path) {
    health.note(|report| report.certificate_ends = expiry::certificate_ends(cert));
}

async fn doors(config: &Config) -> Result<Doors, Failure> {
    let tls = match &config.tls.server {
        Some((cert, key)) => {
            let read = tls::config(cert, key).await;
            let read = read.map_err(|error| Failure::usage(format!("[tls] cert and key: {error}")))?;
            Some(RustlsConfig::from_config(read))
        }
        None => None,
    };
    Ok(Doors {
        public: bind(config.address)?,
        tls,
        admin: Some(bind(config.admin)?),
    })
}

async fn build(mut config: Config, epoch: log::Epoch) -> Result<Broker, Failure> {
    let machine = Machine::start()?;
    let proofs = Proofs {
        certificates: config.tls.server.is_some() || config.proxy.forwards_certificates(),
        client_ca: config.tls.client_ca.is_some(),
        trust_domains: config.trust_domains.keys().cloned().collect(),
    };
    let trust = Trust {
        proxy: config.proxy,
        ..trust(config.network.allow, &config.tls, config.trust_domains)?
    };
    let sources = sources(config.sources, &machine)?;
    let (ring, source) = keys(&config.token_keys, &sources).await?;
    let (seals, seal_source) = seals(config.seal_keys.as_deref(), &sources).await?;
    log::apart(&config.log.anchor, &config.store)?;
    let engine = Engine::open(&config.store, &machine).await?;
    if let config::Anchor::S3(bucket) = &mut config.log.anchor {
        bucket.extra_ca.clone_from(&trust.http.extra_ca);
    }
    let log = log::open(&config.log, &engine, &machine, &sources).await?;
    log::compare(&log.log, &config.issuer, epoch).await?;
    let keys = Keys {
        ring,
        source: Some(source),
        seal_source,
        log,
    };
    let workshop = Workshop {
        folder: config.policies,
        options: Options::default(),
        machine,
        signer: Arc::clone(&keys.ring) as _,
        seals,
        sources,
        ledger: engine.ledger(),
        issuer: assembly::identifier(&config.issuer),
        stages: Stages::default(),
        proofs,
    };
    let mut broker = assembly::build(engine, workshop, keys, trust, config.mint_budget).await?;
    if let Some(keys) = config.web {
        broker.web = Some(Arc::new(page(keys, &broker, config.issuer)?));
    }
    Ok(broker)
}

/// The page of a configuration, whose issuer must be one of the bundle.
fn page(keys: WebKeys, broker: &Broker, site: Url) -> Result<Web, Failure> {
    let snapshot = broker.ports.active.snapshot();
    let issuer = snapshot.judge.catalogue().issuers.get(&keys.issuer);
    if !issuer.is_some_and(|issuer| issuer.operators && !issuer.workloads_only) {
        return Err(Failure::usage(format!(
            "[web] issuer: the bundle has no issuers/{}.toml with operators = true",
            keys.issuer
        )));
    }
    let secret = broker.workshop.sources.open_own(&keys.client_secret);
    Ok(Web {
        store: broker.engine.web(),
        identity: Arc::clone(&broker.identity),
        issuer: keys.issuer,
        client_id: keys.client_id,
        client_secret: Some(secret.map_err(Failure::usage)?),
        site,
        described: Cached::default(),
    })
}

fn trust(
    allow_private: Vec<String>,
    tls: &Tls,
    trust_domains: BTreeMap<String, BundleSource>,
) -> Result<Trust, Failure> {
    let read = |name: &str, path: &Option<PathBuf>| {
        let text = path.as_ref().map(fs::read_to_string).transpose();
        text.map_err(|error| Failure::usage(format!("[tls] {name}: {error}")))
    };
    Ok(Trust {
        http: HttpOptions {
            allow_http_loopback: false,
            extra_ca: read("extra_ca", &tls.extra_ca)?.into_iter().collect(),
            allow_private,
        },
        vouchers: Vouchers {
            client_ca: read("client_ca", &tls.client_ca)?,
            trust_domains,
        },
        ..Trust::default()
    })
}

/// The sources of a configuration.
pub(crate) fn sources(
    configs: BTreeMap<procura_wire::Name, procura_sources::SourceConfig>,
    machine: &Machine,
) -> Result<Arc<Sources>, Failure> {
    let sources = Sources::new(configs, Arc::clone(&machine.clock), machine.entropy.as_ref());
    sources.map(Arc::new).map_err(Failure::usage)
}

async fn keys(reference: &str, sources: &Sources) -> Result<(Arc<Keyring>, Watched), Failure> {
    let source = sources.open_own(reference).map_err(Failure::usage)?;
    let set = source.current().await;
    let set = set.map_err(|error| Failure::usage(format!("{error}; make keys with `procura keys new`")))?;
    let ring = Keyring::parse(&set.value).map_err(|error| Failure::usage(format!("{reference}: {error}")))?;
    Ok((Arc::new(ring), (source, set.version.clone())))
}

async fn seals(reference: Option<&str>, sources: &Sources) -> Result<(Arc<Seals>, Option<Watched>), Failure> {
    let Some(reference) = reference else {
        return Ok((Arc::default(), None));
    };
    let source = sources.open_own(reference).map_err(Failure::usage)?;
    let set = source.current().await;
    let set = set.map_err(|error| Failure::usage(format!("{error}; make a key with `procura keys new --seal`")))?;
    let seals = Seals::parse(&set.value).map_err(|error| Failure::usage(format!("{reference}: {error}")))?;
    Ok((Arc::new(seals), Some((source, set.version.clone()))))
}
