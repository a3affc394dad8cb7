//! ID-JAGs (draft-ietf-oauth-identity-assertion-authz-grant section 3): the way of an access token, under another `typ`
//! and with claims of their own.

use std::sync::Arc;

use procura_core::{
    catalogue::Catalogue,
    identity::{IdJag, VerifiedToken},
    ports::Role,
    trust::key_id,
};
use procura_wire::{Reason, Secret};
use serde_json::{Map, Value};

use crate::{Identity, claims, jws::Unverified, verify::MAX_TOKEN};

/// Longest `jti`, bytes.
const MAX_JTI: usize = 256;
/// Most resources of one.
const MAX_RESOURCES: usize = 8;

impl Identity {
    /// None is kept: most are presented once.
    pub(crate) async fn id_jag(&self, catalogue: &Catalogue, assertion: &Secret) -> Result<IdJag, Reason> {
        if assertion.len() > MAX_TOKEN {
            return Err(Reason::ParamTooLarge);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the assertion is read here, where it is verified"
        )]
        let jws = Unverified::parse(assertion.expose())?;
        let (alias, issuer) = self.issuer(catalogue, jws.issuer()?, Role::Subject)?;
        if issuer.id_jag.is_none() {
            return Err(Reason::JwtIssUntrusted);
        }
        if jws.typ() != Some("oauth-id-jag+jwt") {
            return Err(Reason::JwtTypRefused);
        }
        jws.has_algorithm_of(issuer)?;
        let kid = jws.kid()?;
        let key = self.keys.find(catalogue, &issuer.issuer, kid).await?;
        key.verify(jws.algorithm, jws.signed, &jws.signature)?;
        let mut token = claims::read(&jws.payload, alias, issuer)?;
        token.vouched.key = Some(key_id(kid));
        own_claims(&jws.payload, token)
    }
}

/// What an ID-JAG has beyond an access token. A tenant or a subject of the audience would be ours to know.
fn own_claims(claims: &Map<String, Value>, mut token: VerifiedToken) -> Result<IdJag, Reason> {
    if claims.contains_key("aud_tenant") || claims.contains_key("aud_sub") {
        return Err(Reason::IdJagTenant);
    }
    let client = claims.get("client_id").and_then(Value::as_str);
    let id = token.jti.as_deref().unwrap_or_default();
    if client.is_none() || id.is_empty() || token.issued_at.is_none() {
        return Err(Reason::JwtClaimMissing);
    }
    if id.len() > MAX_JTI {
        return Err(Reason::JwtClaimRange);
    }
    let resources = match claims.get("resource") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(_) => claims::texts(claims, "resource")?.map(str::to_owned).collect(),
    };
    if resources.len() > MAX_RESOURCES || claims.contains_key("resource") && resources.is_empty() {
        return Err(Reason::JwtClaimRange);
    }
    // Issuers are asked about access tokens (RFC 7662), also where they are asked always.
    token.vouched.introspected = false;
    Ok(IdJag {
        token: Arc::new(token),
        resources,
        details: claims.get("authorization_details").cloned(),
    })
}
