//! What the language says, one sentence at a time.

use serde_json::{json, value::RawValue};

use super::*;
use crate::{
    ids::IssuanceId,
    ledger::{Event, Filter, Index, Outcome, Stored},
};

pub(super) fn now() -> Timestamp {
    "2026-11-20T09:00:00Z".parse().expect("time")
}

pub(super) fn parsed(text: &str) -> Expr {
    Expr::parse(text, now()).unwrap_or_else(|mistake| panic!("{text}: {mistake}"))
}

/// A record that says something in every place.
pub(super) fn stored() -> Stored {
    let id = IssuanceId::first_at(now());
    let leaf = json!({
        "v": 1, "id": id, "event": "exchange", "outcome": "issued", "at": now(), "trace_id": "0af7",
        "issuer": "corp", "groups": ["corp/support", "corp/sre"], "client_auth": {"method": "private_key_jwt"},
        "requested": {"ttl": 600, "scope": ["read-rows"]}, "granted": {"ttl": 300}, "rules": ["support-reads"],
        "rights": {"connection_limit": 2, "member_of": ["support_reader"]}, "near": [{"rule": "sre", "clause": "x"}],
        "outlives_subject": true, "used": {"started": "2026-11-20T08:59:59.5Z"}, "value_sha256": "cd42",
    });
    let clear = json!({
        "subject": {"kind": "user", "id": "corp/alice"}, "address": "192.0.2.7", "operator": {"id": "corp/op"},
        "chain": [{"sub": "triage", "iss": "https://id.example.com"}], "params": {"team": ["a", "b"], "limit": 5},
    });
    let raw = |value: serde_json::Value| RawValue::from_string(value.to_string()).expect("json");
    Stored {
        id,
        leaf: raw(leaf),
        side: Some(([7; 32], raw(clear))),
        index: Index {
            event: Event::Exchange,
            outcome: Outcome::Issued,
            reason: None,
            at: now(),
            server: "tickets".parse().ok(),
            tool: Some("list \"all\"".to_owned()),
            target: "db".parse().ok(),
            grants: vec!["read-rows".parse().expect("name"), "read-all".parse().expect("name")],
            session: "01a1f8b4-75a2-7ae1-a334-823918859ccf".parse().ok(),
            subject: "corp/alice".parse().ok(),
            actor: None,
            about: None,
            value: None,
            until: "2026-11-20T09:05:00Z".parse().ok(),
            source_version: Some("4".to_owned()),
        },
        revoked: None,
    }
}

#[test]
fn each_of_these_holds_for_the_record() {
    for text in [
        "",
        "  ",
        "event = exchange",
        "outcome = issued and not outcome = refused",
        "at = 2026-11-20T09:00:00Z",
        "at >= 2026-11-20 and at < 2026-11-21",
        "at > -1s and at <= -0h and until > -24h",
        "subject = corp/alice",
        "subject = corp/* and subject = c* and subject = *",
        "issuer = corp",
        "actor != corp/bot",
        "not actor = *",
        "tool = \"list \\\"all\\\"\"",
        "tool = \"list \"*",
        "target in (api, db) and server not in (mail, \"\")",
        "grants = read-rows and grant = read-all and grants = read-*",
        "session = 01A1F8B4-75A2-7AE1-A334-823918859CCF",
        "groups = corp/sre and groups != corp/admin",
        "client_auth.method = private_key_jwt",
        "requested.ttl = 600 and granted.ttl < 600 and granted.ttl >= 300",
        "requested.scope = read-rows and rules = support-reads and near.rule = sre",
        "rights.connection_limit <= 2 and rights.member_of = support_reader and rights.connection_limit = 2",
        "params.team = b and params.limit > 4 and params.limit = 5 and params.x != 1",
        "operator = corp/op and address = 192.0.2.* and chain.sub = triage",
        "used.started < 2026-11-20T09:00:00Z",
        "outlives_subject = true and id_token != true",
        "(target = api or target = db) and not (event = use or event = revocation)",
        "target = api and server = mail or target = db",
    ] {
        assert!(parsed(text).matches(&stored()), "{text}");
    }
}

#[test]
fn none_of_these_holds_for_the_record() {
    for text in [
        "event = use",
        "target = api or server = mail",
        "target = db and server = mail",
        "actor = *",
        "reason = *",
        "about = 01a1f8b4-75a2-7ae1-a334-823918859ccf",
        "revoked > 2020-01-01",
        "until >= 2026-11-20T09:05:00.001Z",
        "subject = corp",
        "subject = corp/alic",
        "subject = alice*",
        "tool = list",
        "tool = \"list \\\"all\\\" \"",
        "grants = read",
        "granted.ttl > 300",
        "params.team = c",
        "params.team > 1",
        "rights.member_of = support",
        "address = 192.0.2",
    ] {
        assert!(!parsed(text).matches(&stored()), "{text}");
    }
}

