//! A bundle's folder: read so that nothing in it can be a device, somebody else's file or a way out.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{
    bundle::{Bundle, SUM},
    declare::FOLDERS,
    mistake::Mistake,
};

const MAX_FILE: u64 = 1 << 20;
const MAX_FILES: usize = 10_000;
const MAX_TOTAL: usize = 64 << 20;
const TEMPORARY: &str = ".bundle.sum.new";

impl Bundle {
    /// Reads a folder. Names that begin with a dot are ignored. Links are followed inside the folder
    /// only. Refused are: what is no plain file or folder, what others may write, what neither the
    /// running user nor root owns, files above 1 MiB, more than 10,000 files or 64 MiB in all. Where
    /// `bundle.sum` exists it must match.
    pub fn read(folder: &Path) -> Result<Self, Vec<Mistake>> {
        let (bundle, sum) = read_all(folder)?;
        let mistakes = sum.map(|sum| bundle.check_sum(&sum)).unwrap_or_default();
        if mistakes.is_empty() { Ok(bundle) } else { Err(mistakes) }
    }

    /// Reads a folder as [`Bundle::read`] does and writes its `bundle.sum`, all of it or nothing.
    pub fn seal(folder: &Path) -> Result<Self, Vec<Mistake>> {
        let (bundle, _) = read_all(folder)?;
        write_sum(folder, &bundle.sum())
            .map_err(|error| vec![Mistake::of_file(SUM, format!("it cannot be written: {error}"))])?;
        Ok(bundle)
    }
}

fn read_all(folder: &Path) -> Result<(Bundle, Option<String>), Vec<Mistake>> {
    let root = fs::canonicalize(folder).map_err(|error| {
        let text = format!("the folder {} cannot be read: {error}", folder.display());
        vec![Mistake::of_file("bundle.toml", text)]
    })?;
    let mut walk = Walk {
        root,
        files: Vec::new(),
        sum: None,
        total: 0,
        mistakes: Vec::new(),
    };
    walk.folder("", 0);
    if walk.mistakes.is_empty() {
        Ok((Bundle::of(walk.files), walk.sum))
    } else {
        Err(walk.mistakes)
    }
}

fn write_sum(folder: &Path, sum: &str) -> io::Result<()> {
    let temporary = folder.join(TEMPORARY);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&temporary)?;
    file.write_all(sum.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(SUM))?;
    File::open(folder)?.sync_all()
}

struct Walk {
    root: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    sum: Option<String>,
    total: usize,
    mistakes: Vec<Mistake>,
}

/// Deeper than any bundle is, so that links in a circle end.
const MAX_DEPTH: u8 = 4;

impl Walk {
    fn folder(&mut self, path: &str, depth: u8) {
        let listed = self.safe(path).and_then(|(real, meta)| {
            if depth > MAX_DEPTH {
                return Err("the folders are nested too deep".to_owned());
            }
            trusted(&meta)?;
            fs::read_dir(real)
                .and_then(|entries| {
                    entries
                        .map(|entry| entry.map(|entry| entry.file_name()))
                        .collect::<Result<Vec<_>, _>>()
                })
                .map_err(|error| error.to_string())
        });
        let mut names = match listed {
            Ok(names) => names,
            Err(problem) => return self.refuse(if path.is_empty() { "." } else { path }, problem),
        };
        names.sort();
        for name in names {
            if self.files.len() >= MAX_FILES {
                return self.refuse(path, format!("the bundle has more than {MAX_FILES} files"));
            }
            let shown = name.to_string_lossy();
            let inner = if path.is_empty() {
                shown.to_string()
            } else {
                format!("{path}/{shown}")
            };
            match name.to_str() {
                Some(name) if name.starts_with('.') => (),
                Some(name) if name.chars().any(char::is_control) => {
                    self.refuse(&inner, "its name holds control characters; rename it".to_owned());
                }
                Some(_) => self.entry(&inner, depth),
                None => self.refuse(&inner, "its name is not UTF-8".to_owned()),
            }
        }
    }

    fn entry(&mut self, path: &str, depth: u8) {
        match self.safe(path) {
            Ok((_, meta)) if meta.is_dir() => {
                let before = (self.files.len(), self.mistakes.len());
                self.folder(path, depth + 1);
                // What stands in a folder is complained of file by file.
                let empty = before == (self.files.len(), self.mistakes.len());
                if empty && !FOLDERS.iter().any(|(folder, _)| *folder == path) {
                    self.refuse(
                        path,
                        "no folder of this name belongs into a bundle; remove it".to_owned(),
                    );
                }
            }
            Ok((real, meta)) if meta.is_file() => match self.file(&real, &meta) {
                Ok(bytes) => self.keep(path, bytes),
                Err(problem) => self.refuse(path, problem),
            },
            Ok(_) => self.refuse(path, "it is neither a file nor a folder; remove it".to_owned()),
            Err(problem) => self.refuse(path, problem),
        }
    }

    fn keep(&mut self, path: &str, bytes: Vec<u8>) {
        self.total += bytes.len();
        if self.total > MAX_TOTAL {
            self.refuse(path, format!("the bundle is larger than {} MiB", MAX_TOTAL >> 20));
        } else if path == SUM {
            self.sum = Some(String::from_utf8_lossy(&bytes).into_owned());
        } else {
            self.files.push((path.to_owned(), bytes));
        }
    }

    /// Where a path leads with all links followed, which must be inside the root.
    fn safe(&self, path: &str) -> Result<(PathBuf, Metadata), String> {
        let real = fs::canonicalize(self.root.join(path)).map_err(|error| error.to_string())?;
        if !real.starts_with(&self.root) {
            return Err("it is a link that leaves the bundle; links must stay inside".to_owned());
        }
        let meta = fs::symlink_metadata(&real).map_err(|error| error.to_string())?;
        // A link may lead into a folder that the walk itself does not visit.
        if let Some(parent) = real.parent().filter(|parent| parent.starts_with(&self.root)) {
            trusted(&fs::symlink_metadata(parent).map_err(|error| error.to_string())?)
                .map_err(|problem| format!("of the folder that it is in: {problem}"))?;
        }
        Ok((real, meta))
    }

    /// Opens without following a link or waiting for a FIFO's writer, then trusts only what the opened
    /// file says of itself.
    fn file(&self, real: &Path, looked_at: &Metadata) -> Result<Vec<u8>, String> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(real)
            .map_err(|error| error.to_string())?;
        let meta = file.metadata().map_err(|error| error.to_string())?;
        if !meta.is_file() || (meta.dev(), meta.ino()) != (looked_at.dev(), looked_at.ino()) {
            return Err("it was changed while it was read; try again".to_owned());
        }
        trusted(&meta)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MAX_FILE {
            return Err("it is larger than 1 MiB; split it".to_owned());
        }
        Ok(bytes)
    }

    fn refuse(&mut self, path: &str, problem: String) {
        self.mistakes.push(Mistake::of_file(path, problem));
    }
}

/// Nobody but root and the running user may write it. A user's private group (same number, as Debian
/// and others make it) is that user; root has none.
fn trusted(meta: &Metadata) -> Result<(), String> {
    let private = meta.uid() != 0 && meta.gid() == meta.uid();
    let others = if private { 0o002 } else { 0o022 };
    if meta.mode() & others != 0 {
        return Err("others may write it; run `chmod go-w` on it".to_owned());
    }
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != user {
        return Err(format!(
            "user {} owns it; only root or user {user}, who runs this, may",
            meta.uid()
        ));
    }
    Ok(())
}
