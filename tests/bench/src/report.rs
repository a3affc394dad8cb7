//! The result: what was measured, and which goals it reaches.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Fault,
    decide::Decisions,
    identities::COMPARED,
    load::Outcome,
    probe::Probe,
    rounds::{Figure, Round},
};

/// Everything that a run measured.
pub(crate) struct Measurements {
    pub(crate) rounds: Vec<Round>,
    pub(crate) commits: Vec<Commits>,
    pub(crate) latency: Latency,
    pub(crate) memory: Memory,
    pub(crate) decisions: Decisions,
}

/// Durable commits of a number of exchanges.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Commits {
    pub(crate) callers: usize,
    pub(crate) exchanges: f64,
    /// All that the broker made meanwhile.
    pub(crate) commits: f64,
    /// Those among them that an idle broker makes too.
    pub(crate) housekeeping: f64,
    /// Without housekeeping.
    pub(crate) commits_per_exchange: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// One caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) hello: Outcome,
    pub(crate) exchange: Outcome,
    pub(crate) probe: Probe,
}

/// Resident memory, MiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Memory {
    pub(crate) broker_idle: f64,
    pub(crate) broker_after_load: f64,
    pub(crate) peer_idle: f64,
    pub(crate) peer_after_load: f64,
}

#[derive(Serialize)]
pub(crate) struct Goal {
    goal: &'static str,
    /// At least this, or at most.
    limit: f64,
    reached: f64,
    met: bool,
}

impl Goal {
    /// Prints them.
    pub(crate) fn print(goals: &[Self]) {
        for Self {
            goal,
            limit,
            reached,
            met,
        } in goals
        {
            let met = if *met { "met   " } else { "missed" };
            println!("{met} {goal}: {reached:.4} (goal {limit:.4})");
        }
    }
}

pub(crate) fn at_least(goal: &'static str, limit: f64, reached: f64) -> Goal {
    let met = reached >= limit;
    Goal {
        goal,
        limit,
        reached,
        met,
    }
}

pub(crate) fn at_most(goal: &'static str, limit: f64, reached: f64) -> Goal {
    let met = reached <= limit;
    Goal {
        goal,
        limit,
        reached,
        met,
    }
}

impl Measurements {
    fn kept(&self, of: impl Fn(&Round) -> f64) -> Figure {
        let kept = self.rounds.iter().filter(|round| round.kept);
        Figure::of(&kept.map(of).collect::<Vec<_>>())
    }

    fn per_cpu_second(&self, name: &str) -> Figure {
        self.kept(|round| round.series[name].per_cpu_second)
    }

    fn against_hello(&self, name: &str) -> Figure {
        self.kept(|round| round.series[name].per_cpu_second / round.hello())
    }

    fn against_peer(&self, name: &str) -> Figure {
        self.kept(|round| round.series[name].per_cpu_second / round.series["oidc-provider"].per_cpu_second)
    }

    /// CPU per exchange of each series of [`COMPARED`] by that of the plain one.
    fn costs(&self) -> BTreeMap<&str, Figure> {
        let cost = |(name, plain): (&'static str, &'static str)| {
            let of = |round: &Round| round.series[plain].per_cpu_second / round.series[name].per_cpu_second;
            (name, self.kept(of))
        };
        COMPARED.map(cost).into()
    }

    fn per_exchange(&self, callers: usize) -> f64 {
        let of = self.commits.iter().find(|commits| commits.callers == callers);
        of.map_or(f64::INFINITY, |commits| commits.commits_per_exchange)
    }

