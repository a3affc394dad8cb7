//! Log-ins at the web page: their ID tokens, and the way out for the OpenID Connect client.

use std::sync::Arc;

use procura_core::{
    catalogue::Catalogue,
    identity::VerifiedToken,
    ports::{BoxFuture, Role},
};
use procura_wire::{Name, Reason, Secret};
use reqwest::{Request, header::HeaderMap};

use crate::{Identity, claims, jws::Unverified};

/// An answer to the OpenID Connect client.
#[derive(Debug)]
pub struct Fetched {
    /// Status.
    pub status: u16,
    /// Header.
    pub headers: HeaderMap,
    /// Body, at most 256 KiB.
    pub body: Vec<u8>,
}

/// The place may not be asked, does not answer in time, or answers too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the issuer cannot be asked")]
pub struct Unfetched;

impl Identity {
    /// Sends a request under the rules of all outgoing ones: https at public addresses, no redirects, bounded in time
    /// and size.
    pub async fn fetch(&self, request: Request) -> Result<Fetched, Unfetched> {
        self.http.fetch(request).await.ok_or(Unfetched)
    }

    /// The identifier that the tokens of an issuer carry as `iss`, where the bundle says `builtin:dev` too.
    pub fn issuer_url<'a>(&'a self, listed: &'a str) -> &'a str {
        match &self.builtin {
            Some(builtin) if listed == crate::BUILTIN => builtin,
            _ => listed,
        }
    }

    /// Verifies an ID token of a log-in under the file of that issuer, which must have `operators = true`: algorithm,
    /// `typ`, key, signature, form of the claims; its one audience is the client. Times and nonce are left to the
    /// caller. Errors are those of tokens of operators.
    pub fn id_token<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        alias: &'a Name,
        token: &'a Secret,
        client: &'a str,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        Box::pin(async move {
            #[expect(clippy::disallowed_methods, reason = "the token is read here, where it is verified")]
            let jws = Unverified::parse(token.expose())?;
            let (found, issuer) = self.issuer(catalogue, jws.issuer()?, Role::Operator)?;
            if found != alias {
                return Err(Reason::JwtIssUntrusted);
            }
            jws.has_algorithm_of(issuer)?;
            if !jws.is_id_token() {
                return Err(Reason::JwtTypRefused);
            }
            let key = self.keys.find(catalogue, &issuer.issuer, jws.kid()?).await?;
            key.verify(jws.algorithm, jws.signed, &jws.signature)?;
            let verified = claims::read(&jws.payload, alias, issuer)?;
            let verified = claims::id_token(verified, &jws.payload)?;
            if verified.client.as_deref() != Some(client) {
                return Err(Reason::JwtAudience);
            }
            Ok(Arc::new(verified))
        })
    }
}
