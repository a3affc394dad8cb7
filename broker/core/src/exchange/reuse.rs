//! Live credentials that are served again within their session, where their kind says so: making one costs
//! more at the target than it tells anybody.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use procura_wire::{Digest, Secret};
use serde_json::{Map, Value, json};

use super::judge::Permit;
use crate::{
    Timestamp,
    catalogue::Target,
    ids::{Handle, IssuanceId, SessionId},
    kind::{Minted, Rights},
    ledger::LeaseState,
    ports::Ports,
};

/// Most credentials that are held; beyond, those that end first are forgotten.
const MOST: usize = 10_000;

/// An effective grant within a session, for one tool. The session stands for server, subject and actor; the rest is
/// everything that the target's minter makes a credential from, so that a changed definition never finds an older one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(SessionId, Digest);

impl Key {
    pub(super) fn of(permit: &Permit, target: &Target, tool: Option<&str>) -> Self {
        let plan = &permit.plan;
        let grants = plan
            .grants
            .iter()
            .map(|name| (name, target.grants.get(name).map(|grant| &grant.settings)));
        let grants: BTreeMap<_, _> = grants.collect();
        let effective = json!([
            plan.target,
            target.kind.name,
            target.source,
            target.settings,
            grants,
            plan.params,
            plan.confirmation,
            tool
        ]);
        Self(permit.session.id, Digest::of(effective.to_string().as_bytes()))
    }
}

/// Credentials of this process that may be served again.
#[derive(Default)]
pub struct Reuse(Mutex<HashMap<Key, Held>>);

struct Held {
    made_by: IssuanceId,
    handle: Handle,
    value: Secret,
    rights: Rights,
    end: Timestamp,
    source_version: Option<String>,
    details: Map<String, Value>,
}

/// A live credential, and the issuance that made it.
pub(super) struct Again {
    pub(super) made_by: IssuanceId,
    pub(super) handle: Handle,
    pub(super) minted: Minted,
}

impl Reuse {
    /// One that ends no later than a new one would and has at least half of its time left, so that whoever
    /// asks for a fresh one before the end gets it; and that nobody has undone.
    pub(super) async fn find(ports: &Ports, key: &Key, (now, end): (Timestamp, Timestamp)) -> Option<Again> {
        let again = ports
            .reuse
            .held()
            .get(key)
            .filter(|held| held.fits(now, end))
            .map(Held::again)?;
        match ports.ledger.lease(again.made_by).await {
            Ok(Some(lease)) if lease.state == LeaseState::Live => Some(again),
            _ => {
                ports.reuse.held().remove(key);
                None
            }
        }
    }

    pub(super) fn keep(&self, key: Key, (made_by, handle): (IssuanceId, &Handle), minted: &Minted, now: Timestamp) {
        let mut all = self.held();
        all.retain(|_, held| held.end > now);
        if all.len() >= MOST
            && let Some(first) = all.iter().min_by_key(|(_, held)| held.end).map(|(key, _)| key.clone())
        {
            all.remove(&first);
        }
        all.insert(
            key,
            Held {
                made_by,
                handle: handle.clone(),
                value: copy(&minted.value),
                rights: minted.rights.clone(),
                end: minted.end,
                source_version: minted.source_version.clone(),
                details: minted.details.clone(),
            },
        );
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn fits(&self, now: Timestamp, end: Timestamp) -> bool {
        self.end <= end && self.end > now && self.end.duration_since(now) * 2 >= end.duration_since(now)
    }

    fn again(&self) -> Again {
        Again {
            made_by: self.made_by,
            handle: self.handle.clone(),
            minted: Minted {
                value: copy(&self.value),
                rights: self.rights.clone(),
                end: self.end,
                lapses: None,
                receipt: None,
                known_as: None,
                source_version: self.source_version.clone(),
                details: self.details.clone(),
            },
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the copy is a secret again")]
fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose().to_owned())
}
