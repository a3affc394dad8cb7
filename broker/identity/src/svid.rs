//! Client authentication by JWT-SVID (SPIFFE JWT-SVID; draft-ietf-oauth-spiffe-client-auth).

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{
    Timestamp,
    catalogue::{Algorithm, Catalogue, ServerAuth},
    identity::{AuthenticatedServer, ClientAuthMethod},
    spiffe::{SpiffeId, SpiffePattern},
};
use procura_wire::{Name, Reason, Secret, json};
use serde_json::{Map, Value};

use crate::{Identity, certified::key_id, claims, jws::Unverified};

/// Members that the header may have (JWT-SVID section 2).
const HEADER: [&str; 3] = ["alg", "kid", "typ"];
/// How far the clock of the trust domain may be ahead of ours.
const SKEW: Duration = Duration::from_secs(30);

impl Identity {
    /// The server whose workload has the SVID. It may be presented again until it ends.
    pub(crate) async fn svid(
        &self,
        catalogue: &Catalogue,
        id: Option<&str>,
        assertion: &Secret,
        now: Timestamp,
    ) -> Result<AuthenticatedServer, Reason> {
        let found = self.read_svid(catalogue, id, assertion, now).await;
        found.map_err(|reason| match reason {
            // Not the caller's fault.
            Reason::IssuerUnavailable | Reason::JwksRefused | Reason::JwksRedirect | Reason::JwksDuplicateKid => reason,
            reason => {
                tracing::debug!(reason = reason.code(), "a JWT-SVID is refused");
                Reason::ClientUnauthenticated
            }
        })
    }

    async fn read_svid(
        &self,
        catalogue: &Catalogue,
        id: Option<&str>,
        assertion: &Secret,
        now: Timestamp,
    ) -> Result<AuthenticatedServer, Reason> {
        #[expect(clippy::disallowed_methods, reason = "the SVID is read here, where it is verified")]
        let text = assertion.expose();
        let jws = Unverified::parse(text)?;
        check_header(text)?;
        if jws.algorithm == Algorithm::Ed25519 {
            return Err(Reason::JwtAlgRefused);
        }
        let workload = self.claims(&jws.payload, now)?;
        let (name, pattern) = of(catalogue, id, &workload).ok_or(Reason::JwtIssUntrusted)?;
        let kid = jws.kid()?;
        let has = |bundle: &crate::spiffe::Bundle| bundle.keys.has(kid);
        let bundle = self.spiffe.bundle(&pattern.trust_domain, has).await?;
        let key = bundle.keys.get(kid)?;
        key.verify(jws.algorithm, jws.signed, &jws.signature)?;
        Ok(AuthenticatedServer {
            name: name.clone(),
            method: ClientAuthMethod::SpiffeJwt,
            key: key_id(key.id),
            once: None,
        })
    }

    /// `sub`, where audience and times are right. The audience is this broker alone, so that nobody whom the SVID was
    /// shown to can show it here.
    fn claims(&self, payload: &Map<String, Value>, now: Timestamp) -> Result<SpiffeId, Reason> {
        match &claims::audience(payload)?[..] {
            [one] if *one == self.issuer => {}
            [_] => return Err(Reason::JwtAudience),
            _ => return Err(Reason::JwtAudMulti),
        }
        let end = claims::time(payload, "exp")?.ok_or(Reason::JwtClaimMissing)?;
        let begins = [claims::time(payload, "nbf")?, claims::time(payload, "iat")?];
        if end <= now {
            return Err(Reason::JwtExpired);
        }
        if begins.into_iter().flatten().any(|begin| begin > now + SKEW) {
            return Err(Reason::JwtNotYet);
        }
        let sub = claims::text(payload, "sub")?.ok_or(Reason::JwtClaimMissing)?;
        sub.parse().map_err(|_| Reason::NameRefused)
    }
}

/// The server that the workload is of; the loader sees to it that there is one at most.
fn of<'a>(catalogue: &'a Catalogue, id: Option<&str>, workload: &SpiffeId) -> Option<(&'a Name, &'a SpiffePattern)> {
    catalogue.servers.iter().find_map(|(name, server)| match &server.auth {
        ServerAuth::Spiffe(pattern) if id.is_none_or(|id| id == name.as_str()) && pattern.matches(workload) => {
            Some((name, pattern))
        }
        _ => None,
    })
}

/// No member but those that JWT-SVIDs have, and no other `typ`.
fn check_header(token: &str) -> Result<(), Reason> {
    let part = token.split('.').next().unwrap_or_default();
    let part = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::JwtBase64)?;
    let Ok(Value::Object(header)) = json::strict(&part) else {
        return Err(Reason::JwtJson);
    };
    let known = header.keys().all(|member| HEADER.contains(&member.as_str()));
    let typ = header.get("typ").is_none_or(|typ| typ == "JWT" || typ == "JOSE");
    match (known, typ) {
        (false, _) => Err(Reason::JwtHeaderRefused),
        (true, false) => Err(Reason::JwtTypRefused),
        (true, true) => Ok(()),
    }
}
