//! `cargo xtask bench`: builds what is measured as it is shipped, and runs `procura-bench`.

use std::process::Command;

use crate::{
    parts::Testbed,
    run::{self, cargo, shown},
    workspace::Workspace,
};

pub(crate) fn run() -> Result<(), String> {
    let workspace = Workspace::read()?;
    let testbed = Testbed::install_npm(workspace.target.join("testbed"))?;
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
    bench.arg("run").arg("--procura").arg(release.join("procura"));
    bench.arg("--npm").arg(testbed.npm());
    bench.arg("--scratch").arg(workspace.target.join("bench"));
    bench.arg("--results").arg(workspace.root.join("tests/bench/results"));
    run::run(bench)
}
