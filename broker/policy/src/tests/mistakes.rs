//! Each mistake has a place and a sentence.

use procura_core::judgement::Judge;

use super::{BASE, JWT, bundle, refused, try_load, with_rules};
use crate::{Bundle, Options, load};

/// The valid bundle with one replacement in one file.
fn changed(path: &str, from: &str, to: &str) -> String {
    let text = BASE
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, text)| *text)
        .expect("file");
    assert!(text.contains(from), "{path} has no {from}");
    refused(try_load(&[(path, &text.replacen(from, to, 1))]))
}

fn report(changes: &[(&str, &str, &str)]) -> String {
    let one = |(path, from, to): &(&str, &str, &str)| format!("{from} -> {to}\n{}\n", changed(path, from, to));
    changes.iter().map(one).collect()
}

#[test]
fn the_valid_bundle_has_none() {
    assert_eq!(refused(try_load(&[])), "nothing\n");
}

#[test]
fn toml_that_is_not_plain() {
    let cases = [
        "format = 1\nformat = 1\n",
        "\u{feff}format = 1\n",
        "format = 1\r\n",
        "format = 1 # \0\n",
        "format = \n[x\n",
        "format = \"1\"\n",
        "format = 2\n",
        "other = 1\n",
    ];
    let mut report: String = cases
        .iter()
        .map(|text| format!("{text:?}\n{}\n", refused(try_load(&[("bundle.toml", text)]))))
        .collect();
    let latin = Bundle::of([("bundle.toml".to_owned(), b"format = 1 # \xe4\n".to_vec())]);
    report += &refused(load(&latin, &[&JWT], Options::default()));
    let nested = format!("format = {}1{}\n", "[".repeat(500), "]".repeat(500));
    let deep = refused(try_load(&[("bundle.toml", &nested)]));
    assert!(deep.starts_with("bundle.toml:1:"), "{deep}");
    insta::assert_snapshot!(report);
}

#[test]
fn text_that_readers_see_otherwise_than_the_parser() {
    for c in ['\u{202e}', '\u{2066}', '\u{200f}'] {
        let rules = format!("// nothing {c} more\n");
        let seen = refused(try_load(&[("rules/extra.cedar", &rules)]));
        let code = u32::from(c);
        let wanted = format!("rules/extra.cedar:1:12: the control character U+{code:04X} stands here; remove it\n");
        assert_eq!(seen, wanted);
    }
}

#[test]
fn one_resource_in_two_spellings() {
    let server = |uri: &str| format!("owner = \"a@b\"\nresource = \"{uri}\"\nauth = {{ method = \"builtin:dev\" }}\n");
    let load = |uri: &str| refused(try_load(&[("servers/twin.toml", &server(uri))]));
    for uri in ["HTTPS://twin.example/mcp", "https://TWIN.example/mcp"] {
        let wanted = format!("servers/twin.toml:2:1: `{uri}`: write scheme and host in lower case\n");
        assert!(load(uri).contains(&wanted), "{}", load(uri));
    }
    assert!(!load("https://twin.example/MCP").contains("lower case"));
}

#[test]
fn a_file_of_nothing_but_mistakes_is_not_told_to_its_end() {
    let keys: String = (0..5000).map(|n| format!("k{n} = 1\n")).collect();
    let seen = refused(try_load(&[("agents/a.toml", &keys)]));
    assert!((1000..1100).contains(&seen.lines().count()), "{}", seen.lines().count());
}

#[test]
fn files_that_do_not_belong() {
    insta::assert_snapshot!(refused(try_load(&[
        ("README.md", "x"),
        ("rules/a.txt", "x"),
        ("rules/inner/a.cedar", "x"),
        ("policy/a.toml", "x"),
        ("targets/Git_Hub.toml", "kind = \"jwt\"\n"),
        ("bundle.toml", ""),
    ])));
}

