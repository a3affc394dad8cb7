//! `[proxy]` and `[spiffe.*]`: whom the broker believes about its callers.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use axum::http::HeaderName;
use ipnet::IpNet;
use procura_core::spiffe::is_trust_domain;
use procura_identity::BundleSource;
use procura_wire::Name;
use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::Checker;
use crate::http::Proxy;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProxyKeys {
    /// Addresses and networks.
    from: Spanned<Vec<Spanned<String>>>,
    client_certificate_header: Option<Spanned<String>>,
    #[serde(default)]
    forwarded_for: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpiffeKeys {
    trust_domain: Spanned<String>,
    bundle_endpoint: Option<Spanned<String>>,
    bundle_file: Option<PathBuf>,
}

impl Checker<'_> {
    /// Without the section nobody is believed.
    pub(super) fn proxy(&mut self, keys: Option<ProxyKeys>) -> Proxy {
        let Some(keys) = keys else {
            return Proxy::default();
        };
        if keys.from.get_ref().is_empty() || !(keys.forwarded_for || keys.client_certificate_header.is_some()) {
            let problem =
                "[proxy] names in from who is believed, and what is: client_certificate_header, forwarded_for";
            self.wrong(Some(keys.from.span().start), problem);
        }
        let from = keys.from.into_inner();
        let from = from.iter().filter_map(|text| self.network(text)).collect();
        let header = keys.client_certificate_header.and_then(|name| self.header(&name));
        Proxy::new(from, header, keys.forwarded_for)
    }

    fn network(&mut self, text: &Spanned<String>) -> Option<IpNet> {
        let one = text
            .get_ref()
            .parse::<IpAddr>()
            .map(|address| IpNet::from(address.to_canonical()));
        let network = one.ok().or_else(|| text.get_ref().parse::<IpNet>().ok());
        let network = network.filter(|network| network.prefix_len() > 0);
        if network.is_none() {
            let problem = format!(
                "proxy.from: {:?} is no address or network of proxies, such as 10.0.0.7 or 10.0.0.0/8",
                text.get_ref()
            );
            self.wrong(Some(text.span().start), problem);
        }
        network
    }

    fn header(&mut self, name: &Spanned<String>) -> Option<HeaderName> {
        let header = name.get_ref().parse().ok();
        if header.is_none() {
            let problem = "proxy.client_certificate_header is the name of a header, such as Client-Cert (RFC 9440)";
            self.wrong(Some(name.span().start), problem);
        }
        header
    }

    /// Where the bundle of each trust domain is had.
    pub(super) fn trust_domains(&mut self, all: BTreeMap<Name, Spanned<SpiffeKeys>>) -> BTreeMap<String, BundleSource> {
        let mut found = BTreeMap::new();
        for (name, keys) in all {
            let at = Some(keys.span().start);
            let keys = keys.into_inner();
            let domain = keys.trust_domain.get_ref().clone();
            let place = Some(keys.trust_domain.span().start);
            if !is_trust_domain(&domain) {
                let problem = format!("spiffe.{name}.trust_domain: {domain:?} is no trust domain, such as example.org");
                self.wrong(place, problem);
            }
            let source = match (&keys.bundle_endpoint, &keys.bundle_file) {
                (Some(url), None) => self.endpoint(&name, url),
                (None, Some(path)) => Some(BundleSource::File(self.path(path))),
                _ => {
                    self.wrong(
                        at,
                        format!("[spiffe.{name}] names one of bundle_endpoint and bundle_file"),
                    );
                    None
                }
            };
            if found.contains_key(&domain) {
                self.wrong(place, format!("spiffe.{name}.trust_domain: {domain} stands here twice"));
            }
            if let Some(source) = source {
                found.insert(domain, source);
            }
        }
        found
    }

    fn endpoint(&mut self, name: &Name, text: &Spanned<String>) -> Option<BundleSource> {
        let url = text.get_ref().parse::<Url>().ok();
        let no_user = |url: &Url| url.username().is_empty() && url.password().is_none();
        let url = url.filter(|url| url.scheme() == "https" && url.host().is_some() && no_user(url));
        if url.is_none() {
            let problem = format!("spiffe.{name}.bundle_endpoint is an https URL without user");
            self.wrong(Some(text.span().start), problem);
        }
        url.map(BundleSource::Endpoint)
    }
}
