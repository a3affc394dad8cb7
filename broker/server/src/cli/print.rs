//! Text for terminals. Whatever came from a record or an answer passes [`plain`] on its way.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use serde_json::Value;

use super::Failure;

/// Prints to standard output. A reader that went away (`| head`) is no error.
pub(crate) fn text(text: impl fmt::Display) {
    let _ = write!(io::stdout(), "{text}");
}

/// Prints a line to standard output.
pub(crate) fn line(line: impl fmt::Display) {
    text(format_args!("{line}\n"));
}

/// Shows control characters, bidirectional marks and invisible characters as escapes, so that what a
/// record holds cannot move the cursor or reorder a line.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let invisible = matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        if c.is_control() || invisible {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// A value in a line: strings bare, nothing for null, all else as JSON.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<_> = items.iter().map(self::value).collect();
            items.join(", ")
        }
        other => plain(&other.to_string()),
    }
}

/// JSON for programs, escaped beyond what JSON asks so that a terminal is safe too.
pub(crate) fn json(value: &Value) {
    line(steady(&format!("{value:#}")));
}

/// Text of whole lines whose other control characters, bidirectional marks and invisible characters are escaped as in
/// JSON.
pub(crate) fn steady(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !matches!(c, '\n' | '\r') && plain(c.encode_utf8(&mut [0; 4])).len() != c.len_utf8() {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let wide = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.chain(head.get(column).map(|name| name.len())).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(wide).collect();
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Shows a listing: as JSON, or as a table of some members of each item.
pub(crate) fn listing(answer: &Value, items: &str, columns: &[&str], as_json: bool) -> Result<(), Failure> {
    if as_json {
        json(answer);
        return Ok(());
    }
    let rows = answer[items]
        .as_array()
        .ok_or_else(|| Failure::found("the broker's answer is not a listing"))?;
    let row = |item: &Value| columns.iter().map(|column| value(&item[*column])).collect();
    text(format_args!(
        "{}",
        table(columns, &rows.iter().map(row).collect::<Vec<_>>())
    ));
    if let Some(next) = answer["next"].as_str() {
        line(format_args!("more: --before {}", plain(next)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_escaped() {
        assert_eq!(
            plain("a\u{1b}[2J\n\u{202e}b\u{200b}ä"),
            r"a\u{1b}[2J\u{a}\u{202e}b\u{200b}ä"
        );
        assert_eq!(value(&json!(["a", "b\u{7}"])), r"a, b\u{7}");
        assert_eq!(value(&json!({"k": "\u{2066}"})), r#"{"k":"\u{2066}"}"#);
    }

    #[test]
    fn lines_stay_and_what_moves_the_cursor_does_not() {
        assert_eq!(
            steady("a\r\nb\u{1b}[2J\u{9b}\u{202e}\tc"),
            r"a
b\u001b[2J\u009b\u202e\u0009c"
                .replace('\n', "\r\n")
        );
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [
            vec!["1".to_owned(), "x".to_owned()],
            vec!["234".to_owned(), String::new()],
        ];
        assert_eq!(table(&["id", "name"], &rows), "id   name\n1    x\n234\n");
    }
}
