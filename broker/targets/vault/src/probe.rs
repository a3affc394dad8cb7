//! Whether the target is set up: the token role, and what the broker's token may do.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{access::Login, fault::Fault, settings::Settings};

/// Names nothing; asked for to see whether asking is permitted.
const NOBODY: &str = "procura-probe";

/// Every problem, in words.
pub(crate) async fn problems(login: Login, settings: &Settings) -> Result<Vec<String>, Fault> {
    let name = &settings.token_role;
    let path = format!("auth/token/roles/{name}");
    let answer = login.ask(&path, None).await?;
    let mut problems = match answer.status.as_u16() {
        404 => vec![format!(
            "there is no token role {name}; make it: vault write {path} orphan=true allowed_policies=…"
        )],
        _ => role_problems(name, &answer.wanted(&path)?["data"], &settings.policies),
    };
    for (path, member) in [
        ("auth/token/lookup-accessor", "accessor"),
        ("auth/token/revoke-accessor", "accessor"),
    ] {
        problems.extend(missing(&login, path, member).await?);
    }
    if settings.has_paths {
        for path in ["sys/leases/lookup", "sys/leases/renew"] {
            problems.extend(missing(&login, path, "lease_id").await?);
        }
    }
    let listed = login.ask("auth/token/accessors?list=true", None).await?;
    if listed.status == 403 {
        problems.push("the broker's token may not list auth/token/accessors (capabilities list and sudo)".to_owned());
    }
    Ok(problems)
}

fn role_problems(name: &str, role: &Value, policies: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    if role["orphan"] != true {
        problems.push(format!(
            "the token role {name} is not orphan: its tokens would end with the broker's own (orphan=true)"
        ));
    }
    if ["period", "token_period"]
        .iter()
        .any(|key| role[*key].as_u64().unwrap_or(0) > 0)
    {
        problems.push(format!("the token role {name} has a period (token_period=0)"));
    }
    if !matches!(
        role["token_type"].as_str(),
        None | Some("service" | "default-service" | "default")
    ) {
        problems.push(format!(
            "the token role {name} makes batch tokens, which cannot be taken back (token_type=service)"
        ));
    }
    let allowed = role["allowed_policies"].as_array();
    let allowed: BTreeSet<&str> = allowed.into_iter().flatten().filter_map(Value::as_str).collect();
    let lacking: Vec<_> = policies
        .iter()
        .map(String::as_str)
        .filter(|policy| !allowed.contains(policy))
        .collect();
    if !lacking.is_empty() {
        problems.push(format!(
            "allowed_policies of the token role {name} lacks {}",
            lacking.join(", ")
        ));
    }
    if allowed.contains("root") {
        problems.push(format!(
            "allowed_policies of the token role {name} has root; take it out"
        ));
    }
    problems
}

/// Whether a write to the path is not permitted.
async fn missing(login: &Login, path: &str, member: &str) -> Result<Option<String>, Fault> {
    let answer = login.tell(path, member, NOBODY).await?;
    let refused = answer.status == 403 && !answer.is_absence();
    Ok(refused.then(|| format!("the broker's token may not write {path} (capability update)")))
}
