//! What every request passes on its way in: trace id, host, origin; and what every answer gets on its way out.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    middleware::Next,
    response::Response,
};
use futures_util::FutureExt;
use procura_core::{
    identity::{PeerCertificates, PresentedProof},
    limits,
    ports::Entropy,
};
use procura_wire::Reason;

use super::{
    App, dpop,
    reply::{self, Refusal},
};

/// Trace id of a request.
#[derive(Debug, Clone)]
struct Trace(String);

/// One request inside the door: the broker, the trace id, the peer's address, certificates and proof.
pub(crate) struct Door {
    pub(crate) app: Arc<App>,
    pub(crate) trace: String,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) certificates: Option<Arc<PeerCertificates>>,
    pub(crate) proof: Option<Arc<PresentedProof>>,
    /// A certificate came in a header that is not believed.
    pub(crate) spoofed: bool,
}

impl Door {
    /// Counts the request for its peer, before anybody is authenticated.
    pub(crate) fn within_limit(&self) -> Result<(), Refusal> {
        Ok(limits::admit_peer(&self.app.ports, self.peer)?)
    }

    /// Answers a refusal, and counts and logs it once.
    pub(crate) fn refuse(&self, refusal: impl Into<Refusal>) -> Response {
        let refusal = refusal.into();
        let reason = refusal.reason();
        if refusal.is_unrecorded() {
            self.app.failures.note(reason);
        }
        if reason.status() >= 500 {
            tracing::warn!(reason = reason.code(), trace_id = self.trace, "not served");
        }
        reply::refused(&self.app.site, &self.trace, &refusal)
    }
}

impl FromRequestParts<Arc<App>> for Door {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let trace = parts.extensions.get::<Trace>().map(|trace| trace.0.clone());
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = address.map(|ConnectInfo(address)| address.ip().to_canonical());
        let chain = parts.extensions.get::<Option<Arc<PeerCertificates>>>();
        let peer = app.proxy.peer(&parts.headers, address, chain.cloned().flatten());
        Ok(Self {
            app: Arc::clone(app),
            trace: trace.unwrap_or_default(),
            proof: parts.extensions.get::<Arc<PresentedProof>>().cloned(),
            peer: peer.address,
            certificates: peer.certificates,
            spoofed: peer.spoofed,
        })
    }
}

/// The outermost layer of the public listener.
pub(crate) async fn enter(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let trace = trace_id(request.headers(), app.ports.entropy.as_ref());
    request.extensions_mut().insert(Trace(trace.clone()));
    let proof = dpop::presented(&request, &app.site.issuer);
    let has_proof = proof.is_some();
    if let Some(proof) = proof {
        // Read here, where the path is still whole.
        request.extensions_mut().insert(proof);
    }
    let refuse = |reason: Reason| {
        app.failures.note(reason);
        reply::refused(&app.site, &trace, &reason.into())
    };
    let mut response = match app.host.admits(&request, app.site.dev) {
        Err(reason) => refuse(reason),
        Ok(()) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!(trace_id = trace, "a handler panicked");
                refuse(Reason::ServerError)
            }
        },
    };
    if has_proof {
        dpop::offer_nonce(&app.ports, response.headers_mut());
    }
    seal(response.headers_mut());
    response
}

/// Nothing is cached unless its handler says so (RFC 6749 section 5.1), nothing is framed or sniffed.
fn seal(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Pages have a policy of their own.
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        );
    }
}

/// The authority that requests must name: that of the issuer.
#[derive(Debug)]
pub(crate) struct Host {
    authority: String,
    default_port: Option<&'static str>,
    origin: String,
}

impl Host {
    /// The host of an issuer. Its scheme's port may be left out or written.
    pub(crate) fn of(issuer: &url::Url) -> Self {
        let host = issuer.host_str().unwrap_or_default();
        let authority = match issuer.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let default_port = match (issuer.port(), issuer.scheme()) {
            (Some(_), _) => None,
            (None, "http") => Some(":80"),
            (None, _) => Some(":443"),
        };
        Self {
            authority,
            default_port,
            origin: issuer.origin().ascii_serialization(),
        }
    }

    fn is(&self, authority: &str) -> bool {
        let bare = self.default_port.and_then(|port| authority.strip_suffix(port));
        bare.unwrap_or(authority).eq_ignore_ascii_case(&self.authority)
    }

