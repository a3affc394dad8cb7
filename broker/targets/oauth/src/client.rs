//! The broker as a client of the upstream (RFC 6749 section 2.3, RFC 7523 section 2.2).

use std::sync::{Arc, Mutex, PoisonError};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use procura_core::{
    ports::{Clock, Entropy},
    source::SourceSecret,
};
use procura_wire::Secret;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;
use url::{Url, form_urlencoded::byte_serialize};

use crate::{http::Form, key::SigningKey, settings::ClientAuth};

/// Life of a client assertion in seconds.
const ASSERTION_LIFE: i64 = 60;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Proves which client the broker is.
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) auth: ClientAuth,
    /// `aud` of assertions; without it they are for the token endpoint.
    pub(crate) issuer: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The credential of the source's version that was used last.
    pub(crate) kept: Mutex<Option<(String, Arc<Credential>)>>,
}

pub(crate) enum Credential {
    Secret(Secret),
    Key(SigningKey),
}

/// The source's secret where it is an object.
#[derive(Deserialize)]
struct Fields {
    client_secret: Secret,
}

impl Client {
    /// Adds to the form what proves the client; answers the `Authorization`, where there is one.
    pub(crate) fn prove(
        &self,
        secret: &SourceSecret,
        form: &mut Form,
        token_endpoint: &Url,
    ) -> Result<Option<HeaderValue>, String> {
        match (&*self.credential(secret)?, self.auth) {
            (Credential::Secret(secret), ClientAuth::Post) => {
                form.field("client_id", &self.id);
                form.secret("client_secret", secret);
                Ok(None)
            }
            (Credential::Secret(secret), _) => basic(&self.id, secret).map(Some),
            (Credential::Key(key), _) => {
                form.field("client_id", &self.id);
                form.field("client_assertion_type", ASSERTION_TYPE);
                form.secret("client_assertion", &self.assertion(key, token_endpoint)?);
                Ok(None)
            }
        }
    }

    fn credential(&self, secret: &SourceSecret) -> Result<Arc<Credential>, String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((version, credential)) = &*kept
            && *version == secret.version
        {
            return Ok(Arc::clone(credential));
        }
        let credential = Arc::new(match self.auth {
            ClientAuth::PrivateKeyJwt => Credential::Key(
                SigningKey::read(&secret.value)
                    .ok_or("the source's secret is no private key for ES256 or RS256, in PEM or as a JWK")?,
            ),
            ClientAuth::Basic | ClientAuth::Post => {
                Credential::Secret(client_secret(&secret.value).ok_or("the source's secret holds no client secret")?)
            }
        });
        *kept = Some((secret.version.clone(), Arc::clone(&credential)));
        Ok(credential)
    }

    /// A new assertion; the upstream takes each once.
    fn assertion(&self, key: &SigningKey, token_endpoint: &Url) -> Result<Secret, String> {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let now = self.clock.now().as_second();
        let claims = json!({
            "iss": self.id,
            "sub": self.id,
            "aud": self.issuer.as_deref().unwrap_or(token_endpoint.as_str()),
            "jti": BASE64_URL_SAFE_NO_PAD.encode(id),
            "iat": now,
            "exp": now + ASSERTION_LIFE,
        });
        key.sign(&claims)
            .ok_or_else(|| "the client's private key cannot sign".to_owned())
    }
}

/// Both parts are form-encoded first (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, String> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    #[expect(clippy::disallowed_methods, reason = "the secret is presented to its own server")]
    let pair = Secret::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    #[expect(clippy::disallowed_methods, reason = "the secret is presented to its own server")]
    let value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(pair.expose())));
    let mut value = value.map_err(|_| "the client secret makes no header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The secret is `{"client_secret"}`, or the client secret alone.
fn client_secret(secret: &Secret) -> Option<Secret> {
    #[expect(clippy::disallowed_methods, reason = "taken apart for the client secret")]
    let text = secret.expose();
    let secret = match serde_json::from_str::<Fields>(text) {
        Ok(fields) => fields.client_secret,
        Err(_) if text.starts_with('{') => return None,
        Err(_) => Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()),
    };
    (!secret.is_empty()).then_some(secret)
}
