//! A session for people: what happened in it, in order, and what is left of it.

use serde_json::Value;

use super::{
    print::{plain, table, value},
    show::Page,
};

/// A session of `/v1/sessions/{id}`.
pub(crate) fn session(answer: &Value) -> String {
    let mut page = Page::default();
    page.head(&format!("session {}", value(&answer["id"])));
    let subject = &answer["subject"];
    page.line(&value(&subject["kind"]), value(&subject["id"]));
    for (label, member) in [
        ("agent", "actor"),
        ("server", "server"),
        ("sid", "sid"),
        ("opened", "opened"),
        ("ends", "ends"),
        ("last used", "last_used"),
        ("issuances", "issuances"),
    ] {
        page.line(label, value(&answer[member]));
    }
    let ended = &answer["ended"];
    if !ended.is_null() {
        page.line("ended", format!("{} by {}", value(&ended["at"]), value(&ended["by"])));
    }
    page.head("holds");
    for held in answer["holds"].as_array().into_iter().flatten() {
        page.line(
            &value(&held["target"]),
            format!("{} until {}", value(&held["id"]), value(&held["until"])),
        );
    }
    page.head("what happened");
    page.0 + &steps(answer)
}

fn steps(answer: &Value) -> String {
    let steps = answer["timeline"].as_array();
    let mut rows = vec![vec![value(&answer["opened"]), "opened".to_owned()]];
    if answer["timeline_whole"] == false {
        rows.push(vec![
            "…".to_owned(),
            "older records: procura log list --session".to_owned(),
        ]);
    }
    rows.extend(steps.into_iter().flatten().map(step));
    table(&["at", "what", "tool", "at the target", "id"], &rows)
}

fn step(step: &Value) -> Vec<String> {
    let grants: Vec<_> = step["grants"].as_array().into_iter().flatten().map(value).collect();
    let place = match (value(&step["target"]), grants.join(" ")) {
        (target, grants) if grants.is_empty() => target,
        (target, grants) => format!("{target}: {grants}"),
    };
    vec![
        value(&step["at"]),
        what(step),
        value(&step["tool"]),
        place,
        value(&step["id"]),
    ]
}

fn what(step: &Value) -> String {
    let about = value(&step["about"]);
    match (step["event"].as_str(), step["outcome"].as_str()) {
        (Some("exchange"), Some("issued")) => format!("issued, {}", left(step)),
        (Some("use"), Some("reported")) => format!("used {about}: {}", value(&step["used"]["outcome"])),
        (Some("revocation"), Some("done")) => format!("revoked {about}{}", by(step)),
        (Some("session_end"), Some("done")) => format!("ended by {}{}", value(&step["ended_by"]), by(step)),
        (event, Some("refused")) => format!(
            "{} refused: {}",
            plain(event.unwrap_or_default()),
            value(&step["reason"])
        ),
        (event, outcome) => format!(
            "{} {}",
            plain(event.unwrap_or_default()),
            plain(outcome.unwrap_or_default())
        ),
    }
}

fn by(step: &Value) -> String {
    match value(&step["operator"]) {
        operator if operator.is_empty() => operator,
        operator => format!(", {operator}"),
    }
}

/// What is left of a credential.
fn left(step: &Value) -> String {
    let until = value(&step["until"]);
    match step["status"].as_str() {
        Some("live") => format!("live until {until}"),
        Some("undoing") => match value(&step["lapses"]) {
            lapses if lapses.is_empty() => "queued until the target confirms".to_owned(),
            lapses => format!("queued until the target confirms, lapses {lapses}"),
        },
        Some("revoked") => format!("revoked, works offline until {until}"),
        _ if !step["revoked"].is_null() => format!("gone, revoked {}", value(&step["revoked"])),
        _ => format!("gone, it was until {until}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_is_told_in_order_with_what_is_left_of_each_credential() {
        let issued = |second: u8, status: &str, more: Value| {
            let mut step = json!({
                "at": format!("2026-11-20T09:00:0{second}Z"), "id": format!("i{second}"), "event": "exchange",
                "outcome": "issued", "tool": "list", "target": "db", "grants": ["read", "write"], "status": status,
                "until": "2026-11-20T09:05:00Z",
            });
            for (name, member) in more.as_object().into_iter().flatten() {
                step[name] = member.clone();
            }
            step
        };
        let answer = json!({
            "id": "s1", "subject": {"kind": "user", "id": "corp/alice"}, "server": "tickets", "actor": "corp/bot",
            "opened": "2026-11-20T09:00:00Z", "ends": "2026-11-20T17:00:00Z", "issuances": 4,
            "ended": {"at": "2026-11-20T09:00:09Z", "by": "operator"}, "holds": [], "timeline_whole": true,
            "timeline": [
                issued(1, "live", json!({})),
                issued(2, "undoing", json!({"lapses": "2026-11-20T10:00:00Z"})),
                issued(3, "revoked", json!({"revoked": "2026-11-20T09:00:09Z"})),
                issued(4, "ended", json!({"revoked": "2026-11-20T09:00:09Z", "tool": "x\u{1b}[2J\n"})),
                issued(5, "ended", json!({})),
                {"at": "2026-11-20T09:00:06Z", "id": "u6", "event": "use", "outcome": "reported", "about": "i1",
                    "tool": "list", "target": "db", "grants": ["read"], "used": {"outcome": "ok"}},
                {"at": "2026-11-20T09:00:07Z", "id": "r7", "event": "exchange", "outcome": "refused",
                    "reason": "policy.denied", "target": "db", "grants": ["drop"]},
                {"at": "2026-11-20T09:00:08Z", "id": "v8", "event": "revocation", "outcome": "done", "about": "i4",
                    "operator": "corp/op"},
                {"at": "2026-11-20T09:00:09Z", "id": "e9", "event": "session_end", "outcome": "done",
                    "ended_by": "operator", "operator": "corp/op"},
            ],
        });
        insta::assert_snapshot!(session(&answer), @r"
        session s1
          user         corp/alice
          agent        corp/bot
          server       tickets
          opened       2026-11-20T09:00:00Z
          ends         2026-11-20T17:00:00Z
          issuances    4
          ended        2026-11-20T09:00:09Z by operator
        holds
        what happened
        at                    what                                                                   tool             at the target   id
        2026-11-20T09:00:00Z  opened
        2026-11-20T09:00:01Z  issued, live until 2026-11-20T09:05:00Z                                list             db: read write  i1
        2026-11-20T09:00:02Z  issued, queued until the target confirms, lapses 2026-11-20T10:00:00Z  list             db: read write  i2
        2026-11-20T09:00:03Z  issued, revoked, works offline until 2026-11-20T09:05:00Z              list             db: read write  i3
        2026-11-20T09:00:04Z  issued, gone, revoked 2026-11-20T09:00:09Z                             x\u{1b}[2J\u{a}  db: read write  i4
        2026-11-20T09:00:05Z  issued, gone, it was until 2026-11-20T09:05:00Z                        list             db: read write  i5
        2026-11-20T09:00:06Z  used i1: ok                                                            list             db: read        u6
        2026-11-20T09:00:07Z  exchange refused: policy.denied                                                         db: drop        r7
        2026-11-20T09:00:08Z  revoked i4, corp/op                                                                                     v8
        2026-11-20T09:00:09Z  ended by operator, corp/op                                                                              e9
        ");
    }
}
