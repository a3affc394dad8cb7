//! The ways to log in, and namespaces.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Json, Router, routing::post};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Access, Admin, LogIn, Opened, check, current, read, refetch, write_private};

/// The key that signed both tokens below, made for this file and thrown away.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkNBZbY8V47BavHP7lSu8H7UpgHqu
4JSSIJ4PSGw6oTxUKVkAW/t5DazCtcra+gnKEwijIQpjYtgLi+0pXbQiJw==
-----END PUBLIC KEY-----";
/// The token of the service account `procura` in `tools` for the audience `vault.test`, until 2100.
const GOOD_JWT: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9",
    ".eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMudGVzdCIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDp0b29sczpwcm9jdXJhIiwiYXV",
    "kIjpbInZhdWx0LnRlc3QiXSwibmJmIjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImt1YmVybmV0ZXMuaW8iOnsibmFtZXNwYWNlIjo",
    "idG9vbHMiLCJzZXJ2aWNlYWNjb3VudCI6eyJuYW1lIjoicHJvY3VyYSIsInVpZCI6IjdkM2IxYzUyLTAwMDAtNDAwMC04MDAwLTAwMDAwMDA",
    "wMDAwMSJ9fX0.YMf_dmt8rRbalfY1DWIRvy3oEFVkRpZQ6f-K8v5ok_LGJX6UqOJUmTisosVf2H1LdhP_o2aNU7npj_D_8rkwdA",
);
/// The same for the audience `elsewhere.test`.
const OTHER_JWT: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9",
    ".eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMudGVzdCIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDp0b29sczpwcm9jdXJhIiwiYXV",
    "kIjpbImVsc2V3aGVyZS50ZXN0Il0sIm5iZiI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwLCJrdWJlcm5ldGVzLmlvIjp7Im5hbWVzcGF",
    "jZSI6InRvb2xzIiwic2VydmljZWFjY291bnQiOnsibmFtZSI6InByb2N1cmEiLCJ1aWQiOiI3ZDNiMWM1Mi0wMDAwLTQwMDAtODAwMC0wMDA",
    "wMDAwMDAwMDEifX19.eVGacPGVwi9BEOH44ibUtS2tZnhP8GQCPlV07qydG8JLWrMcQBtmX4ro-WoAIMObR7xNdEKto7zApB9JwjUxCQ",
);
const AUDIENCE: &str = "vault.test";
const UID: &str = "7d3b1c52-0000-4000-8000-000000000001";

/// One auth method with a role of the same name, and the file with what proves it.
struct Way<'a> {
    admin: &'a Admin<'a>,
    kind: &'static str,
    mount: String,
    role_id: String,
    file: PathBuf,
}

/// How long a role's tokens live, and at the longest.
#[derive(Clone, Copy)]
struct Life(&'static str, &'static str);

impl<'a> Way<'a> {
    async fn new(admin: &'a Admin<'a>, kind: &'static str, folder: &Path, life: Life) -> Self {
        let mount = format!("procura-test-{}-{kind}", admin.id);
        let post = async |path: &str, body: Value| admin.must(Method::POST, path, &body).await;
        let policy = |mount: &str| format!("path \"{mount}/*\" {{ capabilities = [\"read\"] }}\n");
        let policy = policy(&admin.kv1) + &policy(&admin.kv2);
        post(&format!("sys/policies/acl/{mount}"), json!({ "policy": policy })).await;
        post(&format!("sys/auth/{mount}"), json!({ "type": kind })).await;
        let config = match kind {
            "jwt" => Some(json!({ "jwt_validation_pubkeys": [PUBLIC_KEY] })),
            "kubernetes" => Some(json!({
                "kubernetes_host": token_reviewer().await,
                // Asked for, and not looked at over plain http.
                "kubernetes_ca_cert": PUBLIC_KEY,
                "token_reviewer_jwt": GOOD_JWT,
            })),
            _ => None,
        };
        if let Some(config) = config {
            post(&format!("auth/{mount}/config"), config).await;
        }
        let mut role = match kind {
            "jwt" => json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": [AUDIENCE] }),
            "kubernetes" => json!({
                "bound_service_account_names": ["procura"],
                "bound_service_account_namespaces": ["tools"],
                "audience": AUDIENCE,
            }),
            _ => json!({}),
        };
        role["token_policies"] = json!([mount]);
        role["token_ttl"] = json!(life.0);
        role["token_max_ttl"] = json!(life.1);
        post(&format!("auth/{mount}/role/{mount}"), role).await;
        let role_id = match kind {
            "approle" => {
                let path = format!("auth/{mount}/role/{mount}/role-id");
                let answer = admin.must(Method::GET, &path, &Value::Null).await;
                answer["data"]["role_id"].as_str().expect("a role id").to_owned()
            }
            _ => mount.clone(),
        };
        let file = folder.join(&mount);
        Self {
            admin,
            kind,
            mount,
            role_id,
            file,
        }
    }

