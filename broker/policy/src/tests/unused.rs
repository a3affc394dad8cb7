//! What is not used, and the patch that takes it out.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Command, Stdio},
};

use procura_core::{
    report::{Counted, Life, Seen},
    usage::Day,
};
use procura_wire::QualifiedId;

use super::{DATABASE, JWT, bundle};
use crate::{Bundle, Options, Unused, unused};

const RULES: &str = r#"// Read before everything.

// Support reads.
@id("support-reads-issues")
permit (principal in Group::"corp/support", action == Action::"github/read-issues", resource == Target::"github")
when { context.server == Server::"tickets" };

// SRE works on issues.
// It never did.
@id("sre-works")
permit (principal in Group::"corp/sre", action == Action::"github/read-issues", resource == Target::"github");

@id("both")
permit (
    principal in Group::"corp/support",
    action in [Action::"github/read-issues", Action::"github/write-issues"],
    resource == Target::"github"
);

@id("nobody-destroys")
forbid (principal, action in Action::"destructive", resource);

@id("operators-read")
permit (principal == User::"corp/op", action == Action::"read_log", resource);
"#;

const CASES: &str = r#"# What must stay so.
[[case]]
name = "support reads"
subject = { user = "corp/alice", groups = ["support"] }
server = "tickets"
grant = "github/read-issues"
expect = "permit"

# Only while there is a rule for sre.
[[case]]
name = "sre reads"
subject = { user = "corp/bob", groups = ["sre"] }
server = "tickets"
grant = "github/read-issues"
expect = "permit"

[[case]]
name = "strangers do not"
subject = { user = "corp/eve" }
server = "tickets"
grant = "github/read-issues"
expect = "deny"
"#;

