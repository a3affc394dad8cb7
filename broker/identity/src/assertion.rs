//! Client assertions that a server signs itself: `private_key_jwt` (RFC 7521 section 4.2, RFC 7523 section 3).
//! What needs no key is looked at first and says nothing of which servers there are; the id is used up by whoever
//! records the request, so that only what is signed ever uses one up.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use procura_core::{
    Timestamp,
    catalogue::{Catalogue, ClientKeys, ServerAuth},
    identity::{AuthenticatedServer, ClientAuthMethod, Once},
    ledger::ReplayId,
    request::token_endpoint,
    trust::SKEW,
};
use procura_wire::{Digest, Name, Reason, Secret};
use serde_json::Value;

use crate::{
    Identity, claims,
    client::short,
    jwk::{Key, KeySet},
    jws::Unverified,
};

/// How far ahead an assertion may end.
const MAX_LIFE: Duration = Duration::from_secs(5 * 60);
/// Longest `jti`, bytes.
const MAX_JTI: usize = 256;
/// `typ` values beside none (RFC 7519 section 5.1, draft-ietf-oauth-rfc7523bis).
const TYPES: [&str; 2] = ["jwt", "client-authentication+jwt"];

/// Claims of an assertion that may be valid. Nothing is verified.
struct Claimed {
    /// `iss`, which is `sub` and `client_id` too.
    server: String,
    audience: Audience,
    expires: Timestamp,
    jti: String,
}

/// Whom the assertion is for.
#[derive(PartialEq, Eq)]
enum Audience {
    Issuer,
    TokenEndpoint,
}

impl Claimed {
    /// An audience that only some servers may use is refused to strangers alike, so that they learn of none of them.
    fn as_told(&self, reason: Reason) -> Reason {
        match reason {
            Reason::ClientKeysUnavailable => reason,
            _ if self.audience == Audience::TokenEndpoint => Reason::ClientAud,
            _ => reason,
        }
    }
}

