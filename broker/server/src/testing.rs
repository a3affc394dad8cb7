//! A broker for tests: SQLite and the bundle of development mode in a folder of its own.

use std::{path::Path, sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusBuilder;
use procura_anchor::FileAnchor;
use procura_sources::Sources;
use procura_target_jwt::{Keyring, SigningAlgorithm, new_set};
use tempfile::TempDir;

use crate::{
    assembly::{self, Broker, Keys, Machine, Trust},
    bundle::{Proofs, Stages, Workshop},
    clock::{SystemClock, SystemEntropy},
    config::Store,
    dev, log,
    notary::LogKeys,
    store::Engine,
};

pub(crate) const ISSUER: &str = "http://127.0.0.1:8420";

/// The broker; `bundle/` in the folder is its bundle. The folder lives as long as it is held.
pub(crate) async fn broker() -> (Broker, TempDir) {
    trusting(Trust::default()).await
}

/// The same with what it trusts.
pub(crate) async fn trusting(trust: Trust) -> (Broker, TempDir) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().expect("folder");
    let bundle = folder.path().join("bundle");
    copy(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/dev")),
        &bundle,
    );
    let machine = Machine {
        clock: Arc::new(SystemClock::start()),
        entropy: Arc::new(SystemEntropy),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
    };
    let store = Store::Sqlite(folder.path().join("store.sqlite"));
    let engine = Engine::open(&store, &machine).await.expect("store");
    let set = new_set(SigningAlgorithm::Es256).expect("keys");
    let ring = Arc::new(Keyring::parse(&set).expect("keys"));
    let sources = Sources::new([].into(), Arc::clone(&machine.clock), machine.entropy.as_ref());
    let workshop = Workshop {
        folder: bundle,
        options: dev::OPTIONS,
        signer: Arc::clone(&ring) as _,
        seals: Arc::default(),
        sources: Arc::new(sources.expect("sources")),
        ledger: engine.ledger(),
        issuer: ISSUER.to_owned(),
        machine,
        stages: Stages::default(),
        proofs: Proofs::default(),
    };
    std::fs::create_dir(folder.path().join("anchor")).expect("folder");
    let anchor = FileAnchor::new(folder.path().join("anchor/log.jsonl"));
    let log_keys = LogKeys::parse(&new_set(SigningAlgorithm::Ed25519).expect("keys")).expect("keys");
    let log = log::assemble(&engine, &workshop.machine, Arc::new(anchor), log_keys);
    let issuer = ISSUER.parse().expect("url");
    let compared = log::compare(&log.log, &issuer, log::Epoch::Same).await;
    compared.map_err(|failure| failure.to_string()).expect("log");
    let keys = Keys {
        ring,
        source: None,
        seal_source: None,
        log,
    };
    let broker = assembly::build(engine, workshop, keys, trust, Duration::from_secs(5)).await;
    (broker.map_err(|failure| failure.to_string()).expect("broker"), folder)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder") {
        let entry = entry.expect("entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}
