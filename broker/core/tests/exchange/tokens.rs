//! A verifier that answers what the test put in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use procura_core::{
    Timestamp,
    catalogue::Catalogue,
    identity::{
        AuthenticatedServer, ClientAuthMethod, ClientCredentials, IdJag, Once, PeerCertificates, PresentedProof,
        PresentedToken, Proof, VerifiedToken,
    },
    ledger::ReplayId,
    ports::{BoxFuture, Role, TokenVerifier},
};
use procura_wire::{Digest, Name, Reason, Secret};

use crate::world::name;
/// Answers what the test put in.
#[derive(Default)]
pub(crate) struct Tokens(
    pub(crate) Mutex<BTreeMap<String, Result<VerifiedToken, Reason>>>,
    /// ID-JAGs.
    pub(crate) Mutex<BTreeMap<String, Result<IdJag, Reason>>>,
);

impl TokenVerifier for Tokens {
    fn authenticate<'a>(
        &'a self,
        _: &'a Catalogue,
        credentials: &'a ClientCredentials,
        _: Option<&'a PeerCertificates>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<AuthenticatedServer, Reason>> {
        let result = match credentials {
            ClientCredentials::Basic { id, .. } => Ok(AuthenticatedServer {
                name: name(id),
                method: ClientAuthMethod::ClientSecretBasic,
                key: "0".repeat(16),
                once: None,
            }),
            ClientCredentials::Assertion { id, assertion, .. } => Ok(AuthenticatedServer {
                name: name(id.as_deref().expect("an id")),
                method: ClientAuthMethod::ClientSecretBasic,
                key: "0".repeat(16),
                once: Some(Once {
                    id: ReplayId {
                        id: assertion.digest(),
                        until: now + Duration::from_secs(300),
                    },
                    replayed: Reason::ClientAssertionReplay,
                }),
            }),
            _ => Err(Reason::ClientUnauthenticated),
        };
        async move { result }.boxed()
    }

    fn verify<'a>(
        &'a self,
        _: &'a Catalogue,
        token: &'a PresentedToken,
        _: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        let known = self.0.lock().expect("lock");
        let result = known
            .values()
            .zip(known.keys())
            .find(|(_, text)| Secret::new((*text).clone()) == token.value);
        let result = result.map_or(Err(Reason::JwtFormat), |(result, _)| result.clone().map(Arc::new));
        async move { result }.boxed()
    }

    fn verify_id_jag<'a>(&'a self, _: &'a Catalogue, assertion: &'a Secret) -> BoxFuture<'a, Result<IdJag, Reason>> {
        let known = self.1.lock().expect("lock");
        let mut known = known.iter();
        let found = known.find(|(text, _)| Secret::new((*text).clone()) == *assertion);
        let result = found.map_or(Err(Reason::JwtFormat), |(_, result)| result.clone());
        async move { result }.boxed()
    }

    /// A proof is `KEY:ID`, and with a token `KEY:ID:TOKEN`.
    #[expect(clippy::disallowed_methods, reason = "a proof of a test")]
    fn prove(&self, proof: &PresentedProof, token: Option<&Secret>, now: Timestamp) -> Result<Proof, Reason> {
        let text = proof.value.as_ref().ok_or(Reason::DpopHeader)?.expose();
        let (jkt, rest) = text.split_once(':').ok_or(Reason::DpopSignature)?;
        let ath = rest.split_once(':').map(|(_, token)| Secret::new(token.into()));
        if ath.as_ref() != token {
            return Err(Reason::DpopAth);
        }
        Ok(Proof {
            jkt: jkt.into(),
            once: Once {
                id: ReplayId {
                    id: Digest::of(text.as_bytes()),
                    until: now + Duration::from_secs(120),
                },
                replayed: Reason::DpopReplay,
            },
        })
    }

    fn nonce(&self, _: Timestamp) -> Option<String> {
        None
    }

    /// Knows what was put in as `ISSUER asked about TOKEN`.
    fn introspect<'a>(
        &'a self,
        _: &'a Catalogue,
        issuer: &'a Name,
        token: &'a PresentedToken,
        _: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        let known = self.0.lock().expect("lock");
        let about = |text: &str| text.strip_prefix(&format!("{issuer} asked about ")).map(str::to_owned);
        let found = known
            .iter()
            .find(|(text, _)| about(text).is_some_and(|about| Secret::new(about) == token.value));
        let result = found.map_or(Err(Reason::IntrospectInactive), |(_, result)| {
            result.clone().map(Arc::new)
        });
        async move { result }.boxed()
    }
}
