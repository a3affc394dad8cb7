//! The benchmark and the campaign of the log, briefly: answers and counts must be right. No time is looked at.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{ffi::OsString, path::Path, process::Command};

fn named(variable: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`"))
}

fn succeeds(command: &mut Command) {
    let output = command
        .args(["--scratch", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .expect("the benchmark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn bench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_procura-bench"))
}

#[test]
fn every_series_answers_right_and_commits_no_more_than_it_issues() {
    let mut run = bench();
    run.args(["run", "--small", "--procura"]).arg(named("PROCURA_BIN"));
    run.arg("--npm").arg(Path::new(&named("PROCURA_TESTBED")).join("npm"));
    succeeds(&mut run);
}

#[test]
fn a_log_of_ten_thousand_records_is_filled_asked_exported_and_verified() {
    let mut log = bench();
    log.args(["log", "--records", "10000", "--base", "2000", "--procura"]);
    succeeds(log.arg(named("PROCURA_BIN")));
}
