//! Servers with keys, servers that their platform vouches for, and the issuers of platforms.

use std::{collections::BTreeMap, time::Duration};

use procura_core::catalogue::{Algorithm, ClientKeys, ServerAuth, TokenTyp, Workload};

use super::{BASE, loaded, refused, try_load};
use crate::Loaded;

const SERVER: &str = "servers/tickets.toml";
const POINT: &str = "kty = \"EC\", crv = \"P-256\", x = \"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\", \
                     y = \"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"";

/// The file of a server with that `auth`.
fn server(auth: &str) -> String {
    let (_, text) = BASE.iter().find(|(path, _)| *path == SERVER).expect("file");
    let line = |line: &&str| line.starts_with("auth");
    let old = text.lines().find(line).expect("auth");
    text.replace(old, &format!("auth = {{ {auth} }}"))
}

fn auth(bundle: &Loaded) -> ServerAuth {
    use procura_core::judgement::Judge;
    bundle.catalogue().servers["tickets"].auth.clone()
}

fn mistakes(files: &[(&str, &str)]) -> String {
    refused(try_load(files))
}

fn keyed(rest: &str) -> String {
    server(&format!("method = \"private_key_jwt\", {rest}"))
}

/// The mistakes of a server with these keys.
fn of_keys(keys: &str) -> String {
    mistakes(&[(SERVER, &keyed(&format!("jwks = {{ keys = [{keys}] }}")))])
}

#[test]
fn req_078_keys_stand_in_the_file_or_at_a_url() {
    let text = keyed(&format!(
        "jwks = {{ keys = [{{ {POINT}, kid = \"k1\", alg = \"ES256\", use = \"sig\" }}] }}"
    ));
    let ServerAuth::PrivateKeyJwt { keys, legacy_audience } = auth(&loaded(&[(SERVER, &text)])) else {
        panic!("another method")
    };
    let ClientKeys::Inline(set) = keys else {
        panic!("at a URL")
    };
    assert_eq!((set["keys"][0]["kid"].as_str(), legacy_audience), (Some("k1"), false));

    let text = keyed("jwks_uri = \"https://tickets.example/keys\", legacy_assertion_audience = true");
    let ServerAuth::PrivateKeyJwt { keys, legacy_audience } = auth(&loaded(&[(SERVER, &text)])) else {
        panic!("another method")
    };
    assert_eq!(
        (keys, legacy_audience),
        (ClientKeys::Uri("https://tickets.example/keys".into()), true)
    );

    for (rest, problem) in [
        ("legacy_assertion_audience = false", "write either jwks"),
        (
            "jwks_uri = \"https://a.example\", jwks = { keys = [] }",
            "write either jwks",
        ),
        ("jwks_uri = \"http://tickets.example/keys\"", "must begin with https://"),
        (
            "jwks_uri = \"https://u@tickets.example/keys\"",
            "must have no query, fragment or user",
        ),
        ("jwks_uri = 1", "a string is needed"),
        ("jwks = { keys = [] }", "1 to 8 keys are needed"),
        ("jwks = { kid = \"x\" }", "`keys` is missing"),
        ("jwks = { keys = [1] }", "a table is needed"),
        ("secret_sha256 = []", "`secret_sha256` is not a key here"),
    ] {
        let seen = mistakes(&[(SERVER, &keyed(rest))]);
        assert!(
            seen.contains("servers/tickets.toml:3:") && seen.contains(problem),
            "{rest}: {seen}"
        );
    }
}

#[test]
fn req_078_private_and_symmetric_keys_are_refused_and_never_quoted() {
    for (key, member) in [
        (format!("{{ {POINT}, d = \"canary\" }}"), "`d`"),
        ("{ kty = \"oct\", k = \"canary\" }".to_owned(), "`k`"),
        (
            "{ kty = \"RSA\", n = \"AQ\", e = \"AQAB\", p = \"canary\" }".to_owned(),
            "`p`",
        ),
    ] {
        let seen = of_keys(&key);
        assert!(
            seen.contains(&format!("the key holds {member}, which only private")),
            "{seen}"
        );
        assert!(!seen.contains("canary"), "{seen}");
    }
}

