//! The keys of each kind of file. A new key of the loader is a new row here.

use procura_core::kind::{Key, KeyType, Kind};

use super::{Row, Ty, identities, may, need};

fn limits(rows: &[&'static str]) -> Ty {
    let row = |name: &&'static str| may(name, Ty::Rate, "requests in each window of that length: 600/1m");
    Ty::Table(rows.iter().map(row).collect())
}

pub(super) fn bundle() -> Vec<Row> {
    vec![
        need("format", Ty::Int, "version of the format: 1"),
        may(
            "abandon",
            Ty::Texts,
            "targets whose leases may be left at a place that the bundle does not have",
        ),
        may(
            "limits",
            limits(&["server", "subject", "session", "grant", "address"]),
            "rate limits, counted over all replicas",
        ),
    ]
}

pub(super) fn agent() -> Vec<Row> {
    vec![
        need("issuer", Ty::Text, "alias of its issuer: a file under issuers/"),
        need("sub", Ty::Text, "its `sub` there"),
        may(
            "client_id",
            Ty::Text,
            "its client id there, compared with `azp`; its `sub` if unset",
        ),
        need("owner", Ty::Text, "who answers for it"),
        may("suspended", Ty::Bool, "no exchange for it or by it"),
    ]
}

pub(super) fn server() -> Vec<Row> {
    let tool = vec![
        need("grants", Ty::Texts, "grants that the tool may reach: TARGET/GRANT"),
        may(
            "definition_sha256",
            Ty::Digest,
            "digest of its definition, as `procura policy tool-digest` prints it: another one stops minting",
        ),
        may(
            "requires_scope",
            Ty::Texts,
            "scopes that the subject token must have for it",
        ),
    ];
    vec![
        need("owner", Ty::Text, "who answers for it"),
        may("version", Ty::Text, "its version"),
        may("deployment", Ty::Text, "where it runs"),
        need("resource", Ty::Text, "the audience that subject tokens must have"),
        need("auth", Ty::Table(identities::auth()), "how it authenticates"),
        may(
            "grants",
            Ty::Texts,
            "grants that it may reach without naming a tool: TARGET/GRANT",
        ),
        may("tools", Ty::Named(tool), "its tools"),
        may("session_ttl", Ty::Duration, "longest life of a session; 8h if unset"),
        may(
            "tenants",
            Ty::Texts,
            "organisations whose tokens it may present: ISSUER/VALUE",
        ),
        may(
            "opaque_tokens_from",
            Ty::Text,
            "alias of the issuer that is asked about tokens that are no JWTs",
        ),
        may(
            "dpop_bound_access_tokens",
            Ty::Bool,
            "nothing is issued to it without a DPoP proof",
        ),
        may(
            "certificate_bound_access_tokens",
            Ty::Bool,
            "tokens for it are bound to the certificate of its connection",
        ),
        may("introspects", Ty::Texts, "targets whose credentials it may introspect"),
        may("suspended", Ty::Bool, "no exchange through it"),
        may(
            "limits",
            limits(&["server", "subject", "session", "grant"]),
            "rate limits instead of the bundle's, for what comes through it",
        ),
    ]
}

pub(super) fn target(kind: &Kind) -> Vec<Row> {
    let source = "where its own credential is kept: NAME:PATH";
    let source = Row {
        required: kind.needs_source,
        ..may("source", Ty::Text, source)
    };
    let mut rows = vec![
        need("kind", Ty::Word(vec![kind.name]), "type of the target"),
        need("owner", Ty::Text, "who answers for it"),
        source,
        may("resource", Ty::Text, "URI by which `resource` of a request may name it"),
        may("grants", Ty::Named(grant(kind)), "what may be had of it"),
    ];
    rows.extend(kind.target_keys.iter().map(own));
    rows
}

fn grant(kind: &Kind) -> Vec<Row> {
    let param = vec![
        need("type", Ty::Word(vec!["string", "enum", "set", "int", "bool"]), ""),
        may("required", Ty::Bool, "an empty set is refused too"),
        may(
            "pattern",
            Ty::Text,
            "of string and set: what the whole value must match",
        ),
        may("values", Ty::Texts, "of enum"),
        may("min", Ty::Int, "of int"),
        may("max", Ty::Int, "of int"),
    ];
    let mut rows = vec![
        need(
            "risk",
            Ty::Word(vec!["read", "write", "destructive"]),
            "its group in rules",
        ),
        need("max_ttl", Ty::Duration, "longest lifetime"),
        may(
            "ttl",
            Ty::Duration,
            "lifetime where none is asked for; max_ttl if unset",
        ),
        may(
            "outlives_subject",
            Ty::Bool,
            "the `exp` of the tokens does not cut its lifetime",
        ),
        may("per_call", Ty::Bool, "clients must not serve it from a cache"),
        may(
            "limit",
            Ty::Rate,
            "rate limit over all servers, instead of theirs and the bundle's",
        ),
        may(
            "requires_scope",
            Ty::Texts,
            "scopes that the subject token must have for it",
        ),
        may(
            "requires_auth",
            Ty::Table(identities::log_in(["acr", "amr", "max_age"])),
            "how the user must have logged in for it",
        ),
        may("forward_subject", Ty::Bool, "the subject token is handed to the minter"),
        may("params", Ty::Named(param), "parameters that narrow it"),
    ];
    rows.extend(kind.grant_keys.iter().map(own));
    rows
}

/// A key of the kind itself.
fn own(key: &Key) -> Row {
    let ty = match key.ty {
        KeyType::Text => Ty::Text,
        KeyType::Int => Ty::Int,
        KeyType::Bool => Ty::Bool,
        KeyType::Texts => Ty::Texts,
        KeyType::Map => Ty::Map,
        KeyType::Tables => Ty::OpenTables,
    };
    Row {
        required: key.required,
        ..may(key.name, ty, key.doc)
    }
}

pub(super) fn cases() -> Vec<Row> {
    let subject = vec![
        may("user", Ty::Text, "ISSUER/NAME"),
        may("agent", Ty::Text, "ISSUER/FILE, of an agent that works for itself"),
        may("groups", Ty::Texts, "groups of its issuer"),
    ];
    let session = vec![
        may("age", Ty::Duration, "time since it was opened"),
        may("issuances", Ty::Int, "credentials issued in it"),
    ];
    let auth = vec![
        may("acr", Ty::Text, "`acr` of the token"),
        may("amr", Ty::Texts, "`amr` of the token"),
        may("age", Ty::Duration, "time since the log-in"),
        may("time", Ty::Moment, "when the log-in was"),
    ];
    let case = vec![
        need("name", Ty::Text, "what it shows"),
        need("subject", Ty::Table(subject), "whom the work is for: user or agent"),
        may("actor", Ty::Text, "the agent that acts: ISSUER/FILE"),
        need("server", Ty::Text, "the server that asks"),
        may("tool", Ty::Text, "the tool that it names"),
        need("grant", Ty::Text, "what it asks for: TARGET/GRANT"),
        may("params", Ty::Open, "parameters that the grant declares"),
        may("at", Ty::Moment, "now; noon of 2026-01-01 if unset"),
        may(
            "session",
            Ty::Table(session),
            "what is known of the session; a new one if unset",
        ),
        may("ttl", Ty::Duration, "lifetime asked for; the grant's own if unset"),
        may("auth", Ty::Table(auth), "how and when the subject logged in"),
        may("subject_scopes", Ty::Texts, "`scope` of the subject token"),
        may("by", Ty::Texts, "the deciding rules"),
        may("expect", Ty::Word(vec!["permit", "deny"]), "what must come out"),
    ];
    vec![need("case", Ty::Tables(case), "a request that is imagined")]
}
