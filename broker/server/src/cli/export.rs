//! `procura log export`: the whole log as JSON Lines that anybody can verify, or as a table.

mod table;

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use procura_core::archive::{self, Line};

use super::{
    Failure,
    api::{Connection, away},
    progress::Progress,
};

/// What is looked at of a file that is gone on with, bytes; a line has at most 130 KiB.
const TAIL: u64 = 1 << 20;

/// `procura log export`
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// How it is written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Where it goes. Until it is whole it is FILE.part, and the same command goes on where that ends
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    /// JSON Lines with every record's leaf, for `procura log verify`
    #[default]
    Jsonl,
    /// A table of all records in the order of their indexes, for a spreadsheet; nothing that could be verified
    Csv,
}

/// Writes it.
pub(crate) async fn run(command: Export) -> Result<(), Failure> {
    let part = command.out.with_added_extension("part");
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", part.display()));
    let mut file = open(&part).map_err(failed)?;
    let from = match command.format {
        Format::Jsonl => resume(&mut file),
        Format::Csv => table::resume(&mut file),
    };
    let from = from.map_err(failed)?;
    let format = match command.format {
        Format::Jsonl => "jsonl",
        Format::Csv => "csv",
    };
    let query = [("from", Some(from.to_string())), ("format", Some(format.to_owned()))];
    let mut export = command.connection.open()?.pieces("/log/export", &query, None).await?;
    let progress = Progress::unknown();
    while let Some(bytes) = export.chunk().await.map_err(away)? {
        file.write_all(&bytes).map_err(failed)?;
        progress.add(bytes.len());
    }
    file.sync_all().map_err(failed)?;
    // A table ends with its answer.
    if let Format::Jsonl = command.format {
        ended(last_line(&mut file).map_err(failed)?, &part)?;
    }
    fs::rename(&part, &command.out).map_err(failed)?;
    println!("{}", command.out.display());
    Ok(())
}

fn open(part: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(part)
}

/// Cuts the file behind its last record; answers the index of the one that is next.
fn resume(file: &mut File) -> std::io::Result<u64> {
    let (begin, tail) = tail(file)?;
    let (mut next, mut end, mut at) = (0, 0, begin);
    for line in tail.split_inclusive(|byte| *byte == b'\n') {
        at += line.len() as u64;
        if let Ok(Line::Record { index, .. }) = archive::read(line) {
            (next, end) = (index + 1, at);
        }
    }
    // Without a record there is nothing to go on from.
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(next)
}

/// How an export ended: with its checkpoint, or the broker went away on the way to it, or it cannot go on.
fn ended(last: Option<Line>, part: &Path) -> Result<(), Failure> {
    let part = part.display();
    match last {
        Some(Line::Checkpoint(_)) => Ok(()),
        Some(Line::Missing(index)) => Err(Failure::found(format!(
            "at index {index}: the store of the broker lacks this record, or does not have it whole: somebody took it away \
             or changed it; what is before it is in {part}"
        ))),
        _ => Err(Failure::found(format!(
            "the broker ended the export early; the same command goes on from {part}"
        ))),
    }
}

fn last_line(file: &mut File) -> std::io::Result<Option<Line>> {
    let (_, tail) = tail(file)?;
    let last = tail.split_inclusive(|byte| *byte == b'\n').next_back();
    Ok(last.and_then(|line| archive::read(line).ok()))
}

/// The end of a file, which has some whole lines in it, and where it begins.
fn tail(file: &mut File) -> std::io::Result<(u64, Vec<u8>)> {
    let begin = file.metadata()?.len().saturating_sub(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.read_to_end(&mut tail)?;
    Ok((begin, tail))
}

#[cfg(test)]
mod tests {
    use procura_core::archive::{checkpoint_line, header_line, missing_line, record_line};

    use super::*;

    #[test]
    fn an_export_is_gone_on_with_behind_its_last_record_whatever_follows_it() {
        let records = header_line("b/procura/1") + &record_line(0, "{}", None) + &record_line(1, "{}", None);
        for (behind, code) in [
            (checkpoint_line("note"), None),
            (missing_line(2), Some("index 2")),
            (String::new(), Some("goes on from")),
            ("{\"index\":2,\"leaf_ha".to_owned(), Some("goes on from")),
        ] {
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(format!("{records}{behind}").as_bytes())
                .expect("written");
            let last = last_line(&mut file).expect("read");
            match (ended(last, Path::new("log.part")), code) {
                (Ok(()), None) => {}
                (Err(Failure::Found(problem)), Some(says)) => assert!(problem.contains(says), "{problem}"),
                (other, _) => panic!("{behind}: {other:?}"),
            }
            assert_eq!(resume(&mut file).expect("read"), 2, "{behind}");
            assert_eq!(file.metadata().expect("file").len(), records.len() as u64, "{behind}");
        }
    }
}
