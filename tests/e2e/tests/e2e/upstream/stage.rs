//! What the cases of upstreams are played on: brokers with such a target, and clients of Keycloak.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    process::Command,
};

use aws_lc_rs::{
    encoding::AsBigEndian,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use procura_client::{Client, Secret};
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    keycloak::{Keycloak, RESOURCE},
    serve::{SERVER, Site, Store},
};
use serde_json::{Value, json};

/// The target, its grant, and the file of its source.
pub(super) const TARGET: &str = "upstream";
pub(super) const GRANT: &str = "read";
/// The client that asks Keycloak about tokens, which must be for it too.
pub(super) const ASKS: &str = "triage-bot";

/// Lets a site serve the target of that kind, with that secret in its source; its broker speaks TLS.
pub(super) async fn site<'a>(testbed: &'a Testbed, kind: &str, keys: &str, secret: &str) -> Result<Site<'a>, Fault> {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    let sealing = site.path("own/seal.json");
    let made = Command::new(testbed.broker())
        .args(["keys", "new", "--seal"])
        .arg(&sealing)
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    site.amend("procura.toml", |text| {
        text.replace(
            "[sources.own]",
            "[keys.seal]\nsource = \"own:seal.json\"\n[sources.own]",
        )
        .replace("allow = [\"target\"]", "allow = [\"target\", \"upstream\"]")
    })?;
    write(&site.path("secrets/upstream"), secret, 0o600)?;
    let policies = site.path("policies");
    write(
        &policies.join("targets/upstream.toml"),
        &target(kind, "db:upstream", keys),
        0o644,
    )?;
    write(&policies.join("rules/upstream.cedar"), &rule("dev"), 0o644)?;
    site.amend("policies/servers/tickets.toml", |text| {
        text.replace(
            "\"tickets-db/read-rows\"]",
            "\"tickets-db/read-rows\", \"upstream/read\"]",
        )
    })?;
    Ok(site)
}

fn target(kind: &str, source: &str, keys: &str) -> String {
    format!("kind = \"{kind}\"\nowner = \"platform@example.com\"\nsource = \"{source}\"\n{keys}")
}

/// Who is in support may have it.
fn rule(issuer: &str) -> String {
    format!(
        "@id(\"support-reads-upstream\")\npermit (\n    principal in Group::\"{issuer}/support\",\n    \
         action == Action::\"{TARGET}/{GRANT}\",\n    resource == Target::\"{TARGET}\"\n);\n"
    )
}

pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

pub(super) fn client(site: &Site<'_>) -> Result<Client, Fault> {
    let authority = site.authority.as_ref().ok_or("no TLS")?;
    let builder = Client::builder(&site.identifier, SERVER, Secret::new(site.secret.clone()));
    Ok(builder.ca_pem(authority.certificate.clone()).build()?)
}

/// A new key: private and public JWK.
pub(super) fn key() -> Result<(Value, Value), Fault> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = pair.public_key().as_ref();
    let public = json!({
        "kty": "EC", "crv": "P-256", "kid": "broker", "alg": "ES256", "use": "sig",
        "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..]),
    });
    let mut private = public.clone();
    private["d"] = BASE64.encode(pair.private_key().as_be_bytes()?.as_ref()).into();
    Ok((private, public))
}

/// What `procura dev` serves: a user's token comes from a Keycloak that speaks no TLS, which `serve` does not trust.
pub(super) fn bundle(folder: &Path, keycloak: &Keycloak, issuer: &str) -> Result<(), Fault> {
    let keys = format!(
        "issuer = \"{issuer}\"\nclient_id = \"exchanges\"\nclient_auth = \"client_secret_basic\"\n[grants.read]\nrisk = \
         \"read\"\nmax_ttl = \"1m\"\ngrant_type = \"token_exchange\"\nforward_subject = true\nscopes = [\"calendar.read\"]\n"
    );
    let people = format!(
        "issuer = \"{}\"\nalgorithms = [\"ES256\"]\ntoken_types = [\"JWT\"]\nextra_audiences = [\"account\", \"exchanges\"]\n\
         groups = {{ claim = \"groups\", allow = [\"support\"] }}\n",
        keycloak.issuer
    );
    let server = format!(
        "owner = \"support@example.com\"\nresource = \"{RESOURCE}\"\nauth = {{ method = \"builtin:dev\" }}\n\
         grants = [\"upstream/read\"]\n"
    );
    let operators = "@id(\"operator\")\npermit (principal == User::\"dev/operator\", action in [Action::\"read_log\", \
                     Action::\"end_session\"], resource);\n";
    for (file, text) in [
        ("bundle.toml", "format = 1\n"),
        (
            "issuers/dev.toml",
            "issuer = \"builtin:dev\"\nalgorithms = [\"ES256\"]\noperators = true\n",
        ),
        ("issuers/keycloak.toml", &people),
        ("servers/tickets.toml", &server),
        ("targets/upstream.toml", &target("oauth", "dev:upstream", &keys)),
        ("rules/upstream.cedar", &rule("keycloak")),
        ("rules/operators.cedar", operators),
    ] {
        write(&folder.join(file), text, 0o644)?;
    }
    Ok(())
}

pub(crate) fn audience(name: &str, key: &str, value: &str) -> Value {
    json!({
        "name": name, "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
        "config": { key: value, "access.token.claim": "true", "id.token.claim": "false" },
    })
}

/// Clients of Keycloak: one that people use, and the broker's, which their tokens are for as well.
pub(super) async fn register(keycloak: &Keycloak) -> Outcome {
    let groups = json!({
        "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
        "config": { "claim.name": "groups", "full.path": "false", "access.token.claim": "true" },
    });
    keycloak.add_scope("calendar.read").await?;
    keycloak
        .register(&json!({
            "clientId": "exchanges",
            "secret": "exchanges-secret",
            "standardFlowEnabled": false,
            "defaultClientScopes": ["basic"],
            "optionalClientScopes": ["calendar.read"],
            "protocolMappers": [audience("asks", "included.client.audience", ASKS)],
            "attributes": { "standard.token.exchange.enabled": "true" },
        }))
        .await?;
    keycloak
        .register(&json!({
            "clientId": "desk",
            "publicClient": true,
            "standardFlowEnabled": false,
            "directAccessGrantsEnabled": true,
            "protocolMappers": [
                audience("tickets", "included.custom.audience", RESOURCE),
                audience("exchanges", "included.client.audience", "exchanges"),
                groups,
            ],
        }))
        .await
}
