//! A real Keycloak with the realm of `tests/e2e/realm.json`.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use procura_client::ProofKey;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Fault,
    authority::Authority,
    http::{self, Reply},
    process::Process,
};

const START: Duration = Duration::from_secs(180);
const ADMIN: &str = "admin";
const REALM: &str = include_str!("../realm.json");

/// Alice's `sub`; she is in the groups `support` and `secret-project`.
pub const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
/// Bob's `sub`; he is in the group `sre`.
pub const BOB: &str = "b0b00000-0000-4000-8000-000000000002";
/// `sub` of the agent `triage-bot`.
pub const TRIAGE_BOT: &str = "b0700000-0000-4000-8000-000000000003";
/// The audience of their tokens, beside `account`.
pub const RESOURCE: &str = "https://tickets.example/mcp";

/// A running Keycloak, state in memory. Dropped, it is killed.
pub struct Keycloak {
    /// The realm's issuer identifier.
    pub issuer: String,
    base: String,
    http: Client,
    rotations: AtomicUsize,
    _process: Process,
    _dir: TempDir,
}

impl Keycloak {
    pub(crate) async fn start(home: PathBuf) -> Result<Self, Fault> {
        let port = free_port()?;
        let base = format!("http://127.0.0.1:{port}");
        let arguments = vec!["--http-enabled=true".to_owned(), format!("--http-port={port}")];
        Self::start_with(home, (base, arguments), TempDir::new()?, http::client()?).await
    }

    /// One that speaks TLS, with a certificate of that authority.
    pub(crate) async fn start_over_tls(home: PathBuf, authority: &Authority) -> Result<Self, Fault> {
        let port = free_port()?;
        let dir = TempDir::new()?;
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let (chain, private) = authority.issue()?;
        fs::write(&certificate, chain)?;
        fs::write(&key, private)?;
        let arguments = vec![
            format!("--https-port={port}"),
            format!("--https-certificate-file={}", certificate.display()),
            format!("--https-certificate-key-file={}", key.display()),
            // What it tells of itself is nobody's here.
            "--http-management-scheme=http".to_owned(),
        ];
        let base = format!("https://127.0.0.1:{port}");
        let http = http::trusting(&authority.certificate)?;
        Self::start_with(home, (base, arguments), dir, http).await
    }

