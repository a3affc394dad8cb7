//! `procura log verify`: an export, or the live log, recomputed from its first record to its last checkpoint.

use std::{
    fs::File,
    io::Read,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use procura_core::{
    archive::{self, Found, Kept, Walk},
    log::{Hash, Head, Link, Statement},
};
use procura_wire::Digest;
use serde_json::{Value, json};

use super::{
    Failure,
    api::{Connection, away},
    kept,
    progress::Progress,
};
use crate::notary::Verifiers;

/// What is read at once, bytes.
const CHUNK: usize = 4 << 20;
/// Longest line, bytes: leaf and clear text have at most 60 KiB each.
const MAX_LINE: usize = 1 << 20;

/// `procura log verify`
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// What `procura log export` wrote; without it the log of the broker is read
    file: Option<PathBuf>,
    /// A checkpoint that you kept, the anchor's file, or a folder with the objects of its bucket: finds what was cut off at
    /// the end, and follows the links from earlier epochs
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// The log's public keys, one a line as `/log/keys` has them; without them nobody looks whose signatures they are
    #[arg(long = "key", value_name = "VKEY")]
    keys: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// Verifies and reports.
pub(crate) async fn run(command: Verify) -> Result<(), Failure> {
    let verifiers = verifiers(&command.keys)?;
    let (kept, against) = match &command.against {
        Some(path) => kept::read(path, &verifiers)?,
        None => (Kept::default(), 0),
    };
    let mut report = Report {
        against,
        signatures: !verifiers.is_empty(),
        verifying: Verifying {
            walk: Walk::against(kept),
            waiting: Vec::new(),
            verifiers,
        },
        found: None,
    };
    let verified = match &command.file {
        Some(path) => file(path, &mut report.verifying)?,
        None => live(&command.connection, &mut report.verifying).await?,
    };
    report.found = verified.err();
    report.print(command.json)
}

/// The keys of all `--key`, whose values may have several lines.
fn verifiers(given: &[String]) -> Result<Verifiers, Failure> {
    let lines: Vec<_> = given
        .iter()
        .flat_map(|given| given.lines().map(str::to_owned))
        .collect();
    let verifiers = Verifiers::parse(&lines).map_err(Failure::usage)?;
    if verifiers.is_empty() && !given.is_empty() {
        return Err(Failure::usage(
            "--key has no key in it: give the lines that /log/keys had",
        ));
    }
    Ok(verifiers)
}

fn file(path: &Path, verifying: &mut Verifying) -> Result<Result<(), Found>, Failure> {
    let failed = |error| Failure::usage(format!("{}: {error}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let progress = Progress::new(file.metadata().map_err(failed)?.len());
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk).map_err(failed)?;
        if read == 0 {
            return Ok(verifying.end());
        }
        progress.add(read);
        if let Err(found) = verifying.feed(&chunk[..read]) {
            return Ok(Err(found));
        }
    }
}

async fn live(connection: &Connection, verifying: &mut Verifying) -> Result<Result<(), Found>, Failure> {
    let mut export = connection.open()?.pieces("/log/export", &[], None).await?;
    let progress = Progress::unknown();
    let mut gathered = Vec::new();
    while let Some(bytes) = export.chunk().await.map_err(away)? {
        progress.add(bytes.len());
        gathered.extend_from_slice(&bytes);
        if gathered.len() >= CHUNK
            && let Err(found) = verifying.feed(&std::mem::take(&mut gathered))
        {
            return Ok(Err(found));
        }
    }
    Ok(verifying.feed(&gathered).and_then(|()| verifying.end()))
}

/// A walk that is fed with whatever pieces come.
struct Verifying {
    walk: Walk,
    /// The beginning of a line whose end is still to come.
    waiting: Vec<u8>,
    verifiers: Verifiers,
}

impl Verifying {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Found> {
        self.waiting.extend_from_slice(bytes);
        let end = self.waiting.iter().rposition(|byte| *byte == b'\n');
        let rest = self.waiting.split_off(end.map_or(0, |at| at + 1));
        let lines = std::mem::replace(&mut self.waiting, rest);
        self.lines(&lines)?;
        if self.waiting.len() > MAX_LINE {
            return self.end();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Found> {
        let rest = std::mem::take(&mut self.waiting);
        self.lines(&rest)?;
        self.walk.end()
    }

    /// Lines are hashed side by side; the tree grows in their order.
    fn lines(&mut self, text: &[u8]) -> Result<(), Found> {
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        let share = lines.len().div_ceil(workers).max(1);
        let verifiers = &self.verifiers;
        let open = move |origin: &str, note: &str| {
            let head = match Statement::parse(&verifiers.open(origin, note)?) {
                Ok(Statement::Checkpoint(head)) if head.origin == origin => head,
                _ => return Err(format!("it is no checkpoint of {origin}")),
            };
            Ok((head.size, Digest::from_bytes(head.root.0)))
        };
        thread::scope(|scope| {
            let read = |part: &[&[u8]]| part.iter().map(|line| archive::read(line)).collect::<Vec<_>>();
            let parts: Vec<_> = lines
                .chunks(share)
                .map(|part| scope.spawn(move || read(part)))
                .collect();
            for part in parts {
                // One that panicked verified nothing.
                for line in part.join().unwrap_or_else(|_| vec![Err(archive::Fault::Form)]) {
                    self.walk.line(line, &open)?;
                }
            }
            Ok(())
        })
    }
}

fn link(Link { old, new }: &Link) -> Value {
    let head = |head: &Head| json!({ "origin": head.origin, "size": head.size });
    json!({ "old": head(old), "new": head(new) })
}

struct Report {
    verifying: Verifying,
    found: Option<Found>,
    /// Checkpoints that it was compared with.
    against: usize,
    signatures: bool,
}

impl Report {
    fn print(self, as_json: bool) -> Result<(), Failure> {
        let walk = &self.verifying.walk;
        // As checkpoints have it.
        let root = Hash(*walk.root().as_bytes()).to_string();
        if as_json {
            let found = self
                .found
                .as_ref()
                .map(|found| json!({ "index": found.index, "last": found.last, "problem": found.problem.to_string() }));
            let report = json!({
                "verified": found.is_none(), "records": walk.records(), "root": root, "origin": walk.origin(),
                "erased": walk.erased(), "checkpoints": walk.checkpoints(), "kept_checkpoints": self.against,
                "extended": walk.extended(), "given_up": walk.given_up(), "signatures_checked": self.signatures,
                "truncation_checked": walk.extended() > 0, "links": walk.links().iter().map(link).collect::<Vec<_>>(),
                "found": found,
            });
            println!("{report:#}");
        } else if self.found.is_none() {
            println!("verified: {} records, root {root}", walk.records());
            println!(
                "personal data erased in {} of them, which their commitments allow",
                walk.erased()
            );
            if !self.signatures {
                println!("whose signatures these are was not checked: give the log's public key with --key");
            }
            match (self.against, walk.extended()) {
                (0, _) => println!("truncation was not checked: give a checkpoint that you kept with --against"),
                (_, 0) => {
                    println!("truncation was not checked: every kept checkpoint is of an epoch that was given up")
                }
                (_, count) => println!("it extends {count} kept heads"),
            }
            if walk.given_up() > 0 {
                println!(
                    "{} kept heads are of records that a restore lost, as an operator acknowledged by a signed link",
                    walk.given_up()
                );
            }
            for Link { old, new } in walk.links() {
                println!(
                    "a link leads from {} records of {} to {} of {}",
                    old.size, old.origin, new.size, new.origin
                );
            }
        }
        match self.found {
            None => Ok(()),
            Some(found) if found.index == found.last => {
                Err(Failure::found(format!("at index {}: {}", found.index, found.problem)))
            }
            Some(found) => Err(Failure::found(format!(
                "between index {} and {}: {}",
                found.index, found.last, found.problem
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use procura_core::archive::{Problem, header_line, missing_line};
    use procura_target_jwt::{SigningAlgorithm, new_set};

    use super::*;
    use crate::notary::LogKeys;

    #[test]
    fn signatures_are_checked_where_a_key_is_given_and_none_in_what_is_given_is_a_mistake() {
        let keys = LogKeys::parse(&new_set(SigningAlgorithm::Ed25519).expect("set")).expect("keys");
        let lines = procura_core::log::Notary::verifiers(&keys, "b.example/procura/1").join("\n");
        assert!(verifiers(&[]).is_ok_and(|none| none.is_empty()));
        assert!(verifiers(&[lines]).is_ok_and(|known| !known.is_empty()));
        for empty in ["", "\n", "no key"] {
            assert!(
                matches!(verifiers(&[empty.to_owned()]), Err(Failure::Usage(_))),
                "{empty:?}"
            );
        }
    }

    #[test]
    fn an_export_that_ends_with_a_record_that_is_missing_is_found_at_its_index() {
        let mut verifying = Verifying {
            walk: Walk::default(),
            waiting: Vec::new(),
            verifiers: verifiers(&[]).unwrap_or_else(|failure| panic!("{failure}")),
        };
        let export = header_line("b.example/procura/1") + &missing_line(0);
        let found = verifying.feed(export.as_bytes()).expect_err("missing");
        assert_eq!((found.index, found.problem), (0, Problem::Missing));
    }
}
