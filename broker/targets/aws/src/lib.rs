//! Targets of kind `aws`: for each issuance a session of one IAM role, narrowed by a session policy that is built as
//! data, with names and tags that lead back to the issuance. `docs/targets/aws.md` explains it.

mod access;
mod fault;
mod grant;
mod minter;
mod name;
mod request;
mod revoke;
mod rotate;
mod settings;
mod statement;

use std::{sync::Arc, time::Duration};

use procura_core::{
    catalogue::Target,
    kind::{Kind, KindPorts, Lifetime, OpenError, OpenResult, Place},
};
use procura_wire::{Name, TokenType};

use crate::{access::Access, minter::AwsMinter, settings::Settings};

/// Shortest session of a role (STS AssumeRole, DurationSeconds).
const SHORTEST: Duration = Duration::from_secs(15 * 60);
/// Shortest plan: a minute more, so that a session ends before its plan however long the request is on its way.
const SHORTEST_PLAN: Duration = Duration::from_secs(16 * 60);
/// Longest session of a role.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// The kind `aws`.
pub static KIND: Kind = Kind {
    name: "aws",
    target_keys: settings::TARGET_KEYS,
    grant_keys: grant::GRANT_KEYS,
    // What undoing depends on: another role would take the refusal of a session that it does not have.
    place_keys: &["role_arn", "endpoint", "iam_endpoint"],
    needs_source: true,
    issues: TokenType::Aws,
    lifetime: Lifetime::Chosen {
        min: SHORTEST_PLAN,
        max: LONGEST,
    },
    place: Place::External,
    lapses: Some(LONGEST),
    receipts: false,
    reuses: true,
    forwards: false,
    merges: false,
    binds: false,
    check: settings::check,
    narrows: |target, plan| request::narrow(target, plan).is_ok(),
    rights: request::rights,
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
    Ok(Arc::new(AwsMinter {
        access: Access::new(settings, ports.clock, source),
        installation: ports.installation,
    }))
}
