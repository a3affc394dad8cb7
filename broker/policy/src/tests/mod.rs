//! Tests over whole bundles: a valid one and one tweak.

mod bindings;
mod decide;
mod editor;
mod folder;
mod found;
mod identities;
mod laws;
mod limits;
mod many;
mod mistakes;
mod proofs;
mod traps;
mod trust;
mod unused;

use std::{collections::BTreeMap, time::Duration};

use procura_core::{
    catalogue::Target,
    judgement::Plan,
    kind::{Key, KeyType, Kind, Lifetime, OpenError, Place, Rights, SettingFault},
};
use procura_wire::TokenType;

use crate::{Bundle, Loaded, Mistake, Options, load};

/// A local kind of the shape of `jwt`.
static JWT: Kind = Kind {
    name: "jwt",
    target_keys: &[
        key("audience", KeyType::Text, true),
        key("plain_subject", KeyType::Bool, false),
    ],
    grant_keys: &[key("scopes", KeyType::Texts, true)],
    place_keys: &[],
    needs_source: false,
    issues: TokenType::AccessToken,
    lifetime: Lifetime::Chosen {
        min: Duration::from_secs(5),
        max: Duration::from_secs(3600),
    },
    place: Place::Local,
    lapses: None,
    receipts: false,
    reuses: false,
    forwards: false,
    merges: true,
    binds: true,
    check: |_| Vec::new(),
    narrows: |_, _| true,
    rights: |_, _: &Plan| Rights::default(),
    open: |name, _, _| {
        Err(OpenError {
            target: name.clone(),
            problem: "it is for tests".to_owned(),
        })
    },
};

/// An external kind of the shape of `postgres`, which refuses `pg_` roles.
static DATABASE: Kind = Kind {
    name: "database",
    target_keys: &[key("host", KeyType::Text, true)],
    grant_keys: &[
        key("member_of", KeyType::Texts, true),
        key("connection_limit", KeyType::Int, false),
        key("labels", KeyType::Map, false),
        key("statements", KeyType::Tables, false),
    ],
    forwards: true,
    needs_source: true,
    issues: TokenType::Postgres,
    place: Place::External,
    lapses: None,
    receipts: false,
    reuses: false,
    merges: false,
    binds: false,
    check: refuses_system_roles,
    ..JWT
};

const fn key(name: &'static str, ty: KeyType, required: bool) -> Key {
    let doc = "";
    Key {
        name,
        ty,
        required,
        doc,
    }
}

fn refuses_system_roles(target: &Target) -> Vec<SettingFault> {
    let system = target.grants.iter().filter(|(_, grant)| {
        let roles = grant.settings["member_of"].as_array();
        roles.is_some_and(|roles| {
            roles
                .iter()
                .any(|role| role.as_str().is_some_and(|role| role.starts_with("pg_")))
        })
    });
    let fault = |name: &procura_wire::Name| SettingFault {
        grant: Some(name.clone()),
        key: "member_of",
        problem: "roles of the system are refused; name a role that the DBA made".to_owned(),
    };
    system.map(|(name, _)| fault(name)).collect()
}

const BASE: [(&str, &str); 8] = [
    ("bundle.toml", "format = 1\n"),
    (
        "issuers/corp.toml",
        r#"issuer = "https://id.example/corp"
algorithms = ["ES256"]
groups = { claim = "groups", allow = ["support", "sre"] }
"#,
    ),
    (
        "agents/triage-bot.toml",
        r#"issuer = "corp"
sub = "triage"
owner = "o@example"
"#,
    ),
    (
        "servers/tickets.toml",
        r#"owner = "o@example"
resource = "https://tickets.example/mcp"
auth = { method = "client_secret", secret_sha256 = [{ hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }] }
grants = ["github/read-issues"]
[tools.list_issues]
grants = ["github/read-issues", "github/write-issues"]
"#,
    ),
    (
        "targets/github.toml",
        r#"kind = "jwt"
owner = "o@example"
audience = "https://api.example"
[grants.read-issues]
risk = "read"
max_ttl = "15m"
scopes = ["issues:read"]
[grants.read-issues.params.repositories]
type = "set"
pattern = "[a-z-]+"
[grants.read-issues.params.limit]
type = "int"
min = 1
max = 100
[grants.write-issues]
risk = "write"
ttl = "1m"
max_ttl = "5m"
scopes = ["issues:write"]
"#,
    ),
    (
        "targets/wiki.toml",
        r#"kind = "jwt"
owner = "o@example"
audience = "https://wiki.example"
[grants.read-pages]
risk = "read"
max_ttl = "15m"
scopes = ["pages"]
"#,
    ),
    (
        "rules/support.cedar",
        r#"@id("support-reads-issues")
permit (principal in Group::"corp/support", action == Action::"github/read-issues", resource == Target::"github")
when { context.server == Server::"tickets" && context.session.issuances < 10 };
"#,
    ),
    (
        "tests/support.toml",
        r#"[[case]]
name = "support reads"
subject = { user = "corp/alice", groups = ["support"] }
server = "tickets"
grant = "github/read-issues"
expect = "permit"
by = ["support-reads-issues"]
"#,
    ),
];

/// The valid bundle with these files put in, or taken out where the text is empty.
fn bundle(tweaks: &[(&str, &str)]) -> Bundle {
    let mut files = BTreeMap::from(BASE);
    files.extend(tweaks.iter().copied());
    files.retain(|_, text| !text.is_empty());
    let bytes = |(path, text): (&str, &str)| (path.to_owned(), text.as_bytes().to_vec());
    Bundle::of(files.into_iter().map(bytes))
}

fn try_load(tweaks: &[(&str, &str)]) -> Result<Loaded, Vec<Mistake>> {
    load(&bundle(tweaks), &[&JWT, &DATABASE], Options::default())
}

fn loaded(tweaks: &[(&str, &str)]) -> Loaded {
    try_load(tweaks).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)))
}

/// The valid bundle with these rules and no tests.
fn with_rules(rules: &str) -> Result<Loaded, Vec<Mistake>> {
    try_load(&[("rules/support.cedar", rules), ("tests/support.toml", "")])
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

fn refused(result: Result<Loaded, Vec<Mistake>>) -> String {
    match result {
        Ok(_) => "nothing\n".to_owned(),
        Err(mistakes) => lines(&mistakes),
    }
}
