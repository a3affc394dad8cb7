//! A throwaway PostgreSQL cluster for tests. Starts the installed programs; it holds nothing worth keeping.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// Name of the variable with the URL of a superuser of a running server, to be used instead of a cluster of our own.
pub const GIVEN_URL: &str = "PROCURA_TEST_POSTGRES";

const PASSWORD: &str = "throwaway";
const MISSING: &str = "no PostgreSQL programs (initdb, postgres, pg_ctl) on PATH or in \
                       /usr/lib/postgresql/*/bin: install the package postgresql (15 or newer), \
                       or set PROCURA_TEST_POSTGRES to the URL of a superuser";

/// A running server on 127.0.0.1 that ends when this is dropped. Log-ins over TCP need a password
/// (SCRAM), also the superuser's, which is in its URL.
pub struct Cluster {
    /// The port that it listens on.
    pub port: u16,
    /// `postgres://postgres:…@127.0.0.1:<port>/postgres`
    pub superuser_url: String,
    running: Option<Running>,
}

struct Running {
    programs: Programs,
    dir: TempDir,
    child: Child,
}

impl Cluster {
    /// Starts one with the programs of `bin_dir`, else those on PATH, else the newest of
    /// `/usr/lib/postgresql/*/bin`. Run as root it becomes the user `postgres`, since PostgreSQL refuses root.
    pub fn start(bin_dir: Option<PathBuf>) -> Result<Self, String> {
        Self::start_with(bin_dir, &[])
    }

