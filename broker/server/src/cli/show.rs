//! One record, session or report for people.

use std::fmt::Write as _;

use procura_core::record;
use procura_wire::Reason;
use serde_json::Value;

use super::print::value;

/// Whether the clear text beside a record is the one that the record commits to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is.
    Verified,
    /// It was erased; the record stands.
    Erased,
    /// It is not, or the record cannot be read.
    Broken,
}

/// Recomputes the commitment of a record of `/v1/issuances`.
pub(crate) fn verify(answer: &Value) -> Proof {
    let (salt, clear) = match (&answer["salt"], &answer["clear"]) {
        (Value::Null, Value::Null) => return Proof::Erased,
        (Value::String(salt), Value::String(clear)) => (salt, clear),
        _ => return Proof::Broken,
    };
    let salt: Option<[u8; 32]> = hex::decode(salt).ok().and_then(|salt| salt.try_into().ok());
    let committed = leaf(answer)["commitment"].as_str().map(str::to_owned);
    match (salt, committed) {
        (Some(salt), Some(committed)) if record::commitment(&salt, clear).to_string() == committed => Proof::Verified,
        _ => Proof::Broken,
    }
}

fn leaf(answer: &Value) -> Value {
    parse(&answer["leaf"])
}

/// JSON that stands in a string, so that its exact bytes survive.
fn parse(text: &Value) -> Value {
    text.as_str()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Lines of `label  text`, under headings; what says nothing is left out.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    pub(super) fn head(&mut self, text: &str) {
        let _ = writeln!(self.0, "{text}");
    }

    pub(super) fn line(&mut self, label: &str, text: impl AsRef<str>) {
        if !text.as_ref().is_empty() {
            let _ = writeln!(self.0, "  {label:<12} {}", text.as_ref());
        }
    }
}

/// A record: who, what, decision, times, proof.
pub(crate) fn record(answer: &Value, proof: Proof) -> String {
    let (leaf, clear) = (leaf(answer), parse(&answer["clear"]));
    let mut page = Page::default();
    page.head(&format!("{} {}", value(&leaf["event"]), value(&answer["id"])));
    page.line("outcome", outcome(&leaf));
    page.line("at", value(&leaf["at"]));
    page.line("about", value(&leaf["about"]));
    page.line("trace", value(&leaf["trace_id"]));
    who(&mut page, &leaf, &clear);
    what(&mut page, &leaf, &clear);
    decision(&mut page, &leaf);
    times(&mut page, &leaf, answer);
    page.head("proof");
    page.line(
        "commitment",
        match proof {
            Proof::Verified => "verified: the personal data and parameters above are those of the record",
            Proof::Erased => "erased: the record stands, its personal data and parameters are gone",
            Proof::Broken => "DOES NOT FIT: what stands above is not what was recorded",
        },
    );
    page.0
}

fn outcome(leaf: &Value) -> String {
    let text = leaf["reason"]
        .as_str()
        .and_then(Reason::from_code)
        .map_or("", Reason::text);
    let (reason, cause) = (value(&leaf["reason"]), value(&leaf["cause"]));
    let outcome = value(&leaf["outcome"]);
    match (reason.is_empty(), cause.is_empty()) {
        (true, _) => outcome,
        (false, true) => format!("{outcome}: {reason}. {text}"),
        (false, false) => format!("{outcome}: {reason} ({cause}). {text}"),
    }
}

fn who(page: &mut Page, leaf: &Value, clear: &Value) {
    page.head("who");
    page.line(&value(&leaf["subject_kind"]), value(&clear["subject"]["id"]));
    page.line("groups", value(&leaf["groups"]));
    page.line("log-in", log_in(&leaf["auth"]));
    let actor = match (value(&clear["actor"]), value(&leaf["actor_asserted_by"])) {
        (_, by) if by == "server" => "none: the server acts itself".to_owned(),
        (_, by) if by.is_empty() => String::new(),
        (actor, by) => format!("{actor} (asserted by {by})"),
    };
    page.line("agent", actor);
    let proved = match &leaf["client_auth"] {
        Value::Null => String::new(),
        auth => format!(" ({}, key {})", value(&auth["method"]), value(&auth["key"])),
    };
    page.line("server", value(&leaf["server"]) + &proved);
    page.line("tool", value(&leaf["tool"]));
    page.line("call", value(&leaf["tool_call"]));
    page.line("definition", value(&leaf["tool_definition_sha256"]));
    page.line("operator", value(&clear["operator"]["id"]));
    page.line("ended by", value(&leaf["ended_by"]));
    page.line("address", value(&clear["address"]));
    page.line("session", value(&leaf["session"]));
}

fn log_in(auth: &Value) -> String {
    let parts = ["acr", "amr", "time"].map(|name| (name, value(&auth[name])));
    let said: Vec<_> = parts
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("{name} {text}"))
        .collect();
    said.join("; ")
}

fn what(page: &mut Page, leaf: &Value, clear: &Value) {
    page.head("what");
    let kind = match value(&leaf["kind"]) {
        kind if kind.is_empty() => kind,
        kind => format!(" ({kind})"),
    };
    page.line("target", value(&leaf["target"]) + &kind);
    page.line("asked target", value(&clear["requested_target"]));
    page.line("grants", value(&leaf["grants"]));
    page.line("asked", extent(&leaf["requested"]));
    page.line("asked params", value(&clear["requested_params"]));
    page.line("params", value(&clear["params"]));
    page.line("rights", value(&leaf["rights"]));
    page.line("used", value(&leaf["used"]));
    page.line("handle", value(&leaf["handle"]));
    page.line("source", value(&leaf["source_version"]));
    page.line("sha-256", value(&leaf["value_sha256"]));
}

