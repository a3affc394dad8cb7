//! The anchor in a file.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod kit;

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use kit::note;
use procura_anchor::{FileAnchor, Nearness, nearness};
use procura_core::log::{Anchor, AnchorError};

fn anchor(folder: &Path) -> FileAnchor {
    FileAnchor::new(folder.join("anchor.jsonl"))
}

fn write(folder: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new();
    let file = file.append(true).create(true).open(folder.join("anchor.jsonl"));
    file.expect("opened").write_all(bytes).expect("written");
}

#[tokio::test]
async fn notes_are_kept_in_their_order_and_no_position_is_had_twice() {
    let folder = tempfile::tempdir().expect("folder");
    kit::keeps_notes_in_their_order(&anchor(folder.path()), &anchor(folder.path())).await;
    kit::only_one_of_two_has_a_position(&anchor(folder.path()), &anchor(folder.path())).await;
    let text = fs::read_to_string(folder.path().join("anchor.jsonl")).expect("text");
    let notes: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a note"))
        .collect();
    assert_eq!((notes.len(), &notes[0]), (8, &note(0)));
}

#[tokio::test]
async fn a_line_that_was_cut_off_was_never_answered_for_and_hinders_nobody() {
    let folder = tempfile::tempdir().expect("folder");
    let anchor = anchor(folder.path());
    anchor.append(0, note(1)).await.expect("appended");
    let line = serde_json::Value::from(note(2)).to_string();
    for cut in [1, line.len() / 2, line.len()] {
        write(folder.path(), &line.as_bytes()[..cut]);
        let last = anchor.last().await.expect("read");
        assert_eq!(last.note, Some(note(1)), "cut at {cut}");
        anchor.append(last.position, note(1)).await.expect("appended");
        assert_eq!(anchor.last().await.expect("read").note, Some(note(1)));
    }
}

#[tokio::test]
async fn whoever_is_stopped_while_it_writes_stops_nobody_else() {
    let folder = tempfile::tempdir().expect("folder");
    let anchor = anchor(folder.path());
    anchor.append(0, note(1)).await.expect("appended");
    let other = fs::File::open(folder.path().join("anchor.jsonl")).expect("opened");
    other.lock().expect("locked");
    let position = anchor.last().await.expect("read").position;
    assert!(matches!(
        anchor.append(position, note(2)).await,
        Err(AnchorError::Away(_))
    ));
    drop(other);
    anchor.append(position, note(2)).await.expect("appended");
}

#[tokio::test]
async fn a_missing_folder_is_no_empty_anchor() {
    let folder = tempfile::tempdir().expect("folder");
    let anchor = anchor(&folder.path().join("unmounted"));
    let Err(AnchorError::Away(problem)) = anchor.last().await else {
        panic!("there is no anchor");
    };
    assert!(problem.contains("mount"), "{problem}");
    assert!(matches!(anchor.append(0, note(1)).await, Err(AnchorError::Away(_))));
}

#[tokio::test]
async fn a_large_file_is_read_from_its_end_and_must_end_with_notes() {
    let folder = tempfile::tempdir().expect("folder");
    let anchor = anchor(folder.path());
    write(folder.path(), "x\n".repeat(200_000).as_bytes());
    assert!(matches!(anchor.last().await, Err(AnchorError::Away(_))));
    write(
        folder.path(),
        format!("{}\n", serde_json::Value::from(note(1))).as_bytes(),
    );
    assert_eq!(anchor.last().await.expect("read").note, Some(note(1)));
}

#[test]
fn the_stores_own_folder_is_told_from_another_one_on_its_volume() {
    let folder = tempfile::tempdir().expect("folder");
    let (store, own) = (folder.path().join("store.sqlite"), folder.path().join("./anchor"));
    assert_eq!(nearness(&own, &store).expect("near"), Nearness::SameFolder);
    fs::create_dir(folder.path().join("apart")).expect("folder");
    let apart = folder.path().join("apart/anchor");
    assert_eq!(nearness(&apart, &store).expect("near"), Nearness::SameVolume);
    assert_eq!(
        nearness(Path::new("/proc/anchor"), &store).expect("near"),
        Nearness::Apart
    );
    assert!(nearness(&folder.path().join("none/anchor"), &store).is_err());
}
