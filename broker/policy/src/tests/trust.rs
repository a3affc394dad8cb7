//! What files say of tokens beyond issuer, key and audience.

use std::time::Duration;

use procura_core::{judgement::Judge, trust::IntrospectionMode};

use super::{BASE, loaded, refused, try_load};

const ISSUER: &str = "issuers/corp.toml";
const SERVER: &str = "servers/tickets.toml";
const TARGET: &str = "targets/github.toml";

/// A file of the valid bundle with these lines put before one of its own.
fn with(path: &str, before: &str, lines: &str) -> String {
    let text = BASE.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
    let text = text.expect("file");
    assert!(text.contains(before), "{path} has no {before}");
    text.replacen(before, &format!("{lines}\n{before}"), 1)
}

const TRUST: &str = r#"clients = ["agent"]
tenant = { claim = "org_id" }
require_acr = ["urn:mfa", "urn:gold"]
require_amr = ["otp", "pwd"]
max_age = "12h"
id_tokens = true
scopes_imply = { "issues:admin" = ["issues:write"], "issues:write" = ["issues:read"] }
introspection = { client_id = "procura", secret = "vault:kv/corp#secret", mode = "opaque" }"#;

#[test]
fn what_files_say_is_what_counts() {
    let issuer = with(ISSUER, "groups =", TRUST);
    let server = with(
        SERVER,
        "grants =",
        "tenants = [\"corp/acme\"]\nopaque_tokens_from = \"corp\"",
    );
    let server = server.replace(
        "[tools.list_issues]",
        "[tools.list_issues]\nrequires_scope = [\"tools:list\"]",
    );
    let grant = "requires_scope = [\"issues:read\"]\nrequires_auth = { acr = [\"urn:mfa\"], max_age = \"15m\" }";
    let target = with(TARGET, "scopes = [\"issues:read\"]", grant);
    let bundle = loaded(&[(ISSUER, &issuer), (SERVER, &server), (TARGET, &target)]);
    let catalogue = bundle.catalogue();
    let trust = &catalogue.issuers["corp"].trust;
    let tenant = trust.tenant.as_ref().expect("set");
    assert_eq!((tenant.claim.as_str(), &tenant.value), ("org_id", &None));
    assert_eq!(trust.log_in.acr, ["urn:mfa", "urn:gold"], "in the order of preference");
    assert_eq!(trust.log_in.amr, ["otp".to_owned(), "pwd".to_owned()].into());
    assert_eq!(trust.log_in.max_age, Some(Duration::from_secs(12 * 3600)));
    assert!(trust.id_tokens && !trust.asks_always());
    let introspection = trust.introspection.as_ref().expect("set");
    assert_eq!(
        (introspection.client_id.as_str(), introspection.secret.as_str()),
        ("procura", "vault:kv/corp#secret")
    );
    assert_eq!(
        (&introspection.endpoint, introspection.mode),
        (&None, IntrospectionMode::Opaque)
    );
    let subjects = &catalogue.servers["tickets"].subjects;
    assert_eq!(subjects.tenants, ["corp/acme".parse().expect("id")].into());
    assert_eq!(
        subjects.opaque_tokens_from.as_ref().map(|name| name.as_str()),
        Some("corp")
    );
    assert_eq!(subjects.tool_scopes["list_issues"], ["tools:list".to_owned()].into());
    let requires = &catalogue.targets["github"].grants["read-issues"].requires;
    assert_eq!(requires.scope, ["issues:read".to_owned()].into());
    assert_eq!(requires.log_in.acr, ["urn:mfa"]);
    assert_eq!(requires.log_in.max_age, Some(Duration::from_secs(900)));
}

#[test]
fn req_118_what_a_scope_implies_implies_too() {
    let implied = |lines: &str| {
        let bundle = loaded(&[(ISSUER, &with(ISSUER, "groups =", lines))]);
        bundle.catalogue().issuers["corp"].trust.scopes_imply.clone()
    };
    let set = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let chain = implied("scopes_imply = { a = [\"b\"], b = [\"c\"] }");
    assert_eq!((&chain["a"], &chain["b"]), (&set(&["b", "c"]), &set(&["c"])));
    let ring = implied("scopes_imply = { a = [\"b\"], b = [\"a\"] }");
    assert_eq!((&ring["a"], &ring["b"]), (&set(&["a", "b"]), &set(&["a", "b"])));
}

#[test]
fn each_mistake_is_found() {
    let issuer = |lines: &str| refused(try_load(&[(ISSUER, &with(ISSUER, "groups =", lines))]));
    let server = |lines: &str| refused(try_load(&[(SERVER, &with(SERVER, "grants =", lines))]));
    let grant = |lines: &str| {
        refused(try_load(&[(
            TARGET,
            &with(TARGET, "scopes = [\"issues:read\"]", lines),
        )]))
    };
    let mut report = String::new();
    for lines in [
        "tenant = \"acme\"",
        "tenant = { value = \"acme\" }",
        "tenant = { claim = \"tid\", value = 1 }",
        "tenant = { claim = \"org_id\" }\noperators = true",
        "require_acr = []",
        "require_acr = [\"two words\"]",
        "require_amr = \"otp\"",
        "max_age = \"soon\"",
        "id_tokens = true",
        "id_tokens = true\nclients = []",
        "id_tokens = true\nclients = [\"a\"]\nintrospection = { client_id = \"p\", secret = \"a:b\", mode = \"always\" }",
        "scopes_imply = { \"a b\" = [\"c\"] }",
        "scopes_imply = { a = [\"\\\"\"] }",
        "scopes_imply = [\"a\"]",
        "introspection = { client_id = \"p\", secret = \"a:b\" }",
        "introspection = { secret = \"nowhere\", mode = \"sometimes\" }",
        "introspection = { client_id = \"p\", secret = \"a:b\", mode = \"opaque\", endpoint = \"http://id.example/x\" }",
        "introspection = { client_id = \"p\", secret = \"a:b\", mode = \"opaque\", cache = \"1h\" }",
    ] {
        report += &format!("{lines}\n{}\n", issuer(lines));
    }
    for lines in [
        "tenants = []",
        "tenants = [\"acme\"]",
        "tenants = [\"corp/acme\", \"other/acme\"]",
        "opaque_tokens_from = \"other\"",
        "opaque_tokens_from = \"corp\"",
    ] {
        report += &format!("{lines}\n{}\n", server(lines));
    }
    for lines in [
        "requires_scope = []",
        "requires_scope = [\"a b\"]",
        "requires_auth = {}",
        "requires_auth = { acr = \"mfa\", age = \"1m\" }",
    ] {
        report += &format!("{lines}\n{}\n", grant(lines));
    }
    insta::assert_snapshot!(report);
}
