//! What a source over Vault does, shown against any server: the fake, HashiCorp Vault or OpenBao.

#![expect(clippy::expect_used, clippy::panic, reason = "a suite fails by panicking")]

mod dynamic;
mod log_in;
mod server;

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use procura_core::{
    ports::BoxFuture,
    source::{Source, SourceSecret},
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

pub use self::server::{NO_SERVER, RealServer, real_server};

/// A server and how to administer it.
pub struct Server {
    /// What it is, for the one line that says what the suite ran against.
    pub name: String,
    /// `http://127.0.0.1:8200`
    pub address: String,
    /// A token that may mount engines and make tokens.
    pub root_token: String,
    /// URL of a superuser of a PostgreSQL server that it reaches; the fake asks none.
    pub database: String,
}

/// How a source under test is opened.
pub struct Access<'a> {
    /// Of the server.
    pub address: &'a str,
    /// The namespace, if not the root's.
    pub namespace: Option<&'a str>,
    /// How to come to a token.
    pub log_in: LogIn<'a>,
    /// Mount path of a KV 1 engine.
    pub kv1: &'a str,
    /// Mount path of a KV 2 engine.
    pub kv2: &'a str,
    /// Mount path of an engine that makes a secret for each read.
    pub dynamic: &'a str,
}

/// A way to log in. Its file has mode 0600.
#[derive(Clone, Copy)]
pub enum LogIn<'a> {
    /// With a token in a file.
    TokenFile(&'a Path),
    /// With AppRole.
    AppRole {
        /// Mount path, without `auth/`.
        mount: &'a str,
        /// The role's id.
        role_id: &'a str,
        /// Holds the secret id.
        secret_id_file: &'a Path,
    },
    /// With a JWT, at the method JWT or Kubernetes.
    Jwt {
        /// `jwt` or `kubernetes`
        kind: &'a str,
        /// Mount path, without `auth/`.
        mount: &'a str,
        /// The role's name.
        role: &'a str,
        /// Holds the JWT.
        token_file: &'a Path,
    },
}

/// Sources over one server. Background work goes on while this lives.
pub trait Opened {
    /// The source of a path (`MOUNT/PATH`), or of one field of it (`MOUNT/PATH#FIELD`).
    fn source(&self, path: &str) -> Arc<dyn Source>;

    /// Lets time pass, on the clocks of the source and the server.
    fn pass(&self, time: Duration) -> BoxFuture<'_, ()>;
}