#[test]
fn what_was_erased_is_as_what_was_never_said() {
    let mut erased = stored();
    (erased.side, erased.index.subject) = (None, None);
    for (text, passes) in [
        ("subject = corp/alice", false),
        ("subject = corp/*", false),
        ("not subject = *", true),
        ("params.team = a", false),
        ("issuer = corp", true),
    ] {
        assert_eq!(parsed(text).matches(&erased), passes, "{text}");
    }
}

#[test]
fn a_mistake_says_where_it_is_and_what_to_do() {
    let mistakes = [
        "sujbect = corp/alice",
        "target = api and nonsense = 1",
        "corp/alice",
        "target api",
        "target = ",
        "target = and",
        "target = a b",
        "(target = api",
        "target = api)",
        "target in (api",
        "target in api",
        "target = \"api",
        "target = a*b",
        "target > api",
        "target ! api",
        "outcome = denied",
        "session = 7",
        "at > yesterday",
        "at > 2026-13-01",
        "at = 2026*",
        "granted.ttl > 5m",
        "params. = 1",
        "not",
        "ä = ö",
    ];
    let told = mistakes.map(|text| match Expr::parse(text, now()) {
        Err(mistake) => format!("{text}\n  {mistake}"),
        Ok(expr) => format!("{text}\n  IS {expr:?}"),
    });
    let told = told
        .join("\n")
        .replace(&fields::unknown(""), "a field of records must stand here: …");
    assert_eq!(
        told,
        r#"sujbect = corp/alice
  character 1: there is no such field; did you mean subject?
target = api and nonsense = 1
  character 18: a field of records must stand here: …
corp/alice
  character 1: a field of records must stand here: …
target api
  character 8: = != < <= > >= or in must stand here
target = 
  character 10: target: a value must stand here; quote one that is a word of the language
target = and
  character 10: target: a value must stand here; quote one that is a word of the language
target = a b
  character 12: and, or, or the end of the filter must stand here
(target = api
  character 14: a ) must stand here
target = api)
  character 13: and, or, or the end of the filter must stand here
target in (api
  character 15: a , or ) must stand here
target in api
  character 11: a ( must stand here: in (one, other)
target = "api
  character 10: the quotation has no end
target = a*b
  character 10: a * stands at the end of a value; quote one that is meant itself
target > api
  character 8: target is a text: it takes = != and in, and a * behind a value
target ! api
  character 8: signs are = != < <= > >=
outcome = denied
  character 11: outcome: one of `issued`, `refused`, `reported`, `done` must stand here
session = 7
  character 11: session: an id must stand here, as 01a1f8b4-75a2-7ae1-a334-823918859ccf
at > yesterday
  character 6: at: give a time as 2026-11-20T09:00:00Z, a day as 2026-11-20, or a time ago as -24h (s, m, h, d, w)
at > 2026-13-01
  character 6: at: give a time as 2026-11-20T09:00:00Z, a day as 2026-11-20, or a time ago as -24h (s, m, h, d, w)
at = 2026*
  character 6: at: a * stands behind texts only
granted.ttl > 5m
  character 15: granted.ttl: a whole number must stand here
params. = 1
  character 1: there is no such field; did you mean params.NAME?
not
  character 4: a field of records must stand here: …
ä = ö
  character 1: a field of records must stand here: …"#
    );
}

#[test]
fn attack_199_a_filter_is_bounded_in_length_terms_and_depth() {
    let refused = |text: String| Expr::parse(&text, now()).map_err(|mistake| mistake.problem).err();
    let nested = |depth: usize| "(".repeat(depth) + "target = a" + &")".repeat(depth);
    assert_eq!(refused(nested(MAX_DEPTH)), None);
    assert!(refused(nested(MAX_DEPTH + 1)).is_some_and(|problem| problem.contains("deep")));
    assert!(refused("not ".repeat(1000) + "target = a").is_some_and(|problem| problem.contains("deep")));
    let terms = |count: usize| vec!["target = a"; count].join(" or ");
    assert_eq!(refused(terms(MAX_TERMS)), None);
    assert!(refused(terms(MAX_TERMS + 1)).is_some_and(|problem| problem.contains("64 values")));
    let values = format!("target in ({})", vec!["a"; MAX_TERMS + 1].join(","));
    assert!(refused(values).is_some_and(|problem| problem.contains("64 values")));
    let long = |length: usize| format!("tool = {}", "x".repeat(length - 7));
    assert_eq!(refused(long(MAX_TEXT)), None);
    assert!(refused(long(MAX_TEXT + 1)).is_some_and(|problem| problem.contains("4096 bytes")));
}

