//! `cargo xtask bench`: the broker against a bare server and against another provider, in one run.

mod broker;
mod bundle;
mod caller;
mod clock;
mod connect;
mod decide;
mod hello;
mod identities;
mod issuer;
mod load;
mod log;
mod peer;
mod probe;
mod process;
mod report;
mod rounds;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use tokio::runtime::Builder;

/// The broker's: what runs its code in this process is measured too.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Why a benchmark could not be carried out.
type Fault = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(name = "procura-bench", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all series and writes the result as JSON
    Run(run::Options),
    /// Exchanges beside hello, round after round, for a profiler
    Profile(run::Profile),
    /// Serves POST /hello on a free port and prints its address
    Hello,
    /// Sends the requests that standard input describes and prints how long they took
    Load,
    /// Fills a store with records and measures what it costs to have them
    Log(log::Options),
    /// Prints the SHA-256 of a file
    Hash {
        /// The file
        file: std::path::PathBuf,
    },
    /// Measures the decision alone
    Decide {
        /// A few decisions only
        #[arg(long)]
        small: bool,
    },
}

fn main() -> ExitCode {
    // Fails only where a provider is installed already, which is then the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Run(options) => on(Builder::new_multi_thread(), run::run(options)),
        Command::Profile(options) => on(Builder::new_multi_thread(), run::profile(options)),
        Command::Hello => on(Builder::new_multi_thread(), hello::serve()),
        // One thread, so that as much as possible is left for the server that is measured.
        Command::Load => on(Builder::new_current_thread(), load::main()),
        Command::Log(options) => on(Builder::new_multi_thread(), log::run(options)),
        Command::Hash { file } => log::hash(&file),
        Command::Decide { small } => decide::main(small),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("procura-bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn on(mut runtime: Builder, work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    runtime.enable_all().build()?.block_on(work)
}
