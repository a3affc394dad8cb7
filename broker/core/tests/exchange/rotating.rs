//! An operator rotates the broker's own credential at a target.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, future::pending};
use procura_contract::ledger_suite::sample;
use procura_core::{
    Timestamp,
    ids::Handle,
    judgement::Effect,
    kind::{MintError, MintOrder, Minted, Minter, ProofError, RotateError, Rotated, UndoError, Undoable},
    ledger::{Event, Filter, Ledger, Outcome},
    ports::{BoxFuture, Snapshot},
    rotate::{RotationReport, RotationStatus, rotate},
    source::{Source, SourceError, SourceSecret},
    staged::Staged,
};
use procura_wire::{Reason, Secret};

use crate::{
    fakes::Rules,
    world::{World, catalogue, name},
};

/// A source that holds a version, and says that it rotates itself where the test wants that.
struct FakeSource {
    version: Mutex<u32>,
    rotates: bool,
}

impl Source for FakeSource {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        let version = self.version.lock().expect("lock").to_string();
        let value = Secret::new("secret".to_owned());
        async move { Ok(Arc::new(SourceSecret { value, version })) }.boxed()
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        self.current()
    }

    fn rotate(&self) -> BoxFuture<'_, Result<(), SourceError>> {
        let error = || SourceError {
            reference: "vault:kv/db".to_owned(),
            problem: "cannot be rotated".to_owned(),
        };
        async move { self.rotates.then_some(()).ok_or_else(error) }.boxed()
    }
}

/// A target whose kind rotates, or does not.
struct Rotating {
    source: Arc<FakeSource>,
    outcome: Result<(), RotateError>,
    proof: Result<(), ProofError>,
}

impl Minter for Rotating {
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

    fn prove<'a>(&'a self, _: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        async { self.proof.clone() }.boxed()
    }

    fn rotate(&self) -> BoxFuture<'_, Result<Rotated, RotateError>> {
        let outcome = self.outcome.clone().map(|()| {
            let mut version = self.source.version.lock().expect("lock");
            *version += 1;
            Rotated {
                did: "log-in b has a new password".to_owned(),
                version: Some(version.to_string()),
            }
        });
        async { outcome }.boxed()
    }
}

struct Bench {
    world: World,
    source: Arc<FakeSource>,
}

/// A world whose `db` rotates like this.
fn bench(outcome: Result<(), RotateError>, proof: Result<(), ProofError>, rotates: bool) -> Bench {
    let world = World::new();
    let source = Arc::new(FakeSource {
        version: Mutex::new(1),
        rotates,
    });
    let minter = Rotating {
        source: source.clone(),
        outcome,
        proof,
    };
    let staged = Staged::new(name("db"), source.clone() as _, world.clock.clone() as _);
    let mut minters = world.ports.active.snapshot().minters.clone();
    minters.insert(name("db"), Arc::new(minter));
    permit(
        &world,
        Effect::Permit,
        minters,
        BTreeMap::from([(name("db"), Arc::new(staged))]),
    );
    Bench { world, source }
}

fn permit(
    world: &World,
    effect: Effect,
    minters: BTreeMap<procura_wire::Name, Arc<dyn Minter>>,
    staged: BTreeMap<procura_wire::Name, Arc<Staged>>,
) {
    world.ports.active.swap(Snapshot {
        judge: Arc::new(Rules {
            catalogue: catalogue(),
            effect,
            act_for: Effect::Deny,
        }),
        minters,
        staged,
    });
}

async fn ask(world: &World, target: &str) -> Result<Option<RotationReport>, Reason> {
    let operator = crate::whois::operator(world);
    rotate(&world.ports, &operator, &name(target), "trace".to_owned()).await
}

/// Outcome, reason and source version of every rotation in the log.
async fn recorded(world: &World) -> Vec<(Outcome, Option<String>, Option<String>)> {
    let filter = Filter {
        event: Some(Event::Rotation),
        ..Filter::default()
    };
    let records = world.ledger.records(filter, sample::ALL).await.expect("store");
    let told = |record: &procura_core::ledger::Stored| {
        assert!(
            record
                .side
                .as_ref()
                .is_some_and(|(_, clear)| clear.get().contains("corp/op"))
        );
        let index = &record.index;
        assert_eq!(index.target, Some(name("db")));
        (index.outcome, index.reason.clone(), index.source_version.clone())
    };
    records.iter().map(told).collect()
}

