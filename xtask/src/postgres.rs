//! PostgreSQL for the tests: the system's where there is one, and the newer one of the testbed.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{run::run, system::apt_get};

/// Installs the system's server with apt-get, unless there is one.
pub(crate) fn install_system() -> Result<(), String> {
    if is_installed() { Ok(()) } else { apt_get("postgresql") }
}

/// Whether PATH or Debian's place has the programs.
pub(crate) fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    std::env::split_paths(&path)
        .chain(debian.map(|version| version.path().join("bin")))
        .any(|dir| dir.join("initdb").exists())
}

/// An installation that an unprivileged user can run.
pub(crate) struct Programs {
    dir: PathBuf,
    copied: bool,
}

impl Programs {
    /// The installation itself; or, for root, whose servers run as another user, a throwaway copy
    /// where a directory above it is closed to others.
    pub(crate) fn reachable(installed: PathBuf) -> Result<Self, String> {
        if !is_root() || is_open(&installed) {
            return Ok(Self {
                dir: installed,
                copied: false,
            });
        }
        let dir = std::env::temp_dir().join(format!("procura-postgres-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&dir)
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        let programs = Self { dir, copied: true };
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(installed.join(".")).arg(&programs.dir);
        run(copy)?;
        Ok(programs)
    }

    /// Where the programs are.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        if self.copied {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn is_open(path: &Path) -> bool {
    path.ancestors()
        .all(|dir| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0))
}
