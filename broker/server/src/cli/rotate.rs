//! `procura rotate`: a new credential of the broker's own at a target.

use std::io::{self, IsTerminal};

use procura_wire::Name;

use super::{Failure, leases::confirm, print::value, records::Output, show};

/// `procura rotate`
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// The target
    target: Name,
    /// Rotates without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs `procura rotate`.
pub(crate) async fn run(command: Rotate) -> Result<(), Failure> {
    let Rotate { target, yes, output } = command;
    let api = output.connection.open()?;
    let stdin = io::stdin();
    let asked = stdin.is_terminal().then(|| stdin.lock());
    let question = format!("rotate the broker's credential at {target}?");
    confirm(yes, asked, &question, "nothing was rotated")?;
    let answer = api.post(&format!("/targets/{target}/rotate")).await?;
    output.print(&answer, show::members)?;
    match answer["status"].as_str() {
        Some("done" | "begun") => Ok(()),
        _ => Err(Failure::found(format!("not rotated: {}", value(&answer["detail"])))),
    }
}
