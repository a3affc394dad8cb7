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
    // The last line is the checkpoint, or the broker went away on the way to it. A table ends with its answer.
    let whole = match command.format {
        Format::Jsonl => ends_with_checkpoint(&mut file).map_err(failed)?,
        Format::Csv => true,
    };
    if !whole {
        return Err(Failure::found(format!(
            "the broker ended the export early; the same command goes on from {}",
            part.display()
        )));
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

/// Cuts the file behind its last whole line; answers the index of the record that is next.
fn resume(file: &mut File) -> std::io::Result<u64> {
    let (begin, tail) = tail(file)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let next = tail[..whole]
        .split_inclusive(|byte| *byte == b'\n')
        .rev()
        .find_map(|line| match archive::read(line) {
            Ok(Line::Record { index, .. }) => Some(index + 1),
            _ => None,
        });
    // Without a record there is nothing to go on from.
    let end = if next.is_some() { begin + whole as u64 } else { 0 };
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(next.unwrap_or_default())
}

fn ends_with_checkpoint(file: &mut File) -> std::io::Result<bool> {
    let (_, tail) = tail(file)?;
    let last = tail.split_inclusive(|byte| *byte == b'\n').next_back();
    Ok(matches!(last.map(archive::read), Some(Ok(Line::Checkpoint(_)))))
}

/// The end of a file, which has some whole lines in it, and where it begins.
fn tail(file: &mut File) -> std::io::Result<(u64, Vec<u8>)> {
    let begin = file.metadata()?.len().saturating_sub(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.read_to_end(&mut tail)?;
    Ok((begin, tail))
}
