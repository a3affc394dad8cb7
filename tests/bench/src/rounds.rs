//! Interleaved rounds: the bare server before and after each, so that a noisy neighbour is seen.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use serde::Serialize;

use crate::{
    Fault,
    clock::median,
    load::{Job, Outcome},
    process::cpu_seconds,
};

/// Neighbouring rounds of the bare server may differ by so much.
const STEADY: f64 = 0.15;

/// Writes the bodies of a round.
pub(crate) type Prepare<'a> = Box<dyn FnMut(&Job) -> Result<(), Fault> + 'a>;

/// One series: a server, what it is sent in a round, and what must be made anew for each.
pub(crate) struct Series<'a> {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    pub(crate) job: Job,
    pub(crate) prepare: Prepare<'a>,
}

/// How one series went in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Measured {
    /// Requests per CPU second of the server's process.
    pub(crate) per_cpu_second: f64,
    /// Requests per second; tells of the machine more than of the server.
    pub(crate) per_second: f64,
}

/// One round.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    /// Whether the machine was steady.
    pub(crate) kept: bool,
    pub(crate) hello_before: Measured,
    pub(crate) series: BTreeMap<&'static str, Measured>,
    pub(crate) hello_after: Measured,
}

/// The figures of one series over the rounds that were kept.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Figure {
    pub(crate) fn of(values: &[f64]) -> Self {
        Self {
            median: median(values),
            lowest: values.iter().copied().fold(f64::INFINITY, f64::min),
            highest: values.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl Series<'_> {
    pub(crate) fn round(&mut self) -> Result<Measured, Fault> {
        (self.prepare)(&self.job)?;
        let before = cpu_seconds(self.pid)?;
        let outcome = send(&self.job).map_err(|fault| format!("{}: {fault}", self.name))?;
        let cpu = cpu_seconds(self.pid)? - before;
        let answered = f64::from(outcome.answered);
        Ok(Measured {
            // The system counts in hundredths.
            per_cpu_second: answered / cpu.max(0.01),
            per_second: answered / outcome.seconds,
        })
    }
}

/// Sends a job from a process of its own.
pub(crate) fn send(job: &Job) -> Result<Outcome, Fault> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("load")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take();
    input.ok_or("no input")?.write_all(&serde_json::to_vec(job)?)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Rounds until so many are kept, at most three times as many in all.
pub(crate) fn rounds(hello: &mut Series<'_>, series: &mut [Series<'_>], wanted: usize) -> Result<Vec<Round>, Fault> {
    let mut rounds: Vec<Round> = Vec::new();
    let mut before = hello.round()?;
    while rounds.iter().filter(|round| round.kept).count() < wanted && rounds.len() < wanted * 3 {
        let mut measured = BTreeMap::new();
        for series in &mut *series {
            measured.insert(series.name, series.round()?);
        }
        let after = hello.round()?;
        let (low, high) = (
            before.per_cpu_second.min(after.per_cpu_second),
            before.per_cpu_second.max(after.per_cpu_second),
        );
        let round = Round {
            kept: high <= low * (1.0 + STEADY),
            hello_before: before,
            series: measured,
            hello_after: after,
        };
        eprintln!("{}", round.line(rounds.len() + 1));
        rounds.push(round);
        before = after;
    }
    Ok(rounds)
}

impl Round {
    /// Hello around this round.
    pub(crate) fn hello(&self) -> f64 {
        f64::midpoint(self.hello_before.per_cpu_second, self.hello_after.per_cpu_second)
    }

    fn line(&self, number: usize) -> String {
        let kept = if self.kept { "" } else { " (not steady, thrown away)" };
        let series = self.series.iter().map(|(name, measured)| {
            let ratio = measured.per_cpu_second / self.hello();
            format!("{name} {:.0} ({ratio:.3})", measured.per_cpu_second)
        });
        let series = series.collect::<Vec<_>>().join(", ");
        format!("round {number}: hello {:.0}, {series}{kept}", self.hello())
    }
}