#[test]
fn issuers() {
    let path = "issuers/corp.toml";
    insta::assert_snapshot!(report(&[
        (path, "issuer =", "isuer ="),
        (path, "https://id.example/corp", "http://id.example/corp"),
        (path, "https://id.example/corp", "http://127.0.0.1:8080/corp"),
        (path, "https://id.example/corp", "https://id.example/corp?x=1"),
        (path, "https://id.example/corp", "builtin:dev"),
        (path, "https://id.example/corp", "corp"),
        (path, "[\"ES256\"]", "[\"HS256\", \"none\"]"),
        (path, "[\"ES256\"]", "[]"),
        (path, "[\"ES256\"]", "\"ES256\""),
        (
            path,
            "allow = [\"support\", \"sre\"]",
            "allow = [\"support\", \"support\"], map = { a = \"b\" }"
        ),
        (path, "claim = \"groups\", ", ""),
        (path, "allow =", "alow ="),
        (
            path,
            "groups =",
            "trusted_presenters = [\"wiki\", \"Tickets\"]\ngroups ="
        ),
        (path, "groups =", "trusted_presenters = \"tickets\"\ngroups ="),
        (
            path,
            "groups =",
            "token_types = [\"jwt\"]\nactor_from = \"sub\"\nmax_token_lifetime = \"1w\"\noperators = \"yes\"\ngroups ="
        ),
    ]));
}

#[test]
fn agents_and_servers() {
    let (agent, server) = ("agents/triage-bot.toml", "servers/tickets.toml");
    insta::assert_snapshot!(report(&[
        (agent, "\"corp\"", "\"core\""),
        (agent, "owner = \"o@example\"", "owner = \" \"\nrecource = 1"),
        (server, "https://tickets.example/mcp", "/mcp"),
        (server, "https://tickets.example/mcp", "https://tickets.example/mcp#x"),
        (
            server,
            "[\"github/read-issues\"]",
            "[\"github/read-issue\", \"gitlab/x\", \"x\"]"
        ),
        (server, "list_issues", "\"list issues\""),
        (server, "client_secret", "builtin:dev"),
        (server, "client_secret", "private_key_jwt"),
        (server, "e3b0c442", "E3B0C442"),
        (server, "secret_sha256 = [{", "secret_sha256 = [{ expires = \"soon\","),
        (
            server,
            "grants =",
            "introspects = [\"gitlab\"]\nsession_ttl = \"0h\"\ngrants ="
        ),
        (server, "grants =", "forward_subject = true\ngrants ="),
        (
            server,
            "grants =",
            "dpop_bound_access_tokens = \"yes\"\ncertificate_bound_access_tokens = 1\ngrants ="
        ),
    ]));
}

#[test]
fn req_120_tool_names_are_1_to_128_characters_and_case_matters() {
    let path = "servers/tickets.toml";
    let text = BASE
        .iter()
        .find(|(known, _)| *known == path)
        .map(|(_, text)| *text)
        .expect("file");
    let named = |name: &str| {
        refused(try_load(&[(
            path,
            &text.replace("list_issues", &format!("\"{name}\"")),
        )]))
    };
    for good in ["a", "List.Issues-2", &"x".repeat(128)] {
        assert_eq!(named(good), "nothing\n");
    }
    for bad in ["", "a b", "a/b", "ä", &"x".repeat(129)] {
        assert!(named(bad).contains("a tool's name is 1 to 128"), "{bad}");
    }
    let bundle = super::loaded(&[(path, &text.replace("list_issues", "List"))]);
    assert!(
        bundle
            .explain(&super::decide::case(&bundle, "tool = \"List\""))
            .permits()
    );
    assert!(
        !bundle
            .explain(&super::decide::case(&bundle, "tool = \"list\""))
            .permits()
    );
}

