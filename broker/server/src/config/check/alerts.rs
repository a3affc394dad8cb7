//! `[alerts]`

use super::*;
use crate::config::Alerts;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertKeys {
    webhook: Spanned<String>,
    /// `NAME:PATH` at a `[sources.NAME]`: what the webhook knows the broker by.
    secret: Spanned<String>,
}

impl Checker<'_> {
    pub(super) fn alerts(
        &mut self,
        keys: Option<AlertKeys>,
        sources: &BTreeMap<Name, Spanned<SourceConfig>>,
    ) -> Option<Alerts> {
        let keys = keys?;
        let secret = self.reference("alerts.secret", &keys.secret, sources)?;
        let url = keys.webhook.get_ref().parse::<Url>().ok();
        let fits = |url: &Url| url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        match url.filter(fits) {
            Some(webhook) => Some(Alerts { webhook, secret }),
            None => {
                let problem = "alerts.webhook is not a URL that begins with https:// and has no user in it";
                self.wrong(Some(keys.webhook.span().start), problem);
                None
            }
        }
    }
}
