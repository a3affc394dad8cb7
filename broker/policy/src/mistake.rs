//! What is wrong with a bundle, and where.

use std::fmt;

/// One mistake in a bundle. Its text says what is wrong and what to write instead; it quotes no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Path in the bundle, with `/`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The sentence.
    pub text: String,
}

impl Mistake {
    /// A mistake of a file as a whole.
    pub(crate) fn of_file(file: &str, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 1,
            column: 1,
            text: one_line(&text.into()),
        }
    }

    /// A mistake at a byte offset of a file's text.
    pub(crate) fn at(file: &str, source: &str, offset: usize, text: impl Into<String>) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column,
            text: one_line(&text.into()),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.escape_debug();
        write!(f, "{file}:{}:{}: {}", self.line, self.column, self.text)
    }
}

/// What values of a bundle bring along into a sentence about them must not write to a terminal, nor lines into a log.
fn one_line(text: &str) -> String {
    let shown = |c: char| match is_odd(c) || c.is_control() {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// What no reader sees, or sees as something else.
fn is_odd(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c == '\u{feff}' || turns || (c.is_control() && c != '\n' && c != '\t')
}

/// Reads a file's bytes as text that every reader and editor sees the same way: UTF-8 with LF, no
/// byte order mark, no control characters but tabs, nothing that changes the direction of text.
pub(crate) fn plain_text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, Mistake> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        Mistake::at(file, &good, good.len(), "this is not UTF-8; save the file as UTF-8")
    })?;
    let Some((offset, c)) = text.char_indices().find(|(_, c)| is_odd(*c)) else {
        return Ok(text);
    };
    let problem = match c {
        '\u{feff}' => "a byte order mark stands here; save the file as UTF-8 without one".to_owned(),
        '\r' => "the line ends with a carriage return; save the file with LF line ends".to_owned(),
        _ => format!("the control character U+{:04X} stands here; remove it", u32::from(c)),
    };
    Err(Mistake::at(file, text, offset, problem))
}
