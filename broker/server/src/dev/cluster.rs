//! A PostgreSQL server of development mode's own, in `.procura/postgres/` and on 127.0.0.1 only. It is
//! started by the programs that PATH finds and touches no other server: it is ended by the id of the
//! process that was started, never by what a file says.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use procura_core::ports::{Clock, Entropy};
use procura_wire::Secret;
use tokio::process::{Child, Command};

use super::state::State;
use crate::{
    assembly::Machine,
    cli::{self, keys},
};

/// Why there is none where PATH has not the programs.
pub(super) const ABSENT: &str =
    "With PostgreSQL's programs (initdb, postgres) on PATH, or --postgres URL, it mints log-ins to a database too.";

/// Why there is none where a bundle is given.
pub(super) const GIVEN: &str = "With --postgres URL (a superuser's) it makes a sample database for that bundle too.";

/// Ends the server when standard input ends, which it does with the broker, also with one that is killed.
/// Ends itself when the server ends.
const WATCH: &str = r#"exec 3<&0
"$@" </dev/null & server=$!
(read -r _ <&3; kill -INT "$server") & reader=$!
exec 3<&-
wait "$server"
kill "$reader""#;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);
/// How often a server that the broker before has left is waited for, `AGAIN` each time.
const TRIES: u32 = 10;
const AGAIN: Duration = Duration::from_secs(1);

/// A server that ends when this is dropped.
pub(super) struct Cluster {
    watch: Child,
    /// A superuser's URL.
    pub(super) url: Secret,
}

impl Cluster {
    /// Starts the server, made where there is none. `None` where PATH has not the programs.
    pub(super) async fn start(state: &State, machine: &Machine) -> Result<Option<Self>, String> {
        let Some(bin) = on_path() else { return Ok(None) };
        let place = Place::prepare(bin, state)?;
        let password = place.initialise(machine.entropy.as_ref()).await?;
        for _ in 1..TRIES {
            match place.serve(&password, machine.clock.as_ref()).await {
                // One that failed removes its lock. What is there is another's, that may be about to end.
                Err(_) if place.lock().exists() => machine.clock.sleep(AGAIN).await,
                other => return other.map(Some),
            }
        }
        place.serve(&password, machine.clock.as_ref()).await.map(Some)
    }

    /// Ends the server and waits for that.
    pub(super) async fn stop(mut self) {
        drop(self.watch.stdin.take());
        if tokio::time::timeout(STOP, self.watch.wait()).await.is_err() {
            tracing::warn!("PostgreSQL has not ended yet");
        }
    }
}

/// Where the programs and the data are, and whom the server runs as.
struct Place {
    bin: PathBuf,
    folder: PathBuf,
    /// User and group. PostgreSQL refuses root; elsewhere `None`.
    run_as: Option<(u32, u32)>,
}

impl Place {
    fn prepare(bin: PathBuf, state: &State) -> Result<Self, String> {
        let folder = state.folder("postgres").map_err(|failure| failure.to_string())?;
        let folder = folder.canonicalize().map_err(at(&folder))?;
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let run_as = if root { Some(unprivileged()?) } else { None };
        if let (Some((user, group)), Some(parent)) = (run_as, folder.parent()) {
            for closed in parent.ancestors().skip(1).chain([bin.as_path()]) {
                if fs::metadata(closed).map_err(at(closed))?.permissions().mode() & 0o001 == 0 {
                    return Err(format!(
                        "run as root, PostgreSQL is started as the user postgres, who may not enter {}: run it in \
                         another folder",
                        closed.display()
                    ));
                }
            }
            // The server's group may pass through to its own folder, and read nothing on the way.
            chown(parent, None, Some(group)).map_err(at(parent))?;
            fs::set_permissions(parent, fs::Permissions::from_mode(0o710)).map_err(at(parent))?;
            chown(&folder, Some(user), Some(group)).map_err(at(&folder))?;
        }
        Ok(Self { bin, folder, run_as })
    }

