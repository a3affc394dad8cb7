//! Targets of kind `postgres`: for each issuance a log-in role of its own, member of group roles that the
//! DBA made, gone again when the credential ends. `setup.sql` beside this crate prepares a database;
//! `docs/targets/postgres.md` explains it.

/// A place where tests stop or kill the process; nothing without the feature `failpoints`.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

mod access;
mod document;
mod fault;
mod mint;
mod minter;
mod probe;
mod quote;
mod rotate;
pub mod sample;
mod scram;
mod settings;
mod undo;

use std::{sync::Arc, time::Duration};

use procura_core::{
    catalogue::Target,
    kind::{Kind, KindPorts, Lifetime, OpenError, OpenResult, Place},
};
use procura_wire::{Name, TokenType};

use crate::{access::Access, minter::PostgresMinter, settings::Settings};

/// What the owner of a target's database runs once, with `procura.administrator` set to the broker's role.
pub const SETUP_SQL: &str = include_str!("../setup.sql");

/// The sample tables, rows and group role of development mode; to be run after [`SETUP_SQL`], the same way.
pub const DEMO_SQL: &str = include_str!("../demo.sql");

/// The kind `postgres`.
pub static KIND: Kind = Kind {
    name: "postgres",
    target_keys: settings::TARGET_KEYS,
    grant_keys: settings::GRANT_KEYS,
    place_keys: &["host", "port", "dbname"],
    needs_source: true,
    issues: TokenType::Postgres,
    lifetime: Lifetime::Chosen {
        min: Duration::from_secs(10),
        max: Duration::from_secs(24 * 60 * 60),
    },
    place: Place::External,
    lapses: None,
    receipts: false,
    reuses: false,
    forwards: false,
    merges: false,
    binds: false,
    check: settings::check,
    narrows: |_, _| true,
    rights: settings::rights,
    open,
};

fn open(name: &Name, target: &Target, ports: KindPorts) -> OpenResult {
    let problem = |problem: String| OpenError {
        target: name.clone(),
        problem,
    };
    let settings = Settings::read(target).map_err(|faults| {
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.key, fault.problem))
            .collect();
        problem(faults.join("; "))
    })?;
    let source = ports.source.ok_or_else(|| problem("it names no source".to_owned()))?;
    Ok(Arc::new(PostgresMinter {
        access: Access::new(settings, ports.clock, source),
        entropy: ports.entropy,
        installation: ports.installation,
    }))
}
