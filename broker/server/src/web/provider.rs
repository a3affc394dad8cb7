//! The OpenID Connect client: what the issuer's metadata says, where to send people, and what a code is worth.

use std::sync::Arc;

use axum::http;
use openidconnect::{
    AdditionalProviderMetadata, AsyncHttpClient, AuthenticationContextClass, AuthorizationCode, ClientId, ClientSecret,
    CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, TokenResponse,
    core::{
        CoreAuthDisplay, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
        CoreGrantType, CoreIdTokenVerifier, CoreJsonWebKey, CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm,
        CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
    },
};
use procura_core::{
    ports::{BoxFuture, Clock},
    trust::LogInRule,
};
use procura_identity::{Identity, Kept, Unfetched};
use procura_wire::{Reason, Secret};
use serde::{Deserialize, Serialize};
use url::Url;

use super::Web;

/// What the metadata says beyond OpenID Connect Discovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct More {
    /// RFC 9207 section 3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    /// OpenID Connect RP-Initiated Logout section 2.1.
    end_session_endpoint: Option<Url>,
}

impl AdditionalProviderMetadata for More {}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// What one log-in is recognised by: made of the value of its cookie, so that nothing is kept for those who never
/// come back.
pub(super) struct Marks {
    pub(super) state: Secret,
    pub(super) nonce: Secret,
    pub(super) verifier: Secret,
}

/// What the issuer says of itself.
pub(crate) struct Described(Metadata);

impl Kept for Described {}

/// The issuer as it describes itself.
pub(super) struct Provider {
    out: Out,
    described: Arc<Described>,
    secret: Option<ClientSecret>,
    client: Client,
    iss: String,
}

impl Described {
    async fn fetch(out: &Out, iss: &str) -> Result<Self, Reason> {
        let issuer = IssuerUrl::new(iss.to_owned()).map_err(|_| Reason::IssuerUnavailable)?;
        let metadata = Box::pin(Metadata::discover_async(issuer, out)).await;
        metadata.map(Self).map_err(|error| {
            tracing::warn!(iss, %error, "the metadata of the page's issuer cannot be had");
            Reason::IssuerUnavailable
        })
    }
}

impl Provider {
    /// The issuer of that identifier, which is asked some minutes later again. Error: [`Reason::IssuerUnavailable`].
    pub(super) async fn find(web: &Web, clock: &dyn Clock, iss: &str) -> Result<Self, Reason> {
        let unavailable = |_| Reason::IssuerUnavailable;
        let out = Out(Arc::clone(&web.identity));
        let is_of = |described: &Described| described.0.issuer().as_str() == iss;
        let described = web.described.get(clock, is_of, Described::fetch(&out, iss)).await?;
        if !is_of(&described) {
            return Err(Reason::IssuerUnavailable);
        }
        let secret = match &web.client_secret {
            None => None,
            Some(source) => {
                let version = source.current().await.map_err(|error| {
                    tracing::warn!(%error, "the page's client secret cannot be had");
                    Reason::IssuerUnavailable
                })?;
                Some(ClientSecret::new(clear(&version.value)))
            }
        };
        let redirect = RedirectUrl::new(web.callback()).map_err(unavailable)?;
        let id = ClientId::new(web.client_id.clone());
        let client = CoreClient::from_provider_metadata(described.0.clone(), id, secret.clone());
        Ok(Self {
            out,
            described,
            secret,
            client: client.set_redirect_uri(redirect),
            iss: iss.to_owned(),
        })
    }

    fn more(&self) -> &More {
        self.described.0.additional_metadata()
    }

