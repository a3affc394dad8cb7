//! The one HTTP client for issuers: bounded in time and size, no redirects, public addresses only.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use procura_wire::json;
use reqwest::{
    Client, Request, RequestBuilder, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::CONTENT_TYPE,
    redirect,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::Value;
use url::{Host, Url};

use crate::{Fetched, IdentityError, address::is_public};

const TIMEOUT: Duration = Duration::from_secs(3);
pub(crate) const MAX_BODY: usize = 256 * 1024;

/// What outgoing requests may reach. By default only https at public addresses.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Issuers at `http://` and at loopback addresses are reached (development only).
    pub allow_http_loopback: bool,
    /// Certificates in PEM that are trusted beside the system's roots.
    pub extra_ca: Vec<String>,
    /// Hosts (names, or addresses as they stand in a URL without brackets) that may have private addresses.
    pub allow_private: Vec<String>,
}

impl HttpOptions {
    /// Whether a request may go to the URL, as far as it says where that is: the addresses of a name are looked at again when it is
    /// resolved.
    pub fn permits(&self, url: &Url) -> bool {
        Reach::of(self).permits(url)
    }
}

/// Why a document could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No answer.
    Unavailable,
    /// An answer other than 200 and redirects.
    Status,
    /// A redirect.
    Redirect,
    /// Not allowed to ask, or the document is not acceptable: too large, too slow, no JSON.
    Refused,
}

pub(crate) struct Http {
    client: Client,
    reach: Arc<Reach>,
}

impl Http {
    pub(crate) fn new(options: HttpOptions) -> Result<Self, IdentityError> {
        let tls = tls(&options.extra_ca)?;
        let reach = Arc::new(Reach::of(&options));
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::clone(&reach))
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .https_only(!reach.http_loopback)
            .no_proxy()
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()?;
        Ok(Self { client, reach })
    }

    /// Whether the URL is one that may be asked. Names are checked again when they are resolved.
    pub(crate) fn permits(&self, url: &Url) -> bool {
        self.reach.permits(url)
    }

    /// A POST to a place that may be asked; its limits of time hold, those of size are the caller's.
    pub(crate) fn post(&self, url: &Url) -> Option<RequestBuilder> {
        self.permits(url).then(|| self.client.post(url.clone()))
    }

    /// Any request to a place that may be asked, and its answer within the limits; `None` where there is none.
    pub(crate) async fn fetch(&self, request: Request) -> Option<Fetched> {
        if !self.permits(request.url()) {
            return None;
        }
        let response = self.client.execute(request).await.ok()?;
        Some(Fetched {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: body(response).await.ok()?,
        })
    }

    /// One JSON document.
    pub(crate) async fn get(&self, url: &Url) -> Result<Value, Fault> {
        if !self.permits(url) {
            return Err(Fault::Refused);
        }
        let sent = self.client.get(url.clone()).send().await;
        let response = sent.map_err(|_| Fault::Unavailable)?;
        match response.status().as_u16() {
            200 if is_json(&response) => json::strict(&body(response).await?).map_err(|_| Fault::Refused),
            200 => Err(Fault::Refused),
            300..=399 => Err(Fault::Redirect),
            _ => Err(Fault::Status),
        }
    }
}

/// Trusts the system's roots, where there are any, and the given ones.
fn tls(extra_ca: &[String]) -> Result<ClientConfig, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for pem in extra_ca {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let found = found.map_err(|_| IdentityError::ExtraCa)?;
        if found.is_empty() {
            return Err(IdentityError::ExtraCa);
        }
        for certificate in found {
            roots.add(certificate).map_err(|_| IdentityError::ExtraCa)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn is_json(response: &Response) -> bool {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn body(mut response: Response) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Fault::Refused)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Fault::Refused);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Which hosts may be reached at which addresses; resolves names under these rules, so that the
/// address that was checked is the one that is used.
struct Reach {
    http_loopback: bool,
    private: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the name has no address that may be reached")]
struct Unreachable;

impl Reach {
    fn of(options: &HttpOptions) -> Self {
        let hosts = options.allow_private.iter();
        Self {
            http_loopback: options.allow_http_loopback,
            private: hosts.map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    fn permits(&self, url: &Url) -> bool {
        let scheme = match url.scheme() {
            "https" => true,
            "http" => self.http_loopback && is_loopback(url),
            _ => false,
        };
        let address = match url.host() {
            Some(Host::Domain(_)) => true,
            Some(Host::Ipv4(address)) => is_public(address.into()) || self.permits_private(&address.to_string()),
            Some(Host::Ipv6(address)) => is_public(address.into()) || self.permits_private(&address.to_string()),
            None => false,
        };
        scheme && address && url.username().is_empty() && url.password().is_none()
    }

    fn permits_private(&self, host: &str) -> bool {
        let loopback = host == "localhost"
            || host
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        self.private.contains(host) || (self.http_loopback && loopback)
    }
}

/// Whether the URL's host is loopback by its form: a literal address or `localhost`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let any = self.permits_private(name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> = found.collect();
            // One private address among public ones is refused too: it is an attempt, not an issuer.
            if addresses.is_empty() || !(any || addresses.iter().all(|address| is_public(address.ip()))) {
                return Err(Unreachable.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(reach: &Reach, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| reach.permits(&url))
    }

    #[test]
    fn req_127_only_https_at_public_addresses_by_default() {
        let reach = Reach {
            http_loopback: false,
            private: BTreeSet::new(),
        };
        assert!(permits(&reach, "https://id.example.com/x"));
        for url in [
            "http://id.example.com/x",
            "http://127.0.0.1/x",
            "file:///etc/passwd",
            "https://127.1/x",
            "https://0x7f000001/x",
            "https://169.254.169.254/x",
            "https://[::ffff:a9fe:a9fe]/x",
            "https://[64:ff9b::1]/x",
            "https://user@id.example.com/x",
        ] {
            assert!(!permits(&reach, url), "{url}");
        }
    }

    #[test]
    fn extra_ca_that_is_no_certificate_is_an_error() {
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for pem in ["", "x", broken] {
            assert!(matches!(tls(&[pem.to_owned()]), Err(IdentityError::ExtraCa)), "{pem}");
        }
        assert!(tls(&[]).is_ok());
    }

    #[test]
    fn loopback_and_listed_hosts_only_where_allowed() {
        let reach = Reach {
            http_loopback: true,
            private: BTreeSet::from(["10.0.0.7".to_owned()]),
        };
        for url in ["http://127.0.0.1:80/x", "http://[::1]/x", "https://10.0.0.7/x"] {
            assert!(permits(&reach, url), "{url}");
        }
        for url in ["http://10.0.0.7/x", "https://10.0.0.8/x", "http://id.example.com/x"] {
            assert!(!permits(&reach, url), "{url}");
        }
    }

    #[tokio::test]
    async fn req_127_a_name_with_a_private_address_is_not_resolved() {
        let resolve = |http_loopback, private: &[&str]| {
            Reach {
                http_loopback,
                private: private.iter().map(|host| (*host).to_owned()).collect(),
            }
            .resolve("localhost".parse().expect("name"))
        };
        assert!(resolve(false, &[]).await.is_err());
        assert!(resolve(true, &[]).await.is_ok());
        assert!(resolve(false, &["localhost"]).await.is_ok());
    }
}
