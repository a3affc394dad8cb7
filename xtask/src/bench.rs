//! `cargo xtask bench` and `cargo xtask campaign log`: build what is measured as it is shipped, and run `procura-bench`.

use std::process::Command;

use crate::{
    parts::Testbed,
    run::{self, cargo, shown},
    workspace::Workspace,
};

pub(crate) fn run() -> Result<(), String> {
    let workspace = Workspace::read()?;
    let testbed = Testbed::install_npm(workspace.target.join("testbed"))?;
    let mut bench = built(&workspace, "run")?;
    bench.arg("--npm").arg(testbed.npm());
    bench.arg("--scratch").arg(workspace.target.join("bench"));
    bench.arg("--results").arg(workspace.root.join("tests/bench/results"));
    run::run(bench)
}

/// What a log of so many records costs, by one of ten thousand.
pub(crate) fn log(records: u32, seed: u64) -> Result<(), String> {
    let workspace = Workspace::read()?;
    let mut bench = built(&workspace, "log")?;
    bench.arg("--scratch").arg(workspace.target.join("log"));
    bench.args(["--records", &records.to_string(), "--seed", &seed.to_string()]);
    let result = workspace.root.join("tests/campaigns/results/log.json");
    bench.arg("--result").arg(result);
    run::run(bench)
}

/// Builds, and begins the command.
fn built(workspace: &Workspace, command: &str) -> Result<Command, String> {
    for package in ["procura", "procura-bench"] {
        let mut build = cargo();
        build
            .args(["build", "--locked", "--release", "-p", package])
            .current_dir(&workspace.root);
        println!("+ {}", shown(&build));
        run::run(build)?;
    }
    let release = workspace.target.join("release");
    let mut bench = Command::new(release.join("procura-bench"));
    bench.arg(command).arg("--procura").arg(release.join("procura"));
    Ok(bench)
}
