//! What strangers wrote stays data on every page.

use std::collections::BTreeSet;

use procura_core::{
    identity::{Link, LogIn, Principal},
    ids::{IssuanceId, SessionId},
    judgement::NearMiss,
    ledger::{Event, Outcome},
    record::{Draft, Extent},
};
use procura_wire::{QualifiedId, Reason};
use serde_json::json;

use super::kit::{Stage, name};

const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "one\r\ntwo\u{85}three\u{2028}four",
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m",
    "gnp.\u{202e}exe\u{2066}\u{200b}\u{feff}\u{e0041}",
    "=cmd|' /C calc'!A0",
    "{{ 7 * 7 }}{% raw %}&lt;b&gt;\0",
];
/// What a page never has as it is.
const RAW: [&str; 6] = [
    "<script",
    "<img src=x",
    "' onmouseover",
    "\" onmouseover",
    "<b>",
    "style=",
];
/// Longest page, bytes.
const SANE: usize = 1 << 20;

/// In every field of a record that somebody else fills.
fn everywhere(draft: &mut Draft, text: &str) {
    let own = || text.to_owned();
    let facts = &mut draft.facts;
    facts.tool = Some(own());
    facts.tool_call = Some(own());
    facts.groups = vec![id(text)];
    facts.auth = Some(LogIn {
        acr: Some(own()),
        amr: BTreeSet::from([own()]),
        time: None,
    });
    facts.requested = Some(Extent {
        ttl: None,
        scope: vec![own()],
        ty: None,
    });
    facts.rules = vec![own()];
    facts.near = vec![NearMiss {
        rule: own(),
        clause: own(),
    }];
    facts.handle = Some(own());
    facts.tenant = Some(own());
    facts.source = Some(own());
    facts.source_version = Some(own());
    (facts.token_key, facts.signing_key) = (Some(own()), Some(own()));
    let clear = &mut draft.clear;
    clear.subject = Some(Principal::User(id(text)));
    clear.actor = Some(id(text));
    (clear.iss, clear.sub, clear.sid) = (Some(own()), Some(own()), Some(own()));
    clear.subject_scopes = vec![own()];
    clear.chain = vec![Link {
        sub: own(),
        iss: Some(own()),
        client_id: Some(own()),
    }];
    clear.operator = Some(Principal::User(id(text)));
    clear.address = Some(own());
    clear.requested_target = vec![own()];
    clear.requested_params = Some(json!({ text: [text, {"of": text}] }));
}

fn id(text: &str) -> QualifiedId {
    QualifiedId::new(name("dev"), text)
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Records of all kinds with that text; one of them and its session.
async fn append(stage: &Stage, text: &str) -> (IssuanceId, SessionId) {
    let (record, session) = stage.issued("api", |draft| everywhere(draft, text)).await;
    for (event, outcome, reason) in [
        (Event::Exchange, Outcome::Refused, Some(Reason::TargetNotAvailable)),
        (Event::Use, Outcome::Reported, None),
        (Event::Revocation, Outcome::Done, None),
    ] {
        let mut draft = stage.draft(event);
        everywhere(&mut draft, text);
        draft.trace_id = text.to_owned();
        draft.facts.about = Some(record).filter(|_| event != Event::Exchange);
        (draft.facts.session, draft.facts.target) = (Some(session), Some(name("api")));
        stage.append(&draft, outcome, reason).await;
    }
    (record, session)
}

fn pages(text: &str, record: IssuanceId, session: SessionId) -> Vec<String> {
    let text = encoded(text);
    let mut pages = [
        "/ui/",
        "/ui/records",
        "/ui/sessions",
        "/ui/servers",
        "/ui/servers/tickets",
        "/ui/log",
        "/ui/blast-radius?by=server&what=tickets",
        "/ui/blast-radius?by=target&what=api",
    ]
    .map(str::to_owned)
    .to_vec();
    pages.push(format!("/ui/records/{record}"));
    pages.push(format!("/ui/sessions/{session}"));
    pages.push(format!("/ui/sessions/{session}/end"));
    // What stands in the address is a stranger's too.
    for query in [
        format!("tool={text}&subject=dev/{text}"),
        format!("q={text}"),
        format!("q=tool+%3D+{text}"),
        format!("target={text}&before={text}&{text}={text}"),
    ] {
        pages.push(format!("/ui/records?{query}"));
    }
    pages.push(format!("/ui/sessions?subject=dev/{text}&server={text}"));
    pages.push(format!("/ui/servers?after={text}"));
    pages.push(format!("/ui/servers/{text}"));
    pages.push(format!("/ui/login?next={text}"));
    for by in ["subject", "agent", "source", "signing_key", "target", &text] {
        let what = match by {
            "subject" | "agent" => format!("dev/{text}"),
            _ => text.clone(),
        };
        pages.push(format!("/ui/blast-radius?by={by}&what={what}&version={text}"));
        pages.push(format!("/ui/blast-radius?by={by}&what={what}"));
        pages.push(format!("/ui/blast-radius?by={by}&what={what}&since={text}"));
    }
    pages
}

#[tokio::test]
async fn attack_206_hostile_strings_stay_data_on_every_page() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    let mut appended = Vec::new();
    for text in HOSTILE {
        appended.push((text, append(&stage, text).await));
    }
    stage.count().await;
    stage.publish().await;
    for (text, (record, session)) in appended {
        for path in pages(text, record, session) {
            let answer = stage.get(&path, Some(&operator)).await;
            assert!(
                answer.status != 500 && !answer.status.is_redirection(),
                "{path}: {}",
                answer.status
            );
            assert_data(&answer.body, &path);
        }
        let page = stage.get(&format!("/ui/records/{record}"), Some(&operator)).await.body;
        assert!(page.contains("proof-holds"), "and is in the log as it was");
    }
    let turned = stage.get("/ui/records", Some(&operator)).await.body;
    assert!(turned.contains(r"gnp.\u{202e}exe"), "and is seen");
}

fn assert_data(page: &str, path: &str) {
    for raw in RAW {
        assert!(!page.contains(raw), "{path} has {raw}");
    }
    let control = |c: char| c.is_control() && c != '\n';
    let turning = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    let found = page.chars().find(|c| control(*c) || turning(*c));
    assert_eq!(found, None, "{path}");
    assert!(page.len() < SANE, "{path}: {} bytes", page.len());
}

/// As long as a record may be.
#[tokio::test]
async fn attack_206_values_of_60_kib_are_cut_and_pages_stay_small() {
    let stage = Stage::set().await;
    let operator = stage.log_in("operator").await;
    let long = "<b>ß\u{202e}".repeat(8_000).chars().take(29_000).collect::<String>();
    let mut records = Vec::new();
    for _ in 0..25 {
        let tool = |draft: &mut Draft| draft.facts.tool = Some(long.clone());
        records.push(stage.issued("api", tool).await);
        let person = |draft: &mut Draft| draft.clear.subject = Some(Principal::User(id(&long)));
        records.push(stage.issued("api", person).await);
    }
    let params = |draft: &mut Draft| draft.clear.requested_params = Some(json!({ "x": long }));
    records.push(stage.issued("api", params).await);
    stage.count().await;
    stage.publish().await;
    for (record, session) in &records[48..] {
        for path in pages("=x", *record, *session) {
            let answer = stage.get(&path, Some(&operator)).await;
            assert_data(&answer.body, &path);
        }
        let page = stage.get(&format!("/ui/records/{record}"), Some(&operator)).await.body;
        assert!(page.contains("(cut: "), "a note");
    }
}
