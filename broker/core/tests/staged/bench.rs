//! A source that holds what it is told, a target that takes some versions, and the time that passes when asked.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, future::pending};
use procura_contract::manual_clock::ManualClock;
use procura_core::{
    Timestamp,
    ids::Handle,
    kind::{MintError, MintOrder, Minted, Minter, ProofError, UndoError, Undoable},
    ports::BoxFuture,
    source::{Source, SourceError, SourceSecret},
    staged::Staged,
};
use procura_wire::Secret;

/// A source without a cache.
#[derive(Default)]
pub(crate) struct FakeSource {
    /// `None` while it is away.
    held: Mutex<Option<Arc<SourceSecret>>>,
    reads: Mutex<u32>,
}

impl FakeSource {
    pub(crate) fn put(&self, version: &str) {
        *self.held.lock().expect("lock") = Some(secret(version));
    }

    pub(crate) fn away(&self) {
        *self.held.lock().expect("lock") = None;
    }

    pub(crate) fn reads(&self) -> u32 {
        *self.reads.lock().expect("lock")
    }
}

pub(crate) fn secret(version: &str) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(format!("secret {version}")),
        version: version.to_owned(),
    })
}

impl Source for FakeSource {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let held = self.held.lock().expect("lock").clone();
        let away = || SourceError {
            reference: "vault:kv/x".to_owned(),
            problem: "it is away".to_owned(),
        };
        async move { held.ok_or_else(away) }.boxed()
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        *self.reads.lock().expect("lock") += 1;
        self.current()
    }
}

/// How a proof goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By whether the target takes the version.
    Asks,
    Hangs,
}

/// A target that takes some versions.
pub(crate) struct FakeTarget {
    takes: Mutex<BTreeSet<String>>,
    asked: Mutex<usize>,
    proof: Mutex<Proof>,
    retired: Mutex<Vec<String>>,
}

impl FakeTarget {
    /// Takes exactly these from now on.
    pub(crate) fn takes(&self, versions: &[&str]) {
        *self.takes.lock().expect("lock") = versions.iter().map(|version| (*version).to_owned()).collect();
    }

    pub(crate) fn does_take(&self, version: &str) -> bool {
        *self.asked.lock().expect("lock") += 1;
        self.takes.lock().expect("lock").contains(version)
    }

    /// How often it was asked whether it takes a version.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().expect("lock")
    }

    pub(crate) fn answers(&self, proof: Proof) {
        *self.proof.lock().expect("lock") = proof;
    }

    pub(crate) fn retired(&self) -> Vec<String> {
        self.retired.lock().expect("lock").clone()
    }
}

impl Minter for FakeTarget {
    fn prepare(&self, _: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        pending().boxed()
    }

    fn mint<'a>(&'a self, _: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        pending().boxed()
    }

    fn undo<'a>(&'a self, _: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        pending().boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        pending().boxed()
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        pending().boxed()
    }

    fn prove<'a>(&'a self, secret: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        if *self.proof.lock().expect("lock") == Proof::Hangs {
            return pending().boxed();
        }
        let taken = self.does_take(&secret.version);
        let refused = || Err(ProofError::Refused("no".to_owned()));
        async move { if taken { Ok(()) } else { refused() } }.boxed()
    }

    fn retire<'a>(&'a self, old: Arc<SourceSecret>, _: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        self.retired.lock().expect("lock").push(old.version.clone());
        async { Ok(()) }.boxed()
    }
}

/// All of it; the source holds version 1, and the target takes that.
pub(crate) struct Bench {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) source: Arc<FakeSource>,
    pub(crate) minter: Arc<FakeTarget>,
    pub(crate) staged: Arc<Staged>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let (clock, source) = (Arc::new(ManualClock::default()), Arc::new(FakeSource::default()));
        source.put("1");
        let minter = FakeTarget {
            takes: Mutex::new(BTreeSet::from(["1".to_owned()])),
            asked: Mutex::default(),
            proof: Mutex::new(Proof::Asks),
            retired: Mutex::default(),
        };
        let name = "db".parse().expect("name");
        let staged = Arc::new(Staged::new(name, source.clone() as _, clock.clone() as _));
        Self {
            clock,
            source,
            minter: Arc::new(minter),
            staged,
        }
    }

    /// What is answered to a caller who has tried this version alone.
    pub(crate) async fn refused(&self, version: &str) -> Result<Arc<SourceSecret>, SourceError> {
        self.staged
            .refused(version, &BTreeSet::from([version.to_owned()]))
            .await
    }

    /// The version that traffic uses.
    pub(crate) async fn current(&self) -> String {
        self.staged.current().await.expect("a secret").version.clone()
    }
}