#[test]
fn keys_that_cannot_verify_anything_are_told_with_their_line() {
    for (key, problem) in [
        ("{ kty = \"oct\" }".to_owned(), "the key must be EC"),
        (POINT.replace("P-256", "P-521"), "the key must be EC"),
        (POINT.replace("P-256", "P-384"), "the key must be EC"),
        (POINT.replace("VEU\"", "VEU=\""), "the key must be EC"),
        (
            "kty = \"OKP\", crv = \"Ed25519\", x = \"AQ\"".to_owned(),
            "the key must be EC",
        ),
        (
            "kty = \"RSA\", n = \"AQ\", e = \"AQAB\"".to_owned(),
            "the key must be EC",
        ),
        (
            format!("{POINT}, alg = \"RS256\""),
            "`alg` of this key can be ES256 only",
        ),
        (format!("{POINT}, use = \"enc\""), "the key is not for signatures"),
        (
            format!("{POINT}, key_ops = [\"sign\"]"),
            "the key is not for signatures",
        ),
        (format!("{POINT}, kid = \"a b\""), "a kid is 1 to 256"),
        (format!("{POINT}, kid = \"\""), "a kid is 1 to 256"),
    ] {
        let key = if key.starts_with('{') {
            key
        } else {
            format!("{{ {key} }}")
        };
        let seen = of_keys(&key);
        assert!(
            seen.starts_with("servers/tickets.toml:3:") && seen.contains(problem),
            "{key}: {seen}"
        );
    }
    let named = |kid: &str| format!("{{ {POINT}, kid = \"{kid}\" }}");
    assert!(of_keys(&[named("a"), named("a")].join(", ")).contains("two keys have the kid `a`"));
    let nameless = of_keys(&format!("{}, {{ {POINT} }}", named("a")));
    assert!(
        nameless.contains("where there are several keys, each needs a kid"),
        "{nameless}"
    );
    let many: Vec<_> = (0..9).map(|n| named(&n.to_string())).collect();
    assert!(of_keys(&many.join(", ")).contains("1 to 8 keys are needed"));
    assert_eq!(of_keys(&many[..8].join(", ")), "nothing\n");
    let key = format!("jwks = {{ keys = [{{ {POINT} }}] }}");
    let twin = keyed(&key).replace("https://tickets.example/mcp", "https://twin.example/mcp");
    let seen = mistakes(&[(SERVER, &keyed(&key)), ("servers/twin.toml", &twin)]);
    assert!(
        seen.contains("servers/tickets.toml has the same key of a server"),
        "{seen}"
    );
}

const CLUSTER: &str = "preset = \"kubernetes\"\nissuer = \"https://oidc.cluster.example\"\n";
const RUNS: &str = "method = \"workload\", issuer = \"cluster\", sub = \"system:serviceaccount:tools:tickets\"";

fn with_cluster(issuer: &str, auth: &str) -> String {
    mistakes(&[("issuers/cluster.toml", issuer), (SERVER, &server(auth))])
}

#[test]
fn a_preset_fills_in_what_its_platform_does_and_the_file_can_say_otherwise() {
    use procura_core::judgement::Judge;
    let read = |text: &str| {
        let bundle = loaded(&[("issuers/cluster.toml", text)]);
        bundle.catalogue().issuers["cluster"].clone()
    };
    let issuer = read(CLUSTER);
    assert_eq!(issuer.algorithms, [Algorithm::Rs256, Algorithm::Es256].into());
    assert_eq!(issuer.token_types, [TokenTyp::Jwt].into());
    assert_eq!(issuer.max_token_lifetime, Duration::from_secs(7200));
    assert!(issuer.workloads_only && !issuer.operators);
    let issuer = read("preset = \"github-actions\"\n");
    assert_eq!(issuer.issuer, "https://token.actions.githubusercontent.com");
    assert_eq!(issuer.algorithms, [Algorithm::Rs256].into());
    assert_eq!(issuer.max_token_lifetime, Duration::from_secs(900));
    let said = "algorithms = [\"PS384\"]\ntoken_types = [\"at+jwt\"]\nmax_token_lifetime = \"5m\"\n\
                workloads_only = false\noperators = true\n";
    let issuer = read(&format!("{CLUSTER}{said}"));
    assert_eq!(
        (issuer.algorithms, issuer.token_types),
        ([Algorithm::Ps384].into(), [TokenTyp::AtJwt].into())
    );
    assert_eq!(
        (issuer.max_token_lifetime, issuer.workloads_only),
        (Duration::from_secs(300), false)
    );
    let plain =
        "issuer = \"https://id2.example\"\nalgorithms = [\"ES384\", \"RS384\", \"PS256\", \"Ed25519\", \"EdDSA\"]\n";
    assert_eq!((read(plain).algorithms.len(), read(plain).workloads_only), (4, false));
    assert!(read(&format!("{plain}workloads_only = true\n")).workloads_only);
}

