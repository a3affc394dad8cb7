//! `[web]`

use std::collections::BTreeMap;

use procura_sources::{Reference, SourceConfig};
use procura_wire::Name;
use toml::Spanned;

use super::{Checker, WebKeys};

impl Checker<'_> {
    /// The page's keys, whose secret is at a source of the file.
    pub(super) fn web(
        &mut self,
        keys: Spanned<WebKeys>,
        sources: &BTreeMap<Name, Spanned<SourceConfig>>,
    ) -> Option<WebKeys> {
        let at = Some(keys.span().start);
        let keys = keys.into_inner();
        if keys.client_id.is_empty() {
            self.wrong(at, "web.client_id: write what the issuer knows the page as");
        }
        match keys.client_secret.parse::<Reference>() {
            Err(error) => self.wrong(at, format!("web.client_secret: {error}")),
            Ok(reference) if !sources.contains_key(&reference.source) => {
                self.wrong(
                    at,
                    format!("web.client_secret: there is no [sources.{}]", reference.source),
                );
            }
            Ok(_) => return Some(keys),
        }
        None
    }
}
