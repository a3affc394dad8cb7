//! Whom a request comes from where proxies stand between: headers are believed from named ones only
//! (RFC 7239, RFC 9440, RFC 9700 section 4.13).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::http::{HeaderMap, HeaderName};
use base64::{Engine, prelude::BASE64_STANDARD};
use ipnet::IpNet;
use procura_core::identity::PeerCertificates;

/// The name that RFC 9440 has for it, looked for where none is configured.
static CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const FORWARDED: &str = "forwarded";
const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// Most certificates that are read from headers.
const MAX_CHAIN: usize = 9;

/// Proxies and what they are believed. The default believes nobody.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    from: Vec<IpNet>,
    certificate: Option<HeaderName>,
    forwarded_for: bool,
}

/// Whom a request comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: Option<IpAddr>,
    pub(super) certificates: Option<Arc<PeerCertificates>>,
    /// A certificate came in a header from somebody who is not believed.
    pub(super) spoofed: bool,
}

impl Proxy {
    pub(crate) fn new(from: Vec<IpNet>, certificate: Option<HeaderName>, forwarded_for: bool) -> Self {
        Self {
            from,
            certificate,
            forwarded_for,
        }
    }

    /// Whether certificates come in a header.
    pub(crate) fn forwards_certificates(&self) -> bool {
        self.certificate.is_some()
    }

    /// Who asks over a connection from `address` with that chain. The chain of a proxy is its own: behind one only the
    /// header tells, and of everybody else only the chain does.
    pub(super) fn peer(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        chain: Option<Arc<PeerCertificates>>,
    ) -> Peer {
        let proxy = address.is_some_and(|address| self.is_proxy(address));
        let name = self.certificate.as_ref().unwrap_or(&CLIENT_CERT);
        let claims = headers.contains_key(name);
        let believed = self.certificate.is_some() && proxy;
        let spoofed = claims && !believed;
        let certificates = match (proxy, claims) {
            (true, true) if believed => certificates(headers, name).map(Arc::new),
            (true, _) | (false, true) => None,
            (false, false) => chain,
        };
        Peer {
            address: address.map(|address| self.origin(headers, address)),
            certificates,
            spoofed,
        }
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(&address))
    }

    /// The address nearest to us that is no proxy's. Two headers that may tell otherwise tell nothing.
    fn origin(&self, headers: &HeaderMap, address: IpAddr) -> IpAddr {
        let (standard, common) = (headers.contains_key(FORWARDED), headers.contains_key(X_FORWARDED_FOR));
        let hops = match (standard, common) {
            _ if !self.forwarded_for => return address,
            (true, false) => items(headers, FORWARDED).into_iter().map(forwarded_for).collect(),
            (false, true) => items(headers, X_FORWARDED_FOR).into_iter().map(node).collect(),
            _ => Vec::new(),
        };
        let mut origin = address;
        for hop in hops.into_iter().rev() {
            match hop {
                Some(hop) if self.is_proxy(origin) => origin = hop,
                _ => break,
            }
        }
        origin
    }
}

/// The items of a list header over all its lines; none where a line is not text.
fn items<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    let lines: Option<Vec<_>> = headers.get_all(name).iter().map(|line| line.to_str().ok()).collect();
    let lines = lines.unwrap_or_default();
    lines
        .into_iter()
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect()
}

/// `for` of one element of `Forwarded` (RFC 7239 section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node_name) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(node_name.trim().trim_matches('"'))
}

/// An address, with or without brackets and port.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// `Client-Cert` and `Client-Cert-Chain` (RFC 9440 section 2), by the configured name; `None` where they do not have
/// that form.
fn certificates(headers: &HeaderMap, name: &HeaderName) -> Option<PeerCertificates> {
    let own = items(headers, name.as_str());
    let others = items(headers, &format!("{name}-chain"));
    if own.len() != 1 || others.len() >= MAX_CHAIN {
        return None;
    }
    let all = own.into_iter().chain(others).map(binary);
    all.collect::<Option<_>>().map(PeerCertificates)
}

