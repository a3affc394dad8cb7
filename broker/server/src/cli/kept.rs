//! What `--against` names: notes that an auditor kept.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use procura_core::{
    archive::Kept,
    log::{MalformedNote, Statement},
};

use super::Failure;
use crate::notary::Verifiers;

/// The notes of a file or a folder, each verified, and how many checkpoints are among them.
///
/// # Errors
///
/// What cannot be read or verified is a usage error; two that contradict each other are a finding.
pub(super) fn read(path: &Path, verifiers: &Verifiers) -> Result<(Kept, usize), Failure> {
    let failed = |problem: String| Failure::usage(format!("{}: {problem}", path.display()));
    let unread = |error: io::Error| failed(error.to_string());
    let mut statements = Vec::new();
    for note in notes(path).map_err(unread)? {
        statements.push(statement(&note.map_err(unread)?, verifiers).map_err(failed)?);
    }
    let is_checkpoint = |statement: &&Statement| matches!(statement, Statement::Checkpoint(_));
    match statements.iter().filter(is_checkpoint).count() {
        0 => Err(failed("there is no checkpoint in it".to_owned())),
        count => Ok((Kept::new(statements).map_err(Failure::found)?, count)),
    }
}

fn statement(note: &str, verifiers: &Verifiers) -> Result<Statement, String> {
    let malformed = |error: MalformedNote| error.to_string();
    let claimed = Statement::parse_unverified(note).map_err(malformed)?;
    let text = verifiers.open(&claimed.head().origin, note)?;
    Statement::parse(&text).map_err(malformed)
}

/// An anchor's file has a JSON text on each line; a bucket has an object for each note, which a folder keeps as files.
fn notes(path: &Path) -> io::Result<Box<dyn Iterator<Item = io::Result<String>>>> {
    if path.is_dir() {
        let mut files: Vec<PathBuf> = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        return Ok(Box::new(files.into_iter().map(fs::read_to_string)));
    }
    let mut file = BufReader::new(File::open(path)?);
    if file.fill_buf()?.first() != Some(&b'"') {
        return Ok(Box::new(std::iter::once(io::read_to_string(file))));
    }
    let note = |line: io::Result<Vec<u8>>| match serde_json::from_slice(&line.ok()?) {
        Ok(note) => Some(Ok(note)),
        // Whoever wrote it died before its end, and nobody was told of that checkpoint.
        Err(error) if error.is_eof() => None,
        Err(error) => Some(Err(error.into())),
    };
    Ok(Box::new(file.split(b'\n').filter_map(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Verifiers {
        Verifiers::parse(&[]).expect("no keys")
    }

    fn note(origin: &str, size: u64, root: [u8; 32]) -> String {
        use procura_core::log::{Hash, Head};
        let head = Head {
            origin: origin.to_owned(),
            size,
            root: Hash(root),
        };
        format!("{}\n— {origin} {}\n", head.text(), "AAAA".repeat(23))
    }

    fn line(note: &str) -> String {
        format!("{}\n", serde_json::Value::from(note))
    }

    #[test]
    fn one_note_a_file_of_an_anchor_and_a_folder_of_objects_are_read() {
        let folder = tempfile::tempdir().expect("folder");
        let (one, two) = (note("b/procura/1", 1, [1; 32]), note("b/procura/1", 2, [2; 32]));
        let (alone, file, bucket) = (
            folder.path().join("note"),
            folder.path().join("anchor"),
            folder.path().join("bucket"),
        );
        fs::write(&alone, &one).expect("written");
        let cut = &line(&two)[..20];
        fs::write(&file, format!("{}{cut}\n{}{cut}", line(&one), line(&two))).expect("written");
        fs::create_dir(&bucket).expect("folder");
        fs::write(bucket.join("00"), &one).expect("written");
        fs::write(bucket.join("01"), &two).expect("written");
        for (path, count) in [(alone, 1), (file, 2), (bucket, 2)] {
            let read = read(&path, &none()).map(|(_, count)| count);
            assert_eq!(read.ok(), Some(count), "{}", path.display());
        }
    }

    #[test]
    fn attack_194_two_notes_that_contradict_each_other_are_found_and_no_notes_are_a_mistake() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("anchor");
        let (one, two) = (note("b/procura/1", 1, [1; 32]), note("b/procura/1", 1, [2; 32]));
        fs::write(&path, line(&one) + &line(&two)).expect("written");
        let Err(Failure::Found(problem)) = read(&path, &none()) else {
            panic!("a fork is found");
        };
        assert!(problem.contains("forked"), "{problem}");
        for bad in ["\"\n", "\"no note\"\n", "nothing", "\"a\" b\n", ""] {
            fs::write(&path, bad).expect("written");
            assert!(matches!(read(&path, &none()), Err(Failure::Usage(_))), "{bad:?}");
        }
    }
}