impl Identity {
    /// The server that an assertion of type `jwt-bearer` proves, by its own key or by its platform's.
    pub(crate) async fn assertion(
        &self,
        catalogue: &Catalogue,
        id: Option<&str>,
        assertion: &Secret,
        now: Timestamp,
    ) -> Result<AuthenticatedServer, Reason> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the assertion is read here, where it is verified"
        )]
        let text = assertion.expose();
        let invalid = |_| Reason::ClientAssertionInvalid;
        let jws = Unverified::parse(text).map_err(invalid)?;
        if jws.issuer().map_err(invalid)?.parse::<Name>().is_err() {
            return self.workload(catalogue, id, text, now).await;
        }
        let claimed = self.claimed(&jws, id, now)?;
        let (name, key) = match self.key_of_server(catalogue, &claimed, &jws).await {
            Ok(found) => found,
            Err(reason) => {
                // So that time does not tell an unknown server from one with another key.
                let _ = DECOY.as_ref().map(|key| key.verify_sig(jws.signed, &[1; 64]));
                return Err(claimed.as_told(reason));
            }
        };
        key.verify(jws.algorithm, jws.signed, &jws.signature)
            .map_err(|_| claimed.as_told(Reason::ClientKey))?;
        Ok(AuthenticatedServer {
            name: name.clone(),
            method: ClientAuthMethod::PrivateKeyJwt,
            key: short(key.thumbprint),
            once: Some(once(name, &key, &claimed)),
        })
    }

    fn claimed(&self, jws: &Unverified<'_>, id: Option<&str>, now: Timestamp) -> Result<Claimed, Reason> {
        let invalid = |_| Reason::ClientAssertionInvalid;
        let text = |name| claims::text(&jws.payload, name).map_err(invalid);
        let time = |name| claims::time(&jws.payload, name).map_err(invalid);
        let missing = Reason::ClientAssertionInvalid;
        let (server, sub, jti) = (
            text("iss")?.ok_or(missing)?,
            text("sub")?.ok_or(missing)?,
            text("jti")?.ok_or(missing)?,
        );
        let expires = time("exp")?.ok_or(missing)?;
        let begins = [time("nbf")?, time("iat")?].into_iter().flatten().max();
        let in_time =
            now < expires && expires <= now + MAX_LIFE + SKEW && begins.is_none_or(|begins| begins <= now + SKEW);
        let one_party = sub == server && id.is_none_or(|id| id == server);
        let typed = jws.typ().is_none_or(|typ| TYPES.contains(&typ));
        if !in_time || !one_party || !typed || !(1..=MAX_JTI).contains(&jti.len()) {
            return Err(missing);
        }
        let audience = claims::audience(&jws.payload).map_err(|_| Reason::ClientAud)?;
        let audience = match audience.as_slice() {
            [one] if *one == self.issuer => Audience::Issuer,
            [one] if *one == token_endpoint(&self.issuer) => Audience::TokenEndpoint,
            _ => return Err(Reason::ClientAud),
        };
        Ok(Claimed {
            server,
            audience,
            expires,
            jti,
        })
    }

    /// The server and the key of it that must have signed. Never one that the assertion brings along.
    async fn key_of_server<'a>(
        &self,
        catalogue: &'a Catalogue,
        claimed: &Claimed,
        jws: &Unverified<'_>,
    ) -> Result<(&'a Name, Arc<Key>), Reason> {
        let found = catalogue.servers.get_key_value(claimed.server.as_str());
        let found = found.and_then(|(name, server)| match &server.auth {
            ServerAuth::PrivateKeyJwt { keys, legacy_audience } => Some((name, keys, *legacy_audience)),
            _ => None,
        });
        if claimed.audience == Audience::TokenEndpoint && !found.is_some_and(|(_, _, legacy)| legacy) {
            return Err(Reason::ClientAud);
        }
        let (name, keys, _) = found.ok_or(Reason::ClientUnauthenticated)?;
        let kid = jws.kid.as_deref();
        let set = match keys {
            ClientKeys::Inline(jwks) => self.inline.get(name, jwks).map_err(|_| Reason::ClientKey)?,
            ClientKeys::Uri(uri) => {
                let fetched = self.keys.at(uri, kid).await;
                fetched.map_err(|_| Reason::ClientKeysUnavailable)?
            }
        };
        let key = set
            .of_server(kid, jws.algorithm)
            .filter(|key| key.is_for(jws.algorithm));
        Ok((name, key.ok_or(Reason::ClientKey)?))
    }
}

/// The assertion's id, its own for each server and key.
fn once(server: &Name, key: &Key, claimed: &Claimed) -> Once {
    let id = Digest::of_parts([
        b"private_key_jwt\0",
        server.as_str().as_bytes(),
        b"\0",
        key.thumbprint.as_bytes(),
        claimed.jti.as_bytes(),
    ]);
    Once {
        id: ReplayId {
            id,
            until: claimed.expires + SKEW,
        },
        replayed: Reason::ClientAssertionReplay,
    }
}

/// Key sets that stand in server files, each read once.
#[derive(Default)]
pub(crate) struct Inline(Mutex<HashMap<Name, (Value, Arc<KeySet>)>>);

impl Inline {
    fn get(&self, server: &Name, jwks: &Value) -> Result<Arc<KeySet>, Reason> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, set)) = known.get(server)
            && read == jwks
        {
            return Ok(Arc::clone(set));
        }
        let set = Arc::new(KeySet::read(jwks)?);
        known.insert(server.clone(), (jwks.clone(), Arc::clone(&set)));
        Ok(set)
    }
}

/// A key of nobody: the base point of P-256 (FIPS 186-4 appendix D.1.2.3), uncompressed.
static DECOY: LazyLock<Option<ParsedPublicKey>> =
    LazyLock::new(|| ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, BASE_POINT).ok());

const BASE_POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
    0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe,
    0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce,
    0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_nobody_is_one_that_signatures_are_computed_with() {
        let key = DECOY.as_ref().expect("a point of the curve");
        assert!(key.verify_sig(b"x", &[1; 64]).is_err());
    }
}
