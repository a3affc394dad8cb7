//! The command line.

mod api;
mod exchange;
mod export;
mod failure;
mod kept;
pub(crate) mod keys;
mod leases;
mod policy;
pub(crate) mod print;
mod progress;
mod recorded;
mod records;
mod report;
mod rotate;
mod schemas;
mod show;
mod tail;
mod timeline;
mod tools;
mod verify;
mod whois;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};
use url::Url;

use crate::{background::Revocation, log::Epoch};

pub(crate) use api::read_secret;
pub(crate) use exchange::sample as sample_exchange;
pub(crate) use failure::Failure;
pub(crate) use print::plain;

/// A credential broker for AI agents and the MCP servers that they call.
#[derive(Debug, Parser)]
#[command(name = "procura", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a broker on loopback with an issuer of its own, for trying things out
    Dev(Dev),
    /// Runs the broker
    Serve(Serve),
    /// Checks, tests, explains and seals policy bundles
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Makes signing keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Makes secrets and keys of servers
    #[command(subcommand)]
    Server(keys::Server),
    /// Exchanges a subject token for a credential
    Exchange(Box<exchange::Exchange>),
    /// Lists, shows and ends sessions
    #[command(subcommand)]
    Session(records::Session),
    /// Lists and undoes credentials at their targets
    #[command(subcommand)]
    Lease(leases::Lease),
    /// Asks the targets what they have that the store does not know, and undoes nothing
    Inventory(leases::Inventory),
    /// Gives the broker a new credential of its own at a target
    Rotate(rotate::Rotate),
    /// Says whose a credential is: who, through what, by which rule, and whether it is live
    Whois(whois::Whois),
    /// Reads the issuance log
    #[command(subcommand)]
    Log(records::Log),
    /// Says how far something reaches, what is not used, and what is new
    #[command(subcommand)]
    Report(report::Report),
}

/// `procura dev`
#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// The bundle; without it ./policies/dev, which is written first where it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// The sample user: alice, bob, carol or operator
    #[arg(long = "as", value_name = "USER", default_value = "alice")]
    pub(crate) user: String,
    /// A loopback address; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8420")]
    pub(crate) listen: SocketAddr,
    /// A superuser's URL of a PostgreSQL server: makes a sample database there and, without --policies,
    /// runs policies/dev-postgres with it. Without it the programs on PATH start a server below .procura/
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<Url>,
}

/// `procura serve`
#[derive(Debug, clap::Args)]
struct Serve {
    /// The configuration, procura.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Undoes nothing by itself: after the store was restored, until `procura inventory` was looked at
    #[arg(long)]
    hold_revocation: bool,
    /// Says that the store was restored on purpose, or the anchor moved: once, after `serve` has refused to start
    #[arg(long)]
    new_log_epoch: bool,
}

/// Runs one command.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Dev(dev) => crate::dev::run(dev).await,
        Command::Serve(serve) => {
            let revocation = match serve.hold_revocation {
                true => Revocation::Held,
                false => Revocation::Runs,
            };
            let epoch = match serve.new_log_epoch {
                true => Epoch::New,
                false => Epoch::Same,
            };
            crate::serve::run(&serve.config, revocation, epoch).await
        }
        Command::Policy(command) => policy::run(command).await,
        Command::Keys(command) => keys::keys(command),
        Command::Server(command) => keys::server(command),
        Command::Exchange(command) => exchange::run(*command).await,
        Command::Session(command) => records::session(command).await,
        Command::Lease(command) => leases::lease(command).await,
        Command::Inventory(command) => leases::inventory(command).await,
        Command::Rotate(command) => rotate::run(command).await,
        Command::Whois(command) => whois::run(command).await,
        Command::Log(command) => records::log(command).await,
        Command::Report(command) => report::run(command).await,
    }
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "the edge of the binary: PROCURA_TOKEN, CARGO")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn reads_the_commands_of_the_documentation() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for line in [
            "procura dev",
            "procura dev --policies bundle --as bob --listen 127.0.0.1:0",
            "procura serve --config procura.toml",
            "procura keys new keys.json",
            "procura keys new keys.json --rotate --algorithm ed25519",
            "procura keys new seal.json --seal --rotate",
            "procura keys new keys.json --days 90",
            "procura server new-secret",
            "procura exchange --target tickets-api --grant read --grant write --tool list --param a=b --ttl 60 --as bob",
            "procura exchange --target db --grant read --session new --format env",
            "procura session list --live --json",
            &format!("procura session end {id}"),
            &format!("procura policy explain --issuance {id} --as-case --token-file t"),
            "procura policy explain bundle --case case.toml",
            "procura policy tool-digest -",
            "procura policy schemas policies/schemas",
            "procura lease list --state live",
            &format!("procura lease undo {id} --json"),
            &format!(
                "procura lease list --target db --source-version 7 --subject dev/alice --agent dev/bot --session {id}"
            ),
            "procura lease undo --server tickets --actor dev/bot --state live --yes",
            &format!("procura whois {id} --json"),
            "procura whois -",
            "procura whois --known-as database/creds/orders-reader/x1Y --json",
            "procura rotate tickets-db --yes --json",
            "procura inventory --json",
            "procura report blast-radius --source vault:kv/tickets-db@7 --since 2026-11-20T00:00:00Z",
            "procura report blast-radius --agent dev/triage-bot --json",
            "procura report unused --days 30 --patch",
            "procura report novel --days 7 --baseline 60 --json",
            "procura serve --config procura.toml --hold-revocation",
            "procura log list target=db --csv",
            "procura log list --jsonl --limit 5000",
            "procura log tail --json",
            "procura log tail target=db",
            "procura serve --config procura.toml --new-log-epoch",
            "procura keys new log.json --algorithm ed25519",
            "procura log verify log.jsonl --against anchor.txt --key a+00000000+b --json",
            "procura log verify",
            "procura log export --format jsonl --out log.jsonl",
            "procura log list --subject dev/alice --outcome refused --since 2026-11-20T09:00:00Z --limit 5",
            &format!("procura log show {id} --url https://broker.example.com --token-file t"),
        ] {
            assert!(parses(line), "{line}");
        }
    }

    #[test]
    fn refuses_other_lines() {
        for line in [
            "procura",
            "procura serve",
            "procura exchange --target db",
            "procura log show 7",
            "procura log list --csv --json",
            "procura log list target = db",
            "procura session end",
            "procura lease undo --grant read",
            "procura lease undo --target  --yes",
            "procura lease list --subject ",
            "procura whois",
            "procura rotate",
            "procura rotate Tickets",
            "procura keys new keys.json --seal --days 9",
            "procura report blast-radius",
            "procura report blast-radius --target db --server tickets",
            "procura report unused --patch --json",
            "procura policy explain",
            "procura policy explain --issuance 7",
            "procura policy explain bundle --issuance 01890a5d-ac96-774b-bcce-b302099a8057",
            "procura policy explain --issuance 01890a5d-ac96-774b-bcce-b302099a8057 --tool list",
            "procura exchange --target db --grant read --format xml",
        ] {
            assert!(!parses(line), "{line}");
        }
    }
}
