//! `servers/*.toml`

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use procura_core::{
    catalogue::{SecretHash, Server, ServerAuth},
    limits::Dimension,
};
use procura_wire::{Digest, QualifiedId};

use super::{Around, client_keys, limits, proofs, trust, workload};
use crate::table::{Item, Table};

/// A peer is not a server yet when it is counted.
const LIMITS: [Dimension; 4] = [
    Dimension::Server,
    Dimension::Subject,
    Dimension::Session,
    Dimension::Grant,
];

const SESSION: Duration = Duration::from_secs(8 * 3600);

pub(super) fn read(table: &mut Table<'_>, around: &Around<'_>) -> Option<Server> {
    let owner = table.need("owner", "\"support@example.com\"").and_then(Item::filled);
    let version = table.take("version").and_then(Item::filled);
    let deployment = table.take("deployment").and_then(Item::filled);
    let resource = table.need("resource", "\"https://tickets.example.com/mcp\"");
    let uri = resource.and_then(Item::text);
    if let (Some(item), Some(uri)) = (resource, uri) {
        if let Err(problem) = super::resource(uri) {
            item.mistake(problem);
        }
        item.unique(&around.seen, "resource of a server", uri);
    }
    let auth = table.need(
        "auth",
        "{ method = \"client_secret\", secret_sha256 = [{ hash = \"…\" }] }",
    );
    let auth = auth.and_then(|item| auth_of(item, around));
    let own = table.take("grants").and_then(|item| grants(item, around));
    let mut subjects = trust::of_server(table, around);
    let (tools, definitions) = tools(table, around, &mut subjects.tool_scopes);
    let limits = table.take("limits").map(|item| limits::limits(item, &LIMITS));
    let session_ttl = table.take("session_ttl").and_then(Item::duration);
    let introspects = table.take("introspects").and_then(Item::texts).unwrap_or_default();
    let introspects = introspects
        .into_iter()
        .filter_map(|(_, item)| item.declared(&around.targets, "targets"));
    Some(Server {
        owner: owner.unwrap_or_default().to_owned(),
        version: version.map(str::to_owned),
        deployment: deployment.map(str::to_owned),
        resource: uri.unwrap_or_default().to_owned(),
        dpop_bound: table.flag("dpop_bound_access_tokens"),
        certificate_bound: table.flag("certificate_bound_access_tokens"),
        auth: auth.unwrap_or(ServerAuth::ClientSecret(Vec::new())),
        grants: own.unwrap_or_default(),
        tools,
        session_ttl: session_ttl.unwrap_or(SESSION),
        introspects: introspects.collect(),
        suspended: table.flag("suspended"),
        subjects,
        limits: limits.unwrap_or_default(),
        definitions,
    })
}

type Tools = (BTreeMap<String, BTreeSet<QualifiedId>>, BTreeMap<String, Digest>);

/// The grants of each tool, and the digest of its definition where one stands.
fn tools(table: &mut Table<'_>, around: &Around<'_>, scopes: &mut BTreeMap<String, BTreeSet<String>>) -> Tools {
    let (mut tools, mut definitions) = (BTreeMap::new(), BTreeMap::new());
    for (name, item) in table.named("tools") {
        let fits = (1..=128).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_graphic() && c != b'/');
        if !fits {
            item.mistake("a tool's name is 1 to 128 printable ASCII characters without space and slash");
        }
        let Some(mut tool) = item.table() else { continue };
        let own = tool
            .need("grants", "[\"github/read-issues\"]")
            .and_then(|item| grants(item, around));
        if let Some(required) = tool.take("requires_scope").and_then(trust::scopes) {
            scopes.insert(name.to_owned(), required);
        }
        if let Some(definition) = tool.take("definition_sha256").and_then(definition) {
            definitions.insert(name.to_owned(), definition);
        }
        tool.finish();
        tools.insert(name.to_owned(), own.unwrap_or_default());
    }
    (tools, definitions)
}

fn definition(item: Item<'_>) -> Option<Digest> {
    let digest = item.text()?.parse().ok();
    if digest.is_none() {
        item.mistake("a definition's digest is 64 lower-case hex digits, as `procura policy tool-digest` prints it");
    }
    digest
}

