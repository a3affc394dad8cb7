//! Policy bundles made for the benchmarks.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use crate::{Fault, issuer::AUDIENCE};

/// Name of the calling server.
pub(crate) const SERVER: &str = "tickets";
/// Name of the target.
pub(crate) const TARGET: &str = "api";
/// Audience of what is issued.
pub(crate) const API: &str = "https://api.example/v1";
/// Who may read the log, where somebody may.
pub(crate) const OPERATOR: &str = "operator";
/// Rules files are limited; a file ends after so many bytes.
const RULES_FILE: usize = 500_000;

/// Files by path.
pub(crate) type Files = BTreeMap<String, String>;

/// What `exchange` runs under: an issuer that may be asked about opaque tokens, a server with that `auth`, a target of
/// kind `jwt`, its rule, and a forbid over a risk group.
pub(crate) fn exchange(issuer: &str, auth: &str) -> Files {
    let mut files = common(issuer, "[\"ES256\", \"RS256\"]");
    if let Some(corp) = files.get_mut("issuers/corp.toml") {
        corp.push_str(
            "introspection = { client_id = \"procura\", secret = \"own:introspection\", mode = \"opaque\" }\n",
        );
    }
    files.insert(format!("servers/{SERVER}.toml"), {
        let grants = "grants = []\n[tools.list_tickets]\ngrants = [\"api/read-tickets\"]\n";
        format!("owner = \"o@example.com\"\nresource = \"{AUDIENCE}\"\nauth = {auth}\n{grants}")
    });
    let grant =
        "[grants.read-tickets]\nrisk = \"read\"\nttl = \"5m\"\nmax_ttl = \"15m\"\nscopes = [\"tickets:read\"]\n";
    files.insert(format!("targets/{TARGET}.toml"), target(API) + grant);
    files.insert(
        "rules/support.cedar".to_owned(),
        format!(
            "@id(\"support-reads-tickets\")\n\
             permit (principal in Group::\"corp/support\", action == Action::\"api/read-tickets\", resource == \
             Target::\"api\")\nwhen {{ context.server == Server::\"{SERVER}\" }};\n\
             @id(\"nobody-destroys\")\nforbid (principal, action in Action::\"destructive\", resource);\n"
        ),
    );
    files
}

/// Lets [`OPERATOR`] of the same issuer read the log.
pub(crate) fn with_operator(mut files: Files) -> Files {
    if let Some(corp) = files.get_mut("issuers/corp.toml") {
        corp.push_str("operators = true\n");
    }
    let rule = format!(
        "@id(\"operator-reads\") permit (principal == User::\"corp/{OPERATOR}\", action == Action::\"read_log\", \
         resource);\n"
    );
    files.insert("rules/operators.cedar".to_owned(), rule);
    files
}

/// How large a bundle for decisions is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Ten per target.
    pub(crate) grants: usize,
    /// Permits, over the grants in turn.
    pub(crate) permits: usize,
    /// Forbids over every action.
    pub(crate) forbids: usize,
}

/// Grants in tens, permits in turn. Each grant's first permit is for the group `support`, the others
/// are for one user each.
pub(crate) fn decisions(size: Size) -> Files {
    let mut files = common("https://id.example.com", "[\"ES256\"]");
    let mut grants = Vec::new();
    for at in 0..size.grants.div_ceil(10) {
        let mut text = target(&format!("https://t{at}.example"));
        for grant in 0..size.grants.min(10) {
            let _ = write!(
                text,
                "[grants.g{grant}]\nrisk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"read\"]\n\
                 [grants.g{grant}.params.repositories]\ntype = \"set\"\npattern = \"[a-z-]+\"\n"
            );
            grants.push((format!("t{at}"), format!("t{at}/g{grant}")));
        }
        files.insert(format!("targets/t{at}.toml"), text);
    }
    let listed: Vec<_> = grants.iter().map(|(_, grant)| format!("\"{grant}\"")).collect();
    let secret = format!(
        "{{ method = \"client_secret\", secret_sha256 = [{{ hash = \"{}\" }}] }}",
        "0".repeat(64)
    );
    files.insert(
        format!("servers/{SERVER}.toml"),
        format!(
            "owner = \"o@example.com\"\nresource = \"{AUDIENCE}\"\nauth = {secret}\ngrants = [{}]\n",
            listed.join(", ")
        ),
    );
    let mut rules = Vec::new();
    for at in 0..size.permits {
        let (target, grant) = &grants[at % grants.len()];
        let principal = if at < grants.len() {
            "in Group::\"corp/support\"".to_owned()
        } else {
            format!("== User::\"corp/user-{at}\"")
        };
        rules.push(format!(
            "@id(\"permit-{at}\") permit (principal {principal}, action == Action::\"{grant}\", resource == \
             Target::\"{target}\") when {{ context.server == Server::\"{SERVER}\" && context.session.issuances < \
             100000 }};\n"
        ));
    }
    for at in 0..size.forbids {
        rules.push(format!(
            "@id(\"forbid-{at}\") forbid (principal, action in Action::\"read\", resource) when {{ \
             context.session.issuances > {} }};\n",
            1_000_000 + at
        ));
    }
    let per_file = rules.chunks((RULES_FILE / 300).max(1));
    files.extend(
        per_file
            .enumerate()
            .map(|(at, rules)| (format!("rules/part-{at}.cedar"), rules.concat())),
    );
    files
}

fn common(issuer: &str, algorithms: &str) -> Files {
    let groups = "groups = { claim = \"groups\", allow = [\"support\", \"sre\"] }\n";
    Files::from([
        ("bundle.toml".to_owned(), "format = 1\n".to_owned()),
        (
            "issuers/corp.toml".to_owned(),
            format!("issuer = \"{issuer}\"\nalgorithms = {algorithms}\n{groups}"),
        ),
    ])
}

fn target(audience: &str) -> String {
    format!("kind = \"jwt\"\nowner = \"o@example.com\"\naudience = \"{audience}\"\n")
}

/// Writes the files below a folder. Others may not write them, whatever the umask is: the broker would
/// refuse them.
pub(crate) fn write(files: &Files, folder: &Path) -> Result<(), Fault> {
    for (path, text) in files {
        let path = folder.join(path);
        let parent = path.parent().ok_or("a file without a folder")?;
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        fs::set_permissions(parent, Permissions::from_mode(0o755))?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    Ok(())
}