    /// What verifies ID tokens by the issuer's keys of now: those that were kept may be older than the token.
    async fn verifier(&self) -> Result<CoreIdTokenVerifier<'static>, String> {
        let metadata = &self.described.0;
        let keys = CoreJsonWebKeySet::fetch_async(metadata.jwks_uri(), &self.out).await;
        let keys = keys.map_err(|error| error.to_string())?;
        let (id, issuer) = (self.client.client_id().clone(), metadata.issuer().clone());
        let verifier = match self.secret.clone() {
            Some(secret) => CoreIdTokenVerifier::new_confidential_client(id, secret, issuer, keys),
            None => CoreIdTokenVerifier::new_public_client(id, issuer, keys),
        };
        let algorithms = metadata.id_token_signing_alg_values_supported().iter().cloned();
        Ok(verifier.set_allowed_algs(algorithms))
    }

    /// Where people log in (OpenID Connect Core section 3.1.2.1, RFC 7636), as the issuer's file wants it.
    pub(super) fn authorization(&self, marks: &Marks, rule: &LogInRule) -> Url {
        let verifier = PkceCodeVerifier::new(clear(&marks.verifier));
        let (state, nonce) = (clear(&marks.state), clear(&marks.nonce));
        let mut request = self
            .client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        for acr in &rule.acr {
            request = request.add_auth_context_value(AuthenticationContextClass::new(acr.clone()));
        }
        if let Some(age) = rule.max_age {
            request = request.set_max_age(age);
        }
        request.url().0
    }

    /// Whether the answer is this issuer's (RFC 9207 section 2.4).
    pub(super) fn is_from(&self, iss: Option<&str>) -> bool {
        match iss {
            Some(iss) => iss == self.iss,
            None => !self.more().authorization_response_iss_parameter_supported,
        }
    }

    /// The ID token that a code is worth, of this log-in.
    pub(super) async fn id_token(&self, code: Secret, marks: &Marks) -> Result<Secret, Reason> {
        let refused = |step: &'static str| {
            move |error: String| {
                tracing::warn!(step, error, "a log-in at the page was refused");
                Reason::V1Unauthenticated
            }
        };
        let request = self.client.exchange_code(AuthorizationCode::new(clear(&code)));
        let request = request.map_err(|error| refused("metadata")(error.to_string()))?;
        let verifier = PkceCodeVerifier::new(clear(&marks.verifier));
        let answer = Box::pin(request.set_pkce_verifier(verifier).request_async(&self.out)).await;
        let answer = answer.map_err(|error| refused("code")(error.to_string()))?;
        // What else came is not wanted.
        let _ = answer.access_token();
        let token = answer
            .id_token()
            .ok_or_else(|| refused("code")("no id_token".to_owned()))?;
        let nonce = Nonce::new(clear(&marks.nonce));
        let verifier = self.verifier().await.map_err(refused("keys"))?;
        let claims = token.claims(&verifier, &nonce);
        claims.map_err(|error| refused("id_token")(error.to_string()))?;
        Ok(Secret::new(token.to_string()))
    }

    /// Where people log out of the issuer too (OpenID Connect RP-Initiated Logout section 2); only at the origin that
    /// its identifier has.
    pub(super) fn log_out(&self, client: &str, back: &str) -> Option<Url> {
        let mut url = self.more().end_session_endpoint.clone()?;
        if Url::parse(&self.iss).ok()?.origin() != url.origin() {
            return None;
        }
        url.query_pairs_mut()
            .append_pair("client_id", client)
            .append_pair("post_logout_redirect_uri", back);
        Some(url)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client sends it to the issuer that it is for"
)]
fn clear(secret: &Secret) -> String {
    secret.expose().to_owned()
}

/// The client's way out: the one of all verifiers.
struct Out(Arc<Identity>);

impl<'c> AsyncHttpClient<'c> for Out {
    type Error = Unfetched;
    type Future = BoxFuture<'c, Result<HttpResponse, Unfetched>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request).map_err(|_| Unfetched)?;
            let fetched = self.0.fetch(request).await?;
            let mut response = http::Response::builder().status(fetched.status);
            if let Some(headers) = response.headers_mut() {
                *headers = fetched.headers;
            }
            response.body(fetched.body).map_err(|_| Unfetched)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Json, Router, routing::get};
    use procura_identity::{Cached, HttpOptions};
    use serde_json::json;
    use tokio::{net::TcpListener, task::JoinHandle};
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::{assembly::Trust, testing};

    /// An issuer that describes itself and counts how often; with its identifier.
    async fn issuer(asked: Arc<AtomicUsize>) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let iss = format!("http://{}", listener.local_addr().expect("address"));
        let metadata = json!({
            "issuer": iss, "authorization_endpoint": format!("{iss}/authorize"), "token_endpoint": format!("{iss}/token"),
            "jwks_uri": format!("{iss}/keys"), "response_types_supported": ["code"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        });
        let described = move || {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Json(metadata.clone()))
        };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(described))
            .route("/keys", get(async || Json(json!({ "keys": [] }))));
        let served = TaskTracker::new().spawn(async { axum::serve(listener, routes).await.expect("served") });
        (iss, served)
    }

    #[tokio::test]
    async fn strangers_who_begin_log_ins_do_not_have_the_issuer_asked_each_time() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (iss, served) = issuer(Arc::clone(&asked)).await;
        let trust = Trust {
            http: HttpOptions {
                allow_http_loopback: true,
                ..HttpOptions::default()
            },
            ..Trust::default()
        };
        let (broker, _folder) = testing::trusting(trust).await;
        let web = Web {
            store: broker.engine.web(),
            identity: Arc::clone(&broker.identity),
            issuer: "corp".parse().expect("name"),
            client_id: "page".to_owned(),
            client_secret: None,
            site: testing::ISSUER.parse().expect("url"),
            described: Cached::default(),
        };
        let clock = &*broker.ports.clock;
        let find = |iss: String| {
            let web = &web;
            async move { Provider::find(web, clock, &iss).await.map(drop) }
        };
        let (one, two) = tokio::join!(find(iss.clone()), find(iss.clone()));
        assert_eq!((one, two, find(iss.clone()).await), (Ok(()), Ok(()), Ok(())));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let other = find("http://127.0.0.1:9/other".to_owned()).await;
        assert_eq!(
            other,
            Err(Reason::IssuerUnavailable),
            "what is kept is one issuer's alone"
        );
        served.abort();
    }
}
