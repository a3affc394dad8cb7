//! OAuth clients of somebody else's, and what a server signs with.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{Fault, Testbed, serve::Site};

const NPM_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oauth-client.mjs");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oauth-client.py");

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthClient {
    /// npm `openid-client`
    OpenidClient,
    /// Python `authlib`; as it comes it signs for the token endpoint.
    Authlib,
    /// The same, told to sign for the issuer.
    AuthlibForIssuer,
}

impl OAuthClient {
    /// Finds the endpoints of the site's broker, which speaks TLS, and asks it for a token of `alice` as that server.
    /// Answers `assertion`, and `response` or `error`.
    pub async fn exchange(self, testbed: &Testbed, site: &Site<'_>, server: &str, jwk: &Value) -> Result<Value, Fault> {
        let authority = site.authority.as_ref().ok_or("the site speaks no TLS")?;
        let ca = site.path("authority.pem");
        std::fs::write(&ca, &authority.certificate)?;
        let ask = json!({
            "issuer": site.identifier, "client_id": server, "jwk": jwk, "ca": ca,
            "subject_token": site.user("alice")?, "audience": "api", "scope": "read-tickets",
            "assertion_audience": (self == Self::AuthlibForIssuer).then_some(&site.identifier),
        });
        let mut command = match self {
            Self::OpenidClient => {
                let mut node = Command::new("node");
                node.arg(NPM_CLIENT).arg(testbed.npm()).env("NODE_EXTRA_CA_CERTS", &ca);
                node
            }
            Self::Authlib | Self::AuthlibForIssuer => {
                let mut python = Command::new(testbed.python());
                python.arg(PYTHON_CLIENT);
                python
            }
        };
        let output = command.arg(ask.to_string()).kill_on_drop(true).output().await?;
        if !output.status.success() {
            return Err(format!("{self:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// An assertion with these claims by a private JWK for ES256.
pub fn assertion(jwk: &Value, claims: &Value) -> Result<String, Fault> {
    let part = |name: &str| BASE64.decode(jwk[name].as_str().unwrap_or_default());
    let (x, y) = (part("x")?, part("y")?);
    let point = [&[4], x.as_slice(), &y].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &part("d")?, &point)?;
    let header = json!({"alg": "ES256", "kid": jwk["kid"]}).to_string();
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims.to_string()));
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes())?;
    Ok(format!("{signed}.{}", BASE64.encode(signature.as_ref())))
}
