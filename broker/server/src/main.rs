//! The binary `procura`: command line, configuration, assembly, HTTP, development mode, background work.

mod alerts;
mod assembly;
mod background;
mod bundle;
mod cli;
mod clock;
mod config;
mod counting;
mod dev;
mod expiry;
#[cfg(feature = "failpoints")]
mod failpoints;
mod health;
mod http;
mod kinds;
mod log;
mod notary;
mod running;
mod seal;
mod serve;
mod store;
mod telemetry;
#[cfg(test)]
mod testing;
mod tls;
mod web;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// An exchange makes some hundred small values; the system's allocator takes a seventh of its time for them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only where a provider is installed already, which is then the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    #[cfg(feature = "failpoints")]
    if let Err(problem) = failpoints::arm() {
        eprintln!("procura: {problem}");
        return ExitCode::from(2);
    }
    match cli::run(cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("procura: {failure}");
            failure.code()
        }
    }
}
