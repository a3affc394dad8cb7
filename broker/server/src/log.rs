//! The log of a broker, put together: store, anchor, keys.

use std::{path::Path, sync::Arc};

use procura_anchor::{FileAnchor, Nearness, S3Anchor, S3Config, nearness};
use procura_core::{
    ids::ReplicaId,
    log::{Anchor, Log, OpenError},
};
use procura_sources::Sources;
use url::Url;

use crate::{
    assembly::{Machine, Watched},
    cli::Failure,
    config::{self, Store},
    notary::LogKeys,
    store::Engine,
};

/// The log with its keys.
pub(crate) struct Parts {
    pub(crate) log: Arc<Log>,
    pub(crate) keys: Arc<LogKeys>,
    /// Where the keys come from, looked at again and again; `None` where they stay as they are.
    pub(crate) source: Option<Watched>,
}

/// Whether an operator said why the store does not go on where the anchor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epoch {
    /// It must go on there.
    Same,
    /// `serve --new-log-epoch`.
    New,
}

/// Opens the log of `serve`.
pub(crate) async fn open(
    config: &config::Log,
    engine: &Engine,
    machine: &Machine,
    sources: &Sources,
) -> Result<Parts, Failure> {
    let source = sources.open_own(&config.keys).map_err(Failure::usage)?;
    let set = source.current().await;
    let set = set.map_err(|error| {
        Failure::usage(format!(
            "{error}; make keys with `procura keys new FILE --algorithm ed25519`"
        ))
    })?;
    let keys = LogKeys::parse(&set.value).map_err(|error| Failure::usage(format!("{}: {error}", config.keys)))?;
    let anchor = anchor(&config.anchor, machine, sources)?;
    Ok(Parts {
        source: Some((source, set.version.clone())),
        ..assemble(engine, machine, anchor, keys)
    })
}

/// Puts the parts together.
pub(crate) fn assemble(engine: &Engine, machine: &Machine, anchor: Arc<dyn Anchor>, keys: LogKeys) -> Parts {
    let keys = Arc::new(keys);
    let replica = ReplicaId::new(machine.clock.now(), machine.entropy.as_ref());
    let clock = Arc::clone(&machine.clock);
    let log = Log::new(clock, engine.log(), anchor, Arc::clone(&keys) as _, replica);
    Parts {
        log: Arc::new(log),
        keys,
        source: None,
    }
}

/// Compares the store with the anchor. `serve` does not start where they contradict each other: an operator who has
/// just restored a store is there to say so, and whatever was issued until then nobody could vouch for.
pub(crate) async fn compare(log: &Log, issuer: &Url, epoch: Epoch) -> Result<(), Failure> {
    let opened = log.open(&base(issuer), epoch == Epoch::New).await;
    opened.map_err(|error| Failure::usage(format!("[log]: {error}")))
}

/// The same in development mode, where whoever removes a file means it.
pub(crate) async fn compare_in_dev(log: &Log, issuer: &Url) -> Result<(), Failure> {
    match log.open(&base(issuer), false).await {
        Err(OpenError::Unacknowledged(contradiction)) => {
            tracing::warn!("{contradiction}; a new epoch of the log begins");
            compare(log, issuer, Epoch::New).await
        }
        opened => opened.map_err(Failure::usage),
    }
}

/// What origins begin with: host, port and path of the issuer. A plus sign has a meaning of its own in a key's name.
fn base(issuer: &Url) -> String {
    let bare = issuer.as_str().trim_end_matches('/');
    let bare = bare.split_once("://").map_or(bare, |(_, bare)| bare);
    bare.replace('+', "%2B")
}

fn anchor(config: &config::Anchor, machine: &Machine, sources: &Sources) -> Result<Arc<dyn Anchor>, Failure> {
    match config {
        config::Anchor::File(path) => Ok(Arc::new(FileAnchor::new(path.clone()))),
        config::Anchor::S3(bucket) => {
            let source = sources.open_own(&bucket.credentials).map_err(Failure::usage)?;
            let config = S3Config {
                endpoint: bucket.endpoint.clone(),
                region: bucket.region.clone(),
                bucket: bucket.bucket.clone(),
                prefix: bucket.prefix.clone(),
                extra_ca: bucket.extra_ca.clone(),
            };
            let anchor = S3Anchor::new(config, source, Arc::clone(&machine.clock));
            Ok(Arc::new(
                anchor.map_err(|error| Failure::usage(format!("[log] anchor: {error}")))?,
            ))
        }
    }
}

/// Refuses an anchor in the folder of an SQLite file.
pub(crate) fn apart(anchor: &config::Anchor, store: &Store) -> Result<(), Failure> {
    let (config::Anchor::File(anchor), Store::Sqlite(store)) = (anchor, store) else {
        return Ok(());
    };
    match near(anchor, store) {
        Some(Nearness::SameFolder) => Err(Failure::usage(format!(
            "[log] anchor: {} lies in the folder of the store, so that one restore takes both back; name a file on \
             another volume",
            anchor.display()
        ))),
        Some(Nearness::SameVolume) => {
            tracing::warn!(anchor = %anchor.display(), "the anchor lies on the volume of the store; put it on another one");
            Ok(())
        }
        Some(Nearness::Apart) | None => Ok(()),
    }
}

/// `None` where one of the folders is not there; opening or the first checkpoint says so.
fn near(anchor: &Path, store: &Path) -> Option<Nearness> {
    nearness(anchor, store).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn origins_begin_with_the_issuer() {
        for (issuer, expected) in [
            ("https://broker.example.com", "broker.example.com"),
            ("http://127.0.0.1:8420/", "127.0.0.1:8420"),
            ("https://b.example/a/b+c", "b.example/a/b%2Bc"),
        ] {
            assert_eq!(base(&issuer.parse().expect("url")), expected);
        }
    }

    #[test]
    fn an_anchor_beside_the_store_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::Sqlite(folder.path().join("procura.sqlite"));
        let beside = config::Anchor::File(folder.path().join("anchor"));
        let refused = apart(&beside, &store).err().map(|failure| failure.to_string());
        assert!(refused.is_some_and(|text| text.contains("folder of the store")));
        std::fs::create_dir(folder.path().join("other")).expect("folder");
        let other = config::Anchor::File(folder.path().join("other/anchor"));
        assert!(apart(&other, &store).is_ok());
        assert!(apart(&beside, &Store::Postgres("url".into())).is_ok());
    }

    #[tokio::test]
    async fn development_mode_begins_a_new_epoch_where_files_were_removed() {
        let (broker, folder) = testing::broker().await;
        let issuer: Url = testing::ISSUER.parse().expect("url");
        let log = &broker.keys.log.log;
        compare_in_dev(log, &issuer).await.expect("nothing happened");
        let anchor = folder.path().join("anchor/log.jsonl");
        let note = broker.keys.log.keys.as_ref();
        use procura_core::log::{EMPTY_HASH, Head, Notary};
        let head = Head {
            origin: "127.0.0.1:8420/procura/4".to_owned(),
            size: 0,
            root: EMPTY_HASH,
        };
        let note = note.sign(&head.origin, &head.text()).expect("signed");
        std::fs::write(&anchor, format!("{}\n", serde_json::Value::from(note))).expect("written");
        assert!(compare(log, &issuer, Epoch::Same).await.is_err());
        compare_in_dev(log, &issuer).await.expect("a new epoch");
        assert_eq!(log.store.tree().await.expect("tree").origin, "127.0.0.1:8420/procura/5");
    }
}
