//! Child processes, and what the operating system says of them.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Fault, clock};

const START: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// A running server. Dropped, it is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it; its output goes to `<name>.out` and `<name>.err` below `dir`.
    pub(crate) fn start(name: &str, mut command: Command, dir: &Path) -> Result<Self, Fault> {
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(dir.join(format!("{name}.out")))?)
            .stderr(File::create(dir.join(format!("{name}.err")))?)
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", command.get_program().display()))?;
        let name = name.to_owned();
        Ok(Self { name, child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub(crate) fn stop(mut self) -> Result<(), Fault> {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )?;
        match self.child.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("{} ended with {status}", self.name).into()),
        }
    }

    /// Looks until `probe` finds something; an end of the process before that is an error.
    pub(crate) async fn until<T>(&mut self, dir: &Path, mut probe: impl AsyncFnMut() -> Option<T>) -> Result<T, Fault> {
        let began = clock::now();
        loop {
            if let Some(found) = probe().await {
                return Ok(found);
            }
            let problem = match self.child.try_wait()? {
                Some(status) => format!("ended with {status}"),
                None if began.elapsed() > START => format!("was not ready within {START:?}"),
                None => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            let errors = fs::read_to_string(dir.join(format!("{}.err", self.name))).unwrap_or_default();
            return Err(format!("{} {problem}:\n{errors}", self.name).into());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds of a process with all its threads and the children that it waited for:
/// fields 14 to 17 of `/proc/PID/stat`.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, Fault> {
    ticks(pid, 11, 4)
}

/// CPU seconds of the children that this process has waited for.
pub(crate) fn children_seconds() -> Result<f64, Fault> {
    ticks(std::process::id(), 13, 2)
}

/// The sum of fields of `/proc/PID/stat` behind the program's name, in seconds.
fn ticks(pid: u32, first: usize, count: usize) -> Result<f64, Fault> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name and may hold spaces.
    let (_, rest) = stat.rsplit_once(") ").ok_or("unexpected /proc/PID/stat")?;
    let mut ticks = 0_u32;
    for field in rest.split(' ').skip(first).take(count) {
        ticks += field.parse::<u32>()?;
    }
    Ok(f64::from(ticks) / f64::from(u32::try_from(rustix::param::clock_ticks_per_second())?))
}

/// Resident memory in MiB: `VmRSS` of `/proc/PID/status`.
pub(crate) fn resident_mib(pid: u32) -> Result<f64, Fault> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(f64::from(kib.ok_or("no VmRSS")?.parse::<u32>()?) / 1024.0)
}
