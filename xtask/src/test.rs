//! `cargo xtask test`

use std::{ffi::OsString, fs, path::PathBuf, process::Command};

use crate::{
    parts::Testbed,
    postgres::{self, Programs},
    run::{self, Tally, cargo, shown, tests},
    system,
    workspace::Workspace,
};

/// What the command line asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    fast: bool,
    system_packages: bool,
}

impl Options {
    /// `None` is a usage error.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let (task, flags) = arguments.split_first()?;
        let mut options = Self::default();
        for flag in flags {
            match flag.as_str() {
                "--fast" => options.fast = true,
                "--system-packages" => options.system_packages = true,
                _ => return None,
            }
        }
        (task == "test" && !(options.fast && options.system_packages)).then_some(options)
    }
}

pub(crate) fn run(options: Options) -> Result<(), String> {
    let workspace = Workspace::read()?;
    if options.fast {
        fast(&workspace)
    } else {
        full(&workspace, options.system_packages)
    }
}

fn fast(workspace: &Workspace) -> Result<(), String> {
    let mut command = test_command();
    command.current_dir(&workspace.root);
    let result = tests(command)?;
    let left_out: Vec<&str> = workspace.server_tests.iter().map(String::as_str).collect();
    println!(
        "left out, since they need servers (`cargo xtask test` runs them): {}",
        left_out.join(", ")
    );
    conclude(&[result])
}

fn full(workspace: &Workspace, system_packages: bool) -> Result<(), String> {
    if system_packages {
        postgres::install_system()?;
        system::install_chromium()?;
    }
    if !system::has_chromium() {
        return Err(
            "there is no /usr/bin/chromium, which tests of the page need: run with --system-packages, or \
                    install Debian's package `chromium`"
                .to_owned(),
        );
    }
    let testbed = Testbed::install(workspace.target.join("testbed"))?;
    let newer = Programs::reachable(testbed.postgres())?;
    if !postgres::is_installed() {
        println!(
            "no PostgreSQL on PATH or in /usr/lib/postgresql: the testbed's serves alone \
             (--system-packages installs the system's)"
        );
    }
    let environment = environment(workspace, &testbed, &newer)?;
    let mut results = vec![tests(with(test_command(), workspace, &environment))?];
    if !workspace.server_tests.is_empty() {
        let mut command = with(test_command(), workspace, &environment);
        for name in &workspace.server_tests {
            command.args(["--test", name]);
        }
        results.push(tests(command)?);
    }
    results.push(tests(with(failpoint_tests(), workspace, &environment))?);
    conclude(&results)
}

/// Crates whose own tests stop in the middle of something.
fn failpoint_tests() -> Command {
    let mut command = cargo();
    command.args(["test", "--no-fail-fast", "--test", "failpoints"]);
    for name in ["procura-store", "procura-target-postgres"] {
        command.args(["-p", name, "--features", &format!("{name}/failpoints")]);
    }
    command
}

/// Always the whole workspace, so that features do not flip and rebuild.
fn test_command() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    command
}

/// Credentials for moto, which takes any, in place of those of whoever runs the tests.
pub(crate) const AWS: [(&str, &str); 6] = [
    ("AWS_ACCESS_KEY_ID", "AKIACANARY0000000000"),
    ("AWS_SECRET_ACCESS_KEY", "canary-secret-access-key"),
    ("AWS_SESSION_TOKEN", "canary-session-token"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/dev/null"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
];

/// What the tests are told. Everything is named, nothing is searched for.
fn environment(
    workspace: &Workspace,
    testbed: &Testbed,
    newer: &Programs,
) -> Result<Vec<(&'static str, OsString)>, String> {
    let mut environment = vec![
        ("PROCURA_TESTBED", testbed.root.clone().into_os_string()),
        ("PROCURA_TEST_POSTGRES_NEW", newer.bin().into_os_string()),
        ("PROCURA_TEST_MOTO", testbed.moto().into_os_string()),
    ];
    environment.extend(AWS.map(|(name, value)| (name, value.into())));
    if !postgres::is_installed() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(newer.bin()).chain(std::env::split_paths(&path));
        let joined = std::env::join_paths(dirs).map_err(|error| format!("PATH: {error}"))?;
        environment.push(("PATH", joined));
    }
    environment.extend(brokers(workspace)?);
    Ok(environment)
}

/// Builds the broker, and again with failpoints where it has them; answers the variables that name the programs.
pub(crate) fn brokers(workspace: &Workspace) -> Result<Vec<(&'static str, OsString)>, String> {
    let mut environment = Vec::new();
    // The plain one last: it is the one that stays at its usual place.
    if workspace.has_failpoints {
        let plain = broker(workspace, &["--features", "procura/failpoints"])?;
        let dir = workspace.target.join("failpoints");
        fs::create_dir_all(&dir)
            .and_then(|()| fs::copy(plain, dir.join("procura")))
            .map_err(|error| format!("{}: {error}", dir.display()))?;
        environment.push(("PROCURA_FAILPOINTS_BIN", dir.join("procura").into_os_string()));
    }
    environment.push(("PROCURA_BIN", broker(workspace, &[])?.into_os_string()));
    Ok(environment)
}

fn broker(workspace: &Workspace, features: &[&str]) -> Result<PathBuf, String> {
    let mut build = cargo();
    build.args(["build", "--workspace", "--bin", "procura"]).args(features);
    println!("+ {}", shown(&build));
    run::run(build)?;
    Ok(workspace.target.join("debug/procura"))
}

fn with(mut command: Command, workspace: &Workspace, environment: &[(&'static str, OsString)]) -> Command {
    command
        .current_dir(&workspace.root)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// The last lines are the result.
fn conclude(results: &[(Tally, bool)]) -> Result<(), String> {
    let total = results
        .iter()
        .fold(Tally::default(), |sum, (tally, _)| sum.plus(*tally));
    println!(
        "tests: {} passed, {} failed, {} skipped",
        total.passed, total.failed, total.ignored
    );
    if results.iter().all(|(_, succeeded)| *succeeded) && total.failed == 0 {
        Ok(())
    } else {
        Err("the tests failed".to_owned())
    }
}
