//! Which token may do what.

use axum::http::Method;

use super::{Kept, Request};

/// What the policy `default` permits, as far as the fake serves it.
const DEFAULT: &str = r#"
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
"#;

impl Kept {
    /// Whether a policy of the token permits the request. `+` in a path stands for one segment, a last `*` for the rest.
    pub(super) fn permits(&self, request: &Request<'_>) -> bool {
        let Some(token) = self.tokens.get(request.token) else {
            return false;
        };
        let wanted = match *request.method {
            _ if request.list => "list",
            Method::GET => "read",
            Method::DELETE => "delete",
            _ => "update",
        };
        // A path of its own kind at the server.
        let sudo = request.path == "auth/token/accessors";
        let policies = self.spaces.get(&token.namespace).map(|space| &space.policies);
        token.policies.iter().any(|name| {
            let kept = policies.and_then(|policies| policies.get(name));
            let text = match (kept, name.as_str()) {
                (Some(text), _) => text.as_str(),
                (None, "default") => DEFAULT,
                (None, _) => "",
            };
            let permits = |(path, abilities): (&str, &str)| {
                fits(path, request.path) && grants(abilities, wanted) && (!sudo || grants(abilities, "sudo"))
            };
            name == "root" || rules(text).any(permits)
        })
    }
}

/// Path and capabilities of each rule.
fn rules(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("path \"").skip(1).filter_map(|rule| {
        let (path, rest) = rule.split_once('"')?;
        Some((path, rest.split_once('[')?.1.split_once(']')?.0))
    })
}

fn grants(abilities: &str, wanted: &str) -> bool {
    abilities
        .split(',')
        .any(|ability| ability.trim().trim_matches('"') == wanted)
}

fn fits(rule: &str, path: &str) -> bool {
    let (rule, whole) = rule.strip_suffix('*').map_or((rule, true), |start| (start, false));
    let (rule, path): (Vec<_>, Vec<_>) = (rule.split('/').collect(), path.split('/').collect());
    let Some((last, start)) = rule.split_last() else {
        return false;
    };
    let same = |rule: &str, part: &str| rule == "+" || rule == part;
    let end = match path.get(start.len()) {
        Some(part) if whole => path.len() == rule.len() && same(last, part),
        Some(part) => part.starts_with(last),
        None => false,
    };
    end && start.iter().zip(&path).all(|(rule, part)| same(rule, part))
}