    async fn start_with(
        home: PathBuf,
        (base, arguments): (String, Vec<String>),
        dir: TempDir,
        http: Client,
    ) -> Result<Self, Fault> {
        let management = free_port()?;
        let mut command = Command::new(home.join("bin/kc.sh"));
        command
            .args(["start", "--optimized", "--http-host=127.0.0.1"])
            .args(arguments)
            .arg(format!("--http-management-port={management}"))
            .arg(format!("--hostname={base}"))
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN)
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m");
        let mut process = Process::start(command, dir.path())?;
        let probe = format!("{base}/realms/master/.well-known/openid-configuration");
        process
            .until(START, async || {
                let reply = http::get(&http, &probe, None).await.ok()?;
                (reply.status == 200).then_some(())
            })
            .await?;
        let keycloak = Self {
            issuer: format!("{base}/realms/procura"),
            base,
            http,
            rotations: AtomicUsize::new(0),
            _process: process,
            _dir: dir,
        };
        let realm: Value = serde_json::from_str(REALM)?;
        keycloak.administer("/admin/realms", &realm).await?;
        Ok(keycloak)
    }

    /// A fresh access token of `alice` or `bob`, as the agent that they use gets it.
    pub async fn user_token(&self, user: &str) -> Result<String, Fault> {
        self.user_token_for("agent", user).await
    }

    /// A fresh access token of `alice` or `bob`, as another public client gets it.
    pub async fn user_token_for(&self, client: &str, user: &str) -> Result<String, Fault> {
        let password = format!("{user}-password");
        let fields = [
            ("grant_type", "password"),
            ("client_id", client),
            ("username", user),
            ("password", &password),
        ];
        self.token("procura", &fields).await
    }

    /// A fresh access token of `alice` or `bob` that is bound to the key, as a public client gets it that must prove one.
    pub async fn bound_token(&self, client: &str, user: &str, key: &ProofKey) -> Result<String, Fault> {
        let url = format!("{}/protocol/openid-connect/token", self.issuer);
        let password = format!("{user}-password");
        let fields = [
            ("grant_type", "password"),
            ("client_id", client),
            ("username", user),
            ("password", &password),
        ];
        let request = http::proving(&self.http, &url, key, &fields)?;
        let reply = http::send(request).await?.expect_status(200)?;
        Ok(reply.text("access_token").to_owned())
    }

    /// Registers a client, as the administrator's API takes it.
    pub async fn register(&self, client: &Value) -> Result<(), Fault> {
        self.administer("/admin/realms/procura/clients", client).await.map(drop)
    }

    /// Makes a scope that a client may have as an optional one.
    pub async fn add_scope(&self, name: &str) -> Result<(), Fault> {
        let attributes = json!({ "include.in.token.scope": "true" });
        let scope = json!({ "name": name, "protocol": "openid-connect", "attributes": attributes });
        self.administer("/admin/realms/procura/client-scopes", &scope)
            .await
            .map(drop)
    }

    /// Asks it about a token, as the agent `triage-bot` (RFC 7662).
    pub async fn introspect(&self, token: &str) -> Result<Reply, Fault> {
        let url = format!("{}/protocol/openid-connect/token/introspect", self.issuer);
        let client = Some(("triage-bot", "triage-bot-secret"));
        http::post_form(&self.http, &url, client, &[("token", token)])
            .await?
            .expect_status(200)
    }

    /// A fresh access token of the agent `triage-bot` for itself.
    pub async fn agent_token(&self) -> Result<String, Fault> {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", "triage-bot"),
            ("client_secret", "triage-bot-secret"),
        ];
        self.token("procura", &fields).await
    }

    /// Makes a new signing key that is used from now on; the ones before it stay published.
    pub async fn rotate_key(&self, name: &str) -> Result<(), Fault> {
        let rotations = self.rotations.fetch_add(1, Ordering::Relaxed);
        let component = json!({
            "name": name,
            "providerType": "org.keycloak.keys.KeyProvider",
            "providerId": "ecdsa-generated",
            "config": {
                "priority": [(1000 + rotations).to_string()],
                "ecdsaEllipticCurveKey": ["P-256"],
            },
        });
        self.administer("/admin/realms/procura/components", &component)
            .await
            .map(drop)
    }

    /// Removes the key of that id: nothing is signed with it any more, and it is not published.
    pub async fn remove_key(&self, kid: &str) -> Result<(), Fault> {
        let path = "/admin/realms/procura/keys";
        let listed = http::send(self.administrator(Method::GET, path).await?).await?;
        let mut keys = listed.body["keys"].as_array().into_iter().flatten();
        let key = keys.find(|key| key["kid"] == kid).ok_or("Keycloak has no such key")?;
        let provider = key["providerId"].as_str().ok_or("no provider")?;
        let path = format!("/admin/realms/procura/components/{provider}");
        let request = self.administrator(Method::DELETE, &path).await?;
        http::send(request).await?.expect_status(204).map(drop)
    }

    async fn administer(&self, path: &str, body: &Value) -> Result<Reply, Fault> {
        let request = self.administrator(Method::POST, path).await?;
        http::send(request.json(body)).await?.expect_status(201)
    }

    async fn administrator(&self, method: Method, path: &str) -> Result<RequestBuilder, Fault> {
        let fields = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", ADMIN),
            ("password", ADMIN),
        ];
        let token = self.token("master", &fields).await?;
        let request = self.http.request(method, format!("{}{path}", self.base));
        Ok(request.bearer_auth(token))
    }

    async fn token(&self, realm: &str, fields: &[(&str, &str)]) -> Result<String, Fault> {
        let url = format!("{}/realms/{realm}/protocol/openid-connect/token", self.base);
        let reply = http::post_form(&self.http, &url, None, fields)
            .await?
            .expect_status(200)?;
        Ok(reply.text("access_token").to_owned())
    }
}

fn free_port() -> Result<u16, Fault> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
