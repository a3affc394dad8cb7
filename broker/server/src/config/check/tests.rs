use procura_identity::BundleSource;

use super::*;
use crate::config::{Anchor, ConfigError};

const GOOD: &str = r#"
issuer = "https://broker.example.com"
policies = "policies"
[listen]
address = "127.0.0.1:8420"
plain_http_on_loopback = true
[store]
sqlite = "procura.sqlite"
[keys.token]
source = "own:keys.json"
[keys.log]
source = "own:log.json"
[log]
anchor = { file = "anchor/log.jsonl" }
[sources.own]
kind = "file"
root = "secrets"
"#;

fn mistakes(text: &str) -> String {
    let mistakes = check(text, Path::new("/etc/procura")).expect_err("mistakes");
    let path = "procura.toml".into();
    ConfigError { path, mistakes }.to_string()
}

#[test]
fn a_small_file_is_enough() {
    let config = check(GOOD, Path::new("/etc/procura")).expect("config");
    assert_eq!(config.store, Store::Sqlite("/etc/procura/procura.sqlite".into()));
    assert_eq!(config.token_keys, "own:keys.json");
    let SourceConfig::File(own) = &config.sources["own"] else {
        panic!("a file source")
    };
    assert_eq!(own.root, Path::new("/etc/procura/secrets"));
    assert!(config.admin.ip().is_loopback());
    assert_eq!(config.mint_budget, MINT_BUDGET);
}

#[test]
fn req_002_plain_http_is_refused_unless_it_is_asked_for_on_loopback() {
    let refused = "procura.toml:5: serve speaks TLS: name cert and key in [tls]; behind a proxy on this \
                   machine listen on a loopback address and set plain_http_on_loopback = true";
    assert_eq!(mistakes(&GOOD.replace("plain_http_on_loopback = true\n", "")), refused);
    assert_eq!(mistakes(&GOOD.replace("127.0.0.1:8420", "0.0.0.0:8420")), refused);
    let served = GOOD.replace("127.0.0.1:8420", "0.0.0.0:8420") + "[tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n";
    assert!(check(&served, Path::new("/")).is_ok());
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    insta::assert_snapshot!(
        mistakes(&GOOD.replace("sqlite", "sqlit")),
        @"procura.toml:8: unknown field `sqlit`, expected `sqlite` or `postgres_url_file`"
    );
}

