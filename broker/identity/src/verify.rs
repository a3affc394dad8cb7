//! The way of one token: form, issuer, key, signature, claims; cheap checks first.

use std::sync::Arc;

use procura_core::{
    catalogue::{Catalogue, Issuer},
    identity::{PresentedToken, VerifiedToken},
    ports::Role,
    trust::key_id,
};
use procura_wire::{Digest, Name, Reason, TokenType};

use crate::{BUILTIN, Identity, claims, introspection, jws::Unverified, verified};

/// Longest token, bytes.
pub(crate) const MAX_TOKEN: usize = 64 * 1024;
/// Longest token that an issuer is asked about, bytes.
const MAX_OPAQUE: usize = 4 * 1024;

impl Identity {
    pub(crate) async fn token(
        &self,
        catalogue: &Catalogue,
        token: &PresentedToken,
        role: Role,
    ) -> Result<Arc<VerifiedToken>, Reason> {
        let id_token = token.declared == TokenType::IdToken;
        // An ID token tells a client of its user's log-in; nobody acts by one.
        if !token.declared.is_presentable() || (id_token && role != Role::Subject) {
            return Err(Reason::TokenTypeUnsupported);
        }
        if token.value.len() > MAX_TOKEN {
            return Err(Reason::ParamTooLarge);
        }
        #[expect(clippy::disallowed_methods, reason = "the token is read here, where it is verified")]
        let text = token.value.expose();
        self.jwt(catalogue, text, token.declared, role).await
    }

    pub(crate) async fn jwt(
        &self,
        catalogue: &Catalogue,
        text: &str,
        declared: TokenType,
        role: Role,
    ) -> Result<Arc<VerifiedToken>, Reason> {
        let id = verified::id(text, declared, role);
        if let Some(known) = self.known(catalogue, id).await? {
            self.still_active(catalogue, text, &known).await?;
            return Ok(known);
        }
        let jws = Unverified::parse(text)?;
        let (alias, issuer) = self.issuer(catalogue, jws.issuer()?, role)?;
        jws.obeys(issuer, declared)?;
        let kid = jws.kid()?;
        let key = self.keys.find(catalogue, &issuer.issuer, kid).await?;
        key.verify(jws.algorithm, jws.signed, &jws.signature)?;
        let mut verified = claims::read(&jws.payload, alias, issuer)?;
        if declared == TokenType::IdToken {
            verified = claims::id_token(verified, &jws.payload)?;
        }
        verified.vouched.key = Some(key_id(kid));
        let verified = Arc::new(verified);
        self.verified.insert(id, &verified, issuer, (kid.to_owned(), key.id));
        self.still_active(catalogue, text, &verified).await?;
        Ok(verified)
    }

    /// Where the issuer is asked about its JWTs too: whether it says that this one is active.
    async fn still_active(&self, catalogue: &Catalogue, text: &str, token: &VerifiedToken) -> Result<(), Reason> {
        let issuer = catalogue.issuers.get(&token.issuer).ok_or(Reason::JwtIssUntrusted)?;
        if issuer.trust.asks_always() {
            introspection::agrees(&*self.introspections.of(issuer, text).await?, token)?;
        }
        Ok(())
    }

    /// A token that is no JWT, as that issuer knows it.
    pub(crate) async fn opaque(
        &self,
        catalogue: &Catalogue,
        alias: &Name,
        token: &PresentedToken,
        role: Role,
    ) -> Result<Arc<VerifiedToken>, Reason> {
        #[expect(
            clippy::disallowed_methods,
            reason = "its form is looked at before its issuer is asked"
        )]
        let text = token.value.expose();
        if token.declared != TokenType::AccessToken || !introspection::is_opaque(text) {
            return Err(Reason::JwtFormat);
        }
        if text.len() > MAX_OPAQUE {
            return Err(Reason::ParamTooLarge);
        }
        let issuer = catalogue.issuers.get(alias).ok_or(Reason::JwtIssUntrusted)?;
        if !serves(issuer, role) {
            return Err(Reason::JwtIssUntrusted);
        }
        let answer = self.introspections.of(issuer, text).await?;
        introspection::token(&answer, alias, issuer).map(Arc::new)
    }

    /// A token verified before, if issuer and key are still what they were.
    async fn known(&self, catalogue: &Catalogue, id: Digest) -> Result<Option<Arc<VerifiedToken>>, Reason> {
        let Some(entry) = self.verified.get(id) else {
            return Ok(None);
        };
        if catalogue.issuers.get(&entry.token.issuer) != Some(&*entry.issuer) {
            return Ok(None);
        }
        let (kid, id) = &entry.key;
        let key = self.keys.find(catalogue, &entry.issuer.issuer, kid).await?;
        Ok((key.id == *id).then_some(entry.token))
    }

    /// The trusted issuer of that identifier, compared exactly.
    pub(crate) fn issuer<'a>(
        &self,
        catalogue: &'a Catalogue,
        iss: &str,
        role: Role,
    ) -> Result<(&'a Name, &'a Issuer), Reason> {
        if iss == self.issuer {
            return Err(Reason::SubjectSelfIssued);
        }
        let listed = match &self.builtin {
            Some(builtin) if iss == builtin => BUILTIN,
            _ if iss == BUILTIN => return Err(Reason::JwtIssUntrusted),
            _ => iss,
        };
        catalogue
            .issuer_by_url(listed)
            .filter(|(_, issuer)| serves(issuer, role))
            .ok_or(Reason::JwtIssUntrusted)
    }
}

/// Whether tokens of the issuer may be presented as that.
fn serves(issuer: &Issuer, role: Role) -> bool {
    match role {
        Role::Workload => true,
        Role::Operator => issuer.operators && !issuer.workloads_only,
        Role::Subject | Role::Actor => !issuer.workloads_only,
    }
}
