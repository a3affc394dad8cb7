//! How server files say that servers prove themselves by certificates and SVIDs.

use procura_core::{catalogue::ServerAuth, certificate::CertificateName};

use super::{BASE, loaded, refused, try_load};

const P256: &str = r#"kty = "EC", crv = "P-256", x = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", y = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg""#;

/// The server's file with that `auth`.
fn tickets(auth: &str) -> String {
    let (_, text) = BASE
        .iter()
        .find(|(path, _)| *path == "servers/tickets.toml")
        .expect("file");
    let lines = text.lines().map(|line| match line.starts_with("auth = ") {
        true => format!("auth = {{ {auth} }}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// Another server with that `auth`.
fn wiki(auth: &str) -> String {
    format!("owner = \"o@example\"\nresource = \"https://wiki.example/mcp\"\nauth = {{ {auth} }}\n")
}

fn read(auth: &str) -> ServerAuth {
    let loaded = loaded(&[("servers/tickets.toml", &tickets(auth))]);
    loaded.catalogue.servers["tickets"].auth.clone()
}

fn mistake(auth: &str) -> String {
    refused(try_load(&[("servers/tickets.toml", &tickets(auth))]))
}

fn both(one: &str, other: &str) -> String {
    refused(try_load(&[
        ("servers/tickets.toml", &tickets(one)),
        ("servers/wiki.toml", &wiki(other)),
    ]))
}

#[test]
fn req_079_tls_client_auth_has_exactly_one_name() {
    let name = |key: &str| match read(&format!("method = \"tls_client_auth\", {key}")) {
        ServerAuth::TlsClient(name) => name,
        other => panic!("{other:?}"),
    };
    let dn = CertificateName::SubjectDn("CN=tickets,O=Example\\, Inc.".into());
    assert_eq!(name(r#"subject_dn = "cn=tickets,O=Example\\, Inc.""#), dn);
    assert_eq!(
        name(r#"san_dns = "Tickets.example""#),
        CertificateName::SanDns("tickets.example".into())
    );
    assert_eq!(
        name(r#"san_uri = "https://t.example/""#),
        CertificateName::SanUri("https://t.example/".into())
    );
    assert_eq!(
        name(r#"san_ip = "2001:db8::1""#),
        CertificateName::SanIp("2001:db8::1".parse().expect("address"))
    );
    assert_eq!(
        name(r#"san_email = "t@example""#),
        CertificateName::SanEmail("t@example".into())
    );
    let cases = [
        "",
        r#", san_dns = "a.example", san_ip = "192.0.2.1""#,
        r#", san_dns = "*.example""#,
        r#", san_ip = "tickets""#,
        r#", san_uri = "tickets""#,
        r#", san_email = "tickets""#,
        r#", subject_dn = "tickets""#,
        r#", subject_dn = "CN=tickets, O=Example""#,
        r#", san = "a.example""#,
    ];
    let report: String = cases
        .iter()
        .map(|case| format!("{case}\n{}\n", mistake(&format!("method = \"tls_client_auth\"{case}"))))
        .collect();
    insta::assert_snapshot!(report);
}

#[test]
fn req_080_self_signed_certificates_are_known_by_public_keys() {
    let with = |keys: &str| format!("method = \"self_signed_tls_client_auth\", jwks = {{ keys = [{keys}] }}");
    let ServerAuth::SelfSigned(keys) = read(&with(&format!("{{ {P256} }}"))) else {
        panic!("keys")
    };
    assert_eq!(keys.len(), 1);
    let cases = [
        String::new(),
        format!("{{ {P256}, d = \"AA\" }}"),
        "{ kty = \"oct\", k = \"AA\" }".to_owned(),
        "{ kty = \"EC\", crv = \"P-256\", x = \"AA\", y = \"AA\" }".to_owned(),
        format!("{{ {P256}, \"x5t#S256\" = \"AA\" }}"),
        "\"key\"".to_owned(),
    ];
    let report: String = cases
        .iter()
        .map(|case| format!("{case}\n{}\n", mistake(&with(case))))
        .collect();
    insta::assert_snapshot!(report);
}

#[test]
fn req_132_a_workload_is_an_id_or_all_below_a_path() {
    let with = |id: &str| format!("method = \"spiffe\", id = \"{id}\"");
    let ServerAuth::Spiffe(pattern) = read(&with("spiffe://example.org/ns/tools/*")) else {
        panic!("pattern")
    };
    assert_eq!(pattern.to_string(), "spiffe://example.org/ns/tools/*");
    for bad in [
        "spiffe://example.org",
        "spiffe://example.org/a*",
        "https://example.org/a",
        "spiffe://*/a",
    ] {
        let seen = mistake(&with(bad));
        let place = "servers/tickets.toml:3:29: ";
        assert!(seen.starts_with(&format!("{place}`{bad}` is no SPIFFE id")), "{seen}");
    }
}

#[test]
fn one_proof_is_of_one_server() {
    let spiffe = |id: &str| format!("method = \"spiffe\", id = \"{id}\"");
    let seen = both(&spiffe("spiffe://a.org/x/*"), &spiffe("spiffe://a.org/x/y"));
    let wanted =
        "servers/wiki.toml:3:29: servers/tickets.toml has spiffe://a.org/x/*, and an id may be of one server only\n";
    assert_eq!(seen, wanted);
    assert_eq!(
        both(&spiffe("spiffe://a.org/x/*"), &spiffe("spiffe://b.org/x/y")),
        "nothing\n"
    );
    let dns = r#"method = "tls_client_auth", san_dns = "a.example""#;
    assert!(both(dns, dns).contains("servers/tickets.toml has the same certificate name"));
    let key = format!("method = \"self_signed_tls_client_auth\", jwks = {{ keys = [{{ {P256} }}] }}");
    assert!(both(&key, &key).contains("servers/tickets.toml has the same certificate key"));
}
