//! Servers that their platform vouches for: the platform's token is the client assertion (RFC 7523 section 3). It is
//! verified as any issuer's token, and may be presented until it ends.

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, ServerAuth, Workload},
    exchange::check_token,
    identity::{AuthenticatedServer, ClientAuthMethod},
    ports::Role,
};
use procura_wire::{Digest, Name, OAuthError, Reason, TokenType};

use crate::{Identity, client::short, jws::Unverified};

impl Identity {
    /// The one server that the token is for; `id` chooses where it fits several.
    pub(crate) async fn workload(
        &self,
        catalogue: &Catalogue,
        id: Option<&str>,
        text: &str,
        now: Timestamp,
    ) -> Result<AuthenticatedServer, Reason> {
        let claimed = Unverified::parse(text).map_err(refused)?;
        let iss = claimed.issuer().map_err(refused)?;
        let (alias, _) = self.issuer(catalogue, iss, Role::Workload).map_err(refused)?;
        let all: Vec<_> = of_issuer(catalogue, alias, id).collect();
        if all.is_empty() {
            // Nobody makes the broker fetch the keys of an issuer that vouches for no server.
            return Err(Reason::ClientUnauthenticated);
        }
        let verified = self.jwt(catalogue, text, TokenType::Jwt, Role::Workload).await;
        let token = verified.map_err(refused)?;
        check_token(catalogue, &token, now).map_err(refused)?;
        // The same text as was verified: its other claims count now, too.
        let claims = &claimed.payload;
        let mut fitting = all.into_iter().filter(|(_, workload)| {
            let pinned = |(name, value): (&String, &String)| claims.get(name).is_some_and(|claim| claim == value);
            workload.sub.as_ref().is_none_or(|sub| *sub == token.sub) && workload.claims.iter().all(pinned)
        });
        let (Some((name, workload)), None) = (fitting.next(), fitting.next()) else {
            return Err(Reason::ClientUnauthenticated);
        };
        let audience = workload.audience.as_ref().unwrap_or(&self.issuer);
        if token.audience != [audience.as_str()] {
            return Err(Reason::ClientAud);
        }
        Ok(AuthenticatedServer {
            name: name.clone(),
            method: ClientAuthMethod::Workload,
            key: short(Digest::of(format!("{iss} {}", token.sub).as_bytes())),
            once: None,
        })
    }
}

/// Servers that this issuer vouches for; that of the id, where there is one.
fn of_issuer<'a>(
    catalogue: &'a Catalogue,
    alias: &Name,
    id: Option<&str>,
) -> impl Iterator<Item = (&'a Name, &'a Workload)> {
    let servers = catalogue.servers.iter();
    servers.filter_map(move |(name, server)| match &server.auth {
        ServerAuth::Workload(workload) if workload.issuer == *alias && id.is_none_or(|id| id == name.as_str()) => {
            Some((name, workload))
        }
        _ => None,
    })
}

/// A fault of an issuer's token as one of a client assertion. What may pass by itself stays.
fn refused(reason: Reason) -> Reason {
    match reason {
        reason if reason.error() == OAuthError::TemporarilyUnavailable => reason,
        Reason::JwtIssUntrusted | Reason::SubjectSelfIssued => Reason::ClientUnauthenticated,
        Reason::JwtSigInvalid
        | Reason::JwtAlgKeyMismatch
        | Reason::JwtKeyWrongIssuer
        | Reason::JwksMiss
        | Reason::JwksKeyRefused
        // Seen before the signature is, and only where there is a server: strangers would learn of it.
        | Reason::JwtAlgRefused
        | Reason::JwtTypRefused
        | Reason::JwtKidMalformed => Reason::ClientKey,
        _ => Reason::ClientAssertionInvalid,
    }
}
