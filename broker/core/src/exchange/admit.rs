//! The first half of identity: which server asks. Only what passes here gets records.

use std::sync::Arc;

use procura_wire::Reason;

use super::refuse::Refused;
use crate::{
    Timestamp,
    catalogue::Server,
    identity::AuthenticatedServer,
    ids::IssuanceId,
    ledger::Event,
    ports::{Ports, Snapshot},
    record::{ClientAuth, Draft},
    request::Incoming,
};

/// An authenticated request with its record begun.
pub struct Admitted {
    /// The server.
    pub server: AuthenticatedServer,
    /// The bundle that decides about it.
    pub snapshot: Arc<Snapshot>,
    /// When it was admitted, in milliseconds.
    pub now: Timestamp,
    /// Its record.
    pub draft: Draft,
}

impl Admitted {
    /// The server's entry in the catalogue.
    pub fn entry(&self) -> Result<&Server, Reason> {
        self.snapshot
            .judge
            .catalogue()
            .servers
            .get(&self.server.name)
            .ok_or(Reason::ClientUnauthenticated)
    }
}

/// Authenticates the server and begins its record.
pub async fn admit<T>(ports: &Ports, incoming: Incoming<T>, event: Event) -> Result<(Admitted, T), Refused> {
    let now = ports.now().map_err(Refused::unrecorded)?;
    let snapshot = ports.active.snapshot();
    let authenticated = ports
        .tokens
        .authenticate(snapshot.judge.catalogue(), &incoming.credentials, now);
    let server = authenticated.await.map_err(Refused::unrecorded)?;
    let mut draft = Draft::new(IssuanceId::new(now, &*ports.entropy), now, event, incoming.trace_id);
    draft.facts.server = Some(server.name.clone());
    draft.facts.client_auth = Some(ClientAuth {
        method: server.method,
        key: server.key.clone(),
    });
    draft.facts.bundle = Some(snapshot.judge.digest());
    draft.clear.address = incoming.address.map(|address| address.to_string());
    Ok((
        Admitted {
            server,
            snapshot,
            now,
            draft,
        },
        incoming.body,
    ))
}
