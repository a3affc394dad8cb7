//! Keys in an exchange: the one that the caller proves, and those that the presented tokens are bound to.

use procura_wire::Reason;

use super::Admitted;
use crate::{
    catalogue::Catalogue,
    identity::{Confirmation, VerifiedToken},
    ports::Ports,
    possession::Binding,
};

/// Verifies the DPoP proof, which the first durable write then uses up, and notes what would be bound to which key.
/// What the server's file demands and is not there is refused for every kind: no proof, no token.
pub(super) fn prove(ports: &Ports, admitted: &mut Admitted) -> Result<(), Reason> {
    if let Some(presented) = admitted.proof.take() {
        let proof = ports.tokens.prove(&presented, None, admitted.now)?;
        admitted.once.push(proof.once);
        admitted.proven.jkt = Some(proof.jkt);
    }
    let (server, proven) = (admitted.entry()?, &admitted.proven);
    let confirmation = match (&proven.jkt, &proven.x5t_s256) {
        (Some(jkt), _) => Some(Confirmation::Jkt(jkt.clone())),
        (None, _) if server.dpop_bound => return Err(Reason::DpopRequired),
        (None, Some(x5t)) if server.certificate_bound => Some(Confirmation::X5tS256(x5t.clone())),
        (None, None) if server.certificate_bound => return Err(Reason::PopCertificateMissing),
        (None, _) => None,
    };
    admitted.draft.facts.cnf = confirmation;
    Ok(())
}

/// A bound token needs its key, so that an exchange never takes its binding away unseen; but for presenters that its
/// issuer's file names, and then the record says that nobody proved it.
pub(super) fn check(catalogue: &Catalogue, admitted: &mut Admitted, token: &VerifiedToken) -> Result<(), Reason> {
    let Some(confirmation) = &token.confirmation else {
        return Ok(());
    };
    let issuer = catalogue.issuers.get(&token.issuer);
    let trusted = issuer.is_some_and(|issuer| issuer.trusted_presenters.contains(&admitted.server.name));
    let binding = match admitted.proven.holds(confirmation) {
        Ok(()) => Binding::Proven,
        Err(_) if trusted => Binding::NotProven,
        Err(reason) => return Err(reason),
    };
    let noted = &mut admitted.draft.facts.binding;
    *noted = (*noted).max(Some(binding));
    Ok(())
}
