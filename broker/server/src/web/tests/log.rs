//! The page of the log, and records that are or are not in it.

use std::fs;

use procura_core::{
    ledger::{Event, Outcome, Stored},
    query::Scope,
};
use procura_wire::Reason;
use serde_json::value::RawValue;

use super::kit::{Stage, name};
use crate::web::standing::{Found, found};

async fn stored(stage: &Stage, id: procura_core::ids::IssuanceId) -> Stored {
    let stored = stage.broker.ports.ledger.record(id).await.expect("read");
    stored.expect("record")
}

#[tokio::test]
async fn a_record_is_in_the_log_once_a_checkpoint_covers_it() {
    let stage = Stage::set().await;
    let (record, _) = stage.issued("api", |_| {}).await;
    let one = stage.log_in("one").await;
    let path = format!("/ui/records/{record}");
    let page = stage.get(&path, Some(&one)).await.body;
    assert!(page.contains("proof-waits") && !page.contains("proof-holds"), "{page}");
    stage.publish().await;
    let page = stage.get(&path, Some(&one)).await.body;
    assert!(page.contains("proof-holds") && page.contains("<dd>0</dd>"), "{page}");
    let leaf = stored(&stage, record).await.leaf;
    let hash = procura_core::log::record_hash(leaf.get().as_bytes()).to_string();
    assert!(
        page.contains(&hash.replace('+', "&#43;")) || page.contains(&hash),
        "{hash}"
    );
}

/// Columns of every kind of record are those of its leaf.
#[tokio::test]
async fn records_of_all_events_are_in_the_log_as_they_are() {
    let stage = Stage::set().await;
    let (record, session) = stage
        .issued("api", |draft| {
            draft.facts.grants = vec![name("read-tickets")];
            draft.facts.tool = Some("list".to_owned());
            draft.facts.source_version = Some("7".to_owned());
            draft.clear.actor = "dev/bot".parse().ok();
        })
        .await;
    stage.refused().await;
    for (event, outcome, reason) in [
        (Event::Use, Outcome::Reported, None),
        (Event::Revocation, Outcome::Done, None),
        (Event::SessionEnd, Outcome::Done, None),
        (Event::Rotation, Outcome::Refused, Some(Reason::ServerError)),
    ] {
        let mut draft = stage.draft(event);
        draft.facts.about = Some(record);
        draft.facts.session = Some(session);
        stage.append(&draft, outcome, reason).await;
    }
    stage.publish().await;
    let page = procura_core::ledger::Page {
        before: None,
        limit: 50,
    };
    let all = procura_core::query::Expr::everything();
    let ledger = &*stage.broker.ports.ledger;
    let all = procura_core::query::search(ledger, &all, &Scope::All, page).await;
    let all = all.expect("records").records;
    assert_eq!(all.len(), 6);
    for stored in all {
        let found = found(&stage.broker.keys.log.log, &stored).await;
        assert!(matches!(found, Found::Holds(_)), "{found:?} {stored:?}");
    }
}

