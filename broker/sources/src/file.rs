//! Mounted secrets: files below one folder, watched.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use notify::{Config, RecommendedWatcher, RecursiveMode, Watcher};
use procura_core::{ports::BoxFuture, source::SourceSecret};
use procura_wire::Secret;

use crate::cache::{Trouble, Upstream, VersionKey};

/// Largest secret.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// How long a file's content is taken for the present while the watch reports no event. Some file
/// systems report none.
const WATCHED: Duration = Duration::from_secs(30);
/// The same without a watch.
const UNWATCHED: Duration = Duration::from_secs(1);

/// A folder of secrets.
pub(crate) struct Files {
    root: PathBuf,
    versions: VersionKey,
    changes: Arc<AtomicU64>,
    watch: Mutex<Option<RecommendedWatcher>>,
}

impl Files {
    pub(crate) fn new(root: PathBuf, versions: VersionKey) -> Self {
        Self {
            root,
            versions,
            changes: Arc::default(),
            watch: Mutex::new(None),
        }
    }

    /// Begins to watch unless it is watched already. The whole folder: Kubernetes swaps the link `..data`
    /// beside the files, and no event reaches the files themselves.
    pub(crate) fn watch(&self) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_some() {
            return;
        }
        let changes = Arc::clone(&self.changes);
        let on_event = move |event: notify::Result<notify::Event>| {
            // Our own reading is an event too.
            if event.map_or(true, |event| !event.kind.is_access()) {
                changes.fetch_add(1, Ordering::SeqCst);
            }
        };
        // A link may lead anywhere; the folders that it leads to inside the root are watched themselves.
        let config = Config::default().with_follow_symlinks(false);
        *watch = RecommendedWatcher::new(on_event, config)
            .and_then(|mut watcher| {
                watcher.watch(&self.root, RecursiveMode::Recursive)?;
                Ok(watcher)
            })
            .inspect_err(|error| tracing::debug!(root = %self.root.display(), %error, "not watched yet"))
            .ok();
        // What changed before the watch began was not reported.
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn versioned(&self, value: Secret) -> SourceSecret {
        #[expect(clippy::disallowed_methods, reason = "a keyed digest of the content is its version")]
        let version = self.versions.version(value.expose().as_bytes());
        SourceSecret { value, version }
    }

    fn is_watched(&self) -> bool {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Upstream for Files {
    fn read<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<SourceSecret, Trouble>> {
        let (root, path) = (self.root.clone(), self.root.join(path));
        async move {
            tokio::task::spawn_blocking(move || {
                read_below(&root, &path)
                    // A link that was swapped between resolving and opening it.
                    .or_else(|_| read_below(&root, &path))
            })
            .await
            .unwrap_or_else(|_| Err(Trouble::Away("the read was interrupted".to_owned())))
            .map(|value| self.versioned(value))
        }
        .boxed()
    }

    fn fresh_for(&self) -> Duration {
        if self.is_watched() { WATCHED } else { UNWATCHED }
    }

    fn generation(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }
}

fn read_below(root: &Path, path: &Path) -> Result<Secret, Trouble> {
    let away = |error: io::Error| Trouble::Away(format!("{}: {}", path.display(), error.kind()));
    let real = path.canonicalize().map_err(away)?;
    if !real.starts_with(root.canonicalize().map_err(away)?) {
        return Err(Trouble::Gone(format!("{} is a link out of its root", path.display())));
    }
    read_private(&real)
}

/// Reads a regular file that others may neither read nor write, without the line end that editors add.
/// An empty file is being written.
pub(crate) fn read_private(path: &Path) -> Result<Secret, Trouble> {
    let away = |error: io::Error| Trouble::Away(format!("{}: {}", path.display(), error.kind()));
    // Before it is opened, because opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(away)?.is_file() {
        return Err(Trouble::Gone(format!("{} is not a regular file", path.display())));
    }
    let file = File::open(path).map_err(away)?;
    let mode = file.metadata().map_err(away)?.mode() & 0o777;
    if mode & 0o007 != 0 {
        let path = path.display();
        let problem =
            format!("{path} is open to everybody (mode {mode:04o}); make it 0440 or 0400 (Kubernetes: defaultMode)");
        return Err(Trouble::Gone(problem));
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    let value = Secret::new(text);
    let size = u64::try_from(read.map_err(away)?).unwrap_or(u64::MAX);
    if size > MAX_BYTES {
        return Err(Trouble::Gone(format!("{} is larger than 1 MiB", path.display())));
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the line end is cut off; the result is a secret again"
    )]
    let value = match value.expose().strip_suffix('\n') {
        Some(text) => Secret::new(text.strip_suffix('\r').unwrap_or(text).to_owned()),
        None => value,
    };
    if value.is_empty() {
        return Err(Trouble::Away(format!("{} is empty", path.display())));
    }
    Ok(value)
}
