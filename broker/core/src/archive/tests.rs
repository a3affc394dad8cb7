//! Whatever happens to an export is found.

use procura_wire::Digest;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    ids::IssuanceId,
    ledger::{Event, Outcome, Stored},
    log::{Hash, Head, Statement},
    ports::Entropy,
    record::Draft,
};

pub(super) const ORIGIN: &str = "broker.example/log";
const RECORDS: u64 = 10_000;
/// Records between two checkpoints.
const STRIDE: u64 = 256;

struct Count;

impl Entropy for Count {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(9);
    }
}

fn stored(number: u64) -> Stored {
    let at = "2026-11-20T09:00:00Z".parse().expect("time");
    let id = IssuanceId(uuid::Uuid::from_u128(u128::from(number) + 1));
    let mut draft = Draft::new(id, at, Event::Exchange, format!("{number:032x}"));
    draft.facts.tool = Some(format!("tool {number} \"}}\n,\"commitment\":"));
    draft.clear.address = Some(format!("192.0.2.{}", number % 250));
    let entry = draft.seal(Outcome::Done, None, &Count).expect("short");
    let raw = |text: String| serde_json::value::RawValue::from_string(text).expect("JSON");
    let side = (number % 7 != 3).then(|| (entry.salt, raw(entry.clear)));
    Stored {
        id,
        leaf: raw(entry.leaf),
        side,
        index: entry.index,
        revoked: None,
    }
}

fn line(index: u64, stored: &Stored) -> String {
    let side = stored.side.as_ref().map(|(salt, clear)| (salt, clear.get()));
    record_line(index, stored.leaf.get(), side)
}

/// A note that is nothing but its text: signatures are somebody else's.
fn note(size: u64, root: Digest) -> String {
    format!("{size} {root}")
}

fn open(origin: &str, note: &str) -> Result<(u64, Digest), String> {
    if origin != ORIGIN {
        return Err("another origin".into());
    }
    let (size, root) = note.split_once(' ').ok_or("no note")?;
    let size = size.parse().map_err(|_| "no size")?;
    Ok((size, root.parse().map_err(|_| "no root")?))
}

pub(super) fn export(records: u64) -> Vec<String> {
    let mut lines = vec![header_line(ORIGIN)];
    let mut tree = Frontier::default();
    for number in 0..records {
        let stored = stored(number);
        tree.push(Digest::of_parts([&[0][..], stored.leaf.get().as_bytes()]));
        lines.push(line(number, &stored));
        if (number + 1) % STRIDE == 0 || number + 1 == records {
            lines.push(checkpoint_line(&note(number + 1, tree.root())));
        }
    }
    lines
}

pub(super) fn walk<'l>(lines: impl IntoIterator<Item = &'l String>, from: Walk) -> Result<Walk, Found> {
    let mut walk = from;
    for line in lines {
        walk.line(read(line.as_bytes()), &open)?;
    }
    walk.end()?;
    Ok(walk)
}

/// One kept checkpoint.
fn kept((size, root): (u64, Digest)) -> Kept {
    let head = Head {
        origin: ORIGIN.to_owned(),
        size,
        root: Hash(*root.as_bytes()),
    };
    Kept::new([Statement::Checkpoint(head)]).expect("one is no fork")
}

/// The walk before each line.
fn before(lines: &[String]) -> Vec<Walk> {
    let mut walk = Walk::default();
    let mut states = Vec::new();
    for line in lines {
        states.push(walk.clone());
        walk.line(read(line.as_bytes()), &open).expect("untouched");
    }
    states
}

#[test]
fn an_export_is_whole_and_counts_what_was_erased() {
    let lines = export(1000);
    let done = walk(&lines, Walk::default()).expect("whole");
    assert_eq!((done.records(), done.checkpoints()), (1000, 4));
    assert_eq!(done.erased(), (0..1000).filter(|number| number % 7 == 3).count() as u64);
    assert_eq!(done.origin(), Some(ORIGIN));
}