#[tokio::test]
async fn a_record_that_was_changed_in_the_store_is_not_in_the_log() {
    let stage = Stage::set().await;
    let (record, _) = stage.issued("api", |_| {}).await;
    let (other, _) = stage.issued("db", |_| {}).await;
    stage.publish().await;
    let (good, other) = (stored(&stage, record).await, stored(&stage, other).await);
    let raw = |text: String| RawValue::from_string(text).expect("JSON");
    let changed = |change: &dyn Fn(&mut Stored)| {
        let mut stored = good.clone();
        change(&mut stored);
        stored
    };
    let leaf = good.leaf.get().replace("\"api\"", "\"apj\"");
    assert_ne!(leaf, good.leaf.get());
    let (salt, clear) = good.side.clone().expect("clear text");
    let mallory = clear.get().replace("alice", "mallo");
    for (what, changed, expected) in [
        (
            "its leaf",
            changed(&|stored| stored.leaf = raw(leaf.clone())),
            Found::OtherBytes,
        ),
        (
            "a space",
            changed(&|stored| stored.leaf = raw(format!("{} ", leaf))),
            Found::OtherBytes,
        ),
        (
            "another's leaf",
            changed(&|stored| stored.leaf = other.leaf.clone()),
            Found::OtherBytes,
        ),
        (
            "its clear text",
            changed(&|stored| stored.side = Some((salt, raw(mallory.clone())))),
            Found::OtherText,
        ),
        (
            "its salt",
            changed(&|stored| stored.side = Some(([0; 32], clear.clone()))),
            Found::OtherText,
        ),
        (
            "who it was",
            changed(&|stored| stored.index.subject = "dev/mallory".parse().ok()),
            Found::OtherColumns,
        ),
        (
            "its target",
            changed(&|stored| stored.index.target = Some(name("db"))),
            Found::OtherColumns,
        ),
        (
            "its end",
            changed(&|stored| stored.index.until = None),
            Found::OtherColumns,
        ),
    ] {
        assert_eq!(found(&stage.broker.keys.log.log, &changed).await, expected, "{what}");
    }
    // Another record's row whole, under this id.
    let mut moved = other.clone();
    moved.id = good.id;
    assert!(!matches!(
        found(&stage.broker.keys.log.log, &moved).await,
        Found::Holds(_)
    ));
    let mut erased = good.clone();
    (erased.side, erased.index.subject) = (None, None);
    let held = found(&stage.broker.keys.log.log, &erased).await;
    assert!(
        matches!(held, Found::Holds(_)),
        "an erasure takes nothing from the proof"
    );
}

#[tokio::test]
async fn the_page_of_the_log_says_how_far_it_is_signed_and_anchored() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    stage.issued("api", |_| {}).await;
    let page = stage.get("/ui/log", Some(&operator)).await.body;
    assert!(page.contains("No checkpoint was published yet"), "{page}");
    stage.publish().await;
    let (newest, _) = stage.issued("db", |_| {}).await;
    stage.publish().await;
    let page = stage.get("/ui/log", Some(&operator)).await.body;
    assert!(page.contains("Every record is under the signed checkpoint"), "{page}");
    for part in [
        "its last note is this checkpoint",
        "verified by a key below",
        "127.0.0.1:8420/procura/1",
        "<dd>2</dd>",
        "procura log verify log.jsonl --against anchor.jsonl",
        &newest.to_string(),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let key = &stage.broker.keys.log.log.notary.verifiers("127.0.0.1:8420/procura/1")[0];
    let escaped = key.replace('+', "&#43;");
    assert!(page.contains(key) || page.contains(&escaped), "{key}");
    stage.issued("api", |_| {}).await;
    let page = stage.get("/ui/log", Some(&operator)).await.body;
    assert!(page.contains("1 record waits"), "{page}");
}

#[tokio::test]
async fn an_anchor_that_lost_its_notes_is_seen() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    stage.issued("api", |_| {}).await;
    stage.publish().await;
    let anchor = stage.folder.path().join("anchor/log.jsonl");
    let first = fs::read_to_string(&anchor).expect("anchor");
    stage.issued("api", |_| {}).await;
    stage.publish().await;
    for (text, said) in [
        (String::new(), "holds nothing"),
        (first, "of 1 records of"),
        ("\"no note\"\n".to_owned(), "neither a checkpoint nor a link"),
    ] {
        fs::write(&anchor, text).expect("written");
        let page = stage.get("/ui/log", Some(&operator)).await.body;
        assert!(
            page.contains("The anchor is not as it must be") && page.contains(said),
            "{said}: {page}"
        );
    }
}

#[tokio::test]
async fn a_tile_is_kept_by_nobody_for_longer_than_a_minute_as_a_new_epoch_may_have_another() {
    let stage = Stage::set().await;
    stage.issued("api", |_| {}).await;
    stage.publish().await;
    let tile = stage.get("/log/tile/0/000.p/1", None).await;
    assert_eq!(
        (tile.status.as_u16(), tile.header("cache-control")),
        (200, "public, max-age=60")
    );
}
