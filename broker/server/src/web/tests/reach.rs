//! Blast radius, what is used, and how far pages looked.

use std::time::Duration;

use procura_core::{
    Timestamp,
    ids::IssuanceId,
    ledger::{Event, Outcome},
    record::Draft,
};
use serde_json::{Value, json};

use super::{
    kit::{Answer, Stage, name},
    matrix::ask,
};
use crate::web::blast::ways;

fn with_source(draft: &mut Draft) {
    draft.facts.source = Some("vault:kv/api".to_owned());
    draft.facts.source_version = Some("7".to_owned());
    draft.facts.signing_key = Some("key-of-ours".to_owned());
    draft.facts.token_key = Some("key-of-theirs".to_owned());
    draft.facts.issuer = Some(name("dev"));
    draft.facts.grants = vec![name("read-tickets")];
    draft.facts.tool = Some("list_tickets".to_owned());
    draft.clear.actor = "dev/bot".parse().ok();
}

async fn page(stage: &Stage, person: &str, path: &str) -> Answer {
    let cookie = stage.log_in(person).await;
    stage.get(path, Some(&cookie)).await
}

#[tokio::test]
async fn each_thing_that_a_record_names_leads_to_its_blast_radius() {
    let stage = Stage::set().await;
    let (record, _) = stage.issued("api", with_source).await;
    stage.count().await;
    let stored = stage
        .broker
        .ports
        .ledger
        .record(record)
        .await
        .expect("read")
        .expect("record");
    let shown = page(&stage, "operator", &format!("/ui/records/{record}")).await.body;
    let ways = ways(&stored);
    assert_eq!(ways.len(), 8);
    for way in ways {
        let in_page = way.query.replace('&', "&#38;");
        assert!(shown.contains(&in_page), "{in_page}: {shown}");
        let told = page(&stage, "operator", &format!("/ui/blast-radius?{}", way.query)).await;
        assert_eq!(told.status, 200, "{}", way.query);
        assert!(
            told.body
                .contains("<span class=\"number\">1</span> <span class=\"label\">issued"),
            "{}",
            way.query
        );
        assert!(told.body.contains("api/read-tickets"), "{}", way.query);
    }
    let other = page(
        &stage,
        "operator",
        "/ui/blast-radius?by=source&what=vault:kv/api&version=8",
    )
    .await;
    assert!(
        other
            .body
            .contains("<span class=\"number\">0</span> <span class=\"label\">issued")
    );
}

