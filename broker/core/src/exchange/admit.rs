//! The first half of identity: which server asks. Only what passes here gets records.

use std::{mem, sync::Arc};

use procura_wire::Reason;

use super::refuse::{Refused, append_reason};
use crate::{
    Timestamp,
    catalogue::Server,
    identity::{AuthenticatedServer, Once, PresentedProof},
    ids::IssuanceId,
    ledger::{AppendError, Event, ReplayId},
    ports::{Ports, Snapshot},
    possession::Proven,
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
    /// The DPoP proof that nobody has looked at yet.
    pub proof: Option<Arc<PresentedProof>>,
    /// Keys that the caller proved.
    pub proven: Proven,
    /// Proofs that its first durable write uses up.
    pub once: Vec<Once>,
}

impl Admitted {
    /// Ids that its first durable write burns.
    pub(super) fn burn(&self) -> Vec<ReplayId> {
        self.once.iter().map(|once| once.id.clone()).collect()
    }

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

/// The same for a request that may come to no durable write of its own: one-time proofs are used up at once.
pub async fn admit_at_once<T>(ports: &Ports, incoming: Incoming<T>, event: Event) -> Result<(Admitted, T), Refused> {
    let (mut admitted, body) = admit(ports, incoming, event).await?;
    let used_up = use_up(ports, &mem::take(&mut admitted.once)).await;
    used_up.map_err(Refused::unrecorded)?;
    Ok((admitted, body))
}

/// Uses up proofs one by one; the error is that of the first which was used before.
pub(crate) async fn use_up(ports: &Ports, once: &[Once]) -> Result<(), Reason> {
    for once in once {
        match ports.ledger.burn(vec![once.id.clone()]).await {
            Ok(()) => {}
            Err(AppendError::Replayed) => return Err(once.replayed),
            Err(error) => return Err(append_reason(error)),
        }
    }
    Ok(())
}

/// Authenticates the server and begins its record.
pub async fn admit<T>(ports: &Ports, incoming: Incoming<T>, event: Event) -> Result<(Admitted, T), Refused> {
    let now = ports.now().map_err(Refused::unrecorded)?;
    let snapshot = ports.active.snapshot();
    let (catalogue, certificates) = (snapshot.judge.catalogue(), incoming.certificates.as_deref());
    let authenticated = ports
        .tokens
        .authenticate(catalogue, &incoming.credentials, certificates, now);
    let mut server = authenticated.await.map_err(Refused::unrecorded)?;
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
            proof: incoming.proof,
            proven: Proven::by_certificate(incoming.certificates.as_deref()),
            once: server.once.take().into_iter().collect(),
            server,
            snapshot,
            now,
            draft,
        },
        incoming.body,
    ))
}