fn names(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Support read issues through the server, and nothing else.
fn seen() -> Seen {
    let life = Life {
        issued: 100,
        samples: 60,
        granted: 900,
        used: 45,
    };
    Seen {
        since: Day(20_000),
        first: Some(Day(20_000)),
        more: false,
        rules: names(&["support-reads-issues", "both"]),
        grants: BTreeMap::from([("github/read-issues".parse::<QualifiedId>().expect("id"), life)]),
        tools: BTreeSet::new(),
        servers: names(&["tickets"]),
        groups: names(&["corp/support"]),
        principals: names(&["corp/alice"]),
        counted: Counted {
            records: None,
            record: None,
            at: None,
            behind: None,
        },
    }
}

fn found(bundle: &Bundle, seen: &Seen) -> Unused {
    unused(bundle, &[&JWT, &DATABASE], Options::default(), seen).expect("the bundle loads")
}

fn whole() -> Bundle {
    bundle(&[("rules/support.cedar", RULES), ("tests/support.toml", CASES)])
}

/// The bundle after `git apply`, read from its folder.
fn applied(bundle: &Bundle, patch: &str) -> Bundle {
    let folder = tempfile::tempdir().expect("folder");
    for (path, bytes) in bundle.files() {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
    let mut git = Command::new("git")
        .args(["apply", "-"])
        .current_dir(folder.path())
        .env("GIT_CEILING_DIRECTORIES", folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("git");
    let mut pipe = git.stdin.take().expect("pipe");
    pipe.write_all(patch.as_bytes()).expect("piped");
    drop(pipe);
    assert!(git.wait().expect("git").success(), "{patch}");
    Bundle::read(folder.path()).expect("read")
}

fn shown(found: &Unused) -> Vec<(&str, &str, bool)> {
    let idle = found.idle.iter();
    idle.map(|idle| (idle.kind, idle.name.as_str(), idle.in_patch))
        .collect()
}

#[test]
fn what_nobody_used_is_found_and_one_patch_takes_it_out() {
    let bundle = whole();
    let unused = found(&bundle, &seen());
    assert_eq!(
        shown(&unused),
        [
            ("rule", "sre-works", true),
            ("forbid", "nobody-destroys", false),
            ("tool", "tickets/list_issues", true),
            ("lifetime", "github/read-issues", true),
            ("grant", "github/write-issues", true),
            ("grant", "wiki/read-pages", true),
            ("group", "corp/sre", true),
            ("agent", "triage-bot", false),
        ]
    );
    assert_eq!(unused.cases, ["tests/support.toml: sre reads"]);
    let after = applied(&bundle, &unused.patch);
    let again = found(&after, &seen());
    assert_eq!(
        shown(&again),
        [("forbid", "nobody-destroys", false), ("agent", "triage-bot", false)]
    );
    assert_eq!(again.patch, "");
    insta::assert_snapshot!(unused.patch);
}

#[test]
fn places_are_those_of_the_files() {
    let unused = found(&whole(), &seen());
    let place = |name: &str| {
        let idle = unused.idle.iter().find(|idle| idle.name == name).expect("found");
        format!("{}:{}", idle.file, idle.line)
    };
    assert_eq!(place("sre-works"), "rules/support.cedar:10");
    assert_eq!(place("github/write-issues"), "targets/github.toml:15");
    assert_eq!(place("tickets/list_issues"), "servers/tickets.toml:5");
}

/// A permit that leaves an action out by its condition, and one that only a comment names, stay as they are.
#[test]
fn a_grant_that_a_used_rule_names_elsewhere_stays() {
    let except = "permit (principal in Group::\"corp/support\", action in Action::\"issue\", resource == Target::\"github\")\n\
                  unless { action == Action::\"github/write-issues\" };\n";
    let noted = "permit (principal in Group::\"corp/support\", action == Action::\"github/read-issues\", resource == \
                 Target::\"github\")\n// not Action::\"github/write-issues\"\nwhen { context.server == Server::\"tickets\" };\n";
    for rule in [except, noted] {
        let rules = format!("{RULES}@id(\"used\")\n{rule}");
        let bundle = bundle(&[("rules/support.cedar", &rules), ("tests/support.toml", CASES)]);
        let mut seen = seen();
        seen.rules.insert("used".to_owned());
        let unused = found(&bundle, &seen);
        let of = |idle: &&crate::Idle| idle.name == "github/write-issues";
        let grant = unused.idle.iter().find(of).expect("found");
        assert!(
            !grant.in_patch && grant.why.contains("in a condition or a comment"),
            "{}",
            grant.why
        );
        assert!(!unused.patch.contains("-@id(\"used\")"), "{}", unused.patch);
    }
}

#[test]
fn who_is_suspended_is_quiet_because_of_that() {
    let bundle = whole();
    let suspended: Vec<_> = bundle
        .files()
        .map(|(path, bytes)| match path {
            "agents/triage-bot.toml" | "servers/tickets.toml" => {
                (path.to_owned(), [b"suspended = true\n", bytes].concat())
            }
            _ => (path.to_owned(), bytes.to_vec()),
        })
        .filter(|(path, _)| !path.starts_with("tests/"))
        .collect();
    let mut seen = seen();
    seen.servers.clear();
    let unused = found(&Bundle::of(suspended), &seen);
    let named = |kind| unused.idle.iter().any(|idle| idle.kind == kind);
    assert!(!named("agent") && !named("server"), "{unused:?}");
}

#[test]
fn what_a_rule_that_stays_names_is_not_taken_out_and_says_why() {
    let rules = format!(
        "{RULES}@id(\"sre-reads-the-log\")\npermit (principal in Group::\"corp/sre\", action == Action::\"read_log\", \
         resource);\n"
    );
    let bundle = bundle(&[("rules/support.cedar", &rules), ("tests/support.toml", CASES)]);
    let unused = found(&bundle, &seen());
    let group = unused.idle.iter().find(|idle| idle.kind == "group").expect("found");
    assert!(
        !group.in_patch && group.why.contains("rules/support.cedar:"),
        "{}",
        group.why
    );
    let after = applied(&bundle, &unused.patch);
    assert_eq!(
        shown(&found(&after, &seen())),
        [
            ("forbid", "nobody-destroys", false),
            ("group", "corp/sre", false),
            ("agent", "triage-bot", false)
        ]
    );
}

#[test]
fn a_grant_that_a_forbid_names_stays() {
    let rules = format!(
        "{RULES}@id(\"no-writes\")\nforbid (principal, action == Action::\"github/write-issues\", resource);\n"
    );
    let bundle = bundle(&[("rules/support.cedar", &rules), ("tests/support.toml", CASES)]);
    let unused = found(&bundle, &seen());
    let grant = unused
        .idle
        .iter()
        .find(|idle| idle.name == "github/write-issues")
        .expect("found");
    assert!(!grant.in_patch && grant.why.contains("a forbid names"), "{}", grant.why);
    applied(&bundle, &unused.patch);
}

#[test]
fn lifetimes_are_judged_by_enough_uses_only() {
    let lifetimes = |change: fn(&mut Life)| {
        let mut seen = seen();
        seen.grants.values_mut().for_each(change);
        let unused = found(&whole(), &seen);
        unused
            .idle
            .into_iter()
            .filter(|idle| idle.kind == "lifetime")
            .map(|idle| idle.why)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lifetimes(|_| ()),
        ["max_ttl is 900 s; of 60 reported uses the last ended 45 s after its issuance, so 120 s suffice"]
    );
    assert!(lifetimes(|life| life.samples = 19).is_empty());
    assert!(lifetimes(|life| life.used = 225).is_empty(), "a quarter is not far");
    assert_eq!(lifetimes(|life| life.used = 224).len(), 1);
}

#[test]
fn nothing_is_proposed_where_not_all_uses_were_read() {
    let seen = Seen { more: true, ..seen() };
    let unused = found(&whole(), &seen);
    assert!(unused.patch.is_empty() && unused.idle.iter().all(|idle| !idle.in_patch));
}

#[test]
fn a_bundle_that_is_used_has_no_patch() {
    let mut seen = seen();
    seen.rules.extend(names(&["sre-works", "nobody-destroys"]));
    let used = Life::default();
    for grant in ["github/read-issues", "github/write-issues", "wiki/read-pages"] {
        seen.grants.insert(grant.parse().expect("id"), used);
    }
    seen.tools.insert(("tickets".to_owned(), "list_issues".to_owned()));
    seen.groups.insert("corp/sre".to_owned());
    seen.principals.insert("corp/triage-bot".to_owned());
    let unused = found(&whole(), &seen);
    assert_eq!((shown(&unused), unused.patch.as_str()), (vec![], ""));
}
