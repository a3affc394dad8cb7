//! Checkpoints of earlier epochs, and what links say of them.

use procura_wire::Digest;

use super::{
    tests::{ORIGIN, export, walk},
    *,
};
use crate::log::{Hash, Head, Link, Statement};

const EARLIER: &str = "broker.example/earlier";

fn head(origin: &str, size: u64, root: Digest) -> Head {
    Head {
        origin: origin.to_owned(),
        size,
        root: Hash(*root.as_bytes()),
    }
}

fn link(old: Head, new: Head) -> Statement {
    Statement::Link(Link { old, new })
}

/// Roots of the exported log by size.
fn root_at(size: u64) -> Digest {
    walk(&export(size), Walk::default()).expect("whole").root()
}

fn compared(notes: impl IntoIterator<Item = Statement>) -> Result<Walk, Found> {
    walk(&export(300), Walk::against(Kept::new(notes).expect("no fork")))
}

#[test]
fn what_the_log_still_extends_of_an_earlier_epoch_holds_with_or_without_a_link() {
    let before = head(EARLIER, 120, root_at(120));
    let done = compared([Statement::Checkpoint(before.clone())]).expect("extended");
    assert_eq!((done.extended(), done.given_up()), (1, 0));
    let linked = link(before, head(ORIGIN, 130, root_at(130)));
    assert_eq!(compared([linked]).expect("extended").extended(), 2);
}

#[test]
fn attack_193_what_a_restore_lost_is_excused_by_a_link_alone_and_counted() {
    let lost = [
        head(EARLIER, 200, Digest::of(b"lost")),
        head(EARLIER, 400, Digest::of(b"end")),
    ];
    let notes = lost.clone().map(Statement::Checkpoint);
    let earlier = |size| Problem::Earlier {
        origin: EARLIER.to_owned(),
        size,
    };
    assert_eq!(
        compared(notes.clone()).map(drop).expect_err("no link").problem,
        earlier(200)
    );
    let only_the_end = compared([notes[1].clone()]).map(drop);
    assert_eq!(only_the_end.expect_err("beyond the end, no link").problem, earlier(400));
    let linked = link(lost[1].clone(), head(ORIGIN, 150, root_at(150)));
    let done = compared(notes.into_iter().chain([linked])).expect("excused");
    assert_eq!((done.extended(), done.given_up()), (1, 2));
}

#[test]
fn attack_193_a_link_excuses_nothing_beyond_the_end_that_it_names() {
    let end = head(EARLIER, 200, Digest::of(b"end"));
    let linked = link(end.clone(), head(ORIGIN, 150, root_at(150)));
    for hidden in [
        head(EARLIER, 201, Digest::of(b"hidden")),
        head(EARLIER, 400, Digest::of(b"hidden")),
        head("broker.example/another", 100, Digest::of(b"hidden")),
    ] {
        let found = compared([Statement::Checkpoint(hidden.clone()), linked.clone()]);
        let problem = Problem::Earlier {
            origin: hidden.origin,
            size: hidden.size,
        };
        assert_eq!(found.map(drop).expect_err("hidden").problem, problem);
    }
}

#[test]
fn attack_193_a_link_excuses_what_a_restore_lost_and_no_change_of_what_was_before() {
    let linked = link(head(EARLIER, 200, Digest::of(b"end")), head(ORIGIN, 150, root_at(150)));
    for (size, excused) in [(50, false), (149, false), (150, false), (151, true), (199, true)] {
        let changed = head(EARLIER, size, Digest::of(b"before it was changed"));
        let found = compared([linked.clone(), Statement::Checkpoint(changed)]).map(|walk| walk.given_up());
        let problem = Problem::Changed {
            origin: EARLIER.to_owned(),
            size,
            kept: 150,
        };
        match excused {
            true => assert_eq!(found, Ok(2), "{size}"),
            false => assert_eq!(found.expect_err("changed").problem, problem, "{size}"),
        }
    }
}

#[test]
fn attack_193_what_one_restore_kept_the_next_one_may_lose() {
    const BETWEEN: &str = "broker.example/between";
    let first = link(
        head(EARLIER, 200, Digest::of(b"end")),
        head(BETWEEN, 150, Digest::of(b"150")),
    );
    let second = link(head(BETWEEN, 180, Digest::of(b"180")), head(ORIGIN, 100, root_at(100)));
    let at = |size| Statement::Checkpoint(head(EARLIER, size, Digest::of(b"other")));
    let done = compared([first.clone(), second.clone(), at(120)]).expect("lost by the second");
    assert_eq!((done.extended(), done.given_up()), (1, 4));
    assert_eq!(done.links().len(), 2);
    let found = compared([first.clone(), second, at(100)])
        .map(drop)
        .expect_err("changed");
    assert!(matches!(found.problem, Problem::Changed { kept: 100, .. }), "{found:?}");
    // Where the links do not lead as far as this log, nobody says that the records are in it; nor where they go round.
    let back = link(
        head(BETWEEN, 180, Digest::of(b"180")),
        head(EARLIER, 190, Digest::of(b"190")),
    );
    for links in [vec![first.clone()], vec![first, back]] {
        let found = compared(links.into_iter().chain([at(100)]))
            .map(drop)
            .expect_err("unknown");
        assert!(matches!(found.problem, Problem::Earlier { size: 100, .. }), "{found:?}");
    }
}

#[test]
fn a_link_that_leads_to_another_tree_than_this_is_found() {
    let end = head(EARLIER, 200, Digest::of(b"end"));
    let elsewhere = link(end, head(ORIGIN, 150, Digest::of(b"another tree")));
    let found = compared([elsewhere]).map(drop).expect_err("another tree");
    assert_eq!((found.problem, found.index), (Problem::Root(150), 0));
    let ahead = link(
        head(EARLIER, 400, Digest::of(b"end")),
        head(ORIGIN, 301, Digest::of(b"more")),
    );
    assert_eq!(
        compared([ahead]).map(drop).expect_err("cut off").problem,
        Problem::Truncated(301)
    );
}

#[test]
fn attack_194_two_heads_of_one_size_and_different_roots_are_a_fork_in_every_epoch() {
    for origin in [EARLIER, ORIGIN] {
        let one = head(origin, 200, Digest::of(b"one"));
        let other = head(origin, 200, Digest::of(b"other"));
        let fork = Fork {
            origin: origin.to_owned(),
            size: 200,
        };
        let notes = [one.clone(), other.clone()].map(Statement::Checkpoint);
        assert_eq!(Kept::new(notes).err(), Some(fork.clone()));
        let linked = link(one.clone(), head("broker.example/later", 1, root_at(1)));
        let notes = [linked, Statement::Checkpoint(other)];
        assert_eq!(Kept::new(notes).err(), Some(fork), "a link's head counts");
        assert!(Kept::new([one.clone(), one].map(Statement::Checkpoint)).is_ok());
    }
}
