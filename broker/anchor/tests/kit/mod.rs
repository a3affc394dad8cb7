//! What every anchor does.

use procura_core::log::{Anchor, AnchorError, Anchored};

/// A note with what notes have: lines, quotes, letters beyond ASCII.
pub(crate) fn note(number: u64) -> String {
    format!("broker.example.com/procura/1\n{number}\n\"root\"\n\n— broker.example.com/procura/1 c2ln\n")
}

async fn last(anchor: &dyn Anchor) -> Anchored {
    anchor.last().await.expect("read")
}

pub(crate) async fn keeps_notes_in_their_order(anchor: &dyn Anchor, again: &dyn Anchor) {
    assert_eq!(last(anchor).await.note, None);
    for number in 0..7 {
        let position = last(anchor).await.position;
        anchor.append(position, note(number)).await.expect("appended");
        assert_eq!(last(anchor).await.note, Some(note(number)));
    }
    assert_eq!(last(again).await, last(anchor).await, "another process reads the same");
}

pub(crate) async fn only_one_of_two_has_a_position(anchor: &dyn Anchor, again: &dyn Anchor) {
    let position = last(anchor).await.position;
    assert_eq!(last(again).await.position, position);
    again.append(position, note(100)).await.expect("first");
    assert_eq!(anchor.append(position, note(101)).await, Err(AnchorError::Taken));
    assert_eq!(last(anchor).await.note, Some(note(100)));
}
