//! OAuth clients of somebody else's, and what a server signs with.

use std::{fs, path::PathBuf};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Fault, Testbed, http,
    serve::{SERVER, Site},
};

const NPM_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oauth-client.mjs");
const PYTHON_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oauth-client.py");

/// A client library, or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthClient {
    /// npm `openid-client`
    OpenidClient,
    /// Python `authlib`; as it comes it signs for the token endpoint.
    Authlib,
    /// The same, told to sign for the issuer.
    AuthlibForIssuer,
    /// `curl`; it sends a secret or a certificate, and knows the token endpoint.
    Curl,
}

/// By what a client proves which server it is.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// The secret of the site's server.
    Secret,
    /// `private_key_jwt` by a private JWK for ES256.
    Key(&'a Value),
    /// The method's name (RFC 8705 section 2), the certificate and its key (PEM).
    Certificate(&'a str, &'a (String, String)),
}

impl OAuthClient {
    /// Finds the endpoints of the site's broker, which speaks TLS, and asks it for a token of `alice` as the site's server;
    /// with DPoP twice by one key. Answers `statuses` of the answers in their order, `assertion` and `jkt` where there are
    /// such, and `response` or `error`.
    pub async fn exchange(self, testbed: &Testbed, site: &Site<'_>, by: By<'_>, dpop: bool) -> Result<Value, Fault> {
        let authority = site.authority.as_ref().ok_or("the site speaks no TLS")?;
        let ca = site.path("authority.pem");
        fs::write(&ca, &authority.certificate)?;
        let mut ask = json!({
            "issuer": site.identifier, "client_id": SERVER, "ca": ca, "subject_token": site.user("alice")?,
            "audience": "api", "scope": "read-tickets", "dpop": dpop,
        });
        match by {
            By::Secret => ask["secret"] = site.secret.as_str().into(),
            By::Key(jwk) => {
                ask["jwk"] = jwk.clone();
                ask["assertion_audience"] = (self == Self::AuthlibForIssuer).then_some(&*site.identifier).into();
            }
            By::Certificate(method, own) => {
                let [cert, key] = put(site, own)?;
                (ask["method"], ask["cert"], ask["key"]) = (method.into(), json!(cert), json!(key));
            }
        }
        let output = self.command(testbed, &ask).kill_on_drop(true).output().await;
        let output = output.map_err(|error| format!("{self:?}: {error}; curl comes with `apt-get install curl`"))?;
        if !output.status.success() {
            return Err(format!("{self:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let said: Value = serde_json::from_slice(&output.stdout)?;
        Ok(match self {
            Self::Curl if said["error"].is_null() => json!({ "response": said }),
            Self::Curl => json!({ "error": said }),
            _ => said,
        })
    }

    fn command(self, testbed: &Testbed, ask: &Value) -> Command {
        match self {
            Self::OpenidClient => {
                let mut node = Command::new("node");
                node.arg(NPM_CLIENT).arg(testbed.npm()).arg(ask.to_string());
                node.env("NODE_EXTRA_CA_CERTS", text(ask, "ca"));
                node
            }
            Self::Authlib | Self::AuthlibForIssuer => {
                let mut python = Command::new(testbed.python());
                python.arg(PYTHON_CLIENT).arg(ask.to_string());
                python
            }
            Self::Curl => curl(ask),
        }
    }
}

fn text<'a>(ask: &'a Value, name: &str) -> &'a str {
    ask[name].as_str().unwrap_or_default()
}

fn curl(ask: &Value) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error"]);
    for (option, name) in [("--cacert", "ca"), ("--cert", "cert"), ("--key", "key")] {
        if ask[name].is_string() {
            curl.args([option, text(ask, name)]);
        }
    }
    let own = ["client_id", "secret"].map(|name| text(ask, name));
    let mut fields = http::exchange(text(ask, "subject_token"), text(ask, "audience"), text(ask, "scope"));
    match own {
        [id, ""] => fields.push(("client_id", id)),
        [id, secret] => drop(curl.args(["--user", &format!("{id}:{secret}")])),
    }
    for (name, value) in fields {
        curl.args(["--data-urlencode", &format!("{name}={value}")]);
    }
    curl.arg(format!("{}/token", text(ask, "issuer")));
    curl
}

/// Puts a certificate and its key into files of the site.
fn put(site: &Site<'_>, (certificate, key): &(String, String)) -> Result<[PathBuf; 2], Fault> {
    let files = ["client.pem", "client-key.pem"].map(|name| site.path(name));
    for (file, pem) in files.iter().zip([certificate, key]) {
        fs::write(file, pem)?;
    }
    Ok(files)
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
