//! Where the upstream's endpoints are: as the target says, or by OpenID Connect Discovery 1.0 section 4 and RFC 8414
//! section 3.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_core::ports::Clock;
use serde_json::Value;
use url::Url;

use crate::{
    http::{Http, Lost},
    settings::{Where, endpoint},
};

/// How long metadata serves.
const FRESH: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    pub(crate) token: Url,
    pub(crate) revocation: Option<Url>,
}

/// The endpoints, looked up when they are needed.
pub(crate) struct Directory {
    place: Where,
    clock: Arc<dyn Clock>,
    /// What was found, and when by the monotonic clock.
    found: Mutex<Option<(Endpoints, Duration)>>,
}

impl Directory {
    pub(crate) fn new(place: Where, clock: Arc<dyn Clock>) -> Self {
        Self {
            place,
            clock,
            found: Mutex::default(),
        }
    }

    pub(crate) async fn endpoints(&self, http: &Http) -> Result<Endpoints, String> {
        let issuer = match &self.place {
            Where::Given { token, revocation } => {
                return Ok(Endpoints {
                    token: token.clone(),
                    revocation: revocation.clone(),
                });
            }
            Where::Discovered(issuer) => issuer,
        };
        if let Some(found) = self.fresh() {
            return Ok(found);
        }
        let found = discover(http, issuer).await?;
        let kept = (found.clone(), self.clock.monotonic());
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(found)
    }

    fn fresh(&self) -> Option<Endpoints> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (endpoints, at) = found.as_ref()?;
        (self.clock.monotonic() < *at + FRESH).then(|| endpoints.clone())
    }
}

async fn discover(http: &Http, issuer: &str) -> Result<Endpoints, String> {
    let [first, second] = places(issuer).ok_or("issuer is no URL")?;
    let metadata = match metadata(http, &first).await {
        Err(_) => metadata(http, &second).await,
        found => found,
    };
    let metadata = metadata.map_err(|problem| format!("the metadata of {issuer} cannot be had: {problem}"))?;
    // RFC 8414 section 3.3: otherwise it may be another's.
    if metadata["issuer"].as_str() != Some(issuer) {
        return Err(format!(
            "the metadata of {issuer} names another issuer; write issuer exactly as it does"
        ));
    }
    let url = |name: &str| match &metadata[name] {
        Value::Null => Ok(None),
        // Nobody that is reached by https sends us to where others listen.
        url => match url.as_str().and_then(endpoint) {
            Some(url) if url.scheme() == "https" || issuer.starts_with("http:") => Ok(Some(url)),
            _ => Err(format!("{name} in the metadata of {issuer} is no https URL")),
        },
    };
    Ok(Endpoints {
        token: url("token_endpoint")?.ok_or_else(|| format!("the metadata of {issuer} has no token_endpoint"))?,
        revocation: url("revocation_endpoint")?,
    })
}

async fn metadata(http: &Http, url: &Url) -> Result<Value, String> {
    match http.get(url).await.map_err(Lost::words)? {
        reply if reply.status == 200 => Ok(reply.json()),
        reply => Err(format!("the answer is {}", reply.status)),
    }
}

/// Where the metadata may be: appended to the issuer, and inserted between its host and its path.
fn places(issuer: &str) -> Option<[Url; 2]> {
    let first = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let mut second = Url::parse(issuer).ok()?;
    let path = second.path().trim_end_matches('/').to_owned();
    second.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    Some([Url::parse(&first).ok()?, second])
}
