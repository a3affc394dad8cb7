//! A table that is gone on with: its rows are counted, as a cell may hold line breaks.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
};

/// What is read at once, bytes.
const CHUNK: usize = 1 << 20;

/// Cuts the file behind its last whole row; answers the index of the record that is next.
pub(super) fn resume(file: &mut File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let (rows, end) = whole_rows(BufReader::with_capacity(CHUNK, &mut *file))?;
    // The first row is the head. Without a record there is nothing to go on from.
    let (next, end) = match rows {
        0 | 1 => (0, 0),
        rows => (rows - 1, end),
    };
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(next)
}

/// How many rows are whole (RFC 4180), and where the last of them ends.
fn whole_rows(text: impl BufRead) -> io::Result<(u64, u64)> {
    let (mut rows, mut end, mut quoted) = (0, 0, false);
    for (at, byte) in (1..).zip(text.bytes()) {
        match byte? {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => (rows, end) = (rows + 1, at),
            _ => {}
        }
    }
    Ok((rows, end))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEAD: &str = "index,tool\r\n";
    const ROWS: &str = "0,list\r\n1,\"a \"\"b\"\"\r\n2,c\r\n\"\r\n";

    #[test]
    fn wherever_a_table_breaks_off_it_is_gone_on_with_behind_its_last_whole_row() {
        let whole = format!("{HEAD}{ROWS}");
        for cut in 0..=whole.len() {
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(&whole.as_bytes()[..cut]).expect("written");
            let next = resume(&mut file).expect("read");
            let first = HEAD.len() + "0,list\r\n".len();
            let expected = match cut {
                cut if cut == whole.len() => (2, whole.len()),
                cut if cut >= first => (1, first),
                _ => (0, 0),
            };
            let length = file.metadata().expect("file").len();
            assert_eq!((next, length), (expected.0, expected.1 as u64), "cut at {cut}");
            assert_eq!(file.stream_position().expect("position"), length);
        }
    }
}