#[test]
fn targets() {
    let path = "targets/github.toml";
    insta::assert_snapshot!(report(&[
        (path, "\"jwt\"", "\"jwd\""),
        (path, "audience", "audiense"),
        (path, "kind = \"jwt\"", "kind = \"jwt\"\nsource = \"vault:kv/x\""),
        (path, "\"15m\"", "\"2h\""),
        (path, "\"15m\"", "\"1s\""),
        (path, "\"15m\"", "15"),
        (path, "ttl = \"1m\"", "ttl = \"6m\""),
        (path, "risk = \"read\"", "risk = \"low\""),
        (path, "[grants.write-issues]", "[grants.Write_Issues]"),
        (path, "scopes = [\"issues:read\"]", "scopes = \"issues:read\""),
        (
            path,
            "scopes = [\"issues:read\"]",
            "scopes = [\"issues:read\"]\nforward_subject = true"
        ),
        (path, "\"[a-z-]+\"", "\"a)|(b\""),
        (path, "type = \"set\"", "type = \"list\""),
        (path, "max = 100", "max = 0"),
        (path, "max = 100", "max = 99999999999999999999"),
        (path, "params.limit", "params.type"),
    ]));
}

#[test]
fn tables_of_a_kind_are_read_as_they_are_and_their_mistakes_named() {
    let read = |grant: &str| {
        let target = format!(
            "kind = \"database\"\nowner = \"o@example\"\nhost = \"h\"\nsource = \"vault:kv/db\"\n[grants.read]\n\
             risk = \"read\"\nmax_ttl = \"5m\"\nmember_of = [\"reader\"]\n{grant}\n"
        );
        try_load(&[("targets/db.toml", &target)])
    };
    let loaded = read(
        "forward_subject = true\nlabels = { team = \"red\" }\n\
         statements = [{ actions = [\"s3:Get\"], where = { StringEquals = { prefix = \"a\" } } }]",
    );
    let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let grant = &loaded.catalogue().targets["db"].grants["read"];
    assert!(grant.forward_subject);
    let settings = serde_json::to_string(&grant.settings).expect("JSON");
    let mistakes = |grant: &str| refused(read(grant));
    insta::assert_snapshot!(
        [
            settings + "\n",
            mistakes("labels = { team = 1 }"),
            mistakes("labels = [\"team\"]"),
            mistakes("statements = [\"s3:Get\"]"),
            mistakes("statements = { actions = [] }"),
            mistakes("forward_subject = \"yes\""),
        ]
        .concat()
    );
}

#[test]
fn what_a_kind_refuses_stands_at_its_key() {
    let target = r#"kind = "database"
owner = "o@example"
host = "db.example"
[grants.read]
risk = "read"
max_ttl = "5m"
member_of = ["pg_read_all_data"]
connection_limit = "2"
"#;
    let limit = refused(try_load(&[("targets/db.toml", target)]));
    let target = target
        .replace("\"2\"", "2")
        .replace("owner", "source = \"vault:kv/db\"\nowner");
    let roles = refused(try_load(&[("targets/db.toml", &target)]));
    insta::assert_snapshot!(format!("{limit}\n{roles}"));
    assert_eq!(
        refused(try_load(&[(
            "targets/db.toml",
            &target.replace("pg_read_all_data", "reader")
        )])),
        "nothing\n"
    );
}

#[test]
fn what_may_stand_only_once() {
    let copy = |path: &str| {
        BASE.iter()
            .find(|(known, _)| *known == path)
            .map(|(_, text)| *text)
            .expect("file")
    };
    let other = copy("targets/wiki.toml").replace("kind", "resource = \"https://wiki.example\"\nkind");
    insta::assert_snapshot!(refused(try_load(&[
        ("issuers/other.toml", copy("issuers/corp.toml")),
        ("agents/other.toml", copy("agents/triage-bot.toml")),
        ("servers/other.toml", copy("servers/tickets.toml")),
        ("targets/wiki.toml", &other),
        ("targets/other.toml", &other),
        ("rules/other.cedar", copy("rules/support.cedar")),
    ])));
}

