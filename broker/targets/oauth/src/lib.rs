//! Targets of kind `oauth`: access tokens of an upstream authorization server, by client credentials or in exchange for
//! the subject token, and revoked when the credential ends. `docs/targets/oauth.md` says how to set one up.

mod answer;
mod client;
mod endpoints;
mod http;
mod key;
mod minter;
mod refusal;
mod request;
mod settings;

use std::{sync::Arc, time::Duration};

use procura_core::{
    catalogue::Target,
    kind::{Kind, KindPorts, Lifetime, OpenError, OpenResult, Place},
};
use procura_wire::{Name, TokenType};

use crate::{minter::OauthMinter, settings::Settings};

/// Longest life of a token that the broker takes from an upstream.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The kind `oauth`.
pub static KIND: Kind = Kind {
    name: "oauth",
    target_keys: settings::TARGET_KEYS,
    grant_keys: settings::GRANT_KEYS,
    // Any server answers that a token unknown to it is gone, and may do so for another client's.
    place_keys: &["issuer", "token_endpoint", "revocation_endpoint", "client_id"],
    needs_source: true,
    issues: TokenType::AccessToken,
    lifetime: Lifetime::Chosen {
        min: Duration::from_secs(30),
        max: LIFE,
    },
    place: Place::External,
    lapses: Some(LIFE),
    receipts: true,
    reuses: false,
    forwards: true,
    merges: false,
    binds: false,
    check: settings::check,
    narrows: |target, plan| settings::wanted(target, plan).is_ok(),
    rights: settings::rights,
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
    let minter = OauthMinter::new(settings, ports).map_err(problem)?;
    Ok(Arc::new(minter))
}