#[tokio::test]
async fn a_rotation_by_the_kind_is_proved_put_in_use_and_recorded() {
    let bench = bench(Ok(()), Ok(()), false);
    let report = ask(&bench.world, "db").await.expect("permitted").expect("a target");
    assert_eq!(
        (report.status, report.source_version.as_deref()),
        (RotationStatus::Done, Some("2"))
    );
    assert!(report.old_until.is_some());
    let stage = bench.world.ports.active.snapshot().staged[&name("db")].stage();
    assert_eq!(
        (stage.active.as_deref(), stage.fallback.as_deref()),
        (Some("2"), Some("1"))
    );
    assert_eq!(
        recorded(&bench.world).await,
        [(Outcome::Done, None, Some("2".to_owned()))]
    );
}

#[tokio::test]
async fn a_new_version_that_is_refused_is_not_put_in_use_and_no_other_is_made_meanwhile() {
    let bench = bench(Ok(()), Err(ProofError::Refused("no rights".to_owned())), false);
    let report = ask(&bench.world, "db").await.expect("permitted").expect("a target");
    assert_eq!(report.status, RotationStatus::Begun);
    assert!(report.detail.contains("no rights"), "{}", report.detail);
    let stage = bench.world.ports.active.snapshot().staged[&name("db")].stage();
    assert_eq!((stage.active.as_deref(), stage.refused), (Some("1"), true));
    let report = ask(&bench.world, "db").await.expect("permitted").expect("a target");
    assert_eq!(report.status, RotationStatus::Failed);
    assert_eq!(*bench.source.version.lock().expect("lock"), 2, "nothing was made");
    let failed = (Outcome::Refused, Some("rotate.failed".to_owned()), None);
    assert!(recorded(&bench.world).await.contains(&failed));
}

#[tokio::test]
async fn where_the_kind_cannot_the_source_is_asked() {
    let rotates = bench(Err(RotateError::Unable), Ok(()), true);
    let report = ask(&rotates.world, "db").await.expect("permitted").expect("a target");
    assert_eq!((report.status, report.source_version), (RotationStatus::Begun, None));
    let neither = bench(Err(RotateError::Unable), Ok(()), false);
    let report = ask(&neither.world, "db").await.expect("permitted").expect("a target");
    assert_eq!(report.status, RotationStatus::Failed);
    assert!(report.detail.contains("cannot be rotated"), "{}", report.detail);
}

#[tokio::test]
async fn a_rotation_that_fails_is_told_and_recorded() {
    let bench = bench(Err(RotateError::Failed("the lock is taken".to_owned())), Ok(()), true);
    let report = ask(&bench.world, "db").await.expect("permitted").expect("a target");
    assert_eq!(
        (report.status, &*report.detail),
        (RotationStatus::Failed, "the lock is taken")
    );
    let failed = (Outcome::Refused, Some("rotate.failed".to_owned()), None);
    assert_eq!(recorded(&bench.world).await, [failed]);
}

#[tokio::test]
async fn only_who_may_rotates_and_only_what_there_is() {
    let bench = bench(Ok(()), Ok(()), true);
    assert_eq!(ask(&bench.world, "nowhere").await, Ok(None));
    let report = ask(&bench.world, "api").await.expect("permitted").expect("a target");
    assert_eq!(report.status, RotationStatus::Failed, "it has no source");
    let snapshot = bench.world.ports.active.snapshot();
    permit(
        &bench.world,
        Effect::Error,
        snapshot.minters.clone(),
        snapshot.staged.clone(),
    );
    assert_eq!(ask(&bench.world, "db").await, Err(Reason::V1Forbidden));
    assert_eq!(*bench.source.version.lock().expect("lock"), 1);
}
