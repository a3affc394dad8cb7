//! A process that ends at any of its steps, and what the next one makes of it.

use std::time::Duration;

use crate::world::World;

/// More calls to the outside than any of the runs below makes.
const CALLS: usize = 40;

#[tokio::test]
async fn req_150_wherever_a_process_dies_no_two_checkpoints_contradict_each_other() {
    let mut died = 0;
    for calls in 0..CALLS {
        for done in [false, true] {
            let world = World::new();
            world.append(3);
            world.run().await;
            world.append(300);
            let process = world.open(false).await.unwrap_or_else(|error| panic!("{error}"));
            world.faults.after(calls, done);
            let progress = world.go_on(process).await;
            died += usize::from(progress.problem.is_some());
            world.faults.clear();
            world.append(2);
            let progress = world.run().await;
            assert_eq!(
                (progress.problem, progress.published),
                (None, 305),
                "after {calls} calls"
            );
            let sizes = world.sizes().await;
            assert!(
                matches!(sizes[..], [3, 305] | [3, 303, 305]),
                "{sizes:?} after {calls} calls"
            );
        }
    }
    assert!(died > 15, "the faults were where the process was: {died}");
}

#[tokio::test]
async fn a_checkpoint_that_was_anchored_and_not_kept_is_taken_over_and_not_signed_again() {
    for calls in 0..CALLS {
        let world = World::new();
        world.append(3);
        let process = world.open(false).await.unwrap_or_else(|error| panic!("{error}"));
        world.faults.after(calls, true);
        world.go_on(process).await;
        world.faults.clear();
        world.run().await;
        assert_eq!(world.sizes().await, [3], "after {calls} calls");
    }
}

#[tokio::test]
async fn a_process_that_dies_while_it_acknowledges_a_restore_leaves_one_epoch() {
    for calls in 0..CALLS {
        for done in [false, true] {
            let world = World::new();
            world.append(3);
            world.run().await;
            let backup = world.store.backup();
            world.append(5);
            world.run().await;
            world.store.restore(backup);
            world.faults.after(calls, done);
            let first = world.open(true).await.is_ok();
            world.faults.clear();
            world.clock.advance(Duration::from_secs(60));
            // Where the link stands at the anchor, no operator is asked a second time.
            let linked = world.anchor.notes().iter().any(|note| note.contains("log-epoch"));
            let opened = world.open(!linked).await;
            assert!(opened.is_ok(), "after {calls} calls: {:?}", opened.err());
            world.append(1);
            let progress = world.run().await;
            assert_eq!(
                (progress.problem, progress.published),
                (None, 4),
                "after {calls} calls, {first}"
            );
            let links = world
                .anchor
                .notes()
                .iter()
                .filter(|note| note.contains("log-epoch"))
                .count();
            assert_eq!((links, world.store.epoch()), (1, 2), "after {calls} calls");
            world.sizes().await;
        }
    }
}
