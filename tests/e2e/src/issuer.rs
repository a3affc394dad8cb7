//! An issuer over TLS whose tokens a test makes itself: any user, any groups, any time.

use std::net::SocketAddr;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use axum::{Json, Router, routing::get};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Fault, http};

/// Lifetime of its tokens in seconds.
const LIFE: u64 = 60 * 60;

/// A running issuer. Dropped, it stops.
pub struct Issuer {
    /// `https://127.0.0.1:PORT`
    pub url: String,
    /// Its certificate, PEM; it is its own CA.
    pub certificate: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
    _serving: JoinSet<()>,
}

impl Issuer {
    pub(crate) async fn start() -> Result<Self, Fault> {
        http::client()?;
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let certificate = own.cert.pem();
        let tls = RustlsConfig::from_pem(certificate.clone().into(), own.signing_key.serialize_pem().into()).await?;
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let url = format!("https://{}", socket.local_addr()?);
        let metadata = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let set = json!({ "keys": [public(&key)] });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(metadata)))
            .route("/keys", get(async move || Json(set)));
        let server = axum_server::from_tcp_rustls(socket, tls)?.handle(Handle::<SocketAddr>::new());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = server.serve(routes.into_make_service()).await {
                eprintln!("the issuer ended: {error}");
            }
        });
        Ok(Self {
            url,
            certificate,
            key,
            random: SystemRandom::new(),
            _serving: serving,
        })
    }

    /// A fresh token for `sub`. `claims` is an object: it adds claims and changes those that every token has
    /// (`iss`, `sub`, `aud`, `client_id`, `jti`, `iat`, `auth_time`, `exp`).
    pub fn token(&self, sub: &str, audience: &str, claims: Value) -> Result<String, Fault> {
        self.token_of_type("at+jwt", sub, audience, claims)
    }

    /// The same with another `typ`.
    pub fn token_of_type(&self, typ: &str, sub: &str, audience: &str, claims: Value) -> Result<String, Fault> {
        let mut jti = [0; 16];
        aws_lc_rs::rand::fill(&mut jti)?;
        let now = now();
        let mut all = json!({
            "iss": self.url,
            "sub": sub,
            "aud": audience,
            "client_id": "agent",
            "jti": BASE64.encode(jti),
            "iat": now,
            "auth_time": now,
            "exp": now + LIFE,
        });
        let added = claims.as_object().ok_or("claims must be an object")?;
        for (name, value) in added {
            all[name] = value.clone();
        }
        let header = json!({ "typ": typ, "alg": "ES256", "kid": KEY });
        let part = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&all));
        let signature = self.key.sign(&self.random, signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64.encode(signature.as_ref())))
    }
}

const KEY: &str = "es256";

fn public(key: &EcdsaKeyPair) -> Value {
    // An uncompressed point: 4, x, y.
    let point = key.public_key().as_ref();
    let text = |bytes: &[u8]| BASE64.encode(bytes);
    json!({
        "kty": "EC", "crv": "P-256", "kid": KEY, "alg": "ES256", "use": "sig",
        "x": text(&point[1..33]), "y": text(&point[33..]),
    })
}

#[expect(clippy::disallowed_methods, reason = "an issuer of its own, with a clock of its own")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