#[test]
fn rules() {
    let scope = r#"action == Action::"github/read-issues", resource == Target::"github""#;
    let permit = |principal: &str, condition: &str| {
        format!("@id(\"a\")\npermit ({principal}, {scope})\nwhen {{ {condition} }};\n")
    };
    let whole = |rule: &str| format!("@id(\"a\")\n{rule}\n");
    let cases = [
        format!("permit (principal, {scope});\n// a comment; with a semicolon\n@id(\"\") permit (principal, {scope});"),
        whole("permit (principal, action == Action::\"github/read-issues\");"),
        whole("permit (principal, action == Action::\"github/read-issues\", resource);"),
        whole("permit (principal, action == Action::\"github/read-issues\", resource == Target::\"wiki\");"),
        whole("forbid (principal, action == Action::\"github/read-issues\", resource == Target::\"wiki\");"),
        whole("permit (principal, action in Action::\"read\", resource is Target);"),
        whole("permit (principal, action == Action::\"github/read-isues\", resource == Target::\"github\");"),
        whole("permit (principal, action == Action::\"github/read-issues\", resource == Target::\"gitlab\");"),
        whole("permit (principal in Group::\"corp/sre\", action == Action::\"act_for\", resource);"),
        permit("principal in Group::\"corp/suport\"", "true"),
        permit("principal == User::\"core/alice\"", "true"),
        permit("principal == User::\"alice\"", "true"),
        permit("principal == Agent::\"corp/triage\"", "true"),
        permit("principal", "context.server == Server::\"ticket\""),
        permit(
            "principal",
            "context has tool && context.tool == Tool::\"tickets/list\"",
        ),
        permit("principal", "context.params.repositories.contains(\"x\")"),
        permit("principal", "context.params.repos.contains(\"x\")"),
        permit("principal", "context.recource == 1"),
        permit("principal", "context has actor && context.actor in Group::\"corp/sre\""),
        permit("principal", "context.ttl > 5"),
        permit("principal", "principal == User::\"corp/аlice\""),
        permit("principal", "false"),
        "@id(\"a\") permit (principal, action, resource".to_owned(),
    ];
    let report: String = cases
        .iter()
        .map(|rule| format!("{rule}\n{}\n", refused(with_rules(rule))))
        .collect();
    insta::assert_snapshot!(report);
}

#[test]
fn cases() {
    let path = "tests/support.toml";
    insta::assert_snapshot!(report(&[
        (path, "corp/alice", "core/alice"),
        (path, "user = \"corp/alice\"", "agent = \"corp/alice\""),
        (
            path,
            "user = \"corp/alice\"",
            "user = \"corp/alice\", agent = \"corp/triage-bot\""
        ),
        (path, "[\"support\"]", "[\"suport\"]"),
        (path, "\"tickets\"", "\"ticket\""),
        (path, "read-issues", "read-isues"),
        (path, "expect = \"permit\"", ""),
        (path, "expect = \"permit\"", "expect = \"allow\""),
        (path, "expect", "params = { repositories = [] }\nexpect"),
        (path, "expect", "params = { repos = [\"x\"] }\nexpect"),
        (
            path,
            "expect",
            "tols = \"x\"\nat = \"noon\"\nsession = { age = 1, x = 2 }\nexpect"
        ),
    ]));
}

#[test]
fn all_are_told_at_once_in_the_order_of_files() {
    let told = refused(try_load(&[
        ("bundle.toml", "format = 2\n"),
        ("issuers/corp.toml", "issuer = \"x\"\n"),
        ("servers/tickets.toml", "owner = 1\n"),
        ("rules/support.cedar", "permit (principal, action, resource);"),
    ]));
    let files: Vec<_> = told.lines().filter_map(|line| line.split(':').next()).collect();
    assert!(files.is_sorted());
    for file in [
        "bundle.toml",
        "issuers/corp.toml",
        "rules/support.cedar",
        "servers/tickets.toml",
    ] {
        assert!(files.contains(&file), "{told}");
    }
}

#[test]
fn options_open_what_serve_refuses() {
    let text = BASE[1].1.replace("https://id.example/corp", "http://[::1]:8080/corp");
    let http = bundle(&[("issuers/corp.toml", &text)]);
    let options = Options {
        allow_http_loopback: true,
        ..Options::default()
    };
    assert!(load(&http, &[&JWT], Options::default()).is_err());
    assert!(load(&http, &[&JWT], options).is_ok());
    let named = bundle(&[("issuers/corp.toml", &text.replace("[::1]", "localhost"))]);
    assert!(load(&named, &[&JWT], options).is_err(), "a name is no literal address");
}