    /// What issue and PERFORMANCE.md ask for.
    fn goals(&self) -> Vec<Goal> {
        let Latency { hello, exchange, probe } = self.latency;
        let decisions = self.decisions;
        let rules = decisions.rules_10_000_and_20_forbids / decisions.rules_10_and_20_forbids;
        let rules_and_forbids = decisions.rules_10_000_and_20_forbids / decisions.rules_10;
        let cold = self.against_hello("es256-es256").median;
        let idle = self.memory.broker_idle;
        vec![
            at_least("first: ES256 to ES256 against hello", 0.08, cold),
            at_least("ES256 to ES256 against hello", 0.12, cold),
            at_least(
                "RS256 to Ed25519 against hello",
                0.20,
                self.against_hello("rs256-ed25519").median,
            ),
            at_least(
                "repeated to Ed25519 against hello",
                0.30,
                self.against_hello("repeated-ed25519").median,
            ),
            at_least(
                "ES256 to ES256 against oidc-provider",
                2.0,
                self.against_peer("es256-es256").median,
            ),
            at_least(
                "repeated to Ed25519 against oidc-provider",
                4.0,
                self.against_peer("repeated-ed25519").median,
            ),
            at_most(
                "memory against oidc-provider",
                0.125,
                self.memory.broker_after_load / self.memory.peer_after_load,
            ),
            at_most("commits per exchange, 1 caller", 1.0, self.per_exchange(1)),
            at_most("commits per exchange, 64 callers", 1.0 / 16.0, self.per_exchange(64)),
            at_most("commits per exchange, 256 callers", 1.0 / 64.0, self.per_exchange(256)),
            at_most(
                "p50 of one caller against hello + ES256 + 1.5 fdatasync",
                1.0,
                exchange.p50_us / (hello.p50_us + probe.es256_us + 1.5 * probe.fdatasync_us),
            ),
            at_most("first: idle memory, MiB", 30.0, idle),
            at_most("idle memory, MiB", 20.0, idle),
            at_most(
                "first: decision, 10,000 rules against 10, beside 20 forbids",
                1.5,
                rules,
            ),
            at_most("decision, 10,000 rules against 10, beside 20 forbids", 1.2, rules),
            at_most(
                "decision, 10,000 rules and 20 forbids against 10 rules alone",
                1.2,
                rules_and_forbids,
            ),
            at_most("decision, microseconds", 10.0, decisions.rules_10_000_and_20_forbids),
        ]
    }

    fn document(&self, commit: &Commit) -> Value {
        let names: Vec<&str> = self
            .rounds
            .first()
            .map_or_else(Vec::new, |round| round.series.keys().copied().collect());
        let each = |figure: &dyn Fn(&str) -> Figure| -> BTreeMap<&str, Figure> {
            names.iter().map(|name| (*name, figure(name))).collect()
        };
        let Latency { hello, exchange, probe } = self.latency;
        json!({
            "commit": commit.id,
            "date": commit.date,
            "uncommitted_changes": commit.changed,
            "machine": machine(),
            "goals": self.goals(),
            "hello_per_cpu_second": self.kept(Round::hello),
            "per_cpu_second": each(&|name| self.per_cpu_second(name)),
            "against_hello": each(&|name| self.against_hello(name)),
            "against_oidc_provider": each(&|name| self.against_peer(name)),
            "cpu_against": COMPARED.map(|(name, plain)| format!("{name} by {plain}")),
            "cpu_by_plain_exchange": self.costs(),
            "commits": self.commits,
            "one_caller": { "hello": hello, "exchange": exchange, "probe": probe },
            "memory_mib": self.memory,
            "decision_us": self.decisions,
            "rounds": self.rounds,
        })
    }

    /// Writes `<commit>.json` and prints the goals.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Fault> {
        let commit = Commit::read(folder)?;
        let path = folder.join(format!("{}.json", commit.id));
        fs::write(&path, format!("{:#}\n", self.document(&commit)))?;
        Goal::print(&self.goals());
        for (name, plain) in COMPARED {
            println!("       CPU of {name} by {plain}: {:.3}", self.costs()[name].median);
        }
        println!("written to {}", path.display());
        Ok(())
    }
}

pub(crate) fn machine() -> Value {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "model": model.map(|model| model.trim_start_matches(['\t', ' ', ':'])),
    })
}

/// What git says of the tree that was measured.
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) date: String,
    pub(crate) changed: bool,
}

impl Commit {
    pub(crate) fn read(folder: &Path) -> Result<Self, Fault> {
        Ok(Self {
            id: git(folder, &["rev-parse", "--short", "HEAD"])?,
            date: git(folder, &["show", "--no-patch", "--format=%cI", "HEAD"])?,
            changed: !git(folder, &["status", "--porcelain", ":/"])?.is_empty(),
        })
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String, Fault> {
    let output = Command::new("git").args(arguments).current_dir(folder).output()?;
    if !output.status.success() {
        return Err(format!(
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
