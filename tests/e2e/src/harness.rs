//! Runs listed cases one after the other on one testbed, which is dropped at the end, so that no
//! server outlives the run. Reports as `cargo test` does; arguments that are no flags filter by name.

use std::{future::Future, panic::AssertUnwindSafe, pin::Pin, process::ExitCode, time::Duration};

use futures_util::FutureExt;

use crate::{Fault, Testbed};

const LONGEST: Duration = Duration::from_secs(600);

/// How a case ends.
pub type Outcome = Result<(), Fault>;

/// A running case.
pub type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A test with its name.
pub struct Case {
    /// Module and function.
    pub name: &'static str,
    /// The function.
    pub run: for<'a> fn(&'a Testbed) -> Running<'a>,
}

/// Lists `async fn(&Testbed) -> Outcome` by their paths.
#[macro_export]
macro_rules! cases {
    ($($path:path),* $(,)?) => {
        [$($crate::harness::Case { name: stringify!($path), run: |testbed| Box::pin($path(testbed)) }),*]
    };
}

/// Runs those that the command line chooses.
pub fn main(cases: &[Case]) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let chosen: Vec<&Case> = cases
        .iter()
        .filter(|case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter)))
        .collect();
    match run(&chosen) {
        Ok(failed) => {
            let word = if failed == 0 { "ok" } else { "FAILED" };
            let (passed, out) = (chosen.len() - failed, cases.len() - chosen.len());
            println!(
                "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out"
            );
            ExitCode::from(u8::from(failed > 0))
        }
        Err(fault) => {
            eprintln!("the end-to-end tests cannot run: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(cases: &[&Case]) -> Result<usize, Fault> {
    println!("\nrunning {} end-to-end tests", cases.len());
    let runtime = tokio::runtime::Runtime::new()?;
    let testbed = Testbed::from_environment()?;
    let mut failed = 0;
    for case in cases {
        match runtime.block_on(one(case, &testbed))? {
            Ok(()) => println!("test {} ... ok", case.name),
            Err(fault) => {
                println!("test {} ... FAILED\n{fault}\n", case.name);
                failed += 1;
            }
        }
    }
    Ok(failed)
}

/// The outer error ends the whole run, so that an interrupt still stops the servers.
async fn one(case: &Case, testbed: &Testbed) -> Result<Outcome, Fault> {
    let guarded = AssertUnwindSafe((case.run)(testbed)).catch_unwind();
    tokio::select! {
        outcome = tokio::time::timeout(LONGEST, guarded) => Ok(match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err("it panicked, see above".into()),
            Err(_) => Err(format!("not done within {LONGEST:?}").into()),
        }),
        interrupt = tokio::signal::ctrl_c() => {
            interrupt?;
            Err("interrupted".into())
        }
    }
}
