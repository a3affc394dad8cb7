//! A server with what an operator sets up for the broker, under names of the test's own.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use procura_contract::{
    asked::{self, Asked, GivenSource},
    vault::{FakeVault, ROOT_TOKEN},
    vault_suite::{RealServer, real_server},
};
use procura_core::{
    Timestamp,
    catalogue::Target,
    kind::{MintError, Minted, Minter, Undoable},
    ports::{BoxFuture, Clock},
    source::Source,
};
use procura_target_vault::KIND;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

/// What `docs/targets/vault.md` has the operator give to the broker's token; `ROLE` is the token role.
const BROKER: &str = r#"
path "auth/token/create/ROLE"     { capabilities = ["update"] }
path "auth/token/roles/ROLE"      { capabilities = ["read"] }
path "auth/token/accessors"       { capabilities = ["list", "sudo"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "sys/leases/lookup"          { capabilities = ["update"] }
path "sys/leases/renew"           { capabilities = ["update"] }
path "db-ID/rotate-root/*"        { capabilities = ["update"] }
"#;
/// What the policy of the grants permits; `ID` is the bed's.
const CHILD: &str = r#"
path "kv-ID/*"         { capabilities = ["read"] }
path "db-ID/creds/*"   { capabilities = ["read"] }
path "pki-ID/issue/*"  { capabilities = ["update"] }
path "ssh-ID/sign/*"   { capabilities = ["update"] }
"#;
const CREATE: &str = r#"CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"#;

pub(crate) struct RealClock(tokio::time::Instant);

impl Clock for RealClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

pub(crate) struct Bed {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) clock: Arc<RealClock>,
    pub(crate) source: Arc<GivenSource>,
    pub(crate) fake: Option<FakeVault>,
    pub(crate) namespace: Option<String>,
    root: String,
    database: String,
    http: Client,
    _real: Option<Arc<RealServer>>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Bed {
    pub(crate) async fn fake() -> Self {
        let clock = Arc::new(RealClock(tokio::time::Instant::now()));
        let fake = FakeVault::start(Arc::clone(&clock) as Arc<dyn Clock>).expect("the fake");
        let bed = Self {
            address: fake.address.clone(),
            root: ROOT_TOKEN.to_owned(),
            fake: Some(fake),
            ..Self::empty(clock)
        };
        bed.set_up().await;
        bed
    }

    pub(crate) async fn real() -> Option<Self> {
        static SHARED: tokio::sync::Mutex<Weak<RealServer>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        let real = match shared.upgrade() {
            Some(real) => real,
            None => Arc::new(real_server().await?),
        };
        *shared = Arc::downgrade(&real);
        drop(shared);
        let bed = Self {
            address: real.server.address.clone(),
            root: real.server.root_token.clone(),
            database: real.server.database.clone(),
            _real: Some(real),
            ..Self::empty(Arc::new(RealClock(tokio::time::Instant::now())))
        };
        bed.set_up().await;
        Some(bed)
    }

    fn empty(clock: Arc<RealClock>) -> Self {
        Self {
            id: format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
            address: String::new(),
            clock,
            source: GivenSource::new(""),
            fake: None,
            namespace: None,
            root: String::new(),
            database: String::new(),
            http: Client::builder()
                .no_proxy()
                .tls_certs_only([])
                .build()
                .expect("a client"),
            _real: None,
        }
    }

    /// The same in a namespace of its own; `None` where the server has none.
    pub(crate) async fn inside(&self) -> Option<Self> {
        let name = format!("ns-{}", self.id);
        let path = format!("sys/namespaces/{name}");
        let (made, answer) = self.call(&self.root, Method::POST, &path, json!({})).await;
        if made == StatusCode::NOT_FOUND {
            println!("the server has no namespaces; that part runs against the fake only");
            return None;
        }
        assert!(made.is_success(), "{made} {answer}");
        let bed = Self {
            address: self.address.clone(),
            namespace: Some(name),
            root: self.root.clone(),
            database: self.database.clone(),
            ..Self::empty(Arc::clone(&self.clock))
        };
        bed.set_up().await;
        Some(bed)
    }

    async fn set_up(&self) {
        let id = &self.id;
        self.policy(
            &format!("broker-{id}"),
            &BROKER.replace("ROLE", &self.role()).replace("ID", id),
        )
        .await;
        self.policy(&self.child(), &CHILD.replace("ID", id)).await;
        self.token_role(json!({})).await;
        for engine in ["kv", "pki", "ssh", "database"] {
            let mount = if engine == "database" { "db" } else { engine };
            self.post(&format!("sys/mounts/{mount}-{id}"), json!({ "type": engine }))
                .await;
        }
        self.post(&format!("kv-{id}/app"), json!({ "password": "canary-static" }))
            .await;
        self.set_up_database().await;
        let ca = json!({ "common_name": "ca", "ttl": "24h", "key_type": "ec" });
        self.post(&format!("pki-{id}/root/generate/internal"), ca).await;
        let web = json!({ "allowed_domains": ["example.com"], "allow_subdomains": true, "max_ttl": "3600s", "key_type": "ec" });
        self.post(&format!("pki-{id}/roles/web"), web).await;
        let key = json!({ "generate_signing_key": true, "key_type": "ed25519" });
        self.post(&format!("ssh-{id}/config/ca"), key).await;
        for (role, extensions) in [("plain", json!({})), ("pty", json!({ "permit-pty": "" }))] {
            let body = json!({
                "key_type": "ca",
                "allow_user_certificates": true,
                "allowed_users": "alice,bob",
                "allowed_extensions": "permit-pty",
                "default_extensions": extensions,
                "max_ttl": "3600s",
            });
            self.post(&format!("ssh-{id}/roles/{role}"), body).await;
        }
        let token = self.broker_token().await;
        self.put_broker_token(&token).await;
    }

    /// Makes it what the source holds, as version `1`, and what the source is known to hold.
    pub(crate) async fn put_broker_token(&self, secret: &str) {
        self.source.rotate(secret, "1");
        self.source.refetch().await.expect("the token");
    }

    async fn set_up_database(&self) {
        let id = &self.id;
        let config = json!({
            "plugin_name": "postgresql-database-plugin",
            "connection_url": self.database,
            "allowed_roles": "*",
        });
        self.post(&format!("db-{id}/config/app"), config).await;
        for (role, ttl, max_ttl) in [
            ("reader", "900s", "3600s"),
            ("short", "20s", "3600s"),
            ("capped", "20s", "40s"),
        ] {
            let body = json!({
                "db_name": "app",
                "creation_statements": [CREATE],
                "default_ttl": ttl,
                "max_ttl": max_ttl,
            });
            self.post(&format!("db-{id}/roles/{role}"), body).await;
        }
    }

    pub(crate) fn role(&self) -> String {
        format!("procura-{}", self.id)
    }

    /// The policy that the token role allows.
    pub(crate) fn child(&self) -> String {
        format!("child-{}", self.id)
    }

    /// Writes the token role as it should be, with these changes.
    pub(crate) async fn token_role(&self, changes: Value) {
        let mut role = json!({ "orphan": true, "renewable": false, "allowed_policies": [self.child()] });
        for (key, value) in changes.as_object().into_iter().flatten() {
            role[key.as_str()] = value.clone();
        }
        self.post(&format!("auth/token/roles/{}", self.role()), role).await;
    }

    pub(crate) async fn policy(&self, name: &str, text: &str) {
        self.post(&format!("sys/policies/acl/{name}"), json!({ "policy": text }))
            .await;
    }

    /// Another token for the broker.
    pub(crate) async fn broker_token(&self) -> String {
        let body = json!({ "policies": [format!("broker-{}", self.id)], "ttl": "600s" });
        let answer = self.post("auth/token/create", body).await;
        answer["auth"]["client_token"].as_str().expect("a token").to_owned()
    }

    /// Asks with a token.
    pub(crate) async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}/v1/{path}", self.address));
        let mut request = request.header("x-vault-token", token).body(body.to_string());
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let answer = request.send().await.expect("the server answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Writes as root.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(&self.root, Method::POST, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Whether the token is good.
    pub(crate) async fn is_good(&self, token: &str) -> bool {
        let path = format!("kv-{}/app", self.id);
        self.call(token, Method::GET, &path, Value::Null).await.0.is_success()
    }

    /// Whether the lease is there.
    pub(crate) async fn has_lease(&self, id: &str) -> bool {
        let body = json!({ "lease_id": id });
        let (status, _) = self.call(&self.root, Method::POST, "sys/leases/lookup", body).await;
        status.is_success()
    }

    /// What the server says of a token.
    pub(crate) async fn look_up(&self, accessor: &str) -> Value {
        let answer = self
            .post("auth/token/lookup-accessor", json!({ "accessor": accessor }))
            .await;
        answer["data"].clone()
    }

    pub(crate) fn target(&self, grant: Value) -> Target {
        let mut settings = json!({ "address": self.address, "token_role": self.role() });
        if let Some(namespace) = &self.namespace {
            settings["namespace"] = json!(namespace);
        }
        let mut grant = grant;
        grant["policies"] = json!([self.child()]);
        asked::target(&KIND, &settings, &grant)
    }

    pub(crate) fn open(&self, target: &Target) -> Arc<dyn Minter> {
        let faults = (KIND.check)(target);
        assert!(faults.is_empty(), "{faults:?}");
        asked::open(target, Arc::clone(&self.source) as _, Arc::clone(&self.clock) as _).expect("a minter")
    }

    /// A mint of the target, as an issuance of its own.
    pub(crate) fn ask(&self, target: &Target) -> Asked {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = (u128::from(std::process::id()) << 32) + u128::from(number);
        Asked::new(target, self.clock.now()).numbered(number)
    }

    pub(crate) async fn mint(&self, asked: &Asked, minter: &dyn Minter) -> Result<Minted, MintError> {
        asked.mint(minter, &*self.clock).await
    }

    /// Mints it; it is within its plan.
    pub(crate) async fn minted(&self, asked: &Asked, minter: &dyn Minter) -> (Minted, Value) {
        let minted = self.mint(asked, minter).await.expect("minted");
        assert!(asked.is_within(&minted), "{:?} {}", minted.rights, minted.end);
        let document = document(&minted);
        (minted, document)
    }
}

#[expect(clippy::disallowed_methods, reason = "a test looks at what was issued")]
pub(crate) fn document(minted: &Minted) -> Value {
    serde_json::from_str(minted.value.expose()).expect("a document")
}

pub(crate) async fn undo(minter: &dyn Minter, undoable: Undoable<'_>) {
    minter.undo(undoable).await.expect("undone");
}

/// Within two seconds: a server's clock has whole ones.
pub(crate) fn is_about(time: Timestamp, expected: Timestamp) -> bool {
    time.duration_since(expected).unsigned_abs() <= Duration::from_secs(2)
}
