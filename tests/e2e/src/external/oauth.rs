//! An oidc-provider of its own, that the broker is a client of.

use crate::{
    Fault, Testbed,
    oidc_provider::{OidcProvider, UPSTREAM},
};

/// An authorization server whose tokens are opaque and can be revoked.
pub struct Oauth {
    pub(super) server: OidcProvider,
}

impl Oauth {
    /// Starts one: what lives there was made for one site only.
    pub async fn start(testbed: &Testbed) -> Result<Self, Fault> {
        let server = OidcProvider::start(testbed.npm()).await?;
        Ok(Self { server })
    }

    /// Its tokens live for ten minutes, longer than the broker lets them.
    pub(super) fn keys(&self) -> String {
        let grant = |name: &str, risk: &str| {
            format!(
                "[grants.{name}]\nrisk = \"{risk}\"\nmax_ttl = \"5m\"\ngrant_type = \"client_credentials\"\nscopes = \
                 [\"tools\"]\n"
            )
        };
        format!(
            "issuer = \"{}\"\nclient_id = \"{UPSTREAM}\"\nclient_auth = \"private_key_jwt\"\n{}{}",
            self.server.issuer,
            grant(super::READ, "read"),
            grant(super::HIDDEN, "write"),
        )
    }

    pub(super) async fn takes(&self, issued: &str) -> Result<bool, Fault> {
        Ok(self.server.introspect(issued).await?.body["active"] == true)
    }
}