/// A byte sequence (RFC 9651 section 3.3.5).
fn binary(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix(':')?.strip_suffix(':')?;
    BASE64_STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "203.0.113.9";
    const PROXY: &str = "10.0.0.7";

    fn proxy() -> Proxy {
        Proxy::new(
            vec!["10.0.0.0/8".parse().expect("network")],
            Some(CLIENT_CERT.clone()),
            true,
        )
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line =
            |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().expect("value"));
        lines.iter().map(line).collect()
    }

    fn chain(bytes: &[u8]) -> Option<Arc<PeerCertificates>> {
        Some(Arc::new(PeerCertificates(vec![bytes.to_vec()])))
    }

    fn peer(proxy: &Proxy, from: &str, lines: &[(&'static str, &str)], own: Option<&[u8]>) -> Peer {
        proxy.peer(&headers(lines), from.parse().ok(), own.and_then(chain))
    }

    #[test]
    fn req_082_attack_89_a_certificate_in_a_header_is_believed_from_a_proxy_only() {
        let line = [("client-cert", ":Y2VydA==:")];
        let known = peer(&proxy(), PROXY, &line, None);
        assert_eq!((known.certificates, known.spoofed), (chain(b"cert"), false));
        let stranger = peer(&proxy(), CLIENT, &line, None);
        assert_eq!((stranger.certificates, stranger.spoofed), (None, true));
        for nobody in [Proxy::default(), Proxy::new(proxy().from, None, true)] {
            let peer = peer(&nobody, PROXY, &line, None);
            assert_eq!((peer.certificates, peer.spoofed), (None, true));
        }
    }

    #[test]
    fn req_083_attack_89_chain_and_header_never_count_both() {
        let line = [("client-cert", ":Y2VydA==:")];
        let stranger = peer(&proxy(), CLIENT, &line, Some(b"chain"));
        assert_eq!((stranger.certificates, stranger.spoofed), (None, true));
        let known = peer(&proxy(), PROXY, &line, Some(b"chain"));
        assert_eq!((known.certificates, known.spoofed), (chain(b"cert"), false));
        assert_eq!(peer(&proxy(), PROXY, &[], Some(b"chain")).certificates, None);
        assert_eq!(
            peer(&proxy(), CLIENT, &[], Some(b"chain")).certificates,
            chain(b"chain")
        );
    }

    #[test]
    fn a_chain_follows_in_its_own_header_and_other_forms_are_none() {
        let all = [
            ("client-cert", ":Y2VydA==:"),
            ("client-cert-chain", ":b25l:, :dHdv:"),
            ("client-cert-chain", ":dGhyZWU=:"),
        ];
        let peer = |lines: &[(&'static str, &str)]| peer(&proxy(), PROXY, lines, None).certificates;
        let wanted: Vec<_> = [&b"cert"[..], b"one", b"two", b"three"].map(<[u8]>::to_vec).into();
        assert_eq!(peer(&all).map(|found| found.0.clone()), Some(wanted));
        for bad in [
            "",
            "Y2VydA==",
            ":Y2VydA==",
            ":!:",
            "::",
            ":Y2VydA==:, :Y2VydA==:",
            "%2Dcert",
        ] {
            assert_eq!(peer(&[("client-cert", bad)]), None, "{bad}");
        }
        assert_eq!(peer(&[all[0], all[0]]), None);
        assert_eq!(peer(&[all[0], ("client-cert-chain", "x")]), None);
    }

    #[test]
    fn req_095_the_address_is_the_nearest_that_is_no_proxy() {
        let seen = |from: &str, lines: &[(&'static str, &str)]| {
            let address = peer(&proxy(), from, lines, None).address;
            address.map(|address| address.to_string()).unwrap_or_default()
        };
        let list = "198.51.100.1, 203.0.113.9, 10.0.0.8";
        assert_eq!(seen(PROXY, &[("x-forwarded-for", list)]), CLIENT);
        let lines = [
            ("x-forwarded-for", "198.51.100.1, 203.0.113.9"),
            ("x-forwarded-for", "10.0.0.8"),
        ];
        assert_eq!(seen(PROXY, &lines), CLIENT);
        assert_eq!(seen(CLIENT, &[("x-forwarded-for", "198.51.100.1")]), CLIENT);
        assert_eq!(seen(PROXY, &[("x-forwarded-for", "203.0.113.9:4711")]), CLIENT);
        assert_eq!(seen(PROXY, &[("x-forwarded-for", "::ffff:203.0.113.9")]), CLIENT);
        let standard = "for=198.51.100.1, for=\"203.0.113.9:4711\";proto=https, For=10.0.0.8";
        assert_eq!(seen(PROXY, &[("forwarded", standard)]), CLIENT);
        assert_eq!(
            seen(PROXY, &[("forwarded", "for=\"[2001:db8::1]:4711\"")]),
            "2001:db8::1"
        );
        for unknown in ["for=unknown", "for=_hidden", "proto=https", ""] {
            assert_eq!(seen(PROXY, &[("forwarded", unknown)]), PROXY, "{unknown}");
        }
        let both = [("forwarded", "for=203.0.113.9"), ("x-forwarded-for", CLIENT)];
        assert_eq!(seen(PROXY, &both), PROXY);
        assert_eq!(seen(PROXY, &[]), PROXY);
        let silent = Proxy::new(proxy().from, None, false);
        let address = peer(&silent, PROXY, &[("x-forwarded-for", CLIENT)], None).address;
        assert_eq!(address, PROXY.parse().ok());
    }
}
