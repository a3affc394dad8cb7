//! What keeps a checkpoint from being signed, and how an operator goes on.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use procura_contract::log::MemoryAnchor;
use procura_core::{
    log::{
        self, Anchor, AnchorError, Anchored, Contradiction, OpenError, Problem, Progress, ProofError, Statement,
        check_record,
    },
    ports::BoxFuture,
};

use crate::world::{BASE, World};

fn contradiction(progress: &Progress) -> Option<Contradiction> {
    match &progress.problem {
        Some(Problem::Contradiction(contradiction)) => Some(*contradiction),
        _ => None,
    }
}

async fn refused(world: &World) -> Option<Contradiction> {
    match world.open(false).await {
        Err(OpenError::Unacknowledged(contradiction)) => Some(contradiction),
        _ => None,
    }
}

#[tokio::test]
async fn every_record_is_published_and_proved() {
    let world = World::new();
    let process = world.open(false).await.expect("opened");
    let ids = world.append(700);
    let leaf = |at: usize| world.store.backup().records[at].leaf.clone();
    assert_eq!(process.prove(ids[0], &leaf(0)).await, Err(ProofError::Pending));
    assert_eq!(world.go_on(Arc::clone(&process)).await.problem, None);
    let extra = world.append(1)[0];
    for at in [0, 255, 256, 699] {
        let proof = process.prove(ids[at], &leaf(at)).await.expect("proved");
        assert_eq!((proof.index, proof.size), (at as u64, 700));
        let statement = Statement::parse_unverified(&proof.checkpoint).expect("a checkpoint");
        let root = statement.head().root;
        assert!(check_record(&proof.path, 700, root, proof.index, proof.leaf_hash).is_ok());
    }
    assert!(process.prove(ids[3], "another leaf").await.is_err());
    assert_eq!(process.prove(extra, &leaf(700)).await, Err(ProofError::Pending));
    assert_eq!(process.receipt(extra, &leaf(700)).await.expect("receipt").index, None);
}

#[tokio::test]
async fn an_anchor_that_is_away_holds_up_checkpoints_alone_and_nothing_is_lost_or_doubled() {
    let world = World::new();
    world.append(3);
    world.run().await;
    world.append(4);
    world.anchor.set_away(true);
    let progress = world.run().await;
    assert_eq!(progress.problem.as_ref().map(Problem::code), Some("anchor_unavailable"));
    assert_eq!(
        (progress.size, progress.published),
        (7, 3),
        "leaves get their indexes all the same"
    );
    assert!(!progress.lag(procura_core::Timestamp::MAX).is_zero());
    world.anchor.set_away(false);
    assert_eq!(world.run().await.published, 7);
    assert_eq!(world.sizes().await, [3, 7]);
}

#[tokio::test]
async fn req_150_a_store_that_was_rolled_back_signs_nothing_until_an_operator_acknowledges_it() {
    let world = World::new();
    world.append(3);
    let running = world.open(false).await.expect("opened");
    world.go_on(Arc::clone(&running)).await;
    let backup = world.store.backup();
    world.append(5);
    world.run().await;
    world.store.restore(backup);
    world.append(1);
    let progress = world.go_on(running).await;
    assert_eq!(
        contradiction(&progress),
        Some(Contradiction::StoreBehind),
        "while it runs"
    );
    assert_eq!(
        refused(&world).await,
        Some(Contradiction::StoreBehind),
        "and when it starts"
    );
    assert_eq!(world.sizes_at_anchor(), [3, 8]);
    world.open(true).await.expect("acknowledged");
    assert_eq!(world.run().await.published, 4);
    assert!(matches!(world.open(true).await, Err(OpenError::NothingToAcknowledge)));
    let notes = world.anchor.notes();
    assert!(
        notes[2].contains("procura/1 8 ") && notes[2].contains("procura/2 4 "),
        "{}",
        notes[2]
    );
    assert!(
        notes[3].starts_with("broker.example.com/procura/2\n4\n"),
        "{}",
        notes[3]
    );
}

#[tokio::test]
async fn attack_194_a_store_that_went_on_beside_the_anchor_is_noticed_at_every_size() {
    for more in [4, 5, 6, 300] {
        let world = World::new();
        world.append(3);
        world.run().await;
        let backup = world.store.backup();
        world.append(5);
        world.run().await;
        world.store.restore(backup);
        world.append(more);
        world.anchor.set_away(true);
        let process = world
            .open(false)
            .await
            .expect("an anchor that is away keeps nobody from starting");
        world.go_on(Arc::clone(&process)).await;
        world.anchor.set_away(false);
        let expected = if more < 5 {
            Contradiction::StoreBehind
        } else {
            Contradiction::StoreBeside
        };
        assert_eq!(contradiction(&world.go_on(process).await), Some(expected), "{more}");
        assert_eq!(refused(&world).await, Some(expected), "{more}");
        assert_eq!(world.sizes_at_anchor(), [3, 8]);
    }
}

#[tokio::test]
async fn a_store_of_an_epoch_before_is_refused_and_gets_an_epoch_of_its_own() {
    let world = World::new();
    world.append(3);
    world.run().await;
    let backup = world.store.backup();
    world.append(1);
    world.run().await;
    world.store.restore(backup.clone());
    world.open(true).await.expect("acknowledged");
    world.append(2);
    world.run().await;
    world.store.restore(backup);
    assert_eq!(refused(&world).await, Some(Contradiction::OtherEpoch));
    world.open(true).await.expect("acknowledged");
    world.append(7);
    assert_eq!(world.run().await.published, 10);
    let last = world.anchor.notes().pop().expect("a checkpoint");
    assert!(last.starts_with("broker.example.com/procura/3\n10\n"), "{last}");
}

