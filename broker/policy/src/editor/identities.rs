//! The keys of those who vouch, and of how servers prove who they are.

use procura_core::catalogue::Algorithm;

use super::{Row, Ty, may, need};

/// `issuer` and `algorithms` must be there unless a preset has them; see [`super::schemas`].
pub(super) fn issuer() -> Vec<Row> {
    let mut rows = vec![
        may(
            "preset",
            Ty::Word(vec!["kubernetes", "github-actions"]),
            "a platform that vouches for what it runs; its usual values are set",
        ),
        may("issuer", Ty::Text, "its identifier, compared exactly with `iss`"),
        may(
            "algorithms",
            Ty::Words(Algorithm::NAMES.map(|(name, _)| name).into()),
            "algorithms that its tokens may be signed with",
        ),
        may(
            "token_types",
            Ty::Words(vec!["at+jwt", "JWT"]),
            "`typ` that its access tokens may have; at+jwt if unset",
        ),
        may(
            "extra_audiences",
            Ty::Texts,
            "audiences that may stand beside the server's resource",
        ),
        may(
            "groups",
            Ty::Table(groups()),
            "where groups come from: `allow` or `map`",
        ),
        may(
            "actor_from",
            Ty::Word(vec!["azp"]),
            "the claim that names the agent where nothing else does",
        ),
        may(
            "clients",
            Ty::Texts,
            "clients whose tokens may be presented; any if unset",
        ),
        may(
            "trusted_presenters",
            Ty::Texts,
            "servers that may present its bound tokens without a proof of their key",
        ),
        may(
            "max_token_lifetime",
            Ty::Duration,
            "longest `exp - iat` of its tokens; 1d if unset",
        ),
        may("operators", Ty::Bool, "its tokens may be operators' at /v1"),
        may(
            "workloads_only",
            Ty::Bool,
            "it vouches for workloads of servers and for nobody else; true with a preset",
        ),
        may(
            "id_jag",
            Ty::Word(vec!["single-use", "until-expiry"]),
            "its ID-JAGs are grants, and how often one may be presented",
        ),
    ];
    rows.extend(trust());
    rows
}

fn groups() -> Vec<Row> {
    vec![
        need("claim", Ty::Text, "name of the claim: a list of strings"),
        may("allow", Ty::Texts, "values of the claim that are names of groups"),
        may("map", Ty::Map, "names of groups by values of the claim"),
    ]
}

fn trust() -> Vec<Row> {
    let tenant = vec![
        need("claim", Ty::Text, "name of the claim that tells the organisation"),
        may("value", Ty::Text, "the only organisation that is served"),
    ];
    let introspection = vec![
        need("client_id", Ty::Text, "who the broker is there"),
        need("secret", Ty::Text, "where its secret is kept: NAME:PATH"),
        may("endpoint", Ty::Text, "where it is asked; as its metadata says if unset"),
        need(
            "mode",
            Ty::Word(vec!["opaque", "always"]),
            "about tokens that are no JWTs, or about all",
        ),
    ];
    let mut rows = vec![
        may(
            "tenant",
            Ty::Table(tenant),
            "how its tokens tell the organisation of their subject",
        ),
        may("id_tokens", Ty::Bool, "its ID tokens may be subject tokens"),
        may("scopes_imply", Ty::Open, "scopes that each scope has in it"),
        may(
            "introspection",
            Ty::Table(introspection),
            "how it is asked about tokens (RFC 7662)",
        ),
    ];
    rows.extend(log_in(["require_acr", "require_amr", "max_age"]));
    rows
}

pub(super) fn log_in([acr, amr, max_age]: [&'static str; 3]) -> Vec<Row> {
    vec![
        may(acr, Ty::Texts, "one of these `acr`"),
        may(amr, Ty::Texts, "all of these `amr`"),
        may(max_age, Ty::Duration, "longest time since the log-in"),
    ]
}

/// Each method has some of these.
pub(super) fn auth() -> Vec<Row> {
    let secret = vec![
        need(
            "hash",
            Ty::Digest,
            "SHA-256 of the secret, as `procura server new-secret` prints it",
        ),
        may("expires", Ty::Moment, "first moment at which it is not valid any more"),
    ];
    let methods = vec![
        "client_secret",
        "private_key_jwt",
        "workload",
        "tls_client_auth",
        "self_signed_tls_client_auth",
        "spiffe",
        "builtin:dev",
    ];
    let mut rows = vec![
        need("method", Ty::Word(methods), "how it proves who it is"),
        may(
            "secret_sha256",
            Ty::Tables(secret),
            "one secret, or two while one replaces the other",
        ),
        may("jwks", Ty::Open, "its public keys: { keys = [...] }"),
        may("jwks_uri", Ty::Text, "where its public keys are"),
        may(
            "legacy_assertion_audience",
            Ty::Bool,
            "the token endpoint's URL is accepted as audience too",
        ),
        may("issuer", Ty::Text, "alias of the issuer of its platform"),
        may("sub", Ty::Text, "its `sub` there"),
        may("claims", Ty::Map, "claims that its tokens must have"),
        may(
            "audience",
            Ty::Text,
            "their audience; the broker's issuer identifier if unset",
        ),
        may(
            "id",
            Ty::Text,
            "its SPIFFE id; one that ends in /* is that of all below it",
        ),
    ];
    let names = ["subject_dn", "san_dns", "san_uri", "san_ip", "san_email"];
    rows.extend(names.map(|name| may(name, Ty::Text, "the one name that its certificates carry")));
    rows
}