#[test]
fn mistakes_of_presets() {
    for (text, problem) in [
        (
            "preset = \"k8s\"\nissuer = \"https://a.example\"\n",
            "`k8s` is not known here; write one of: kubernetes",
        ),
        ("preset = \"kubernetes\"\n", "`issuer` is missing"),
        (
            &format!("{CLUSTER}operators = true\n"),
            "write workloads_only = false if operators log in there",
        ),
        (&format!("{CLUSTER}workloads_only = 1\n"), "true or false is needed"),
        (&format!("{CLUSTER}algorithms = []\n"), "an empty list trusts nothing"),
    ] {
        let seen = mistakes(&[("issuers/cluster.toml", text)]);
        assert!(
            seen.contains("issuers/cluster.toml:") && seen.contains(problem),
            "{text}: {seen}"
        );
    }
    let github = "preset = \"github-actions\"\n";
    let seen = mistakes(&[("issuers/a.toml", github), ("issuers/b.toml", github)]);
    assert!(seen.contains("issuers/a.toml has the same issuer"), "{seen}");
}

#[test]
fn a_workload_is_found_by_issuer_sub_and_claims() {
    let text = server(&format!(
        "{RUNS}, claims = {{ ref = \"refs/heads/main\" }}, audience = \"procura\""
    ));
    let ServerAuth::Workload(read) = auth(&loaded(&[("issuers/cluster.toml", CLUSTER), (SERVER, &text)])) else {
        panic!("another method")
    };
    let expected = Workload {
        issuer: "cluster".parse().expect("name"),
        sub: Some("system:serviceaccount:tools:tickets".to_owned()),
        claims: BTreeMap::from([("ref".to_owned(), "refs/heads/main".to_owned())]),
        audience: Some("procura".to_owned()),
    };
    assert_eq!(read, expected);
    for (auth, problem) in [
        ("method = \"workload\", issuer = \"cluster\"", "`sub` is missing"),
        (
            "method = \"workload\", issuer = \"cluster\", claims = {}",
            "an empty table pins nothing",
        ),
        (
            "method = \"workload\", issuer = \"cluster\", sub = \"\"",
            "an empty string says nothing",
        ),
        ("method = \"workload\", sub = \"x\"", "`issuer` is missing"),
        (
            "method = \"workload\", issuer = \"other\", sub = \"x\"",
            "there is no issuers/other.toml",
        ),
        (
            &format!("{RUNS}, claims = {{ aud = \"x\" }}"),
            "`aud` is looked at by itself",
        ),
        (
            &format!("{RUNS}, claims = {{ ref = [\"x\"] }}"),
            "a string is needed here",
        ),
        (&format!("{RUNS}, audience = \" \""), "an empty string says nothing"),
        (&format!("{RUNS}, repository = \"x\""), "`repository` is not a key here"),
    ] {
        let seen = with_cluster(CLUSTER, auth);
        assert!(
            seen.contains("servers/tickets.toml:3:") && seen.contains(problem),
            "{auth}: {seen}"
        );
    }
}

#[test]
fn two_servers_are_never_the_same_workload() {
    let twin = |auth: &str| server(auth).replace("https://tickets.example/mcp", "https://twin.example/mcp");
    let both = |second: &str| {
        let second = twin(second);
        let first = server(RUNS);
        mistakes(&[
            ("issuers/cluster.toml", CLUSTER),
            (SERVER, &first),
            ("servers/twin.toml", &second),
        ])
    };
    assert!(both(RUNS).contains("servers/tickets.toml has the same workload"));
    assert_eq!(both(&format!("{RUNS}, claims = {{ ref = \"x\" }}")), "nothing\n");
}
