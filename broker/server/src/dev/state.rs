//! What development mode keeps in the current folder.

use std::{
    fs::{self, DirBuilder},
    io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use include_dir::{Dir, include_dir};
use procura_core::ports::Entropy;
use procura_target_jwt::{Keyring, SigningAlgorithm, new_set};

use super::file::FOLDER;
use crate::{
    assembly::Keys,
    cli::{self, Failure, print},
    log,
    notary::LogKeys,
    seal::{self, Seals},
};

/// The bundle of `procura dev`, as it is written into a folder that has none.
static BUNDLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../policies/dev");
/// The one with a database.
static POSTGRES_BUNDLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../policies/dev-postgres");

/// Where the bundle stands.
const POLICIES: &str = "policies/dev";

/// The folder of the state, its owner's alone.
pub(super) struct State(PathBuf);

impl State {
    /// Makes the folder where it is missing.
    pub(super) fn open() -> Result<Self, Failure> {
        let state = Self(PathBuf::from(FOLDER));
        state.folder("")?;
        Ok(state)
    }

    /// A path in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A folder in it, its owner's alone too.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        let failed = |error| Failure::usage(format!("{}: {error}", path.display()));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(path)
    }

    /// The broker's signing keys, made where there are none.
    pub(super) fn keys(&self, log: log::Parts) -> Result<Keys, Failure> {
        let path = self.path("keys.json");
        if !path.exists() {
            let set = new_set(SigningAlgorithm::Es256).map_err(Failure::found)?;
            cli::keys::create(&path, &set)?;
        }
        let ring = Keyring::parse(&cli::read_secret(&path)?);
        let ring = ring.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(Keys {
            ring: Arc::new(ring),
            source: None,
            seal_source: None,
            log,
        })
    }

    /// The keys that sign the log, made where there are none.
    pub(super) fn log_keys(&self) -> Result<LogKeys, Failure> {
        let path = self.path("log-keys.json");
        if !path.exists() {
            let set = new_set(SigningAlgorithm::Ed25519).map_err(Failure::found)?;
            cli::keys::create(&path, &set)?;
        }
        let keys = LogKeys::parse(&cli::read_secret(&path)?);
        keys.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    /// The key that seals receipts, made where there is none.
    pub(super) fn seals(&self, entropy: &dyn Entropy) -> Result<Arc<Seals>, Failure> {
        let path = self.path("seal.json");
        if !path.exists() {
            let set = seal::new_set(entropy, None).map_err(Failure::found)?;
            cli::keys::create(&path, &set)?;
        }
        let seals = Seals::parse(&cli::read_secret(&path)?);
        seals
            .map(Arc::new)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    /// Writes the bundle with a database anew, for a server at that address.
    pub(super) fn postgres_bundle(&self, host: &str, port: u16) -> Result<PathBuf, Failure> {
        let folder = self.path("dev-postgres");
        let target = folder.join("targets/tickets-db.toml");
        let emptied = match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let written = emptied.and_then(|()| write(&POSTGRES_BUNDLE, &folder)).and_then(|()| {
            let text = fs::read_to_string(&target)?;
            let line = |line: &str| match line.split_once(" = ") {
                Some(("host", _)) => format!("host = {}\n", toml::Value::from(host)),
                Some(("port", _)) => format!("port = {port}\n"),
                Some(("sslmode", _)) if !is_loopback(host) => String::new(),
                _ => format!("{line}\n"),
            };
            fs::write(&target, text.lines().map(line).collect::<String>())
        });
        written.map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))?;
        Ok(folder)
    }
}

/// The bundle's folder. The built-in bundle is written where nothing is.
pub(super) fn bundle(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = given.unwrap_or(Path::new(POLICIES));
    if given.is_none() && !path.exists() {
        write(&BUNDLE, path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        print::line(format_args!("wrote {POLICIES}/: a bundle to start from"));
    }
    Ok(path.to_owned())
}

/// Elsewhere a log-in travels encrypted only.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn write(folder: &Dir<'_>, to: &Path) -> io::Result<()> {
    // A bundle that others may write is refused, whatever the umask of this shell is.
    DirBuilder::new().recursive(true).mode(0o755).create(to)?;
    for file in folder.files() {
        let path = to.join(file.path().file_name().unwrap_or_default());
        fs::write(&path, file.contents())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    for inner in folder.dirs() {
        write(inner, &to.join(inner.path().file_name().unwrap_or_default()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use procura_core::Timestamp;
    use procura_policy::Options;

    use super::*;
    use crate::{
        bundle::load,
        dev::{OPTIONS, banner, sample},
    };

    fn written(bundle: &Dir<'_>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("bundle");
        write(bundle, &path).expect("written");
        (folder, path)
    }

    #[test]
    fn the_bundles_that_dev_writes_have_no_mistakes() {
        for bundle in [&BUNDLE, &POSTGRES_BUNDLE] {
            let (_folder, path) = written(bundle);
            assert_eq!(load(&path, OPTIONS).err(), None);
        }
    }

    #[test]
    fn serve_refuses_the_bundle_of_dev() {
        let (_folder, path) = written(&BUNDLE);
        assert!(load(&path, Options::default()).is_err());
    }

    #[test]
    fn the_bundle_with_a_database_gets_its_address() {
        for (host, sslmode) in [("127.0.0.1", Some("disable")), ("db.example", None)] {
            let folder = tempfile::tempdir().expect("folder");
            let state = State(folder.path().to_owned());
            let path = state.postgres_bundle(host, 6543).expect("bundle");
            let (_, judge) = load(&path, OPTIONS).expect("no mistakes");
            let settings = &judge.catalogue().targets["tickets-db"].settings;
            let text = |key: &str| settings.get(key).and_then(|value| value.as_str());
            assert_eq!((text("host"), text("sslmode")), (Some(host), sslmode));
            assert_eq!(settings["port"].as_i64(), Some(6543));
        }
    }

    #[test]
    fn the_four_commands_fit_into_80_columns() {
        let (_folder, path) = written(&BUNDLE);
        let (_, judge) = load(&path, OPTIONS).expect("bundle");
        let now = Timestamp::from_second(1_800_000_000).expect("time");
        for user in ["alice", "bob"] {
            let program = "cargo run -q --";
            let sample = sample::find(judge.as_ref(), user, now, program).expect("sample");
            assert_eq!(
                (sample.server.as_str(), sample.tool.as_str()),
                ("tickets", "list_tickets")
            );
            for line in banner::commands(program, &sample, &"i".repeat(36), &"s".repeat(36)) {
                assert!(line.len() < 80, "{line}");
            }
        }
    }
}