#[test]
fn every_line_that_is_missing_doubled_or_swapped_is_found_at_its_index() {
    let lines = export(RECORDS);
    let states = before(&lines);
    for (at, state) in states.iter().enumerate() {
        let index = state.records();
        let is_record = lines[at].starts_with("{\"index\":");
        // A checkpoint in the middle may be missing: the next one covers what it covered.
        if is_record || at + 1 == lines.len() {
            let found = walk(&lines[at + 1..], state.clone()).expect_err("deleted");
            assert!(
                found.index <= index && index <= found.last.max(index),
                "{at}: {found:?}"
            );
            assert!(
                !is_record || found.index == index || at + 1 == lines.len(),
                "{at}: {found:?}"
            );
        }
        let doubled = [&lines[at], &lines[at]].into_iter().chain(&lines[at + 1..]);
        let doubled = walk(doubled, state.clone());
        assert!(
            doubled.is_err() || lines[at].starts_with("{\"checkpoint\":"),
            "{at} doubled"
        );
        if let Some(next) = lines.get(at + 1) {
            let swapped = [next, &lines[at]].into_iter().chain(&lines[at + 2..]);
            assert!(walk(swapped, state.clone()).is_err(), "{at} swapped");
        }
    }
}

#[test]
fn an_export_that_ends_early_is_found_with_a_checkpoint_and_only_then() {
    let lines = export(600);
    let whole = walk(&lines, Walk::default()).expect("whole");
    let last = (600, whole.root());
    // Up to the checkpoint of size 256.
    let early = &lines[..258];
    assert!(walk(early, Walk::default()).is_ok());
    let found = walk(early, Walk::against(kept(last))).expect_err("truncated");
    assert_eq!((found.index, found.problem), (256, Problem::Truncated(600)));
    assert!(walk(&lines, Walk::against(kept(last))).is_ok());
    let other = (300, last.1);
    assert_eq!(
        walk(&lines, Walk::against(kept(other))).map(drop),
        Err(Found {
            index: 256,
            last: 299,
            problem: Problem::Root(300),
        })
    );
}

#[test]
fn a_record_that_was_made_anew_with_its_hash_is_found_at_the_next_checkpoint() {
    let mut lines = export(600);
    lines[301] = line(299, &stored(7));
    let found = walk(&lines, Walk::default()).expect_err("changed");
    assert_eq!((found.index, found.last, found.problem), (256, 511, Problem::Root(512)));
}

#[test]
fn what_is_behind_the_last_checkpoint_does_not_count_as_proven() {
    let mut lines = export(300);
    lines.pop();
    assert_eq!(
        walk(&lines, Walk::default()).map(drop).expect_err("uncovered").problem,
        Problem::Uncovered
    );
    assert_eq!(
        walk(&[], Walk::default()).map(drop).expect_err("empty").problem,
        Problem::Uncovered
    );
    assert_eq!(
        walk(&lines[1..], Walk::default())
            .map(drop)
            .expect_err("no header")
            .problem,
        Problem::Header
    );
}

#[test]
fn a_record_that_the_store_lacks_is_found_where_the_export_says_so() {
    let mut lines = export(300);
    lines.truncate(8);
    lines.push(missing_line(7));
    let found = walk(&lines, Walk::default()).map(drop).expect_err("missing");
    assert_eq!((found.index, found.last, found.problem), (7, 7, Problem::Missing));
    assert_eq!(read(b"{\"missing\":07}\n"), Err(Fault::Form));
    assert_eq!(read(b"{\"missing\":7}\n"), Ok(Line::Missing(7)));
}

#[test]
fn another_spelling_of_the_same_thing_is_no_line() {
    let record = line(12, &stored(12));
    for (from, to) in [
        ("{\"index\":12", "{\"index\":012"),
        ("{\"index\":12", "{ \"index\":12"),
        ("\"leaf\":", "\"leaf\": "),
        ("}\n", "} \n"),
        ("}\n", "}\r\n"),
        ("}\n", "}"),
        ("}\n", "}\n\n"),
    ] {
        let other = record.replacen(from, to, 1);
        assert_ne!(other, record);
        assert!(read(other.as_bytes()).is_err(), "{other}");
    }
    assert_eq!(
        read(header_line("a").replace("\":1", "\":2").as_bytes()),
        Err(Fault::Form)
    );
    assert_eq!(
        read(checkpoint_line("a").replace('a', "\\u0061").as_bytes()),
        Err(Fault::Form)
    );
}

