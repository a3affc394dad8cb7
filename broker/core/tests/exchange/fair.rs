//! One target that hangs or fails is asked a little at a time, and keeps no other waiting.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::select};
use procura_contract::ledger_suite::sample;
use procura_core::{
    Timestamp,
    ids::{Handle, IssuanceId},
    judgement::Effect,
    kind::{MintError, MintOrder, Minted, Minter, UndoError, Undoable},
    ledger::{LeaseFilter, LeaseState, Ledger},
    operator,
    ports::{BoxFuture, Snapshot},
    undo,
};
use procura_wire::RevocationStatus;

use crate::{
    fakes::Rules,
    world::{World, catalogue, name},
};

#[derive(Clone, Copy)]
enum Undoes {
    Well,
    Fails,
    Hangs,
}

/// A target that counts how often and by how many at once it is asked.
struct Counted {
    how: Mutex<Undoes>,
    asked: AtomicUsize,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Counted {
    fn new(how: Undoes) -> Arc<Self> {
        Arc::new(Self {
            how: Mutex::new(how),
            asked: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    fn now(&self, how: Undoes) {
        *self.how.lock().expect("lock") = how;
    }

    /// How often it was asked since the last look, and by how many at once at most.
    fn since(&self) -> (usize, usize) {
        (
            self.asked.swap(0, Ordering::SeqCst),
            self.most.swap(0, Ordering::SeqCst),
        )
    }
}

/// An attempt under way, until it is answered or given up.
struct Attempt<'a>(&'a Counted);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Minter for Counted {
    fn prepare(&self, _: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        async { Ok(None) }.boxed()
    }

    fn mint<'a>(&'a self, _: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        async { Err(MintError::Failed("it only undoes".into())) }.boxed()
    }

    fn undo<'a>(&'a self, _: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let at_once = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(at_once, Ordering::SeqCst);
            let _attempt = Attempt(self);
            tokio::task::yield_now().await;
            let how = *self.how.lock().expect("lock");
            match how {
                Undoes::Well => Ok(()),
                Undoes::Fails => Err(UndoError::Failed("as told".into())),
                Undoes::Hangs => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        async { Ok(()) }.boxed()
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        std::future::pending().boxed()
    }
}

/// A world where `targets` are asked through these minters; those that it does not know are as `db` is.
fn world(targets: &[(&str, Arc<Counted>)]) -> World {
    let world = World::new();
    put(&world, targets);
    world
}

fn put(world: &World, targets: &[(&str, Arc<Counted>)]) {
    let mut rules = Rules {
        catalogue: catalogue(),
        effect: Effect::Permit,
        act_for: Effect::Deny,
    };
    let mut minters = world.ports.active.snapshot().minters.clone();
    for (target, minter) in targets {
        let db = rules.catalogue.targets[&name("db")].clone();
        rules.catalogue.targets.insert(name(target), db);
        minters.insert(name(target), Arc::clone(minter) as _);
    }
    world.ports.active.swap(Snapshot {
        judge: Arc::new(rules),
        minters,
        staged: std::collections::BTreeMap::new(),
    });
}

/// Interrupted mints of long ago: due.
async fn due(world: &World, target: &str, count: usize) {
    for _ in 0..count {
        let mut intent = sample::intent(&sample::entry(-3600), world.ports.replica);
        intent.target = name(target);
        intent.place = catalogue().targets[&name("db")].place();
        world.ledger.intend(intent).await.expect("intended");
    }
}

async fn left(world: &World, target: &str) -> usize {
    let filter = LeaseFilter {
        target: Some(name(target)),
        ..LeaseFilter::default()
    };
    let leases = world.ledger.leases(filter, sample::ALL).await.expect("store");
    leases.iter().filter(|lease| lease.state != LeaseState::Gone).count()
}

async fn pass(world: &World, time: Duration) {
    let step = Duration::from_millis(250);
    for _ in 0..time.as_millis() / step.as_millis() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(step);
    }
}

/// Sweeps while this happens.
async fn sweeping(world: &World, happens: impl Future<Output = ()>) {
    let never = std::future::pending().boxed();
    select(undo::run(Arc::clone(&world.ports), never).boxed_local(), pin!(happens)).await;
}

#[tokio::test]
async fn a_target_that_hangs_is_asked_a_few_times_at_once_and_delays_no_other() {
    let (hung, fine) = (Counted::new(Undoes::Hangs), Counted::new(Undoes::Well));
    let world = world(&[("hung", hung.clone()), ("fine", fine.clone())]);
    due(&world, "hung", 200).await;
    sweeping(&world, async {
        pass(&world, Duration::from_secs(1)).await;
        assert_eq!((hung.since(), left(&world, "hung").await), ((8, 8), 200));
        // Half-way to the end of its attempts, and after it.
        for seconds in [9, 15] {
            due(&world, "fine", 30).await;
            pass(&world, Duration::from_millis(500)).await;
            assert_eq!(left(&world, "fine").await, 0);
            pass(&world, Duration::from_secs(seconds)).await;
        }
        assert_eq!(fine.since(), (60, 8));
        assert_eq!(hung.since().1, 1, "it is broken: one at a time");
    })
    .await;
}

#[tokio::test]
async fn a_broken_target_is_probed_and_its_backlog_begins_when_one_probe_succeeds() {
    let target = Counted::new(Undoes::Fails);
    let world = world(&[("away", target.clone())]);
    due(&world, "away", 500).await;
    sweeping(&world, async {
        pass(&world, Duration::from_secs(1)).await;
        let (asked, at_once) = target.since();
        assert!((8..=10).contains(&asked) && at_once == 8, "{asked}, {at_once} at once");
        pass(&world, Duration::from_secs(60)).await;
        let (asked, at_once) = target.since();
        assert!((12..=20).contains(&asked) && at_once == 1, "{asked}, {at_once} at once");
        target.now(Undoes::Well);
        pass(&world, Duration::from_secs(6)).await;
        assert_eq!(left(&world, "away").await, 0);
        assert_eq!(target.since().1, 8);
    })
    .await;
}

#[tokio::test]
async fn one_that_fails_is_tried_again_within_a_second_and_at_most_a_minute_apart() {
    let target = Counted::new(Undoes::Fails);
    let world = world(&[("away", target.clone())]);
    due(&world, "away", 1).await;
    sweeping(&world, async {
        pass(&world, Duration::from_millis(250)).await;
        assert_eq!(target.since().0, 1);
        pass(&world, Duration::from_secs(1)).await;
        assert_eq!(target.since().0, 1);
        pass(&world, Duration::from_secs(600)).await;
        target.since();
        for _ in 0..5 {
            pass(&world, Duration::from_secs(61)).await;
            assert!(target.since().0 >= 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_target_that_never_says_what_it_has_hides_no_stranger_at_another() {
    let world = world(&[("hung", Counted::new(Undoes::Hangs))]);
    let stranger = |n| Handle::new(&world.ports.installation, IssuanceId(uuid::Uuid::from_u128(n)));
    let appears = |handle| world.external.alive.lock().expect("lock").insert(handle);
    sweeping(&world, async {
        for n in [1, 2] {
            appears(stranger(n));
            pass(&world, Duration::from_secs(122)).await;
            assert_eq!(world.external.alive(), 0, "{n}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_bundle_does_not_reach_breaks_no_target() {
    let target = Counted::new(Undoes::Well);
    let world = world(&[("fine", target)]);
    for _ in 0..20 {
        let mut moved = sample::intent(&sample::entry(-3600), world.ports.replica);
        moved.target = name("fine");
        world.ledger.intend(moved).await.expect("intended");
    }
    sweeping(&world, async {
        pass(&world, Duration::from_secs(2)).await;
        due(&world, "fine", 20).await;
        pass(&world, Duration::from_secs(1)).await;
        assert_eq!(left(&world, "fine").await, 20, "those of another place");
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_session_asks_a_few_at_once_and_answers_in_time() {
    let world = World::new();
    let rows = [("audience", "db"), ("scope", "rows")];
    let mut session = None;
    for _ in 0..30 {
        session = Some(world.exchange(&rows).await.expect("issued").session);
    }
    let hung = Counted::new(Undoes::Hangs);
    put(&world, &[("db", hung.clone())]);
    let operator = crate::whois::operator(&world);
    let session = session.expect("session");
    let end = operator::end_session(&world.ports, &operator, session, String::new());
    let time = pass(&world, Duration::from_secs(11)).map(|()| None);
    let report = select(pin!(end.map(Some)), pin!(time)).await.factor_first().0;
    let report = report.expect("in time").expect("permitted").expect("live").credentials;
    assert_eq!(report.len(), 30);
    assert!(report.iter().all(|one| one.status == RevocationStatus::Queued));
    assert_eq!(hung.since(), (8, 8));
    hung.now(Undoes::Well);
    sweeping(&world, pass(&world, Duration::from_secs(61))).await;
    assert_eq!(left(&world, "db").await, 0);
}
