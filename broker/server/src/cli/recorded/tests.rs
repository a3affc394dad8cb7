//! Records as the API shows them, decided again.

use std::path::Path;

use procura_core::record;
use serde_json::json;

use super::*;

const CLEAR: &str = r#"{"subject":{"kind":"user","id":"dev/alice"},"params":{"team":["support"]}}"#;

fn dev() -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/dev");
    let bundle = Bundle::read(&folder).expect("folder");
    load(&bundle, &KINDS, OPTIONS).unwrap_or_else(|_| panic!("it has mistakes"))
}

/// The record of an exchange that was issued to alice, with these members instead.
fn answer(members: Value, clear: &str) -> Value {
    let salt = [7; 32];
    let mut leaf = json!({
        "v": 1, "event": "exchange", "outcome": "issued", "at": "2026-11-20T09:00:00.400Z", "server": "tickets",
        "session_facts": {"age": 12, "issuances": 3}, "subject_kind": "user", "groups": ["dev/support"],
        "auth": {"amr": ["pwd"], "time": "2026-11-20T08:55:00Z"}, "target": "api", "grants": ["read-tickets"],
        "requested": {"scope": ["read-tickets"]}, "allowed": {"ttl": 300}, "bundle": dev().digest(),
        "rules": ["support-reads-tickets"], "commitment": record::commitment(&salt, clear),
    });
    for (name, value) in members.as_object().into_iter().flatten() {
        leaf[name] = value.clone();
    }
    json!({"leaf": leaf.to_string(), "salt": hex::encode(salt), "clear": clear})
}

fn read(members: Value, clear: &str) -> Result<Vec<(Case, Explanation)>, Failure> {
    Recorded::read(Uuid::nil(), &answer(members, clear))?.decide(&dev())
}

fn shown(members: Value) -> String {
    match read(members, CLEAR) {
        Ok(decided) => decided.iter().map(|(_, explanation)| explanation.to_string()).collect(),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn a_record_is_decided_again_by_what_it_holds() {
    assert_eq!(shown(json!({})), "permit by support-reads-tickets");
    let denied = json!({
        "outcome": "refused", "reason": "policy.denied", "rules": [], "groups": [],
    });
    insta::assert_snapshot!(shown(denied).replace("; ", "\n"), @r#"
    deny: no rule permits it
    sre-works-on-tickets does not, because this is false: principal in Group::"dev/sre"
    support-reads-tickets does not, because this is false: principal in Group::"dev/support"
    triage-bot-reads-support-tickets does not, because this is false: principal == Agent::"dev/triage-bot"
    "#);
}

#[test]
fn what_the_server_may_not_reach_was_decided_by_its_file() {
    let unlisted = |scope: &[&str]| {
        json!({
            "outcome": "refused", "reason": "grant.unlisted", "grants": [], "rules": [], "allowed": null,
            "session_facts": null, "requested": {"scope": scope},
        })
    };
    let text = format!("deny: {}", Reason::GrantUnlisted.text());
    assert_eq!(
        shown(unlisted(&["read-tickets", "delete-tickets", "write-tickets"])),
        text
    );
    let decided = read(
        unlisted(&["delete-tickets"]),
        r#"{"subject":{"kind":"user","id":"dev/alice"}}"#,
    );
    let (case, _) = decided.expect("decided").remove(0);
    assert!(as_case(&dev(), &case).expect("case").contains("expect = \"deny\""));
}

#[test]
fn a_request_that_never_came_to_the_rules_says_so() {
    let refused = json!({
        "outcome": "refused", "reason": "actor.not_permitted", "allowed": null, "grants": [], "rules": [],
        "near": [{"rule": "triage-bot-acts-for-support", "clause": "resource in Group::\"dev/support\""}],
    });
    insta::assert_snapshot!(shown(refused), @r#"
    no rule about a grant was asked: refused before, actor.not_permitted. The actor may not act for this subject.
      rule triage-bot-acts-for-support came near; not true: resource in Group::"dev/support"
    "#);
}

#[test]
fn a_case_of_a_record_is_a_test_that_holds() {
    let (case, explanation) = read(json!({}), CLEAR).expect("decided").remove(0);
    let text = as_case(&dev(), &case).expect("case");
    insta::assert_snapshot!(text, @r#"
    [[case]]
    name = "issuance 00000000-0000-0000-0000-000000000000: api/read-tickets"
    subject = { groups = ["support"], user = "dev/alice" }
    server = "tickets"
    grant = "api/read-tickets"
    params = { team = ["support"] }
    at = "2026-11-20T09:00:00.4Z"
    session = { age = "12s", issuances = 3 }
    ttl = "300s"
    auth = { amr = ["pwd"], time = "2026-11-20T08:55:00Z" }
    expect = "permit"
    by = ["support-reads-tickets"]
    "#);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/dev");
    let bundle = Bundle::read(&folder).expect("folder");
    let with = |text: String| {
        let files = bundle.files().map(|(path, bytes)| (path.to_owned(), bytes.to_vec()));
        let files = files.chain([("tests/recorded.toml".to_owned(), text.into_bytes())]);
        load(&Bundle::of(files), &KINDS, OPTIONS).is_ok()
    };
    assert!(explanation.permits() && with(text.clone()));
    assert!(!with(text.replace("\"permit\"", "\"deny\"")));
}

#[test]
fn what_a_test_cannot_say_is_not_printed_as_one() {
    let clear = r#"{"subject":{"kind":"user","id":"dev/alice"},"actor":"dev/somebody"}"#;
    let (case, _) = read(json!({}), clear).expect("decided").remove(0);
    let failure = as_case(&dev(), &case).expect_err("no such agent").to_string();
    assert!(failure.contains("there is no agents/somebody.toml"), "{failure}");
    let (case, _) = read(json!({"allowed": {"ttl": 0}}), CLEAR).expect("decided").remove(0);
    assert!(as_case(&dev(), &case).is_err());
}

#[test]
fn an_erased_or_a_changed_record_is_not_decided_again() {
    let failure = |answer: Value| match Recorded::read(Uuid::nil(), &answer) {
        Ok(_) => String::new(),
        Err(failure) => failure.to_string(),
    };
    let mut erased = answer(json!({}), CLEAR);
    (erased["salt"], erased["clear"]) = (Value::Null, Value::Null);
    assert!(failure(erased).contains("were erased"));
    let mut changed = answer(json!({}), CLEAR);
    changed["clear"] = CLEAR.replace("alice", "bob").into();
    assert!(failure(changed).contains("commitment"));
    let ended = answer(json!({"event": "session_end"}), CLEAR);
    assert!(failure(ended).contains("record of a session_end"));
}

#[test]
fn a_record_that_says_otherwise_is_told() {
    for other in [
        json!({"rules": ["sre-works-on-tickets"]}),
        json!({"outcome": "refused", "reason": "policy.denied", "rules": []}),
        json!({"groups": []}),
    ] {
        assert!(shown(other.clone()).contains("not what the record says"), "{other}");
    }
}

#[test]
fn only_the_bundle_of_the_digest_is_taken() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/dev");
    let content = Bundle::read(&folder).expect("folder").content();
    assert!(bundle(&content, Digest::of(&content)).is_ok());
    assert!(bundle(&content, Digest::of(b"another")).is_err());
    assert!(bundle(b"{}", Digest::of(b"{}")).is_err());
}