#[test]
fn every_mistake_is_listed() {
    let text = GOOD
        .replace("https://broker.example.com", "http://broker.example.com/")
        .replace("procura.sqlite", ".procura/store.sqlite")
        .replace("own:keys.json", "owm:keys.json");
    insta::assert_snapshot!(mistakes(&format!("mint_budget = \"1s\"{text}")), @"
    procura.toml:2: issuer must have a host, and no user, query, fragment or slash at its end
    procura.toml:2: issuer must be https
    procura.toml: /etc/procura/.procura/store.sqlite: what lies under .procura/ is for `procura dev` only
    procura.toml:10: keys.token.source: there is no [sources.owm]
    procura.toml:1: mint_budget is a time between 5s and 60s
    ");
}

#[test]
fn addresses_have_no_password_without_a_user_either() {
    let issuer = GOOD.replace("https://broker.example.com", "https://:x@broker.example.com");
    assert!(mistakes(&issuer).contains("issuer must have a host, and no user"));
    let spiffe = "[spiffe.one]\ntrust_domain = \"example.org\"\nbundle_endpoint = \"https://:x@spire.example.org\"\n";
    assert!(mistakes(&format!("{GOOD}{spiffe}")).contains("bundle_endpoint is an https URL without user"));
}

#[test]
fn a_key_that_seals_is_a_reference_like_the_others() {
    let with = |source: &str| {
        GOOD.replace(
            "[sources.own]",
            &format!("[keys.seal]\nsource = \"{source}\"\n[sources.own]"),
        )
    };
    let config = check(&with("own:seal.json"), Path::new("/")).expect("config");
    assert_eq!(config.seal_keys.as_deref(), Some("own:seal.json"));
    assert_eq!(
        mistakes(&with("owm:seal.json")),
        "procura.toml:16: keys.seal.source: there is no [sources.owm]"
    );
}

#[test]
fn every_mistake_of_a_source_is_listed_with_its_key() {
    let vault = r#"
[sources.vault]
kind = "vault"
address = "http://vault.example.com"
namespace = "team/"
approle = { role_id = "r", mount = "auth/approle" }
kubernetes = { role = "r", token_file = "token" }
mounts = { "/kv" = 2 }
"#;
    insta::assert_snapshot!(mistakes(&format!("{GOOD}{vault}")), @r#"
    procura.toml:19: [sources.vault] address: secrets are sent over https only (plain http on loopback excepted)
    procura.toml:19: [sources.vault] approle, kubernetes: name one way to log in only
    procura.toml:19: [sources.vault] namespace: "team/" is no path of a namespace, such as team or team/prod
    procura.toml:19: [sources.vault] mounts: "/kv" is no path of a mount
    procura.toml:19: [sources.vault] approle.secret_id_file is missing
    procura.toml:19: [sources.vault] approle.mount: "auth/approle" is no path of an auth method, such as approle (without auth/)
    "#);
    let more = vault.replace("role_id", "roleid");
    insta::assert_snapshot!(mistakes(&format!("{GOOD}{more}")), @"procura.toml:19: unknown field `roleid`, expected one of `mount`, `role_id`, `secret_id_file`");
    let other = vault.replace("kind = \"vault\"", "kind = \"chest\"");
    insta::assert_snapshot!(mistakes(&format!("{GOOD}{other}")), @"procura.toml:20: unknown variant `chest`, expected one of `file`, `vault`, `aws`");
}

#[test]
fn files_of_a_source_are_taken_from_the_folder_of_the_file() {
    let vault = "\n[sources.vault]\nkind = \"vault\"\naddress = \"https://v.example.com\"\nmounts = { kv = 2 }\n";
    for (line, file) in [
        ("token_file = \"t\"", "token_file: Some(\"/etc/procura/t\")"),
        (
            "approle = { role_id = \"r\", secret_id_file = \"s\" }",
            "secret_id_file: \"/etc/procura/s\"",
        ),
        (
            "jwt = { role = \"r\", token_file = \"t\" }",
            "token_file: \"/etc/procura/t\"",
        ),
        (
            "kubernetes = { role = \"r\", token_file = \"/run/t\" }",
            "token_file: \"/run/t\"",
        ),
        (
            "ca_file = \"ca\"\ntoken_file = \"t\"",
            "ca_file: Some(\"/etc/procura/ca\")",
        ),
    ] {
        let config = check(&format!("{GOOD}{vault}{line}"), Path::new("/etc/procura")).expect("config");
        assert!(format!("{config:?}").contains(file), "{file}");
    }
}

#[test]
fn the_brokers_own_issuer_is_http_only_on_loopback_and_on_purpose() {
    let on_loopback = GOOD.replace("https://broker.example.com", "http://127.0.0.1:8420");
    assert!(check(&on_loopback, Path::new("/")).is_ok());
    let elsewhere = GOOD.replace("https://broker.example.com", "http://broker.example.com");
    assert_eq!(mistakes(&elsewhere), "procura.toml:2: issuer must be https");
}

#[test]
fn proxies_and_trust_domains_are_read() {
    let more = r#"
[proxy]
from = ["10.0.0.0/8", "2001:db8::7"]
client_certificate_header = "Client-Cert"
forwarded_for = true
[spiffe.tools]
trust_domain = "example.org"
bundle_endpoint = "https://spire.example.org/bundle"
[spiffe.other]
trust_domain = "other.org"
bundle_file = "other.json"
[tls]
client_ca = "clients.pem"
"#;
    let config = check(&format!("{GOOD}{more}"), Path::new("/etc/procura")).expect("config");
    assert!(config.proxy.forwards_certificates());
    assert_eq!(
        config.tls.client_ca.as_deref(),
        Some(Path::new("/etc/procura/clients.pem"))
    );
    let endpoint = "https://spire.example.org/bundle".parse().expect("url");
    let wanted = BTreeMap::from([
        ("example.org".to_owned(), BundleSource::Endpoint(endpoint)),
        (
            "other.org".to_owned(),
            BundleSource::File("/etc/procura/other.json".into()),
        ),
    ]);
    assert_eq!(config.trust_domains, wanted);
    let nobody = check(GOOD, Path::new("/")).expect("config");
    assert!(!nobody.proxy.forwards_certificates() && nobody.trust_domains.is_empty());
}

#[test]
fn every_mistake_about_proxies_and_trust_domains_is_listed() {
    let more = r#"
[proxy]
from = ["0.0.0.0/0", "proxy.example.com", "10.0.0.0/33"]
client_certificate_header = "Client Cert"
[spiffe.one]
trust_domain = "Example.org"
bundle_endpoint = "http://spire.example.org/bundle"
[spiffe.three]
trust_domain = "example.org"
bundle_file = "bundle.json"
[spiffe.two]
trust_domain = "example.org"
bundle_file = "bundle.json"
bundle_endpoint = "https://spire.example.org/bundle"
"#;
    insta::assert_snapshot!(mistakes(&format!("{GOOD}{more}")), @r#"
    procura.toml:20: proxy.from: "0.0.0.0/0" is no address or network of proxies, such as 10.0.0.7 or 10.0.0.0/8
    procura.toml:20: proxy.from: "proxy.example.com" is no address or network of proxies, such as 10.0.0.7 or 10.0.0.0/8
    procura.toml:20: proxy.from: "10.0.0.0/33" is no address or network of proxies, such as 10.0.0.7 or 10.0.0.0/8
    procura.toml:21: proxy.client_certificate_header is the name of a header, such as Client-Cert (RFC 9440)
    procura.toml:23: spiffe.one.trust_domain: "Example.org" is no trust domain, such as example.org
    procura.toml:24: spiffe.one.bundle_endpoint is an https URL without user
    procura.toml:28: [spiffe.two] names one of bundle_endpoint and bundle_file
    procura.toml:29: spiffe.two.trust_domain: example.org stands here twice
    "#);
    let nothing = mistakes(&format!("{GOOD}\n[proxy]\nfrom = [\"10.0.0.7\"]\n"));
    insta::assert_snapshot!(nothing, @"procura.toml:20: [proxy] names in from who is believed, and what is: client_certificate_header, forwarded_for");
    let unknown = mistakes(&format!("{GOOD}\n[proxy]\nfrom = [\"10.0.0.7\"]\ntrust = true\n"));
    insta::assert_snapshot!(unknown, @"procura.toml:21: unknown field `trust`, expected one of `from`, `client_certificate_header`, `forwarded_for`");
}

#[test]
fn the_log_needs_an_anchor_and_keys() {
    let config = check(GOOD, Path::new("/etc/procura")).expect("config");
    assert_eq!(config.log.keys, "own:log.json");
    assert_eq!(config.log.anchor, Anchor::File("/etc/procura/anchor/log.jsonl".into()));
    let without = GOOD
        .replace("[keys.log]\nsource = \"own:log.json\"\n", "")
        .replace("[log]\nanchor = { file = \"anchor/log.jsonl\" }\n", "");
    insta::assert_snapshot!(mistakes(&without), @"
    procura.toml: there is no [keys.log]: name the source of the keys that sign the log; make them with `procura keys new FILE --algorithm ed25519`
    procura.toml: there is no [log]: name an anchor = { file = \"…\" } on another volume than the store's, or an anchor = { s3 = … }
    ");
}

#[test]
fn a_bucket_is_an_anchor_too_and_its_mistakes_are_listed() {
    let with = |anchor: &str| GOOD.replace("{ file = \"anchor/log.jsonl\" }", anchor);
    let bucket = "{ s3 = { endpoint = \"https://s3.example.com\", region = \"eu-1\", bucket = \"notes\", \
                  prefix = \"procura/one\", credentials = \"own:bucket.json\" } }";
    let config = check(&with(bucket), Path::new("/")).expect("config");
    let Anchor::S3(found) = config.log.anchor else {
        panic!("a bucket")
    };
    assert_eq!(
        (found.bucket.as_str(), found.credentials.as_str()),
        ("notes", "own:bucket.json")
    );
    let wrong = bucket
        .replace("https://s3", "http://s3")
        .replace("\"notes\"", "\"no/tes\"")
        .replace("procura/one", "../one")
        .replace("own:bucket", "owm:bucket");
    insta::assert_snapshot!(mistakes(&with(&wrong)), @"
    procura.toml:14: log.anchor.s3.credentials: there is no [sources.owm]
    procura.toml:14: log.anchor.s3.endpoint: write https://HOST (http at a literal loopback address only), without a path
    procura.toml:14: log.anchor.s3.bucket: no name of a bucket
    procura.toml:14: log.anchor.s3.prefix: parts of letters, digits, dots, - and _ with a slash between them
    ");
    let both = "{ file = \"a\", s3 = { endpoint = \"https://s\", region = \"r\", bucket = \"bbb\", prefix = \"p\", \
                credentials = \"own:c\" } }";
    for bad in ["{}", both] {
        assert_eq!(
            mistakes(&with(bad)),
            "procura.toml:14: [log] anchor names one of file and s3"
        );
    }
}

#[test]
fn alerts_go_to_an_https_url_and_are_signed_with_a_secret_of_a_source() {
    let with = |webhook: &str, secret: &str| {
        let keys = format!("[alerts]\nwebhook = \"{webhook}\"\nsecret = \"{secret}\"\n[sources.own]");
        GOOD.replace("[sources.own]", &keys)
    };
    let config = check(&with("https://hooks.example.com/a", "own:hook"), Path::new("/")).expect("config");
    let alerts = config.alerts.expect("alerts");
    assert_eq!(
        (alerts.webhook.as_str(), alerts.secret.as_str()),
        ("https://hooks.example.com/a", "own:hook")
    );
    let url = "procura.toml:16: alerts.webhook is not a URL that begins with https:// and has no user in it";
    for bad in ["http://hooks.example.com", "https://u:p@hooks.example.com", "hooks"] {
        assert_eq!(mistakes(&with(bad, "own:hook")), url, "{bad}");
    }
    assert_eq!(
        mistakes(&with("https://hooks.example.com", "owm:hook")),
        "procura.toml:17: alerts.secret: there is no [sources.owm]"
    );
}

#[test]
fn the_page_is_there_where_it_is_asked_for() {
    let page = "[web]\nissuer = \"corp\"\nclient_id = \"procura\"\nclient_secret = \"own:page\"\n";
    let config = check(&format!("{GOOD}{page}"), Path::new("/")).expect("config");
    assert_eq!(config.web.map(|web| web.client_secret).as_deref(), Some("own:page"));
    assert_eq!(check(GOOD, Path::new("/")).expect("config").web, None);
    let mistaken = page.replace("own:page", "vault:page").replace("\"procura\"", "\"\"");
    insta::assert_snapshot!(mistakes(&format!("{GOOD}{mistaken}")), @r"
    procura.toml:20: web.client_id: write what the issuer knows the page as
    procura.toml:21: web.client_secret: there is no [sources.vault]
    ");
    let inline = page.replace("own:page", "hunter2");
    assert!(
        !mistakes(&format!("{GOOD}{inline}")).contains("hunter2"),
        "a secret in its place is not repeated"
    );
    let unknown = mistakes(&format!("{GOOD}{page}scopes = []\n"));
    insta::assert_snapshot!(unknown, @"procura.toml:22: unknown field `scopes`, expected one of `issuer`, `client_id`, `client_secret`");
}