    /// Every place where a request names a host must name this one (the Host header, and the target of
    /// HTTP/2 and of absolute-form requests).
    fn admits(&self, request: &Request, refuse_origin: bool) -> Result<(), Reason> {
        let headers = request.headers().get_all(header::HOST);
        let named = headers.iter().map(|value| value.to_str().ok());
        let target = request.uri().authority().map(|authority| Some(authority.as_str()));
        let mut named = named.chain(target).peekable();
        if named.peek().is_none() || !named.all(|name| name.is_some_and(|name| self.is(name))) {
            return Err(Reason::HttpHost);
        }
        // Forms of the page alone: it runs no script, so somebody sent them.
        let page = request.uri().path().starts_with("/ui/");
        let ours = |origin: &HeaderValue| page && origin.as_bytes() == self.origin.as_bytes();
        if refuse_origin && !request.headers().get_all(header::ORIGIN).iter().all(ours) {
            return Err(Reason::HttpOrigin);
        }
        Ok(())
    }
}

/// The trace id of a valid `traceparent` (W3C Trace Context, section 3.2), else a random one.
fn trace_id(headers: &HeaderMap, entropy: &dyn Entropy) -> String {
    let mut given = headers.get_all("traceparent").iter();
    let only = given.next().filter(|_| given.next().is_none());
    match only.and_then(|value| value.to_str().ok()).and_then(read_traceparent) {
        Some(id) => id.to_owned(),
        None => {
            let mut random = [0; 16];
            entropy.fill(&mut random);
            hex::encode(random)
        }
    }
}

fn read_traceparent(text: &str) -> Option<&str> {
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let some = |text: &str| text.bytes().any(|c| c != b'0');
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may say more after the flags; version 00 may not.
    let ends = version != "00" || parts.next().is_none();
    let fits = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    (fits && ends && some(trace) && some(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn admits(issuer: &str, uri: &str, headers: &[(&str, &str)], dev: bool) -> Result<(), Reason> {
        let mut request = axum::http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("request");
        Host::of(&issuer.parse().expect("url")).admits(&request, dev)
    }

    #[test]
    fn the_host_must_be_the_issuers() {
        let broker = "https://broker.example.com";
        for good in ["broker.example.com", "Broker.Example.COM", "broker.example.com:443"] {
            assert_eq!(admits(broker, "/token", &[("host", good)], false), Ok(()), "{good}");
        }
        for bad in [
            "evil.example.com",
            "broker.example.com:8443",
            "broker.example.com.evil",
            "",
        ] {
            assert_eq!(
                admits(broker, "/token", &[("host", bad)], false),
                Err(Reason::HttpHost),
                "{bad}"
            );
        }
        assert_eq!(admits(broker, "/token", &[], false), Err(Reason::HttpHost));
    }

    #[test]
    fn an_absolute_target_and_a_second_host_are_looked_at_too() {
        let broker = "https://broker.example.com";
        let host = ("host", "broker.example.com");
        assert_eq!(
            admits(broker, "https://broker.example.com/token", &[host], false),
            Ok(())
        );
        assert_eq!(
            admits(broker, "https://evil.example.com/token", &[host], false),
            Err(Reason::HttpHost)
        );
        assert_eq!(
            admits(broker, "/token", &[host, ("host", "evil.example.com")], false),
            Err(Reason::HttpHost)
        );
    }

    #[test]
    fn development_mode_takes_the_literal_loopback_address_only() {
        let dev = "http://127.0.0.1:8420";
        assert_eq!(admits(dev, "/token", &[("host", "127.0.0.1:8420")], true), Ok(()));
        for bad in ["localhost:8420", "127.0.0.1", "rebound.example.com:8420"] {
            assert_eq!(
                admits(dev, "/token", &[("host", bad)], true),
                Err(Reason::HttpHost),
                "{bad}"
            );
        }
    }

    #[test]
    fn development_mode_refuses_requests_from_web_pages() {
        let headers = [("host", "127.0.0.1:8420"), ("origin", "http://127.0.0.1:8420")];
        assert_eq!(
            admits("http://127.0.0.1:8420", "/", &headers, true),
            Err(Reason::HttpOrigin)
        );
        assert_eq!(admits("http://127.0.0.1:8420", "/", &headers, false), Ok(()));
    }

    #[test]
    fn attack_205_development_mode_takes_forms_of_its_own_page_and_of_no_other() {
        let admits = |path: &str, origin: &'static str| {
            let headers = [("host", "127.0.0.1:8420"), ("origin", origin)];
            admits("http://127.0.0.1:8420", path, &headers, true)
        };
        assert_eq!(admits("/ui/logout", "http://127.0.0.1:8420"), Ok(()));
        for (path, origin) in [
            ("/ui/logout", "http://127.0.0.1:8421"),
            ("/ui/logout", "null"),
            ("/token", "http://127.0.0.1:8420"),
            ("/dev/subject-token", "http://127.0.0.1:8420"),
            ("/uix", "http://127.0.0.1:8420"),
        ] {
            assert_eq!(admits(path, origin), Err(Reason::HttpOrigin), "{path} {origin}");
        }
    }

    #[test]
    fn reads_a_trace_id_only_from_a_valid_traceparent() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(read_traceparent(good), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(read_traceparent(bad), None, "{bad}");
        }
    }
}
