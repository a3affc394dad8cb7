//! Every series of the benchmark, briefly: answers and counts must be right. No time is looked at.

use std::{ffi::OsString, path::Path, process::Command};

#[test]
fn every_series_answers_right_and_commits_no_more_than_it_issues() {
    let named = |variable: &str| -> OsString {
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`"))
    };
    let output = Command::new(env!("CARGO_BIN_EXE_procura-bench"))
        .args(["run", "--small", "--procura"])
        .arg(named("PROCURA_BIN"))
        .arg("--npm")
        .arg(Path::new(&named("PROCURA_TESTBED")).join("npm"))
        .args(["--scratch", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .expect("the benchmark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