    fn access(&self) -> Access<'_> {
        let mount = self.mount.as_str();
        self.admin.access(match self.kind {
            "approle" => LogIn::AppRole {
                mount,
                role_id: &self.role_id,
                secret_id_file: &self.file,
            },
            kind => LogIn::Jwt {
                kind,
                mount,
                role: mount,
                token_file: &self.file,
            },
        })
    }

    async fn put_good_proof(&self) {
        let path = format!("auth/{0}/role/{0}/secret-id", self.mount);
        let proof = match self.kind {
            "approle" => {
                let answer = self.admin.must(Method::POST, &path, &json!({})).await;
                answer["data"]["secret_id"].as_str().expect("a secret id").to_owned()
            }
            _ => GOOD_JWT.to_owned(),
        };
        write_private(&self.file, &proof);
    }

    /// Makes what stands in the file worthless.
    async fn spoil_proof(&self) {
        match self.kind {
            "approle" => {
                let path = format!("auth/{0}/role/{0}/secret-id/destroy", self.mount);
                let body = json!({ "secret_id": read(&self.file) });
                self.admin.must(Method::POST, &path, &body).await;
            }
            _ => write_private(&self.file, OTHER_JWT),
        }
    }

    async fn revoke_tokens(&self) {
        let path = format!("sys/leases/revoke-prefix/auth/{}/login", self.mount);
        self.admin.must(Method::POST, &path, &json!({})).await;
    }

    async fn remove(self) {
        let path = format!("sys/auth/{}", self.mount);
        self.admin.must(Method::DELETE, &path, &Value::Null).await;
    }
}

/// What stands in for the cluster that the method Kubernetes asks whether a token is good. Ends with the runtime.
async fn token_reviewer() -> String {
    let review = async |Json(review): Json<Value>| {
        let username = "system:serviceaccount:tools:procura";
        let user = json!({ "username": username, "uid": UID, "groups": ["system:serviceaccounts"] });
        let status = match review["spec"]["token"] == GOOD_JWT {
            true => json!({ "authenticated": true, "user": user, "audiences": [AUDIENCE] }),
            false => json!({ "authenticated": false, "error": "the token is for another audience" }),
        };
        let head = json!({ "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status });
        (StatusCode::CREATED, Json(head))
    };
    let app = Router::new().route("/apis/authentication.k8s.io/v1/tokenreviews", post(review));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("its address"));
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

pub(super) async fn each_way_follows_its_proof<O: Opened>(
    admin: &Admin<'_>,
    folder: &Path,
    open: &impl Fn(&Access<'_>) -> O,
) {
    let path = format!("{}/deep/app", admin.kv2);
    for kind in ["approle", "jwt", "kubernetes"] {
        let way = Way::new(admin, kind, folder, Life("600s", "1200s")).await;
        way.put_good_proof().await;
        way.spoil_proof().await;
        let opened = open(&way.access());
        let source = opened.source(&path);
        let error = source.current().await.expect_err("the proof is worthless").to_string();
        assert!(error.contains(&way.mount), "{error}");
        assert!(!error.contains(&read(&way.file)), "{kind}: the proof shows");
        way.put_good_proof().await;
        opened.pass(Duration::from_secs(2)).await;
        check(&refetch(&*source).await, "2", r#"{"password":"two"}"#);
        way.revoke_tokens().await;
        refetch(&*source).await;
        way.spoil_proof().await;
        way.revoke_tokens().await;
        assert!(source.refetch().await.is_err(), "{kind}: neither token nor proof");
        check(&current(&*source).await, "2", r#"{"password":"two"}"#);
        way.put_good_proof().await;
        opened.pass(Duration::from_secs(2)).await;
        check(&refetch(&*source).await, "2", r#"{"password":"two"}"#);
        way.remove().await;
    }
}

pub(super) async fn no_read_meets_the_end_of_a_token<O: Opened>(
    admin: &Admin<'_>,
    folder: &Path,
    open: &impl Fn(&Access<'_>) -> O,
) {
    let path = format!("{}/deep/app", admin.kv2);
    for kind in ["approle", "jwt", "kubernetes"] {
        let way = Way::new(admin, kind, folder, Life("4s", "6s")).await;
        way.put_good_proof().await;
        let opened = open(&way.access());
        let source = opened.source(&path);
        // Past the longest life of the first token.
        for _ in 0..10 {
            refetch(&*source).await;
            opened.pass(Duration::from_secs(1)).await;
        }
        way.remove().await;
    }
}

pub(super) async fn a_namespace_has_its_own_secrets_and_log_ins<O: Opened>(
    admin: &Admin<'_>,
    folder: &Path,
    open: &impl Fn(&Access<'_>) -> O,
) {
    let name = format!("procura-test-{}", admin.id);
    let space = format!("sys/namespaces/{name}");
    let (made, answer) = admin.call(Method::POST, &space, &json!({})).await;
    if made == StatusCode::NOT_FOUND {
        println!("the server has no namespaces; that part runs against the fake only");
        return;
    }
    assert!(made.is_success(), "{made} {answer}");
    let inside = Admin::new(admin.server, admin.id, Some(name));
    inside.mount_engines().await;
    let path = format!("{}/deep/app", admin.kv2);
    inside.write(&path, &json!({ "password": "inside" })).await;
    let way = Way::new(&inside, "approle", folder, Life("600s", "1200s")).await;
    way.put_good_proof().await;
    let opened = open(&way.access());
    check(&current(&*opened.source(&path)).await, "1", r#"{"password":"inside"}"#);
    // The same log-in is unknown where the namespace is not named.
    let outside = Access {
        namespace: None,
        ..way.access()
    };
    assert!(open(&outside).source(&path).current().await.is_err());
    way.remove().await;
    inside.unmount_engines().await;
    admin.must(Method::DELETE, &space, &Value::Null).await;
}
