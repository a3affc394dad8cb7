//! Lines as they are written and read. Records are read without a JSON parser: it would take longer than all the hashing.

use procura_wire::Digest;
use serde::{Deserialize, Serialize};

use super::{FORMAT, walk::leaf_hash};
use crate::record::commitment;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    procura_log_export: u32,
    origin: String,
}

/// A published checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    checkpoint: String,
}

/// What ends an export in the place of its checkpoint, where the store lacks a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Missing {
    missing: u64,
}

/// A line that is whole in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The first one: the origin of the log's checkpoints.
    Header(String),
    /// A record.
    Record {
        /// Its leaf index.
        index: u64,
        /// RFC 6962 hash of the leaf.
        hash: Digest,
        /// Its personal data was erased.
        erased: bool,
    },
    /// A checkpoint, the text of a signed note.
    Checkpoint(String),
    /// The leaf index of a record that the store lacks; nothing comes behind it.
    Missing(u64),
}

/// Why a line is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not written as lines of this format are.
    #[error("the line is not as an export has it")]
    Form,
    /// The leaf is not the one whose hash stands there.
    #[error("the record does not have the hash that stands beside it")]
    Leaf,
    /// Personal data and salt are not those that the record commits to.
    #[error("the personal data is not what the record commits to")]
    Commitment,
}

/// The header of a log with that origin.
pub fn header_line(origin: &str) -> String {
    let header = Header {
        procura_log_export: FORMAT,
        origin: origin.to_owned(),
    };
    text(&header)
}

/// The line of a checkpoint.
pub fn checkpoint_line(note: &str) -> String {
    text(&Checkpoint {
        checkpoint: note.to_owned(),
    })
}

/// The line of a record that the store lacks.
pub fn missing_line(index: u64) -> String {
    text(&Missing { missing: index })
}

/// The line of a record: the exact bytes of its leaf; salt and clear text of its commitment, unless they were erased.
pub fn record_line(index: u64, leaf: &str, side: Option<(&[u8; 32], &str)>) -> String {
    let hash = leaf_hash(leaf.as_bytes());
    let mut line = format!(
        "{{\"index\":{index},\"leaf_hash\":\"{hash}\",\"leaf_bytes\":{},\"leaf\":{leaf}",
        leaf.len()
    );
    if let Some((salt, clear)) = side {
        line += &format!(",\"salt\":\"{}\",\"clear\":{clear}", Digest::from_bytes(*salt));
    }
    line + "}\n"
}

/// Reads a line, with the line feed at its end.
///
/// # Errors
///
/// What is wrong with it. Whether it stands in the right place is for [`Walk`](super::Walk).
pub fn read(line: &[u8]) -> Result<Line, Fault> {
    if line.starts_with(b"{\"index\":") {
        return record(line);
    }
    let known = str::from_utf8(line).map_err(|_| Fault::Form)?;
    let read = if line.starts_with(b"{\"checkpoint\":") {
        let Checkpoint { checkpoint } = serde_json::from_slice(line).map_err(|_| Fault::Form)?;
        (checkpoint_line(&checkpoint), Line::Checkpoint(checkpoint))
    } else if line.starts_with(b"{\"missing\":") {
        let Missing { missing } = serde_json::from_slice(line).map_err(|_| Fault::Form)?;
        (missing_line(missing), Line::Missing(missing))
    } else {
        let header: Header = serde_json::from_slice(line).map_err(|_| Fault::Form)?;
        (header_line(&header.origin), Line::Header(header.origin))
    };
    // Another spelling of the same thing, or another version.
    if read.0 == known { Ok(read.1) } else { Err(Fault::Form) }
}

fn record(line: &[u8]) -> Result<Line, Fault> {
    let mut rest = Rest(line);
    rest.take(b"{\"index\":")?;
    let index = rest.number()?;
    rest.take(b",\"leaf_hash\":\"")?;
    let said = rest.digest()?;
    rest.take(b"\",\"leaf_bytes\":")?;
    let length = usize::try_from(rest.number()?).map_err(|_| Fault::Form)?;
    rest.take(b",\"leaf\":")?;
    let leaf = rest.bytes(length)?;
    let hash = leaf_hash(leaf);
    if hash != said {
        return Err(Fault::Leaf);
    }
    let erased = rest.0 == b"}\n";
    if !erased {
        rest.take(b",\"salt\":\"")?;
        let salt = rest.digest()?;
        rest.take(b"\",\"clear\":")?;
        let clear = rest.0.strip_suffix(b"}\n").ok_or(Fault::Form)?;
        let clear = str::from_utf8(clear).map_err(|_| Fault::Commitment)?;
        if committed(leaf)? != commitment(salt.as_bytes(), clear) {
            return Err(Fault::Commitment);
        }
    }
    Ok(Line::Record { index, hash, erased })
}

/// The commitment, which is the last member of every leaf.
fn committed(leaf: &[u8]) -> Result<Digest, Fault> {
    let end = leaf
        .len()
        .checked_sub(b",\"commitment\":\"\"}".len() + 64)
        .ok_or(Fault::Form)?;
    let mut rest = Rest(&leaf[end..]);
    rest.take(b",\"commitment\":\"")?;
    rest.digest()
}

/// What is still to be read of a line.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, expected: &[u8]) -> Result<(), Fault> {
        self.0 = self.0.strip_prefix(expected).ok_or(Fault::Form)?;
        Ok(())
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Fault::Form)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn digest(&mut self) -> Result<Digest, Fault> {
        let text = str::from_utf8(self.bytes(64)?).map_err(|_| Fault::Form)?;
        text.parse().map_err(|_| Fault::Form)
    }

    /// Digits without a zero before them.
    fn number(&mut self) -> Result<u64, Fault> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = self.bytes(count)?;
        if digits.len() > 1 && digits.starts_with(b"0") {
            return Err(Fault::Form);
        }
        let text = str::from_utf8(digits).map_err(|_| Fault::Form)?;
        text.parse().map_err(|_| Fault::Form)
    }
}

fn text(value: &impl Serialize) -> String {
    // Strings and numbers only: it cannot fail.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}
