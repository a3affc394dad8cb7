//! A child process with its descendants, ended together.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit};

use crate::Fault;

const LOOK: Duration = Duration::from_millis(20);

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// CPU time of all threads so far, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory.
    pub resident_mib: f64,
}

/// A process in a group of its own. Dropped, the group is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; standard output goes to `stdout` and errors are appended to `stderr`, below `dir`.
    pub(crate) fn start(mut command: Command, dir: &Path) -> Result<Self, Fault> {
        let name = command.get_program().to_string_lossy().into_owned();
        let log = dir.join("stderr");
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(dir.join("stdout"))?)
            .stderr(File::options().create(true).append(true).open(&log)?)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot run {name}: {error}"))?;
        Ok(Self { name, child, log })
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// CPU time so far and resident memory, as `/proc` tells.
    pub(crate) fn used(&self) -> Result<Used, Fault> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = |field: usize| {
            after_name
                .split_whitespace()
                .nth(field)
                .and_then(|text| text.parse::<u64>().ok())
        };
        // utime and stime are the fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
        let (user, system) = (ticks(11).ok_or("no utime")?, ticks(12).ok_or("no stime")?);
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = resident
            .and_then(|text| text.split_whitespace().next())
            .ok_or("no VmRSS")?
            .parse()?;
        Ok(Used {
            cpu_ms: (user + system) * 10,
            resident_mib: (kib / 102.4).round() / 10.0,
        })
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Fault> {
        let group = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process_group(group.ok_or("no process id")?, signal)?;
        Ok(())
    }

    /// Lets it write no file beyond so many bytes, or again as far as this process may.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) -> Result<(), Fault> {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let current = bytes.or(maximum);
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        prlimit(
            pid.ok_or("no process id").map(Some)?,
            Resource::Fsize,
            Rlimit { current, maximum },
        )?;
        Ok(())
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> Result<bool, Fault> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<ExitStatus, Fault> {
        let wait = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return Ok(status);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(within, wait)
            .await
            .unwrap_or_else(|_| Err(format!("{} did not end within {within:?}", self.name).into()))
    }

    /// Looks with `probe` until it answers something; an end of the process before that is an error.
    pub(crate) async fn until<T>(
        &mut self,
        within: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T, Fault> {
        let look = async {
            loop {
                if let Some(found) = probe().await {
                    return Ok(found);
                }
                if let Some(status) = self.child.try_wait()? {
                    return Err(format!("{} ended with {status}:\n{}", self.name, self.stderr()).into());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        match tokio::time::timeout(within, look).await {
            Ok(found) => found,
            Err(_) => Err(format!("{} was not ready within {within:?}:\n{}", self.name, self.stderr()).into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