/// Runs everything; panics where the source or the server does otherwise. `id` makes the names of mounts unique at
/// a server that others use too, which must reach this machine's loopback addresses; files are written to `folder`.
pub async fn vault_suite<O: Opened>(server: &Server, id: &str, folder: &Path, open: impl Fn(&Access<'_>) -> O) {
    println!("the Vault suite runs against {} at {}", server.name, server.address);
    let admin = Admin::new(server, id, None);
    admin.mount_engines().await;
    let token_file = &folder.join("token");
    write_private(token_file, "");
    admin.put_token(token_file, "600s").await;
    let opened = open(&admin.access(LogIn::TokenFile(token_file)));
    versions_of_kv2_are_its_own(&admin, &opened).await;
    versions_of_kv1_follow_the_content(&admin, &opened).await;
    a_field_is_read_alone(&admin, &opened).await;
    what_is_missing_or_deleted_is_an_error(&admin, &opened).await;
    a_revoked_token_is_replaced_by_the_one_in_the_file(&admin, &opened, token_file).await;
    a_short_token_is_renewed(&admin, &opened, token_file).await;
    admin.put_token(token_file, "600s").await;
    opened.pass(Duration::from_secs(6)).await;
    dynamic::one_lease_serves_until_it_is_refused(&admin, &opened).await;
    dynamic::no_reader_meets_the_end_of_a_lease(&admin, &opened).await;
    dynamic::a_lease_is_replaced_with_the_token_that_it_ends_with(&admin, &opened, token_file).await;
    dynamic::what_has_no_lease_is_an_error(&admin, &opened).await;
    drop(opened);
    log_in::each_way_follows_its_proof(&admin, folder, &open).await;
    log_in::no_read_meets_the_end_of_a_token(&admin, folder, &open).await;
    log_in::a_namespace_has_its_own_secrets_and_log_ins(&admin, folder, &open).await;
    admin.unmount_engines().await;
}

async fn versions_of_kv2_are_its_own(admin: &Admin<'_>, opened: &impl Opened) {
    let path = format!("{}/deep/app", admin.kv2);
    admin.write(&path, &json!({ "password": "one" })).await;
    let source = opened.source(&path);
    check(&current(&*source).await, "1", r#"{"password":"one"}"#);
    admin.write(&path, &json!({ "password": "two" })).await;
    check(&refetch(&*source).await, "2", r#"{"password":"two"}"#);
    check(&current(&*source).await, "2", r#"{"password":"two"}"#);
}

async fn versions_of_kv1_follow_the_content(admin: &Admin<'_>, opened: &impl Opened) {
    let path = format!("{}/app", admin.kv1);
    admin.write(&path, &json!({ "password": "one" })).await;
    let source = opened.source(&path);
    let first = current(&*source).await;
    assert_eq!(
        first.version,
        refetch(&*source).await.version,
        "same content, same version"
    );
    admin.write(&path, &json!({ "password": "two" })).await;
    let second = refetch(&*source).await;
    assert_ne!(first.version, second.version, "other content, other version");
    check(&second, &second.version, r#"{"password":"two"}"#);
    admin.write(&path, &json!({ "password": "one" })).await;
    assert_eq!(
        first.version,
        refetch(&*source).await.version,
        "the first content again"
    );
}

async fn a_field_is_read_alone(admin: &Admin<'_>, opened: &impl Opened) {
    let path = format!("{}/fields", admin.kv2);
    admin.write(&path, &json!({ "user": "u", "port": 5432 })).await;
    check(&current(&*opened.source(&format!("{path}#user"))).await, "1", "u");
    for field in ["port", "nothing"] {
        let source = opened.source(&format!("{path}#{field}"));
        assert!(source.current().await.is_err(), "{field} is no string member");
    }
}

async fn what_is_missing_or_deleted_is_an_error(admin: &Admin<'_>, opened: &impl Opened) {
    for mount in [&admin.kv1, &admin.kv2] {
        let missing = opened.source(&format!("{mount}/missing")).current().await;
        assert!(missing.is_err(), "nothing was written to {mount}");
        let path = format!("{mount}/gone");
        admin.write(&path, &json!({ "a": "b" })).await;
        let source = opened.source(&path);
        current(&*source).await;
        admin.delete(&path).await;
        assert!(source.refetch().await.is_err(), "deleted from {mount}");
        assert!(
            source.current().await.is_err(),
            "what was deleted has no last good value"
        );
    }
}

async fn a_revoked_token_is_replaced_by_the_one_in_the_file(
    admin: &Admin<'_>,
    opened: &impl Opened,
    token_file: &Path,
) {
    let path = format!("{}/deep/app", admin.kv2);
    let source = opened.source(&path);
    admin.revoke(&read(token_file)).await;
    assert!(source.refetch().await.is_err(), "the token in the file is revoked");
    admin.put_token(token_file, "600s").await;
    check(&refetch(&*source).await, "2", r#"{"password":"two"}"#);
}

async fn a_short_token_is_renewed(admin: &Admin<'_>, opened: &impl Opened, token_file: &Path) {
    let old = read(token_file);
    admin.put_token(token_file, "8s").await;
    admin.revoke(&old).await;
    let source = opened.source(&format!("{}/deep/app", admin.kv2));
    // Past two lives of the token.
    for _ in 0..18 {
        opened.pass(Duration::from_secs(1)).await;
    }
    check(&refetch(&*source).await, "2", r#"{"password":"two"}"#);
}

async fn current(source: &dyn Source) -> Arc<SourceSecret> {
    source.current().await.expect("the source answers")
}

async fn refetch(source: &dyn Source) -> Arc<SourceSecret> {
    source.refetch().await.expect("the source answers")
}

#[expect(clippy::disallowed_methods, reason = "the suite compares what it wrote itself")]
fn check(secret: &Arc<SourceSecret>, version: &str, text: &str) {
    assert_eq!((secret.version.as_str(), secret.value.expose()), (version, text));
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the token file")
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .expect("a client")
}

/// Prepares secrets and tokens through the same API.
struct Admin<'a> {
    http: Client,
    server: &'a Server,
    id: &'a str,
    namespace: Option<String>,
    kv1: String,
    kv2: String,
    db: String,
}

impl<'a> Admin<'a> {
    fn new(server: &'a Server, id: &'a str, namespace: Option<String>) -> Self {
        Self {
            http: client(),
            server,
            id,
            namespace,
            kv1: format!("procura-test-{id}-1"),
            kv2: format!("procura-test-{id}-2"),
            db: format!("procura-test-{id}-db"),
        }
    }

    fn access<'b>(&'b self, log_in: LogIn<'b>) -> Access<'b> {
        Access {
            address: &self.server.address,
            namespace: self.namespace.as_deref(),
            log_in,
            kv1: &self.kv1,
            kv2: &self.kv2,
            dynamic: &self.db,
        }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let mut request = self
            .http
            .request(method, format!("{}/v1/{path}", self.server.address))
            .header("x-vault-token", &self.server.root_token);
        if let Some(namespace) = &self.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        let answer = request.body(body.to_string()).send().await.expect("the server answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn must(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    async fn mount_engines(&self) {
        for (mount, version) in [(&self.kv1, "1"), (&self.kv2, "2")] {
            let body = json!({ "type": "kv", "options": { "version": version } });
            self.in_time(&format!("sys/mounts/{mount}"), &body).await;
        }
        self.mount_database().await;
    }

    /// Posts until it is taken: a server that has just started is not ready yet, nor is a new KV 2 engine.
    async fn in_time(&self, path: &str, body: &Value) {
        for _ in 0..100 {
            if self.call(Method::POST, path, body).await.0.is_success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path} cannot be written");
    }

    async fn unmount_engines(&self) {
        for mount in [&self.kv1, &self.kv2, &self.db] {
            self.must(Method::DELETE, &format!("sys/mounts/{mount}"), &Value::Null)
                .await;
        }
    }

    fn data_path(&self, path: &str) -> String {
        match path.strip_prefix(&format!("{}/", self.kv2)) {
            Some(rest) => format!("{}/data/{rest}", self.kv2),
            None => path.to_owned(),
        }
    }

    async fn write(&self, path: &str, secret: &Value) {
        let versioned = path.starts_with(&self.kv2);
        let body = if versioned {
            json!({ "data": secret })
        } else {
            secret.clone()
        };
        self.in_time(&self.data_path(path), &body).await;
    }

    async fn delete(&self, path: &str) {
        self.must(Method::DELETE, &self.data_path(path), &Value::Null).await;
    }

    async fn revoke(&self, token: &str) {
        self.must(Method::POST, "auth/token/revoke", &json!({ "token": token }))
            .await;
    }

    async fn put_token(&self, file: &Path, ttl: &str) {
        let body = json!({ "ttl": ttl, "renewable": true, "policies": ["root"] });
        let answer = self.must(Method::POST, "auth/token/create", &body).await;
        let token = answer["auth"]["client_token"].as_str().expect("a token");
        std::fs::write(file, token).expect("the token file");
    }
}
