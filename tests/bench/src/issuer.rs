//! An issuer with keys of its own: discovery and key set over TLS, tokens signed ahead.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256},
};
use axum::{
    Form, Json, Router,
    routing::{get, post},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Fault,
    bundle::OPERATOR,
    clock,
    issuer::Algorithm::{Es256, Rs256},
};

/// Users that tokens are for; each has one session.
pub(crate) const USERS: usize = 64;
/// `aud` of the tokens: the calling server's resource.
pub(crate) const AUDIENCE: &str = "https://tickets.example/mcp";
/// Lifetime of the tokens; longer than any run.
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);

/// What a token is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Es256,
    Rs256,
}

/// A running issuer. Dropped, it stops.
pub(crate) struct Issuer {
    /// `https://127.0.0.1:PORT`
    pub(crate) url: String,
    /// Its certificate, PEM.
    pub(crate) certificate: String,
    keys: Keys,
    issued: usize,
    _serving: JoinSet<()>,
}

struct Keys {
    es256: EcdsaKeyPair,
    rs256: RsaKeyPair,
    random: SystemRandom,
}

impl Issuer {
    pub(crate) async fn start() -> Result<Self, Fault> {
        let keys = Keys {
            es256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            rs256: RsaKeyPair::generate(KeySize::Rsa2048)?,
            random: SystemRandom::new(),
        };
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let certificate = own.cert.pem();
        let tls = RustlsConfig::from_pem(certificate.clone().into(), own.signing_key.serialize_pem().into()).await?;
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let url = format!("https://{}", socket.local_addr()?);
        let metadata = json!({
            "issuer": url, "jwks_uri": format!("{url}/keys"), "introspection_endpoint": format!("{url}/introspect"),
        });
        let set = keys.public();
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(metadata)))
            .route("/keys", get(async move || Json(set)))
            .route("/introspect", post(introspected));
        let server = axum_server::from_tcp_rustls(socket, tls)?.handle(Handle::<SocketAddr>::new());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = server.serve(routes.into_make_service()).await {
                eprintln!("procura-bench: the issuer ended: {error}");
            }
        });
        Ok(Self {
            url,
            certificate,
            keys,
            issued: 0,
            _serving: serving,
        })
    }

    /// A token for the operator of the broker at that address.
    pub(crate) fn operator_token(&self, broker: SocketAddr) -> Result<String, Fault> {
        let now = clock::unix();
        let claims = json!({
            "iss": self.url,
            "sub": OPERATOR,
            "aud": format!("http://{broker}/v1"),
            "client_id": "bench",
            "iat": now,
            "exp": now + LIFE.as_secs(),
        });
        self.keys.sign(Es256, &claims)
    }

    /// A token that no other call gives, for the users in turn.
    pub(crate) fn token(&mut self, algorithm: Algorithm) -> Result<String, Fault> {
        self.issued += 1;
        let (user, now) = (self.issued % USERS, clock::unix());
        let claims = json!({
            "iss": self.url,
            "sub": format!("user-{user}"),
            "aud": AUDIENCE,
            "client_id": "bench",
            "jti": format!("bench-{}", self.issued),
            "sid": format!("session-{user}"),
            "groups": ["support"],
            "iat": now,
            "exp": now + LIFE.as_secs(),
            "auth_time": now,
        });
        self.keys.sign(algorithm, &claims)
    }
}

/// An opaque token of a user.
pub(crate) fn opaque(user: usize) -> String {
    format!("opaque-{user}")
}

/// The answer about an opaque token (RFC 7662 section 2.2).
async fn introspected(Form(form): Form<BTreeMap<String, String>>) -> Json<Value> {
    let user = form.get("token").and_then(|token| token.strip_prefix("opaque-"));
    Json(match user {
        None => json!({ "active": false }),
        Some(user) => json!({
            "active": true,
            "sub": format!("user-{user}"),
            "aud": AUDIENCE,
            "client_id": "bench",
            "sid": format!("session-{user}"),
            "groups": ["support"],
            "exp": clock::unix() + LIFE.as_secs(),
        }),
    })
}

impl Keys {
    fn public(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let point = self.es256.public_key().as_ref();
        let rsa = self.rs256.public_key();
        let text = |bytes: &[u8]| BASE64.encode(bytes);
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "es256", "alg": "ES256", "use": "sig",
              "x": text(&point[1..33]), "y": text(&point[33..]) },
            { "kty": "RSA", "kid": "rs256", "alg": "RS256", "use": "sig",
              "n": text(rsa.modulus().big_endian_without_leading_zero()),
              "e": text(rsa.exponent().big_endian_without_leading_zero()) },
        ]})
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String, Fault> {
        let (alg, kid) = match algorithm {
            Es256 => ("ES256", "es256"),
            Rs256 => ("RS256", "rs256"),
        };
        let header = json!({ "typ": "at+jwt", "alg": alg, "kid": kid });
        let part = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = match algorithm {
            Es256 => self.es256.sign(&self.random, signed.as_bytes())?.as_ref().to_vec(),
            Rs256 => {
                let mut signature = vec![0; self.rs256.public_modulus_len()];
                self.rs256
                    .sign(&RSA_PKCS1_SHA256, &self.random, signed.as_bytes(), &mut signature)?;
                signature
            }
        };
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}