#[tokio::test]
async fn the_blast_radius_says_what_lives_how_long_and_what_to_do() {
    let stage = Stage::set().await;
    stage.issued("api", with_source).await;
    stage.count().await;
    let told = page(&stage, "operator", "/ui/blast-radius?by=subject&what=dev/alice-api")
        .await
        .body;
    for part in [
        "Of the subject dev/alice-api",
        " min",
        ", until 20",
        "<span class=\"number\">1</span> <span class=\"label\">live now",
        "procura session end",
        "Counted up to",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let key = page(&stage, "operator", "/ui/blast-radius?by=signing_key&what=key-of-theirs")
        .await
        .body;
    assert!(key.contains("Key of: <strong>issuer:dev"), "{key}");
    let unknown = page(&stage, "operator", "/ui/blast-radius?by=signing_key&what=nobodys")
        .await
        .body;
    assert!(unknown.contains("Nobody is known to sign with this key"));
}

#[tokio::test]
async fn attack_208_the_reader_of_one_target_is_told_of_its_blast_radius_alone() {
    let stage = Stage::set().await;
    stage.issued("api", with_source).await;
    stage.issued("db", with_source).await;
    stage.count().await;
    for query in ["by=server&what=tickets", "by=issuer&what=dev", "by=agent&what=dev/bot"] {
        let path = format!("/ui/blast-radius?{query}");
        let (all, one) = (
            page(&stage, "all", &path).await.body,
            page(&stage, "one", &path).await.body,
        );
        let issued = |count: u32| format!("<span class=\"number\">{count}</span> <span class=\"label\">issued");
        assert!(all.contains(&issued(2)) && all.contains("alice-db"), "{query}");
        assert!(one.contains(&issued(1)) && !one.contains("alice-db"), "{query}");
        assert!(!one.contains("<strong>db"), "{query}");
    }
    let hidden = page(&stage, "one", "/ui/blast-radius?by=target&what=db").await;
    let absent = page(&stage, "one", "/ui/blast-radius?by=target&what=nowhere").await;
    assert_eq!(
        (hidden.status, absent.status),
        (axum::http::StatusCode::FORBIDDEN, hidden.status)
    );
}

#[tokio::test]
async fn a_question_for_a_blast_radius_that_is_malformed_is_said_to_be() {
    let stage = Stage::set().await;
    for (query, said) in [
        ("by=subject&what=alice", "ALIAS/NAME"),
        ("by=target&what=A B", "“target” is not written"),
        ("by=target&what=api&version=7", "Only a source secret has a version"),
        ("by=nothing&what=api", "Choose what"),
        ("what=api", "Choose what"),
        ("by=target&what=api&since=yesterday", "a day like"),
    ] {
        let path = format!("/ui/blast-radius?{}", query.replace(' ', "%20"));
        let answer = page(&stage, "operator", &path).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(
            answer.body.contains(said) && answer.body.contains("role=\"alert\""),
            "{query}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn servers_say_when_they_and_their_grants_were_used_last() {
    let stage = Stage::set().await;
    stage.issued("api", with_source).await;
    stage.issued("db", with_source).await;
    let day = stage.broker.ports.clock.now().strftime("%Y-%m-%d").to_string();
    let before = page(&stage, "all", "/ui/servers/tickets").await.body;
    assert!(!before.contains("1 issued"), "what is not counted is said to wait");
    assert!(before.contains("records wait to be counted"), "{before}");
    stage.count().await;
    let (all, one) = (
        page(&stage, "all", "/ui/servers").await.body,
        page(&stage, "one", "/ui/servers").await.body,
    );
    assert!(
        all.contains(&day) && all.contains("2 issued") && all.contains("not in 90 days"),
        "{all}"
    );
    assert!(one.contains(&day) && one.contains("1 issued"), "{one}");
    let server = page(&stage, "one", "/ui/servers/tickets").await.body;
    let row = |tool: &str| {
        let at = server.find(tool).expect("the tool");
        server[at..].split("</tr>").next().unwrap_or_default().to_owned()
    };
    assert!(row("list_tickets").contains(&day), "{server}");
    assert!(row("delete_ticket").contains("not in 90 days"), "{server}");
}

#[tokio::test]
async fn a_refusal_is_no_use_and_what_was_used_long_ago_is_said_to_be() {
    let stage = Stage::set().await;
    let ports = &stage.broker.ports;
    let ago = |days: u64| ports.clock.now() - Duration::from_secs(days * 24 * 3600);
    let append = async |server: &str, at: Timestamp, outcome: Outcome| {
        let id = IssuanceId::new(at, ports.entropy.as_ref());
        let mut draft = Draft::new(id, at, Event::Exchange, "t".to_owned());
        draft.facts.server = Some(name(server));
        draft.facts.target = Some(name("api"));
        stage.append(&draft, outcome, None).await;
    };
    append("tickets", ago(80), Outcome::Issued).await;
    append("tickets", ago(2), Outcome::Refused).await;
    append("reports", ago(100), Outcome::Issued).await;
    append("reports", ago(2), Outcome::Refused).await;
    stage.count().await;
    let shown = page(&stage, "all", "/ui/servers").await.body;
    let row = |server: &str| {
        let at = shown.find(&format!("/ui/servers/{server}\"")).expect("the server");
        shown[at..].split("</tr>").next().unwrap_or_default().to_owned()
    };
    assert!(
        row("tickets").contains(&ago(80).strftime("%Y-%m-%d").to_string()),
        "{shown}"
    );
    assert!(row("reports").contains("not in 90 days"), "{shown}");
}

#[tokio::test]
async fn attack_208_how_far_sums_count_is_told_to_those_who_may_read_all() {
    let stage = Stage::set().await;
    stage.issued("db", |_| {}).await;
    stage.count().await;
    let counted = async |role: &str| {
        let answer = ask(&stage, role, "GET", "/v1/reports/blast-radius?server=tickets").await;
        let body: Value = serde_json::from_str(&answer.body).expect("json");
        body["counted"].clone()
    };
    let (all, one) = (counted("all").await, counted("one").await);
    assert_eq!((&all["records"], &all["behind"]), (&json!(1), &json!(false)));
    assert!(all["at"].is_string(), "{all}");
    assert_eq!(
        one,
        json!({"records": null, "record": null, "at": null, "behind": null})
    );
    let shown = page(&stage, "one", "/ui/").await.body;
    assert!(
        shown.contains("Sums may be some seconds old.") && !shown.contains("Counted up to"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_page_of_records_has_no_other_form() {
    let stage = Stage::set().await;
    let refused = page(&stage, "operator", "/ui/records?format=csv&limit=4000000000").await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("“format” is not written"), "{}", refused.body);
}

#[tokio::test]
async fn sessions_of_the_reader_of_one_target_go_on_page_by_page() {
    let stage = Stage::set().await;
    let (_, first) = stage.issued("api", |_| {}).await;
    let (_, busy) = stage.issued("api", |_| {}).await;
    for _ in 0..205 {
        let mut draft = stage.draft(procura_core::ledger::Event::Exchange);
        draft.facts.target = Some(name("api"));
        draft.facts.session = Some(busy);
        stage.append(&draft, procura_core::ledger::Outcome::Issued, None).await;
    }
    let one = stage.log_in("one").await;
    let page = stage.get("/ui/sessions", Some(&one)).await.body;
    assert!(page.contains(&busy.to_string()) && !page.contains(&first.to_string()));
    assert!(page.contains("looked through back to"), "{page}");
    let next = page
        .split("/ui/sessions?before=")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let path = format!("/ui/sessions?before={}", next.expect("a next page"));
    let page = stage.get(&path, Some(&one)).await.body;
    assert!(
        page.contains(&first.to_string()) && !page.contains("looked through back to"),
        "{page}"
    );
}

#[tokio::test]
async fn the_filter_is_explained_by_its_own_fields_and_a_mistake_by_its_place() {
    let stage = Stage::set().await;
    let page_of = async |query: &str| page(&stage, "operator", &format!("/ui/records{query}")).await;
    let help = page_of("").await.body;
    for field in procura_core::query::NAMES {
        assert!(help.contains(field.trim_end_matches('.')), "{field}");
    }
    let examples: Vec<_> = help.split("/ui/records?q=").skip(1).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let query = example.split('"').next().expect("query").replace("&amp;", "&");
        assert_eq!(page_of(&format!("?q={query}")).await.status, 200, "{query}");
    }
    let wrong = page_of("?q=server+%3D+tickets+and+tarxet+%3D+api").await;
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.body.contains("server = tickets and <mark>tarxet = api</mark>"),
        "{}",
        wrong.body
    );
    assert!(wrong.body.contains("did you mean target?") && wrong.body.contains("aria-invalid=\"true\""));
    let unfinished = page_of("?q=server+%3D").await.body;
    assert!(unfinished.contains("<mark>here it ends</mark>"), "{unfinished}");
}
