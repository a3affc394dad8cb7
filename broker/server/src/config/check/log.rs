//! `[log]` and `[keys.log]`: the anchor, and the keys that sign for it.

use std::{collections::BTreeMap, path::PathBuf};

use procura_sources::SourceConfig;
use procura_wire::Name;
use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::{Checker, KeySource};
use crate::config::{Anchor, Bucket, Log};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTable {
    anchor: Spanned<AnchorKeys>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnchorKeys {
    file: Option<PathBuf>,
    s3: Option<BucketKeys>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BucketKeys {
    endpoint: Spanned<String>,
    region: String,
    bucket: Spanned<String>,
    prefix: Spanned<String>,
    /// `NAME:PATH` at a `[sources.NAME]`.
    credentials: Spanned<String>,
}

impl Checker<'_> {
    pub(super) fn log(
        &mut self,
        table: Option<LogTable>,
        keys: Option<&KeySource>,
        sources: &BTreeMap<Name, Spanned<SourceConfig>>,
    ) -> Option<Log> {
        let keys = match keys {
            Some(keys) => self.reference("keys.log.source", &keys.source, sources),
            None => {
                let problem = "there is no [keys.log]: name the source of the keys that sign the log; make them with \
                               `procura keys new FILE --algorithm ed25519`";
                self.wrong(None, problem);
                None
            }
        };
        let anchor = match table {
            Some(table) => self.anchor(&table.anchor, sources),
            None => {
                let problem = "there is no [log]: name an anchor = { file = \"…\" } on another volume than the \
                               store's, or an anchor = { s3 = … }";
                self.wrong(None, problem);
                None
            }
        };
        Some(Log {
            keys: keys?,
            anchor: anchor?,
        })
    }

    fn anchor(
        &mut self,
        anchor: &Spanned<AnchorKeys>,
        sources: &BTreeMap<Name, Spanned<SourceConfig>>,
    ) -> Option<Anchor> {
        let keys = anchor.get_ref();
        match (&keys.file, &keys.s3) {
            (Some(path), None) => Some(Anchor::File(self.path(path))),
            (None, Some(keys)) => self.bucket(keys, sources).map(Anchor::S3),
            _ => {
                self.wrong(Some(anchor.span().start), "[log] anchor names one of file and s3");
                None
            }
        }
    }

    fn bucket(&mut self, keys: &BucketKeys, sources: &BTreeMap<Name, Spanned<SourceConfig>>) -> Option<Bucket> {
        let credentials = self.reference("log.anchor.s3.credentials", &keys.credentials, sources);
        let endpoint = keys.endpoint.get_ref().parse::<Url>().ok().filter(is_endpoint);
        if endpoint.is_none() {
            let problem = "log.anchor.s3.endpoint: write https://HOST (http at a literal loopback address only), \
                           without a path";
            self.wrong(Some(keys.endpoint.span().start), problem);
        }
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !plain(keys.bucket.get_ref()) || keys.bucket.get_ref().len() < 3 {
            self.wrong(
                Some(keys.bucket.span().start),
                "log.anchor.s3.bucket: no name of a bucket",
            );
        }
        let is_part = |part: &str| plain(part) && !matches!(part, "" | "." | "..");
        if !keys.prefix.get_ref().split('/').all(is_part) {
            let problem = "log.anchor.s3.prefix: parts of letters, digits, dots, - and _ with a slash between them";
            self.wrong(Some(keys.prefix.span().start), problem);
        }
        Some(Bucket {
            endpoint: endpoint?,
            region: keys.region.clone(),
            bucket: keys.bucket.get_ref().clone(),
            prefix: keys.prefix.get_ref().clone(),
            credentials: credentials?,
            extra_ca: Vec::new(),
        })
    }
}

fn is_endpoint(url: &Url) -> bool {
    let loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]"));
    let secure = url.scheme() == "https" || url.scheme() == "http" && loopback;
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    secure && bare && url.has_host() && url.path() == "/"
}
