//! Keys that callers prove to hold (RFC 9449, RFC 8705 section 3), and tokens that are bound to them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_wire::{Digest, Reason, TokenType};
use serde::Serialize;

use crate::{
    Timestamp,
    exchange::use_up,
    identity::{Confirmation, PeerCertificates, PresentedProof, PresentedToken, VerifiedToken},
    ports::Ports,
};

/// Keys that the other end proved with one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proven {
    /// Thumbprint of the key of its DPoP proof.
    pub jkt: Option<String>,
    /// Thumbprint of its certificate: the handshake proved the key.
    pub x5t_s256: Option<String>,
}

impl Proven {
    /// What the connection alone proves.
    pub fn by_certificate(certificates: Option<&PeerCertificates>) -> Self {
        let own = certificates.and_then(|certificates| certificates.0.first());
        Self {
            jkt: None,
            x5t_s256: own.map(|der| BASE64_URL_SAFE_NO_PAD.encode(Digest::of(der).as_bytes())),
        }
    }

    /// Whether the key of a bound token is among them.
    /// Errors: [`Reason::PopUnproven`], [`Reason::PopMtlsMismatch`].
    pub fn holds(&self, confirmation: &Confirmation) -> Result<(), Reason> {
        match confirmation {
            Confirmation::Jkt(jkt) if self.jkt.as_ref() == Some(jkt) => Ok(()),
            Confirmation::Jkt(_) => Err(Reason::PopUnproven),
            Confirmation::X5tS256(x5t) if self.x5t_s256.as_ref() == Some(x5t) => Ok(()),
            Confirmation::X5tS256(_) => Err(Reason::PopMtlsMismatch),
        }
    }
}

/// `token_type` of what is issued as that type: `DPoP` where it is bound to a DPoP key (RFC 9449 section 5), else
/// the type's own, also where it is bound to a certificate (RFC 8705 section 3).
pub fn scheme(ty: TokenType, confirmation: Option<&Confirmation>) -> &'static str {
    match confirmation {
        Some(Confirmation::Jkt(_)) => "DPoP",
        Some(Confirmation::X5tS256(_)) | None => ty.scheme(),
    }
}

/// Whether the key of a bound token was proved, for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// It was.
    Proven,
    /// It was not: the bundle trusts this presenter with it.
    NotProven,
}

/// A token at `/v1` and how it was presented.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The token.
    pub token: &'a PresentedToken,
    /// `Authorization: DPoP` (RFC 9449 section 7.1) and not `Bearer`.
    pub dpop: bool,
    /// The request's proof.
    pub proof: Option<&'a PresentedProof>,
    /// The connection's certificates.
    pub certificates: Option<&'a PeerCertificates>,
}

/// Whether who presents the token may: a bound one needs its key and the scheme that goes with it, any other must be a
/// bearer token (RFC 9449 section 7, RFC 8705 section 3). Uses the proof up.
pub(crate) async fn check(
    ports: &Ports,
    presented: Presented<'_>,
    token: &VerifiedToken,
    now: Timestamp,
) -> Result<(), Reason> {
    match (&token.confirmation, presented.dpop) {
        (None, false) => Ok(()),
        (Some(Confirmation::Jkt(jkt)), true) => {
            let proof = presented.proof.ok_or(Reason::DpopRequired)?;
            let proof = ports.tokens.prove(proof, Some(&presented.token.value), now)?;
            if proof.jkt != *jkt {
                return Err(Reason::V1Unauthenticated);
            }
            use_up(ports, &[proof.once]).await
        }
        (Some(x5t @ Confirmation::X5tS256(_)), false) => Proven::by_certificate(presented.certificates)
            .holds(x5t)
            .map_err(|_| Reason::V1Unauthenticated),
        _ => Err(Reason::V1Unauthenticated),
    }
}