    /// Like [`Cluster::start`], with settings (`name=value`) of the server.
    pub fn start_with(bin_dir: Option<PathBuf>, settings: &[&str]) -> Result<Self, String> {
        let programs = Programs::find(bin_dir)?;
        let dir = programs.initialise()?;
        let mut problem = String::new();
        for _ in 0..3 {
            let port = free_port()?;
            match programs.serve(dir.path(), port, settings) {
                Ok(child) => {
                    return Ok(Self {
                        port,
                        superuser_url: format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"),
                        running: Some(Running { programs, dir, child }),
                    });
                }
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// The server that [`GIVEN_URL`] names, else one of our own, shared by all who hold it at the time.
    pub fn shared() -> Result<Arc<Self>, String> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = shared.upgrade() {
            return Ok(cluster);
        }
        let cluster = Arc::new(match std::env::var_os(GIVEN_URL) {
            Some(url) => Self::given(&url)?,
            None => Self::start(None)?,
        });
        *shared = Arc::downgrade(&cluster);
        Ok(cluster)
    }

    /// What the server has logged so far; empty for one that is not our own.
    pub fn log(&self) -> String {
        let path = self.running.as_ref().map(|running| running.dir.path().join("log"));
        path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// Ends the server as a crash does: connections break, nothing is flushed. [`Cluster::resume`] starts it again.
    pub fn stop(&mut self) -> Result<(), String> {
        self.own()?.stop();
        Ok(())
    }

    /// Starts a stopped server again, on the same port and with what it had.
    pub fn resume(&mut self) -> Result<(), String> {
        let port = self.port;
        let running = self.own()?;
        running.child = running.programs.serve(running.dir.path(), port, &[])?;
        Ok(())
    }

    fn own(&mut self) -> Result<&mut Running, String> {
        let running = self.running.as_mut();
        running.ok_or_else(|| "a server that was given is not stopped or started".to_owned())
    }

    fn given(url: &OsStr) -> Result<Self, String> {
        let url = url.to_str().ok_or_else(|| format!("{GIVEN_URL} is not text"))?;
        let authority = url.split('/').nth(2).unwrap_or_default();
        let port = authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .unwrap_or(5432);
        Ok(Self {
            port,
            superuser_url: url.to_owned(),
            running: None,
        })
    }

    /// The superuser's URL for another database of this server.
    pub fn url_of(&self, database: &str) -> String {
        match self.superuser_url.rsplit_once('/') {
            Some((server, rest)) => match rest.split_once('?') {
                Some((_, options)) => format!("{server}/{database}?{options}"),
                None => format!("{server}/{database}"),
            },
            None => self.superuser_url.clone(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.stop();
        }
    }
}

impl Running {
    fn stop(&mut self) {
        let stopped = self
            .programs
            .command("pg_ctl")
            .args(["stop", "--silent", "--mode=immediate", "-D"])
            .arg(data(self.dir.path()))
            .stderr(Stdio::null())
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The directory of the installed programs: those on PATH, else the newest of `/usr/lib/postgresql/*/bin`.
pub fn installed() -> Result<PathBuf, String> {
    Programs::find(None).map(|programs| programs.bin)
}

/// Where the programs are and whom they run as.
struct Programs {
    bin: PathBuf,
    run_as: Option<(u32, u32)>,
}

impl Programs {
    fn find(bin_dir: Option<PathBuf>) -> Result<Self, String> {
        let bin = bin_dir
            .or_else(on_path)
            .or_else(newest_installed)
            .filter(|bin| bin.join("initdb").exists())
            .ok_or(MISSING)?;
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let run_as = if root { Some(unprivileged_user()?) } else { None };
        Ok(Self { bin, run_as })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .env_clear()
            .env("PATH", &self.bin)
            .env("LC_ALL", "C")
            .current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if let Some((user, group)) = self.run_as {
            command.uid(user).gid(group);
        }
        command
    }

    fn initialise(&self) -> Result<TempDir, String> {
        let dir = tempfile::Builder::new()
            .prefix("procura-pg-")
            .tempdir()
            .map_err(|error| format!("cannot make a temporary directory: {error}"))?;
        let password = dir.path().join("password");
        fs::write(&password, PASSWORD).map_err(|error| format!("cannot write {}: {error}", password.display()))?;
        if let Some((user, group)) = self.run_as {
            for path in [dir.path(), &password] {
                chown(path, Some(user), Some(group))
                    .map_err(|error| format!("cannot chown {}: {error}", path.display()))?;
            }
        }
        let output = self
            .command("initdb")
            .args(["--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(data(dir.path()))
            .output()
            .map_err(|error| format!("cannot run initdb in {}: {error}", self.bin.display()))?;
        if output.status.success() {
            Ok(dir)
        } else {
            Err(format!("initdb failed: {}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    fn serve(&self, dir: &Path, port: u16, settings: &[&str]) -> Result<Child, String> {
        let log_path = dir.join("log");
        let log = fs::File::create(&log_path).map_err(|error| format!("cannot make the log file: {error}"))?;
        let mut child = self
            .command("postgres")
            .arg("-D")
            .arg(data(dir))
            .arg("-k")
            .arg(dir)
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args(["-c", "fsync=off", "-c", "max_connections=200"])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot run postgres: {error}"))?;
        for _ in 0..600 {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            if is_ready(dir) {
                return Ok(child);
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
        let said = fs::read_to_string(log_path).unwrap_or_default();
        Err(format!("postgres did not start on port {port}: {said}"))
    }
}

/// Whether the server says so in the last line of its lock file. (Not every package has `pg_isready`.)
fn is_ready(dir: &Path) -> bool {
    fs::read_to_string(data(dir).join("postmaster.pid"))
        .is_ok_and(|lock| lock.lines().nth(7).is_some_and(|status| status.trim() == "ready"))
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// The directory of the `initdb` that PATH finds, links followed: the other programs stand beside it.
fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter_map(|dir| dir.join("initdb").canonicalize().ok())
        .find_map(|initdb| initdb.parent().map(Path::to_owned))
}

fn newest_installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")))
}

/// User and group id of `postgres`.
fn unprivileged_user() -> Result<(u32, u32), String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("cannot read /etc/passwd: {error}"))?;
    users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&"postgres"))
        .and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))
        .ok_or_else(|| "run as root, and there is no user postgres to run the server as: add one".to_owned())
}

pub(crate) fn free_port() -> Result<u16, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_runs_until_it_is_dropped() {
        let cluster = Cluster::start(None).expect("started");
        let running = cluster.running.as_ref().expect("our own");
        assert!(is_ready(running.dir.path()));
        assert!(cluster.url_of("other").ends_with("/other"));
        let dir = running.dir.path().to_owned();
        drop(cluster);
        assert!(!dir.exists());
    }
}
