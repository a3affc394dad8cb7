//! Targets of kind `github-app`: installation tokens of a GitHub App, narrowed to permissions and repositories,
//! and revoked when the credential ends. `docs/targets/github-app.md` says how to set one up.

mod api;
mod app;
mod fault;
mod minter;
mod settings;

use std::{sync::Arc, time::Duration};

use procura_core::{
    catalogue::Target,
    kind::{Kind, KindPorts, Lifetime, OpenError, OpenResult, Place},
};
use procura_wire::{Name, TokenType};

use crate::{api::Api, minter::GithubMinter, settings::Settings};

/// How long GitHub lets a token live, and what the clocks may differ by.
const LIFE: Duration = Duration::from_secs(65 * 60);

/// The kind `github-app`.
pub static KIND: Kind = Kind {
    name: "github-app",
    target_keys: settings::TARGET_KEYS,
    grant_keys: settings::GRANT_KEYS,
    // A token is taken back with itself alone, so that no other setting says where it is.
    place_keys: &["api"],
    needs_source: true,
    issues: TokenType::AccessToken,
    lifetime: Lifetime::Chosen {
        min: Duration::from_secs(60),
        max: Duration::from_secs(60 * 60),
    },
    place: Place::External,
    lapses: Some(LIFE),
    receipts: true,
    reuses: false,
    forwards: false,
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
    let source = ports.source.ok_or_else(|| problem("it names no source".to_owned()))?;
    let api = Api::new(&settings.api).map_err(problem)?;
    Ok(Arc::new(GithubMinter::new(settings, api, ports.clock, source)))
}
