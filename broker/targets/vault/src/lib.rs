//! Targets of kind `vault`: for each issuance a token of its own at HashiCorp Vault or OpenBao, made through a token role,
//! or what an engine there makes for that token. When the credential ends the token is revoked, and its lease with it.
//! `docs/targets/vault.md` says how to set one up.

mod access;
mod certificate;
mod fault;
mod grant;
mod mint;
mod minter;
mod probe;
mod secret;
mod server;
mod settings;
mod undo;

use std::{sync::Arc, time::Duration};

use procura_core::{
    catalogue::Target,
    kind::{Kind, KindPorts, Lifetime, OpenError, OpenResult, Place},
};
use procura_wire::{Name, TokenType};

use crate::{access::Access, minter::VaultMinter, server::Server, settings::Settings};

/// The longest life of a token.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The kind `vault`.
pub static KIND: Kind = Kind {
    name: "vault",
    target_keys: settings::TARGET_KEYS,
    grant_keys: grant::GRANT_KEYS,
    place_keys: &["address", "namespace", "token_role"],
    needs_source: true,
    issues: TokenType::Vault,
    lifetime: Lifetime::Chosen {
        min: Duration::from_secs(10),
        max: LONGEST,
    },
    place: Place::External,
    lapses: Some(LONGEST),
    receipts: true,
    reuses: false,
    forwards: false,
    merges: false,
    binds: false,
    check: settings::check,
    narrows: grant::narrows,
    rights: grant::rights,
    open,
};

fn open(name: &Name, target: &Target, ports: KindPorts) -> OpenResult {
    let problem = |problem: String| OpenError {
        target: name.clone(),
        problem,
    };
    let settings = Settings::read(target).map_err(|faults| {
        let faults = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem));
        problem(faults.collect::<Vec<_>>().join("; "))
    })?;
    let source = ports.source.ok_or_else(|| problem("it names no source".to_owned()))?;
    let server = Server::new(&settings).map_err(problem)?;
    Ok(Arc::new(VaultMinter {
        settings,
        access: Access::new(Arc::new(server), ports.clock, source),
        installation: ports.installation,
        known: Default::default(),
    }))
}