#[tokio::test]
async fn attack_193_an_anchor_that_was_emptied_or_rolled_back_is_noticed() {
    for (kept, expected) in [(0, Contradiction::AnchorEmptied), (1, Contradiction::AnchorBehind)] {
        let world = World::new();
        for _ in 0..2 {
            world.append(3);
            world.run().await;
        }
        world.anchor.tamper(|notes| notes.truncate(kept));
        assert_eq!(refused(&world).await, Some(expected));
        world.open(true).await.expect("an operator may move the anchor");
        world.append(1);
        assert_eq!(world.run().await.published, 7);
        let link = &world.anchor.notes()[kept];
        let old = if kept == 0 {
            "old broker.example.com/procura/1 6 "
        } else {
            "old broker.example.com/procura/1 3 "
        };
        assert!(link.contains(old), "{link}");
    }
}

#[tokio::test]
async fn a_note_of_another_key_is_never_built_upon_whatever_an_operator_says() {
    for note in [
        "no note",
        "broker.example.com/procura/1\n3\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n\n— x y\n",
    ] {
        let world = World::new();
        world.append(3);
        let process = world.open(false).await.expect("opened");
        world.anchor.tamper(|notes| notes.push(note.to_owned()));
        assert_eq!(world.go_on(process).await.problem, Some(Problem::Foreign));
        for acknowledged in [false, true] {
            let refused = world.open(acknowledged).await.err();
            assert!(matches!(refused, Some(OpenError::Problem(Problem::Foreign))));
        }
        assert_eq!(world.anchor.notes().len(), 1);
    }
}

#[tokio::test]
async fn keys_are_rotated_while_the_log_goes_on() {
    let world = World::new();
    let sets: [&[(&'static str, bool)]; 3] = [
        &[("first", true)],
        &[("first", true), ("second", true)],
        &[("first", false), ("second", true)],
    ];
    for keys in sets {
        *world.notary.keys.lock().expect("keys") = keys.to_vec();
        world.append(1);
        assert_eq!(world.run().await.problem, None);
    }
    let signatures: Vec<_> = world
        .anchor
        .notes()
        .iter()
        .map(|note| note.matches('—').count())
        .collect();
    assert_eq!(signatures, [1, 2, 1]);
    world.notary.keys.lock().expect("keys").clear();
    world.append(1);
    assert!(matches!(
        world.open(false).await,
        Err(OpenError::Problem(Problem::Foreign))
    ));
}

#[tokio::test]
async fn without_an_active_key_nothing_is_signed() {
    let world = World::new();
    *world.notary.keys.lock().expect("keys") = vec![("first", false)];
    world.append(1);
    assert_eq!(world.run().await.problem.as_ref().map(Problem::code), Some("no_key"));
    assert!(world.anchor.notes().is_empty());
}

/// An anchor that another process publishes at while it is read.
struct Overtaken {
    anchor: Arc<MemoryAnchor>,
    meanwhile: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Anchor for Overtaken {
    fn last(&self) -> BoxFuture<'_, Result<Anchored, AnchorError>> {
        let meanwhile = self.meanwhile.lock().expect("lock").take();
        Box::pin(async move {
            let read = self.anchor.last().await;
            if let Some(meanwhile) = meanwhile {
                meanwhile.await;
            }
            read
        })
    }

    fn append(&self, position: u64, note: String) -> BoxFuture<'_, Result<(), AnchorError>> {
        self.anchor.append(position, note)
    }
}

#[tokio::test]
async fn who_is_overtaken_while_it_reads_the_anchor_sees_no_contradiction() {
    for before in [0, 3] {
        let world = Arc::new(World::new());
        let quicker = world.open(false).await.expect("opened");
        world.append(before);
        world.go_on(Arc::clone(&quicker)).await;
        let (at, again) = (Arc::clone(&world), Arc::clone(&quicker));
        let anchor = Overtaken {
            anchor: Arc::clone(&world.anchor),
            meanwhile: Mutex::new(Some(Box::pin(async move {
                at.append(2);
                at.go_on(again).await;
            }))),
        };
        let slower = world.process_at(Arc::new(anchor));
        let opened = slower.open(BASE, false).await;
        assert!(opened.is_ok(), "{:?}", opened.err());
        assert_eq!(
            world.sizes().await.last(),
            Some(&(before as u64 + 2)),
            "it was overtaken"
        );
    }
}

#[tokio::test]
async fn who_is_overtaken_between_its_look_at_the_tree_and_its_lease_finds_no_broken_tree() {
    let world = World::new();
    world.append(3);
    world.run().await;
    world.append(2);
    let before = world.store.backup();
    world.run().await;
    let after = world.store.backup();
    world.store.restore(before.clone());
    world.store.overtake(after);
    let (process, clock) = (world.process(), Arc::clone(&world.clock));
    let watched = Arc::clone(&process);
    let looked_again = async move {
        while watched.progress().size < 5 && watched.progress().problem.is_none() {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(1));
        }
    };
    log::run(Arc::clone(&process), Box::pin(looked_again)).await;
    assert_eq!((process.progress().problem, process.progress().size), (None, 5));
    // Where the tree did not move, its tiles are broken.
    world.store.restore(before);
    let other = World::new();
    other.append(3);
    other.run().await;
    other.append(2);
    world.store.overtake(other.store.backup());
    let progress = world.go_on(world.process()).await;
    assert_eq!(progress.problem.as_ref().map(Problem::code), Some("tree_broken"));
}

#[tokio::test]
async fn an_idle_log_asks_nobody() {
    let world = World::new();
    world.append(1);
    let process = world.open(false).await.expect("opened");
    world.go_on(Arc::clone(&process)).await;
    world.faults.after(1, false);
    assert_eq!(world.go_on(process).await.problem, None, "one look at the tree is all");
}
