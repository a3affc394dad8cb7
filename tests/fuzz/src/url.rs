//! Addresses: those that the broker asks, and those that a bundle names.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use procura_identity::HttpOptions;
use procura_policy::{Options, load};
use url::{Host, Url};

use crate::broker::{KINDS, bundle};

/// A URL.
///
/// One that may be asked is https, of nobody, and at no address that only this machine or its network has. One that a bundle takes as an
/// issuer is https and has neither user nor query nor fragment; as a resource it has neither user nor fragment.
pub fn url(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else {
        return false;
    };
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let asked = is_asked(&url);
    let [issuer, resource] = is_declared(text);
    if issuer {
        assert!(
            text.starts_with("https://") && url.host().is_some() && url.query().is_none(),
            "{text}"
        );
    }
    if issuer || resource {
        assert!(has_no_user(&url) && url.fragment().is_none(), "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    }
    if resource && url.has_host() {
        assert!(text.starts_with(&format!("{}://", url.scheme())), "{text}");
    }
    asked || issuer || resource
}

fn is_asked(url: &Url) -> bool {
    let asked = HttpOptions::default().permits(url);
    let again = Url::parse(url.as_str()).expect("a URL that was written is one");
    assert_eq!(
        asked,
        HttpOptions::default().permits(&again),
        "{url}: written anew it is another"
    );
    if asked {
        assert!(url.scheme() == "https" && has_no_user(url), "{url}");
        assert!(!is_private(url), "{url}");
    }
    let loopback = HttpOptions {
        allow_http_loopback: true,
        ..HttpOptions::default()
    };
    if loopback.permits(url) && !asked {
        assert!(has_no_user(url) && is_loopback(url), "{url}");
    } else {
        assert!(!asked || loopback.permits(url), "{url}: what is allowed more is less");
    }
    asked
}

fn has_no_user(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str() == Some("localhost") || address(url).is_some_and(|address| address.is_loopback())
}

/// As the standard library says it.
fn is_private(url: &Url) -> bool {
    let v4 = |address: Ipv4Addr| {
        address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_unspecified()
    };
    let v6 = |address: Ipv6Addr| {
        address.is_loopback()
            || address.is_unspecified()
            || address.is_unique_local()
            || address.is_unicast_link_local()
            || address.is_multicast()
            || address.to_ipv4().is_some()
    };
    match address(url) {
        Some(IpAddr::V4(address)) => v4(address),
        Some(IpAddr::V6(address)) => v6(address),
        None => false,
    }
}

/// Whether a bundle takes it as its issuer, and as the resource of a server.
fn is_declared(text: &str) -> [bool; 2] {
    let value = toml::Value::from(text);
    let issuer = format!("issuer = {value}\nalgorithms = [\"ES256\"]\n");
    let server = format!(
        "resource = {value}\nowner = \"o@example.com\"\ngrants = []\n\
         auth = {{ method = \"tls_client_auth\", san_dns = \"tickets.example.com\" }}\n"
    );
    let files = [
        ("agents/bot.toml", ""),
        ("issuers/corp.toml", issuer.as_str()),
        ("rules/support.cedar", ""),
        ("servers/tickets.toml", server.as_str()),
        ("targets/api.toml", ""),
        ("tests/support.toml", ""),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let mistakes = load(&bundle(BTreeMap::from(files)), &KINDS, Options::default()).err();
    let is_in = |file| mistakes.iter().flatten().any(|mistake| mistake.file == file);
    ["issuers/corp.toml", "servers/tickets.toml"].map(|file| !is_in(file))
}