fn grants(item: Item<'_>, around: &Around<'_>) -> Option<BTreeSet<QualifiedId>> {
    let known = |id: &QualifiedId, item: Item<'_>| {
        if !around.targets.contains(&id.qualifier) {
            item.mistake(format!("`{id}`: there is no targets/{}.toml", id.qualifier));
        } else if around
            .grants
            .get(&id.qualifier)
            .is_some_and(|grants| !grants.contains(&id.local))
        {
            let (target, grant) = (&id.qualifier, &id.local);
            item.mistake(format!("`{id}`: targets/{target}.toml has no [grants.{grant}]"));
        }
    };
    let mut grants = BTreeSet::new();
    for (_, item) in item.texts()? {
        if let Some(id) = item.parse::<QualifiedId>() {
            known(&id, item);
            grants.insert(id);
        }
    }
    Some(grants)
}

#[derive(Clone, Copy)]
enum Method {
    Secret,
    Key,
    Workload,
    TlsClient,
    SelfSigned,
    Spiffe,
    Dev,
}

const METHODS: [(&str, Method); 7] = [
    ("client_secret", Method::Secret),
    ("private_key_jwt", Method::Key),
    ("workload", Method::Workload),
    ("tls_client_auth", Method::TlsClient),
    ("self_signed_tls_client_auth", Method::SelfSigned),
    ("spiffe", Method::Spiffe),
    ("builtin:dev", Method::Dev),
];

fn auth_of(item: Item<'_>, around: &Around<'_>) -> Option<ServerAuth> {
    let mut table = item.table()?;
    let method = table.need("method", "\"client_secret\"");
    let auth = match method?.one_of(&METHODS) {
        Some(Method::Secret) => {
            let secrets = table.need(
                "secret_sha256",
                "[{ hash = \"…\" }], made by `procura server new-secret`",
            );
            secrets
                .and_then(|item| hashes(item, around))
                .map(ServerAuth::ClientSecret)
        }
        Some(Method::Key) => {
            let legacy_audience = table.flag("legacy_assertion_audience");
            client_keys::read(&mut table, around).map(|keys| ServerAuth::PrivateKeyJwt { keys, legacy_audience })
        }
        Some(Method::Workload) => workload::read(&mut table, around).map(ServerAuth::Workload),
        Some(Method::TlsClient) => proofs::name(&mut table, around).map(ServerAuth::TlsClient),
        Some(Method::SelfSigned) => {
            let jwks = table.need(
                "jwks",
                "{ keys = [{ kty = \"EC\", crv = \"P-256\", x = \"…\", y = \"…\" }] }",
            );
            jwks.and_then(|item| proofs::keys(item, around))
                .map(ServerAuth::SelfSigned)
        }
        Some(Method::Spiffe) => {
            let id = table.need("id", "\"spiffe://example.org/ns/tools/tickets\"");
            id.and_then(|item| proofs::workload(item, around))
                .map(ServerAuth::Spiffe)
        }
        Some(Method::Dev) => {
            if !around.options.allow_builtin {
                method?.mistake("`builtin:dev` is for `procura dev` only; use method = \"client_secret\"");
            }
            Some(ServerAuth::BuiltinDev)
        }
        None => return None,
    };
    table.finish();
    auth
}

fn hashes(item: Item<'_>, around: &Around<'_>) -> Option<Vec<SecretHash>> {
    let list = item.list()?;
    if !(1..=2).contains(&list.len()) {
        item.mistake("one secret is needed, or two while one replaces the other");
    }
    let mut secrets: Vec<SecretHash> = Vec::new();
    for item in list {
        let Some(mut table) = item.table() else { continue };
        let hash = table.need("hash", "\"…\"").and_then(hash);
        let expires = table.take("expires").and_then(Item::moment);
        table.finish();
        let Some((place, hash)) = hash else { continue };
        if secrets.iter().any(|earlier| earlier.hash == hash) {
            place.mistake("the same secret stands here twice; make another with `procura server new-secret`");
        }
        place.unique(&around.seen, "secret", hash.to_string());
        secrets.push(SecretHash { hash, expires });
    }
    Some(secrets)
}

/// Not quoted where it does not fit: somebody may have written the secret itself.
fn hash(item: Item<'_>) -> Option<(Item<'_>, Digest)> {
    let hash = item.text()?.parse().ok();
    if hash.is_none() {
        item.mistake("a hash is 64 lower-case hex digits, as `procura server new-secret` prints it");
    }
    Some((item, hash?))
}
