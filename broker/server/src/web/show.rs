//! Values of records as they are shown: data that nobody of ours wrote stays data.

use procura_core::{Timestamp, report::Counted};
use serde_json::Value;

/// Characters of one value that are shown.
const MAX: usize = 1_000;

/// Control characters, bidirectional marks and invisible characters are shown as escapes, like on the terminal; what
/// is too long is cut and says so. Escaping for HTML is the templates'.
pub(super) fn plain(text: &str) -> String {
    match text.char_indices().nth(MAX) {
        None => crate::cli::print::plain(text),
        Some((at, _)) => format!("{}… (cut: {} bytes)", crate::cli::print::plain(&text[..at]), text.len()),
    }
}

/// The same for text of several lines.
pub(super) fn lines(text: &str) -> String {
    let cut = text.char_indices().nth(20 * MAX).map_or(text.len(), |(at, _)| at);
    let shown: Vec<_> = text[..cut].lines().map(crate::cli::print::plain).collect();
    let end = if cut < text.len() {
        format!("\n… (cut: {} bytes)", text.len())
    } else {
        String::new()
    };
    shown.join("\n") + &end
}

/// To the second, in UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How far sums count. Those who may not read all are told nothing that others' records change.
pub(super) fn counted(counted: &Counted) -> String {
    let Some(behind) = counted.behind else {
        return "Sums may be some seconds old.".to_owned();
    };
    match (counted.at, behind) {
        (Some(at), false) => format!("Counted up to {} UTC.", time(at)),
        (Some(at), true) => format!("Counted up to {} UTC; newer records wait to be counted.", time(at)),
        (None, true) => "Nothing is counted yet; records wait to be counted.".to_owned(),
        (None, false) => "Nothing was recorded yet.".to_owned(),
    }
}

/// A JSON value in a line: strings bare, members as `name: value`.
pub(super) fn value(value: &Value) -> String {
    plain(&flat(value))
}

fn flat(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let between = if items.iter().any(Value::is_object) { "; " } else { ", " };
            items.iter().map(flat).collect::<Vec<_>>().join(between)
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}: {}", flat(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// A length of time in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, unit) in units {
        if rest >= length && parts.len() < 2 {
            parts.push(format!("{} {unit}", rest / length));
            rest %= length;
        }
    }
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// The word of an enumeration as JSON has it, with spaces.
pub(super) fn word(value: impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    let word = word.as_ref().and_then(Value::as_str).unwrap_or_default();
    word.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_206_what_is_hidden_or_turns_text_around_is_seen() {
        assert_eq!(plain("a\u{202e}b\u{200b}\n"), r"a\u{202e}b\u{200b}\u{a}");
        assert_eq!(lines("a\nb\u{1b}c"), "a\nb\\u{1b}c");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let shown = plain(&"ä".repeat(30_000));
        assert!(shown.chars().count() < 1_100, "{}", shown.len());
        assert!(shown.ends_with("… (cut: 60000 bytes)"));
        assert_eq!(plain(&"a".repeat(1_000)).len(), 1_000);
    }

    #[test]
    fn json_is_shown_as_a_line() {
        let json = serde_json::json!({"a": ["x", "y\u{7}"], "b": [{"c": 1}, {"d": true}], "e": null});
        assert_eq!(value(&json), r"a: x, y\u{7}, b: c: 1; d: true, e: ");
    }

    #[test]
    fn spans_have_two_units() {
        let shown = [0, 59, 900, 3_600, 5_400, 90_061].map(span);
        assert_eq!(shown, ["0 s", "59 s", "15 min", "1 h", "1 h 30 min", "1 d 1 h"]);
    }
}
