//! `cargo xtask`: what the repository does beyond plain cargo.

mod bench;
mod campaign;
mod fuzz;
mod mutants;
mod parts;
mod postgres;
mod requirements;
mod run;
mod system;
mod test;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask test [--fast] [--system-packages]
       cargo xtask bench
       cargo xtask campaign crash|rotation|undo|leases|mutants|fuzz|log [--times=N] [--seed=N]
       cargo xtask requirements

  test               installs servers and clients into target/testbed/ and runs every test
  --fast             every test that needs neither an install nor a server
  --system-packages  lets apt-get install the PostgreSQL server where there is none (as root)
  bench              measures the release build and writes tests/bench/results/COMMIT.json
  campaign           crashes brokers or rotates passwords many times and writes tests/campaigns/results/;
                     mutants takes guards out, all of them or some, and looks whether a case fails;
                     log fills a store with N records and measures what that costs;
                     fuzz looks N seconds for inputs that break a law of each target of tests/fuzz
  requirements       writes docs/requirements.md: which test shows which rule of the protocols";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = if arguments == ["bench"] {
        bench::run()
    } else if arguments == ["requirements"] {
        workspace::Workspace::read().and_then(|workspace| requirements::run(&workspace.root))
    } else if let Some(campaign) = campaign::Campaign::parse(&arguments) {
        campaign::run(&campaign)
    } else if let Some(options) = test::Options::parse(&arguments) {
        test::run(options)
    } else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
