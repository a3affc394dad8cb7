//! `[web]`

use super::*;
use crate::config::WebKeys;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageKeys {
    issuer: Name,
    client_id: Spanned<String>,
    /// `NAME:PATH` at a `[sources.NAME]`.
    client_secret: Spanned<String>,
}

impl Checker<'_> {
    pub(super) fn web(
        &mut self,
        keys: Option<PageKeys>,
        sources: &BTreeMap<Name, Spanned<SourceConfig>>,
    ) -> Option<WebKeys> {
        let keys = keys?;
        if keys.client_id.get_ref().is_empty() {
            let problem = "web.client_id: write what the issuer knows the page as";
            self.wrong(Some(keys.client_id.span().start), problem);
        }
        let client_secret = self.reference("web.client_secret", &keys.client_secret, sources)?;
        Some(WebKeys {
            issuer: keys.issuer,
            client_id: keys.client_id.into_inner(),
            client_secret,
        })
    }
}
