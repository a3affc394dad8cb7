//! The result of the campaign, and which goals it reaches.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    ask::Figures,
    fill::Filled,
    growth::{Exchanges, Started},
    verify::Verified,
};
use crate::{
    Fault,
    report::{Commit, Goal, at_least, at_most, machine},
};

/// Everything that was measured. Of two, the small store is first.
pub(super) struct Measurements {
    pub(super) seed: u64,
    pub(super) filled: [Filled; 3],
    pub(super) core: Figures,
    pub(super) api: Figures,
    pub(super) started: [Started; 2],
    pub(super) exchanges: Exchanges,
    pub(super) verified: Verified,
}

impl Measurements {
    fn core(&self, question: &str) -> f64 {
        self.core.get(question).map_or(f64::INFINITY, |figure| figure.large)
    }

    fn goals(&self) -> Vec<Goal> {
        let [small, large] = &self.started;
        vec![
            at_most("record by its id, microseconds of CPU", 50.0, self.core("id")),
            at_most("last 50 of a subject, microseconds of CPU", 500.0, self.core("subject")),
            at_most("last 50 of a target, microseconds of CPU", 500.0, self.core("target")),
            at_most("last 50 of an issuer, microseconds of CPU", 500.0, self.core("issuer")),
            at_most(
                "last 50 of an issuer with few records, microseconds of CPU",
                500.0,
                self.core("issuer with few records"),
            ),
            at_most("CPU of an exchange, large by small", 1.10, self.exchanges.growth.median),
            at_least("rate of verify by a bare SHA-256 pass, CPU", 0.4, self.verified.rate),
            at_most("CPU of the start to the first exchange, ms", 100.0, large.cpu_ms),
            at_most("idle memory, MiB", 20.0, large.memory_mib),
            at_most("idle memory, large by small", 1.10, large.memory_mib / small.memory_mib),
        ]
    }

    fn document(&self, commit: &Commit) -> Value {
        let [small, exported, large] = &self.filled;
        json!({
            "campaign": "log",
            "commit": commit.id,
            "date": commit.date,
            "uncommitted_changes": commit.changed,
            "machine": machine(),
            "seed": self.seed,
            "records": { "small": small.records, "exported": exported.records, "large": large.records },
            "goals": self.goals(),
            "fill": { "small": small, "exported": exported, "large": large },
            "queries_cpu_us": self.core,
            "api_cpu_us": self.api,
            "exchange_cpu_us": self.exchanges,
            "start": { "small": self.started[0], "large": self.started[1] },
            "verify": self.verified,
        })
    }

    /// Writes it and prints the goals.
    pub(super) fn write(&self, file: &Path) -> Result<(), Fault> {
        let commit = Commit::read(file.parent().ok_or("the result must be in a folder")?)?;
        fs::write(file, format!("{:#}\n", self.document(&commit)))?;
        Goal::print(&self.goals());
        println!("written to {}", file.display());
        Ok(())
    }
}