#[test]
fn attack_202_what_is_erased_leaves_the_tree_as_it_was_and_cannot_be_guessed_at() {
    let lines = export(300);
    let whole = walk(&lines, Walk::default()).expect("whole");
    let mut erased = lines.clone();
    for line in erased.iter_mut().filter(|line| line.starts_with("{\"index\":")) {
        let end = line.find(",\"salt\":").unwrap_or(line.len() - 2);
        line.replace_range(end.., "}\n");
        assert!(!line.contains("192.0.2."), "{line}");
    }
    let done = walk(&erased, Walk::against(kept((300, whole.root())))).expect("whole");
    assert_eq!((done.erased(), done.root()), (300, whole.root()));
    // Another salt does not fit, so neither does the right guess.
    let Some((side, _)) = lines[1].split_once(",\"clear\":") else {
        panic!("personal data: {}", lines[1]);
    };
    let guess = lines[1].replacen(&side[side.len() - 65..], &format!("{}\"", "0".repeat(64)), 1);
    assert_eq!(read(guess.as_bytes()), Err(Fault::Commitment));
}

#[test]
fn attack_203_the_order_is_that_of_the_indexes_whatever_the_times_say() {
    let mut tree = Frontier::default();
    let mut lines = vec![header_line(ORIGIN)];
    // The first record is the newest.
    for (index, number) in [900, 3, 500].into_iter().enumerate() {
        let stored = stored(number);
        tree.push(Digest::of_parts([&[0][..], stored.leaf.get().as_bytes()]));
        lines.push(line(index as u64, &stored));
    }
    lines.push(checkpoint_line(&note(3, tree.root())));
    assert_eq!(walk(&lines, Walk::default()).expect("whole").records(), 3);
    lines.swap(1, 2);
    let found = walk(&lines, Walk::default()).map(drop).expect_err("sorted by id");
    assert_eq!((found.index, found.problem), (0, Problem::Order(1)));
}

#[test]
fn attack_197_an_entry_that_is_empty_cut_longer_than_it_says_or_no_text_is_no_record() {
    let good = line(0, &stored(0)).into_bytes();
    assert!(read(&good).is_ok());
    let text = String::from_utf8_lossy(&good).into_owned();
    for bad in [
        "\n".to_owned(),
        text.replacen("\"leaf_bytes\":", "\"leaf_bytes\":1", 1),
        text.replacen("\"leaf_bytes\":", "\"leaf_bytes\":18446744073709551616", 1),
        record_line(0, &"x".repeat(70_000), None).replacen("70000", "70001", 1),
        text[..text.len() / 2].to_owned(),
    ] {
        assert!(read(bad.as_bytes()).is_err(), "{bad:.100}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] = 0xff;
        assert!(read(&bad).is_err(), "no UTF-8 at {at}");
    }
}

proptest! {
    #[test]
    fn any_bit_that_changes_is_found(at in 0..600_usize, byte in any::<prop::sample::Index>(), bit in 0..8_u8) {
        static EXPORT: LazyLock<(Vec<String>, Vec<Walk>)> = LazyLock::new(|| {
            let lines = export(500);
            let states = before(&lines);
            (lines, states)
        });
        let (lines, states) = &*EXPORT;
        let at = at % lines.len();
        let mut line = lines[at].clone().into_bytes();
        let byte = byte.index(line.len());
        line[byte] ^= 1 << bit;
        let mut walk = states[at].clone();
        let index = walk.records();
        let found = walk.line(read(&line), &open).and_then(|()| {
            lines[at + 1..].iter().try_for_each(|line| walk.line(read(line.as_bytes()), &open))
        });
        if at > 0 {
            let found = found.expect_err("a flipped bit");
            prop_assert!(found.index <= index && index <= found.last.max(index), "{found:?}");
            let covered = lines[at].starts_with("{\"checkpoint\":");
            prop_assert!(covered || found.index == index, "{found:?}");
        } else {
            prop_assert!(found.is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&[b"{\"index\":", &bytes[..]].concat());
    }
}
