//! The fake of Vault, or a real server, with what `docs/targets/vault.md` has an operator set up.

use std::collections::BTreeSet;

use procura_contract::{
    vault::{FakeVault, ROOT_TOKEN},
    vault_suite::{NO_SERVER, RealServer, real_server},
};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{
    Fault,
    http::{self, Reply},
};

/// What the broker's token may; `ROLE` is the token role.
const BROKER: &str = r#"
path "auth/token/create/ROLE"     { capabilities = ["update"] }
path "auth/token/roles/ROLE"      { capabilities = ["read"] }
path "auth/token/accessors"       { capabilities = ["list", "sudo"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "sys/leases/lookup"          { capabilities = ["update"] }
path "sys/leases/renew"           { capabilities = ["update"] }
"#;
/// What sessions may.
const SESSION: &str = r#"
path "kv-ID/*"        { capabilities = ["read"] }
path "db-ID/creds/*"  { capabilities = ["read"] }
path "ssh-ID/sign/*"  { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
"#;
const CREATE: &str = r#"CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"#;
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPdtEgdABZXYnXEZWS3Bcsa7xi0yJv5yIJ2Xc0zXCk1w";

/// `read` is a token, `rows` a log-in that the database engine makes, `sign` a certificate for the parameter
/// `valid_principals`, alice or bob.
pub(super) const GRANTS: &[&str] = &[super::READ, "rows", "sign"];

/// A server, with mounts, policies and a token role of this test's own.
pub struct Vault {
    /// What it is, for people.
    pub name: String,
    address: String,
    root: String,
    /// Ends the names of everything that was set up.
    id: String,
    pub(super) broker_token: String,
    http: Client,
    _fake: Option<FakeVault>,
    _real: Option<Box<RealServer>>,
}

impl Vault {
    /// The fake.
    pub async fn fake() -> Result<Self, Fault> {
        let fake = FakeVault::start_now()?;
        let (address, root) = (fake.address.clone(), ROOT_TOKEN.to_owned());
        let vault = Self {
            _fake: Some(fake),
            ..Self::at("the fake", address, root)?
        };
        vault.set_up("").await
    }

    /// A real server where there is one; where there is none, says so.
    pub async fn real() -> Result<Option<Self>, Fault> {
        let Some(real) = real_server().await else {
            println!("{NO_SERVER}");
            return Ok(None);
        };
        let server = &real.server;
        let (address, root) = (server.address.clone(), server.root_token.clone());
        let (name, database) = (server.name.clone(), server.database.clone());
        let vault = Self {
            _real: Some(Box::new(real)),
            ..Self::at(&name, address, root)?
        };
        vault.set_up(&database).await.map(Some)
    }

    fn at(name: &str, address: String, root: String) -> Result<Self, Fault> {
        let mut id = [0; 4];
        aws_lc_rs::rand::fill(&mut id)?;
        Ok(Self {
            name: name.to_owned(),
            address,
            root,
            id: u32::from_be_bytes(id).to_string(),
            broker_token: String::new(),
            http: http::client()?,
            _fake: None,
            _real: None,
        })
    }

    async fn set_up(mut self, database: &str) -> Result<Self, Fault> {
        let id = self.id.clone();
        let role = format!("procura-{id}");
        for (name, text) in [
            (format!("broker-{id}"), BROKER.replace("ROLE", &role)),
            (format!("session-{id}"), SESSION.replace("ID", &id)),
        ] {
            self.post(&format!("sys/policies/acl/{name}"), json!({ "policy": text }))
                .await?;
        }
        let settings = json!({ "orphan": true, "renewable": false, "allowed_policies": [format!("session-{id}")] });
        self.post(&format!("auth/token/roles/{role}"), settings).await?;
        for (mount, engine) in [("kv", "kv"), ("db", "database"), ("ssh", "ssh")] {
            self.post(&format!("sys/mounts/{mount}-{id}"), json!({ "type": engine }))
                .await?;
        }
        self.post(&format!("kv-{id}/app"), json!({ "password": "canary-static" }))
            .await?;
        let config =
            json!({ "plugin_name": "postgresql-database-plugin", "connection_url": database, "allowed_roles": "*" });
        self.post(&format!("db-{id}/config/app"), config).await?;
        let reader = json!({
            "db_name": "app", "creation_statements": [CREATE], "default_ttl": "900s", "max_ttl": "3600s",
        });
        self.post(&format!("db-{id}/roles/reader"), reader).await?;
        let ca = json!({ "generate_signing_key": true, "key_type": "ed25519" });
        self.post(&format!("ssh-{id}/config/ca"), ca).await?;
        let plain = json!({
            "key_type": "ca", "allow_user_certificates": true, "allowed_users": "alice,bob", "max_ttl": "3600s",
        });
        self.post(&format!("ssh-{id}/roles/plain"), plain).await?;
        let body = json!({ "policies": [format!("broker-{id}")], "ttl": "3600s" });
        let made = self.post("auth/token/create", body).await?;
        made["auth"]["client_token"]
            .as_str()
            .ok_or("no token for the broker")?
            .clone_into(&mut self.broker_token);
        Ok(self)
    }

    pub(super) fn keys(&self) -> String {
        let (id, address) = (&self.id, &self.address);
        let grant = |name: &str, risk: &str, more: &str| {
            format!("[grants.{name}]\nrisk = \"{risk}\"\nmax_ttl = \"5m\"\npolicies = [\"session-{id}\"]\n{more}")
        };
        let rows = format!("path = \"db-{id}/creds/reader\"\n");
        let sign = format!(
            "path = \"ssh-{id}/sign/plain\"\nmethod = \"write\"\ndata = {{ public_key = \"{KEY}\" \
             }}\n[grants.sign.params.valid_principals]\ntype = \"enum\"\nvalues = [\"alice\", \"bob\"]\nrequired = true\n"
        );
        format!(
            "address = \"{address}\"\ntoken_role = \"procura-{id}\"\n{}{}{}{}",
            grant(super::READ, "read", ""),
            grant("rows", "read", &rows),
            grant("sign", "write", &sign),
            grant(super::HIDDEN, "write", ""),
        )
    }

    /// Asks as whoever holds the token.
    pub async fn ask(&self, token: &str, path: &str) -> Result<Reply, Fault> {
        self.send(Method::GET, token, path, None).await
    }

    /// The path of the secret that sessions may read.
    pub fn secret_path(&self) -> String {
        format!("kv-{}/app", self.id)
    }

    /// Whether the lease is there.
    pub async fn has_lease(&self, id: &str) -> Result<bool, Fault> {
        let body = json!({ "lease_id": id });
        let reply = self.send(Method::POST, &self.root, "sys/leases/lookup", Some(body));
        Ok(reply.await?.status == 200)
    }

    pub(super) async fn takes(&self, issued: &str) -> Result<bool, Fault> {
        let document: Value = serde_json::from_str(issued)?;
        let token = document["token"].as_str().ok_or("no token in the document")?;
        Ok(self.ask(token, "auth/token/lookup-self").await?.status == 200)
    }

    /// What it says of each token that was made through the role.
    pub async fn tokens(&self) -> Result<Vec<Value>, Fault> {
        let path = "auth/token/accessors?list=true";
        let listed = self.ask(&self.root, path).await?.expect_status(200)?;
        let mut tokens = Vec::new();
        for accessor in listed.body["data"]["keys"].as_array().into_iter().flatten() {
            let body = json!({ "accessor": accessor });
            let reply = self.send(Method::POST, &self.root, "auth/token/lookup-accessor", Some(body));
            // One may have ended meanwhile.
            let mut data = reply.await?.body["data"].take();
            if data["path"] == format!("auth/token/create/procura-{}", self.id) {
                tokens.push(data.take());
            }
        }
        Ok(tokens)
    }

    /// The handles of these tokens.
    pub(super) async fn handles(&self) -> Result<BTreeSet<String>, Fault> {
        let tokens = self.tokens().await?.into_iter();
        let handles = tokens.map(|token| token["meta"]["procura"].as_str().map(str::to_owned));
        handles
            .collect::<Option<_>>()
            .ok_or_else(|| "a token without a handle".into())
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Fault> {
        let reply = self.send(Method::POST, &self.root, path, Some(body)).await?;
        match reply.status {
            200..300 => Ok(reply.body),
            status => Err(format!("{path}: {status} {}", reply.body).into()),
        }
    }

    async fn send(&self, method: Method, token: &str, path: &str, body: Option<Value>) -> Result<Reply, Fault> {
        let request = self.http.request(method, format!("{}/v1/{path}", self.address));
        let request = request.header("x-vault-token", token);
        http::send(match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        })
        .await
    }
}
