//! An append-only file: each line is a note as a JSON text.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use procura_core::{
    log::{Anchor, AnchorError, Anchored},
    ports::BoxFuture,
};
use tokio::task::spawn_blocking;

/// What is read of the end of the file: many notes.
const TAIL: u64 = 256 * 1024;

/// A file that notes are appended to. Several processes may share it where the file system locks.
#[derive(Debug, Clone)]
pub struct FileAnchor {
    path: PathBuf,
}

impl FileAnchor {
    /// The file is made with the first note; its folder must be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn describe(&self, error: &io::Error) -> AnchorError {
        let path = self.path.display();
        AnchorError::Away(match error.kind() {
            io::ErrorKind::NotFound => format!("{path}: its folder is not there; mount the volume that it lies on"),
            _ => format!("{path}: {error}"),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<Result<T, AnchorError>> + Send + 'static,
    ) -> Result<T, AnchorError> {
        let path = self.path.clone();
        let done = spawn_blocking(move || work(&path)).await;
        match done {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(self.describe(&error)),
            Err(_) => Err(AnchorError::Away("the work on the file was given up".to_owned())),
        }
    }
}

impl Anchor for FileAnchor {
    fn last(&self) -> BoxFuture<'_, Result<Anchored, AnchorError>> {
        Box::pin(self.blocking(last))
    }

    fn append(&self, position: u64, note: String) -> BoxFuture<'_, Result<(), AnchorError>> {
        Box::pin(self.blocking(move |path| append(path, position, &note)))
    }
}

fn last(path: &Path) -> io::Result<Result<Anchored, AnchorError>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder_of(path).is_dir() => {
            return Ok(Ok(Anchored {
                position: 0,
                note: None,
            }));
        }
        file => file?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    // A line without its end was not answered for: its writer died, or the disk was full.
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut lines = tail[..whole].split(|byte| *byte == b'\n').rev();
    let note = lines.find_map(|line| serde_json::from_slice::<String>(line).ok());
    if note.is_none() && length > TAIL {
        let problem = format!("{}: its end holds no note; is it the right file?", path.display());
        return Ok(Err(AnchorError::Away(problem)));
    }
    Ok(Ok(Anchored { position: length, note }))
}

fn append(path: &Path, position: u64, note: &str) -> io::Result<Result<(), AnchorError>> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        // Whoever is stopped while it has the lock must not stop others.
        Err(TryLockError::WouldBlock) => {
            let problem = format!("{}: another process is writing", path.display());
            return Ok(Err(AnchorError::Away(problem)));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let length = file.metadata()?.len();
    if length != position {
        return Ok(Err(AnchorError::Taken));
    }
    let mut line = String::new();
    if !ends_a_line(&mut file, length)? {
        line.push('\n');
    }
    line.push_str(&serde_json::Value::from(note).to_string());
    line.push('\n');
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    if length == 0 {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(Ok(()))
}

fn ends_a_line(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(true);
    }
    let mut end = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut end)?;
    Ok(end == *b"\n")
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// How far an anchor's file is from the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearness {
    /// The same folder: whoever restores or changes one has the other at hand.
    SameFolder,
    /// The same file system: what fills or loses one fills or loses the other.
    SameVolume,
    /// Different file systems.
    Apart,
}

/// How far two files are from each other, whose folders must be there.
pub fn nearness(one: &Path, other: &Path) -> io::Result<Nearness> {
    let (one, other) = (fs::canonicalize(folder_of(one))?, fs::canonicalize(folder_of(other))?);
    if one == other {
        return Ok(Nearness::SameFolder);
    }
    let same = fs::metadata(&one)?.dev() == fs::metadata(&other)?.dev();
    Ok(if same { Nearness::SameVolume } else { Nearness::Apart })
}