fn decision(page: &mut Page, leaf: &Value) {
    if leaf["bundle"].is_null() {
        return;
    }
    page.head("decision");
    page.line("rules", value(&leaf["rules"]));
    for near in leaf["near"].as_array().into_iter().flatten() {
        page.line(
            "came near",
            format!(
                "{}, where this is not true: {}",
                value(&near["rule"]),
                value(&near["clause"])
            ),
        );
    }
    page.line("bundle", value(&leaf["bundle"]));
}

fn times(page: &mut Page, leaf: &Value, answer: &Value) {
    let lines = [
        ("allowed", extent(&leaf["allowed"])),
        ("granted", extent(&leaf["granted"])),
        ("until", value(&leaf["until"])),
        ("revoked", value(&answer["revoked"])),
    ];
    if lines.iter().any(|(_, text)| !text.is_empty()) {
        page.head("how long");
        lines.iter().for_each(|(label, text)| page.line(label, text));
    }
    if leaf["outlives_subject"] == true {
        page.line("note", "outlives the subject's token");
    }
}

fn extent(extent: &Value) -> String {
    let ttl = value(&extent["ttl"]);
    let parts = [
        if ttl.is_empty() { ttl } else { format!("{ttl} s") },
        value(&extent["scope"]),
        value(&extent["type"]),
    ];
    let said: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    said.join("; ")
}

/// What became of the credentials of a session that was ended.
pub(crate) fn report(answer: &Value) -> String {
    let mut page = Page::default();
    page.head("ended; what it held:");
    let credentials = answer["credentials"].as_array();
    for credential in credentials.into_iter().flatten() {
        page.line(
            &value(&credential["target"]),
            format!("{} {}", value(&credential["issuance"]), undone(credential)),
        );
    }
    if credentials.is_none_or(Vec::is_empty) {
        page.line("nothing", "");
    }
    page.0
}

/// What became of one credential.
pub(super) fn undone(credential: &Value) -> String {
    match credential["status"].as_str() {
        Some("done") => "undone".to_owned(),
        Some("queued") => "queued: the target is asked until it confirms".to_owned(),
        _ => format!(
            "inactive here; a target that checks it offline takes it until {}",
            value(&credential["until"])
        ),
    }
}

/// Every member in a line of its own.
pub(crate) fn members(answer: &Value) -> String {
    let mut page = Page::default();
    for (name, member) in answer.as_object().into_iter().flatten() {
        page.line(&super::print::plain(name), value(member));
    }
    page.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(clear: &str) -> Value {
        let commitment = record::commitment(
            &[7; 32],
            r#"{"subject":{"kind":"user","id":"dev/alice"},"address":"127.0.0.1"}"#,
        );
        let leaf = json!({
            "v": 1, "id": "x", "event": "exchange", "outcome": "refused", "reason": "policy.denied",
            "at": "2026-11-20T09:00:00.000Z", "trace_id": "abc", "server": "tickets",
            "client_auth": {"method": "client_secret_post", "key": "0011"},
            "actor_asserted_by": "server", "subject_kind": "user", "groups": ["dev/support"],
            "target": "tickets-api", "kind": "jwt", "grants": ["delete"], "requested": {"ttl": 60, "scope": ["delete"]},
            "bundle": "ff00", "near": [{"rule": "sre", "clause": "principal in Group::\"dev/sre\""}],
            "commitment": commitment,
        });
        json!({"id": "x", "leaf": leaf.to_string(), "salt": hex::encode([7; 32]), "clear": clear, "revoked": null})
    }

    #[test]
    fn a_denial_says_who_what_and_which_rule_came_near() {
        let answer = answer(r#"{"subject":{"kind":"user","id":"dev/alice"},"address":"127.0.0.1"}"#);
        insta::assert_snapshot!(record(&answer, verify(&answer)), @r#"
        exchange x
          outcome      refused: policy.denied. No rule permits it, or a rule forbids it.
          at           2026-11-20T09:00:00.000Z
          trace        abc
        who
          user         dev/alice
          groups       dev/support
          agent        none: the server acts itself
          server       tickets (client_secret_post, key 0011)
          address      127.0.0.1
        what
          target       tickets-api (jwt)
          grants       delete
          asked        60 s; delete
        decision
          came near    sre, where this is not true: principal in Group::"dev/sre"
          bundle       ff00
        proof
          commitment   verified: the personal data and parameters above are those of the record
        "#);
    }

    #[test]
    fn a_cause_stands_beside_the_reason_that_callers_are_told() {
        let leaf = json!({"outcome": "refused", "reason": "idjag.invalid", "cause": "jwt.expired"});
        insta::assert_snapshot!(
            outcome(&leaf),
            @"refused: idjag.invalid (jwt.expired). The ID-JAG is not a valid one of an issuer that is trusted with them."
        );
    }

    #[test]
    fn a_changed_or_missing_clear_text_is_told_apart() {
        assert_eq!(
            verify(&answer(r#"{"subject":{"kind":"user","id":"dev/bob"}}"#)),
            Proof::Broken
        );
        let mut erased = answer("");
        erased["salt"] = Value::Null;
        assert_eq!(
            verify(&erased),
            Proof::Broken,
            "half of the side table is not an erasure"
        );
        erased["clear"] = Value::Null;
        assert_eq!(verify(&erased), Proof::Erased);
    }
}
