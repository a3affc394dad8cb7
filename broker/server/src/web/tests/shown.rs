//! What pages say.

use procura_core::ledger::{Event, Outcome};

use super::kit::{Stage, name};
use crate::web::record_view::RecordView;

#[tokio::test]
async fn a_record_shows_the_rule_as_it_was_written_when_it_decided() {
    let stage = Stage::set().await;
    let ports = &stage.broker.ports;
    let digest = ports.active.snapshot().judge.digest();
    let (record, _) = stage
        .issued("api", |draft| draft.facts.rules = vec!["one-target".to_owned()])
        .await;
    let operator = stage.log_in("operator").await;
    let kept = stage.broker.ports.ledger.bundle(digest).await.expect("read");
    if kept.is_none() {
        let bundle = crate::bundle::load(&stage.folder.path().join("bundle"), crate::dev::OPTIONS)
            .expect("bundle")
            .0;
        ports.ledger.keep_bundle(digest, bundle.content()).await.expect("kept");
    }
    stage.write("rules/auditors.cedar", "");
    stage.reload().await;
    let page = stage.get(&format!("/ui/records/{record}"), Some(&operator)).await.body;
    assert!(page.contains("rules/auditors.cedar:2"), "{page}");
    assert!(
        page.contains("User::&#34;dev/one&#34;") || page.contains("User::&quot;dev/one&quot;"),
        "{page}"
    );
}

#[tokio::test]
async fn an_erased_record_says_so_and_names_nobody() {
    let stage = Stage::set().await;
    let (record, _) = stage.issued("api", |_| {}).await;
    let ports = &stage.broker.ports;
    let mut stored = ports.ledger.record(record).await.expect("read").expect("record");
    stored.side = None;
    stored.index.subject = None;
    let view = RecordView::of(&stored, ports.clock.now());
    assert!(view.erased && view.clear.is_none());
    assert!(!view.leaf.contains("alice"));
}

#[tokio::test]
async fn nothing_runs_on_a_page_and_nothing_frames_it() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    for (path, cookie) in [
        ("/ui/", Some(&operator)),
        ("/ui/login", None),
        ("/ui/records/x", Some(&operator)),
    ] {
        let answer = stage.get(path, cookie).await;
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "style-src 'self'",
            "img-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
    }
}

#[tokio::test]
async fn the_overview_counts_what_was_issued_and_refused() {
    let stage = Stage::set().await;
    for _ in 0..3 {
        stage.issued("api", |_| {}).await;
    }
    stage.issued("db", |_| {}).await;
    stage.refused().await;
    stage.count().await;
    for (person, issued, refused) in [("operator", 4, 1), ("one", 3, 0)] {
        let cookie = stage.log_in(person).await;
        let page = stage.get("/ui/", Some(&cookie)).await.body;
        let tile = |count, label| format!("<span class=\"number\">{count}</span> <span class=\"label\">{label}</span>");
        assert!(page.contains(&tile(issued, "issued")), "{person}: {page}");
        assert!(page.contains(&tile(refused, "refused")), "{person}");
    }
}

#[tokio::test]
async fn a_list_goes_on_where_its_page_ended() {
    let stage = Stage::set().await;
    let mut ids = Vec::new();
    for target in ["api", "db", "api", "api"] {
        ids.push(stage.issued(target, |_| {}).await.0);
    }
    let one = stage.log_in("one").await;
    let first = stage.get("/ui/records?limit=2", Some(&one)).await.body;
    assert!(first.contains(&ids[3].to_string()) && first.contains(&ids[2].to_string()));
    let older = format!("limit=2&before={}", ids[2]);
    assert!(
        first.contains(&older.replace('&', "&#38;")) || first.contains(&older.replace('&', "&amp;")),
        "{first}"
    );
    let second = stage.get(&format!("/ui/records?{older}"), Some(&one)).await.body;
    assert!(second.contains(&ids[0].to_string()) && !second.contains(&ids[1].to_string()));
}

#[tokio::test]
async fn a_query_that_is_malformed_is_said_to_be() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    for query in ["subject=alice", "sever=x", "server=a&server=b", "since=yesterday"] {
        let answer = stage.get(&format!("/ui/records?{query}"), Some(&operator)).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains("role=\"alert\""), "{query}");
    }
}

#[tokio::test]
async fn what_happened_with_a_credential_stands_below_it() {
    let stage = Stage::set().await;
    let (record, _) = stage.issued("api", |_| {}).await;
    let mut draft = stage.draft(Event::Use);
    draft.facts.about = Some(record);
    draft.facts.target = Some(name("api"));
    stage.append(&draft, Outcome::Reported, None).await;
    let id = draft.id;
    let operator = stage.log_in("operator").await;
    let page = stage.get(&format!("/ui/records/{record}"), Some(&operator)).await.body;
    assert!(page.contains("What happened with it") && page.contains(&id.to_string()));
}
