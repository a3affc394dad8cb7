//! Records as CSV (RFC 4180) that a spreadsheet does not take for formulas.

use csv::{Terminator, Writer, WriterBuilder};
use procura_core::ledger::Stored;
use serde_json::Value;

use super::views;

/// The columns: members of a record as `/v1` shows it, else of its leaf or clear text.
const COLUMNS: [&str; 22] = [
    "at",
    "id",
    "event",
    "outcome",
    "reason",
    "subject",
    "actor",
    "server",
    "tool",
    "tool_call",
    "target",
    "grants",
    "params",
    "rules",
    "session",
    "about",
    "until",
    "revoked",
    "source_version",
    "address",
    "bundle",
    "trace_id",
];

/// The first line.
pub(super) fn head() -> Vec<u8> {
    let mut writer = writer();
    let _ = writer.write_record(COLUMNS);
    written(writer)
}

/// The first line where each record has its leaf index before it.
pub(super) fn indexed_head() -> Vec<u8> {
    let mut writer = writer();
    let _ = writer.write_record(["index"].into_iter().chain(COLUMNS));
    written(writer)
}

/// A line for each record.
pub(super) fn rows(records: &[Stored]) -> Vec<u8> {
    let mut writer = writer();
    for record in records {
        let _ = writer.write_record(cells(record));
    }
    written(writer)
}

/// A line for each record, the first of which has that leaf index.
pub(super) fn indexed_rows(first: u64, records: &[Stored]) -> Vec<u8> {
    let mut writer = writer();
    for (index, record) in (first..).zip(records) {
        let _ = writer.write_record([index.to_string()].into_iter().chain(cells(record)));
    }
    written(writer)
}

fn cells(record: &Stored) -> Vec<String> {
    let view = views::record(record);
    let parse = |text: &Value| {
        let parsed = text.as_str().map(serde_json::from_str::<Value>);
        parsed.and_then(Result::ok).unwrap_or_default()
    };
    let places = [parse(&view["leaf"]), parse(&view["clear"])];
    let cell = |column: &&str| match view.get(*column) {
        Some(value) => shown(value),
        None => places.iter().map(|place| shown(&place[*column])).collect(),
    };
    COLUMNS.iter().map(|column| safe(cell(column))).collect()
}

fn writer() -> Writer<Vec<u8>> {
    WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(Vec::new())
}

/// Nothing fails in memory.
fn written(writer: Writer<Vec<u8>>) -> Vec<u8> {
    writer.into_inner().unwrap_or_default()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().map(shown).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// What a spreadsheet would take for a formula gets an apostrophe, the full-width forms that some read so too.
fn safe(text: String) -> String {
    let formula = |c: char| {
        matches!(
            c,
            '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠'
        )
    };
    match text.starts_with(formula) {
        true => format!("'{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use procura_core::{
        ids::IssuanceId,
        ledger::{Event, Index, Outcome},
    };
    use serde_json::{json, value::RawValue};

    use super::*;

    fn record(tool: &str) -> Stored {
        let id = IssuanceId::first_at("2026-11-20T09:00:00Z".parse().expect("time"));
        let raw = |value: Value| RawValue::from_string(value.to_string()).expect("json");
        Stored {
            id,
            leaf: raw(json!({"trace_id": "0af7", "rules": ["a", "b"]})),
            side: Some(([0; 32], raw(json!({"address": "192.0.2.7", "params": {"x": tool}})))),
            index: Index {
                event: Event::Use,
                outcome: Outcome::Reported,
                reason: None,
                at: id.time(),
                server: None,
                tool: Some(tool.to_owned()),
                target: "db".parse().ok(),
                grants: vec!["read".parse().expect("name"), "write".parse().expect("name")],
                session: None,
                subject: "corp/alice".parse().ok(),
                actor: None,
                about: None,
                value: None,
                until: None,
                source_version: None,
            },
            revoked: None,
        }
    }

    #[test]
    fn a_record_is_a_line_under_its_columns() {
        let text = [head(), rows(&[record("list")])].concat();
        insta::assert_snapshot!(String::from_utf8(text).expect("text").replace('\r', ""), @r#"
        at,id,event,outcome,reason,subject,actor,server,tool,tool_call,target,grants,params,rules,session,about,until,revoked,source_version,address,bundle,trace_id
        2026-11-20T09:00:00Z,01a1f82f-1e80-7000-8000-000000000000,use,reported,,corp/alice,,,list,,db,read write,"{""x"":""list""}",a b,,,,,,192.0.2.7,,0af7
        "#);
    }

    #[test]
    fn an_indexed_line_begins_with_the_index_and_is_the_same_otherwise() {
        let record = record("=list");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        assert_eq!(text(indexed_head()), format!("index,{}", text(head())));
        let rows = [&record, &record].map(|record| text(rows(std::slice::from_ref(record))));
        assert_eq!(
            text(indexed_rows(41, &[record.clone(), record.clone()])),
            format!("41,{}42,{}", rows[0], rows[1])
        );
    }

    #[test]
    fn attack_200_what_a_spreadsheet_would_run_is_text_and_reads_back() {
        for hostile in [
            "=cmd|' /C calc'!A0",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
            "a\"b",
            "a,b",
            "a\r\nb",
            "\u{1b}[2J",
            "\u{202e}abc",
            "<script>alert(1)</script>",
            &"x".repeat(60 * 1024),
        ] {
            let lines = [head(), rows(&[record(hostile)])].concat();
            let mut reader = csv::Reader::from_reader(&lines[..]);
            let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
            assert_eq!(rows.len(), 1, "{hostile:?} stays in its line");
            let cell = rows[0].get(8).expect("tool");
            let formula = "=+-@\t\r\n＝".contains(hostile.chars().next().expect("a character"));
            assert_eq!(cell.strip_prefix('\'').is_some(), formula, "{cell:?}");
            assert_eq!(cell.trim_start_matches('\''), hostile);
        }
    }
}