#[test]
fn attack_199_signs_of_sql_and_of_patterns_are_text() {
    for text in [
        "%",
        "_",
        "' OR 1=1 --",
        "\"; DROP TABLE record; --",
        "a%",
        ".*",
        "\0",
        "$1",
    ] {
        let literal = Expr::is("tool", text);
        assert!(!literal.matches(&stored()), "{text}");
        assert_eq!(literal.bounds().tool.as_deref(), Some(text), "bound, not pasted");
        let mut same = stored();
        same.index.tool = Some(text.to_owned());
        assert!(parsed(&literal.to_string()).matches(&same), "{text}");
    }
}

#[test]
fn what_an_index_can_answer_is_found_in_the_filter() {
    let bounds = |text: &str| parsed(text).bounds();
    let filter = bounds("(subject = corp/alice and target = db) and server = tickets and grant = read and tool = x");
    assert_eq!(filter.subject, "corp/alice".parse().ok());
    assert_eq!(
        (filter.target, filter.server),
        ("db".parse().ok(), "tickets".parse().ok())
    );
    assert_eq!((filter.grant, filter.tool.as_deref()), ("read".parse().ok(), Some("x")));
    assert_eq!(
        bounds("target = a and server = x or target = a").target,
        "a".parse().ok()
    );
    assert_eq!(bounds("issuer = corp").issuer, "corp".parse().ok());
    assert_eq!(bounds("subject = corp/*").subject_begin.as_deref(), Some("corp/"));
    let week = bounds("at >= -7d and at >= -14d and (at < -1d or at < -2d)");
    let ago = |days: u64| now() - std::time::Duration::from_secs(days * 86_400);
    assert_eq!(week.since, Some(ago(7)));
    let minute = std::time::Duration::from_secs(60);
    assert!(
        week.until
            .is_some_and(|until| until > ago(1) && until < ago(1) + minute)
    );
    for nothing in [
        "target = a or server = x",
        "not target = a",
        "target != a",
        "target in (a, b)",
        "actor = *",
    ] {
        assert_eq!(bounds(nothing), Filter::default(), "{nothing}");
    }
}

#[test]
fn every_field_is_found_by_its_name() {
    for name in NAMES {
        let name = if name.ends_with('.') {
            format!("{name}x.y")
        } else {
            (*name).to_owned()
        };
        assert_eq!(Field::named(&name).map(|field| field.to_string()), Some(name));
    }
    for name in ["", "params.", "params", "subject.id", "at ", "AT"] {
        assert_eq!(Field::named(name), None, "{name}");
    }
}

#[test]
fn the_page_about_questions_names_every_field_and_its_questions_are_read() {
    let page = include_str!("../../../../docs/queries.md");
    let commands = page.lines().filter(|line| line.starts_with("procura log "));
    let questions: Vec<_> = commands.filter_map(|line| line.split('\'').nth(1)).collect();
    assert_eq!(questions.len(), 10);
    for question in questions {
        parsed(question);
    }
    for name in NAMES {
        let shown = match name.strip_suffix('.') {
            Some(name) => format!("`{name}.NAME`"),
            None => format!("`{}`", name.trim_end_matches(".id")),
        };
        assert!(page.contains(&shown), "{shown}");
    }
}

#[test]
fn attack_199_the_target_alone_leads_for_a_reader_of_some_targets() {
    let id = "01a1f8b4-75a2-7ae1-a334-823918859ccf";
    let people = "subject = corp/alice and subject = corp/* and actor = corp/bot and issuer = corp and target = api";
    let bounds = parsed(&format!("{people} and session = {id} and about = {id} and at >= -1h")).bounds();
    assert!(bounds.subject.is_some() && bounds.subject_begin.is_some() && bounds.about.is_some());
    assert!(bounds.issuer.is_some());
    let led = Filter {
        target: "db".parse().ok(),
        since: bounds.since,
        ..Filter::default()
    };
    assert_eq!(search::of_target(&bounds, &"db".parse().expect("name")), led);
}
