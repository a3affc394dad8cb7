//! Finding an issuer's keys: OpenID Connect Discovery 1.0 section 4, then RFC 8414 section 3.

use procura_wire::Reason;
use serde_json::Value;
use url::Url;

use crate::{
    http::{Fault, Http, is_loopback},
    jwk::KeySet,
};

/// Fetches the issuer's metadata and the keys that it names.
pub(crate) async fn keys(http: &Http, issuer: &str) -> Result<KeySet, Reason> {
    let (metadata, base) = checked(http, issuer).await?;
    let uri = place(&metadata, "jwks_uri", &base).ok_or(Reason::JwksRefused)?;
    key_set(http, &uri).await
}

/// Where the issuer answers questions about tokens (RFC 8414 section 2).
pub(crate) async fn introspection_endpoint(http: &Http, issuer: &str) -> Result<Url, Reason> {
    let (metadata, base) = checked(http, issuer).await?;
    place(&metadata, "introspection_endpoint", &base).ok_or(Reason::IssuerUnavailable)
}

/// Metadata that names this issuer (RFC 8414 section 3.3), and the issuer as a URL.
async fn checked(http: &Http, issuer: &str) -> Result<(Value, Url), Reason> {
    let base = Url::parse(issuer).map_err(|_| Reason::IssuerUnavailable)?;
    let metadata = metadata(http, issuer, &base).await?;
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(Reason::DiscoIssuerMismatch);
    }
    Ok((metadata, base))
}

/// Fetches the keys at a URL.
pub(crate) async fn key_set(http: &Http, uri: &Url) -> Result<KeySet, Reason> {
    let document = http.get(uri).await.map_err(|fault| reason(fault, uri))?;
    KeySet::read(&document)
}

async fn metadata(http: &Http, issuer: &str, base: &Url) -> Result<Value, Reason> {
    let [first, second] = places(issuer, base).ok_or(Reason::IssuerUnavailable)?;
    match http.get(&first).await {
        Err(Fault::Status) => http.get(&second).await.map_err(|fault| reason(fault, &second)),
        other => other.map_err(|fault| reason(fault, &first)),
    }
}

/// Where the metadata may be: appended to the issuer, and inserted between its host and its path.
fn places(issuer: &str, base: &Url) -> Option<[Url; 2]> {
    let first = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let mut second = base.clone();
    let path = base.path().trim_end_matches('/');
    second.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    Some([Url::parse(&first).ok()?, second])
}

/// A URL of the metadata, pinned to the issuer's host; http only where the issuer itself is http on loopback.
fn place(metadata: &Value, member: &str, base: &Url) -> Option<Url> {
    let uri = Url::parse(metadata.get(member)?.as_str()?).ok()?;
    let scheme = uri.scheme() == "https" || (uri.scheme() == "http" && base.scheme() == "http" && is_loopback(base));
    (scheme && uri.host().is_some() && uri.host() == base.host()).then_some(uri)
}

pub(crate) fn reason(fault: Fault, url: &Url) -> Reason {
    tracing::debug!(
        host = url.host_str(),
        path = url.path(),
        ?fault,
        "a document with keys, or that leads to them, cannot be had"
    );
    match fault {
        Fault::Unavailable | Fault::Status => Reason::IssuerUnavailable,
        Fault::Redirect => Reason::JwksRedirect,
        Fault::Refused => Reason::JwksRefused,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn req_061_metadata_is_looked_for_in_both_places() {
        let issuer = "https://id.example.com/realms/corp/";
        let base = Url::parse(issuer).expect("url");
        assert_eq!(
            places(issuer, &base).map(|places| places.map(String::from)),
            Some([
                "https://id.example.com/realms/corp/.well-known/openid-configuration".to_owned(),
                "https://id.example.com/.well-known/oauth-authorization-server/realms/corp".to_owned(),
            ])
        );
    }

    #[test]
    fn req_064_the_key_set_is_at_the_issuers_host() {
        let base = Url::parse("https://id.example.com/realms/corp").expect("url");
        let found = |uri: &str| place(&json!({"jwks_uri": uri}), "jwks_uri", &base).is_some();
        assert!(found("https://id.example.com/keys"));
        for uri in [
            "http://id.example.com/keys",
            "https://id.example.com.evil/keys",
            "https://keys.example.com/keys",
            "file:///etc/passwd",
            "/keys",
        ] {
            assert!(!found(uri), "{uri}");
        }
    }
}
