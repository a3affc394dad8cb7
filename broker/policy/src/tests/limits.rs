//! Rate limits and digests of tools' definitions, as they stand in a bundle.

use procura_core::{judgement::Judge, limits::Dimension};

use super::{BASE, loaded, refused, try_load};

/// The valid file with one replacement.
fn with(path: &str, from: &str, to: &str) -> String {
    let text = BASE.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
    let text = text.expect("file");
    assert!(text.contains(from), "{path} has no {from}");
    text.replacen(from, to, 1)
}

const TOOL: &str = "[tools.list_issues]\n";

#[test]
fn limits_stand_in_the_bundle_in_a_server_and_at_a_grant() {
    let server = with(
        "servers/tickets.toml",
        TOOL,
        "[limits]\nsubject = \"5/10s\"\n[tools.list_issues]\n",
    );
    let target = with("targets/github.toml", "risk =", "limit = \"30/1m\"\nrisk =");
    let bundle = "format = 1\n[limits]\nserver = \"600/1m\"\naddress = \"9/1h\"\n";
    let loaded = loaded(&[
        ("bundle.toml", bundle),
        ("servers/tickets.toml", &server),
        ("targets/github.toml", &target),
    ]);
    let catalogue = loaded.catalogue();
    let all = [Dimension::Server, Dimension::Address].map(|dimension| catalogue.limits[&dimension]);
    assert_eq!(all.map(|rate| (rate.count, rate.per.as_secs())), [(600, 60), (9, 3600)]);
    let tickets = &catalogue.servers["tickets"].limits;
    assert_eq!(tickets.keys().collect::<Vec<_>>(), [&Dimension::Subject]);
    let grants = &catalogue.targets["github"].grants;
    assert_eq!(grants["read-issues"].limit.map(|rate| rate.count), Some(30));
    assert_eq!(grants["write-issues"].limit, None);
}

#[test]
fn a_limit_that_does_not_fit_is_told_with_its_place() {
    let told = |path: &str, text: &str| refused(try_load(&[(path, text)]));
    let limits = told(
        "bundle.toml",
        "format = 1\n[limits]\nserver = \"600\"\nsubjects = \"1/1m\"\n",
    );
    let example = "is no limit; write 1 to 1000000 requests and 1s to 1d, for example 600/1m\n";
    let unknown = "`subjects` is not a key here; the keys are: server, subject, session, grant, address\n";
    assert_eq!(
        limits,
        format!("bundle.toml:3:1: `600` {example}bundle.toml:4:1: {unknown}")
    );
    let server = with(
        "servers/tickets.toml",
        TOOL,
        "[limits]\naddress = \"1/1m\"\n[tools.list_issues]\n",
    );
    assert_eq!(
        told("servers/tickets.toml", &server),
        "servers/tickets.toml:6:1: `address` is not a key here; the keys are: server, subject, session, grant\n"
    );
    let target = with("targets/github.toml", "risk =", "limit = \"0/1m\"\nrisk =");
    assert_eq!(
        told("targets/github.toml", &target),
        format!("targets/github.toml:5:1: `0/1m` {example}")
    );
}

#[test]
fn req_124_the_digest_of_a_definition_is_hex_of_32_bytes() {
    let tool = |digest: &str| {
        with(
            "servers/tickets.toml",
            TOOL,
            &format!("{TOOL}definition_sha256 = \"{digest}\"\n"),
        )
    };
    assert_eq!(
        refused(try_load(&[("servers/tickets.toml", &tool("E3B0"))])),
        "servers/tickets.toml:6:1: a definition's digest is 64 lower-case hex digits, as `procura policy tool-digest` \
         prints it\n"
    );
    let digest = "0".repeat(64);
    let loaded = loaded(&[("servers/tickets.toml", &tool(&digest))]);
    let definitions = &loaded.catalogue().servers["tickets"].definitions;
    assert_eq!(definitions["list_issues"].to_string(), digest);
}