    fn lock(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", &self.bin).env("LC_ALL", "C");
        // A group of its own: Ctrl-C ends the broker first, which still has log-ins to undo.
        command.current_dir(&self.folder).process_group(0);
        if let Some((user, group)) = self.run_as {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes the data where there are none, whole or not at all; answers the superuser's password.
    async fn initialise(&self, entropy: &dyn Entropy) -> Result<Secret, String> {
        let (data, new) = (self.folder.join("data"), self.folder.join("data.new"));
        let file = self.folder.join("password");
        if !data.exists() {
            for left in [&new, &file] {
                let _ = fs::remove_dir_all(left).or_else(|_| fs::remove_file(left));
            }
            let mut random = [0; 32];
            entropy.fill(&mut random);
            keys::create(&file, &Secret::new(hex::encode(random))).map_err(|failure| failure.to_string())?;
            if let Some((user, group)) = self.run_as {
                chown(&file, Some(user), Some(group)).map_err(at(&file))?;
            }
            let mut initdb = self.command(&self.bin.join("initdb"));
            initdb.args(["--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C"]);
            initdb.args(["--auth=scram-sha-256", "--pwfile=password", "-D", "data.new"]);
            let output = initdb.stdin(Stdio::null()).output().await;
            let Output { status, stderr, .. } = output.map_err(|error| format!("initdb: {error}"))?;
            if !status.success() {
                return Err(format!("initdb: {}", String::from_utf8_lossy(&stderr).trim()));
            }
            fs::rename(&new, &data).map_err(at(&data))?;
        }
        cli::read_secret(&file).map_err(|failure| failure.to_string())
    }

    async fn serve(&self, password: &Secret, clock: &dyn Clock) -> Result<Cluster, String> {
        let (port, log) = (self.port()?, self.folder.join("log"));
        let stderr = fs::File::create(&log).map_err(at(&log))?;
        let mut watch = self.command(Path::new("/bin/sh"));
        watch.args(["-c", WATCH, "sh"]).arg(self.bin.join("postgres"));
        watch.args(["-D", "data", "-h", "127.0.0.1", "-p", &port.to_string()]);
        watch.args(["-c", "unix_socket_directories="]);
        watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
        let mut watch = watch.spawn().map_err(|error| format!("/bin/sh: {error}"))?;
        let ready = async {
            while !self.is_ready(port) && matches!(watch.try_wait(), Ok(None)) {
                clock.sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(START, ready).await;
        if matches!(watch.try_wait(), Ok(None)) && self.is_ready(port) {
            return Ok(Cluster {
                watch,
                url: url(password, port),
            });
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        let fatal = said.lines().rev().find_map(|line| line.split_once("FATAL:"));
        let said = fatal.map_or("postgres is not ready", |(_, fatal)| fatal.trim());
        Err(format!("{said} ({} has more)", log.display()))
    }

    /// Whether the server at that port says so in its lock file.
    fn is_ready(&self, port: u16) -> bool {
        let lock = fs::read_to_string(self.lock()).unwrap_or_default();
        let line = |number| lock.lines().nth(number).map(str::trim);
        line(3) == Some(port.to_string().as_str()) && line(7) == Some("ready")
    }

    /// The port of last time, since log-ins are undone where they were made; another where that is taken.
    fn port(&self) -> Result<u16, String> {
        let file = self.folder.join("port");
        let last = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok());
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|free| free.local_addr());
        let free = bind(last.unwrap_or(0)).or_else(|_| bind(0));
        let port = free.map_err(|error| format!("no free port: {error}"))?.port();
        fs::write(&file, port.to_string()).map_err(at(&file))?;
        Ok(port)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the URL of the server that this password was made for"
)]
fn url(password: &Secret, port: u16) -> Secret {
    Secret::new(format!(
        "postgres://postgres:{}@127.0.0.1:{port}/postgres",
        password.expose()
    ))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// The folder of the `initdb` that PATH finds, links followed, where `postgres` stands beside it.
fn on_path() -> Option<PathBuf> {
    let path = cli::environment("PATH")?;
    let found = env::split_paths(&path).filter_map(|folder| folder.join("initdb").canonicalize().ok());
    let mut folders = found.filter_map(|initdb| initdb.parent().map(Path::to_owned));
    folders.find(|folder| folder.join("postgres").exists())
}

/// User and group id of `postgres`.
fn unprivileged() -> Result<(u32, u32), String> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |line: &str| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = users.lines().find_map(ids);
    found.ok_or_else(|| "run as root, PostgreSQL needs a user named postgres to run as".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SystemClock, SystemEntropy};

    fn place(folder: &Path) -> Place {
        Place {
            bin: folder.to_owned(),
            folder: folder.to_owned(),
            run_as: None,
        }
    }

    fn program(folder: &Path, name: &str, script: &str) {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    #[test]
    fn the_port_of_last_time_is_taken_where_it_is_free() {
        let folder = tempfile::tempdir().expect("folder");
        let place = place(folder.path());
        let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        // Somebody else may take a port between two looks.
        let kept = |port| place.port() == Ok(port) || bind(port).is_err();
        let first = place.port().expect("port");
        assert!(kept(first));
        let taken = bind(first);
        let other = place.port().expect("port");
        assert_ne!(other, first);
        assert!(kept(other));
        drop(taken);
    }

    #[tokio::test]
    async fn data_that_were_left_half_made_are_made_anew() {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir_all(folder.path().join("data.new/base")).expect("folder");
        fs::write(folder.path().join("password"), "old").expect("written");
        program(
            folder.path(),
            "initdb",
            "/bin/mkdir data.new && /bin/cp password data.new/seen",
        );
        let place = place(folder.path());
        let password = place.initialise(&SystemEntropy).await.expect("made");
        assert_ne!(password, Secret::new("old".into()));
        let seen = fs::read_to_string(folder.path().join("data/seen")).expect("initdb got it");
        assert_eq!(Secret::new(seen), password);
        assert_eq!(place.initialise(&SystemEntropy).await, Ok(password), "made once");
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_says_why() {
        let folder = tempfile::tempdir().expect("folder");
        program(folder.path(), "postgres", "echo 'now FATAL:  no room' >&2; exit 1");
        let clock = SystemClock::start();
        let failed = place(folder.path()).serve(&Secret::new("p".into()), &clock).await;
        let problem = failed.err().expect("it has not started");
        assert!(problem.starts_with("no room ("), "{problem}");
    }
}
