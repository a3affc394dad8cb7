//! What to do next, as commands that can be pasted.

use std::collections::BTreeSet;

use procura_wire::Name;
use serde::Serialize;

use super::{Readers, Selector};
use crate::{
    catalogue::Catalogue,
    ledger::{SessionFilter, StoreError},
};

/// Most sessions that are named.
const SESSIONS: u32 = 20;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does.
    pub does: String,
    /// The command, quoted for a shell; none where somebody must edit a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Step {
    fn run(does: impl Into<String>, words: &[&str]) -> Self {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        Self {
            does: does.into(),
            command: Some(format!("procura {}", words.join(" "))),
        }
    }

    fn edit(does: String) -> Self {
        Self { does, command: None }
    }
}

/// One word of a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Which steps end what the selector reaches.
pub(super) fn steps(selector: &Selector, catalogue: &Catalogue, targets: &BTreeSet<Name>, ours: bool) -> Vec<Step> {
    match selector {
        Selector::Source(_, version) => of_source(catalogue, targets, version.as_deref()),
        Selector::Target(target) => of_source(catalogue, &BTreeSet::from([target.clone()]), None),
        Selector::Subject(id) => vec![undo("--subject", &id.to_string())],
        Selector::Agent(id) => vec![
            Step::edit(format!("suspended = true in agents/{}.toml refuses the agent everywhere", id.local)),
            undo("--agent", &id.to_string()),
        ],
        Selector::Server(name) => vec![
            Step::edit(format!("suspended = true in servers/{name}.toml refuses the server")),
            undo("--server", name.as_str()),
        ],
        Selector::Issuer(name) => vec![Step::edit(format!(
            "issuers/{name}.toml out of the bundle: nobody's tokens of it are taken any more"
        ))],
        Selector::SigningKey(_) if ours => vec![Step::edit(
            "procura keys new FILE --rotate on the file of [keys.token]: another key signs; then take the old one out of \
             the file, and nobody who reads the key set believes what it signed"
                .to_owned(),
        )],
        Selector::SigningKey(_) => vec![Step::edit(
            "let the issuer take the key out of its key set: tokens of it are refused then".to_owned(),
        )],
    }
}

fn undo(option: &str, value: &str) -> Step {
    Step::run(
        "takes back what is leased",
        &["lease", "undo", option, value, "--state", "live", "--yes"],
    )
}

fn of_source(catalogue: &Catalogue, targets: &BTreeSet<Name>, version: Option<&str>) -> Vec<Step> {
    let mut steps = Vec::new();
    for name in targets {
        if catalogue
            .targets
            .get(name)
            .is_some_and(|target| target.source.is_some())
        {
            let does = format!("gives the broker a new credential at {name}");
            steps.push(Step::run(does, &["rotate", name.as_str()]));
        }
        let mut words = vec!["lease", "undo", "--target", name.as_str()];
        words.extend(version.into_iter().flat_map(|version| ["--source-version", version]));
        words.extend(["--state", "live", "--yes"]);
        steps.push(Step::run(format!("takes back what is leased at {name}"), &words));
    }
    steps
}

/// Ends the sessions that are open now.
pub(super) async fn sessions(readers: Readers<'_>, selector: &Selector) -> Result<Vec<Step>, StoreError> {
    let mut filter = SessionFilter {
        live_at: readers.ports.now().ok(),
        ..SessionFilter::default()
    };
    match selector {
        Selector::Subject(id) => filter.subject = Some(id.clone()),
        Selector::Agent(id) => filter.actor = Some(id.clone()),
        Selector::Server(name) => filter.server = Some(name.clone()),
        _ => return Ok(Vec::new()),
    }
    let sessions = readers.ports.ledger.sessions(filter, None, SESSIONS).await?;
    let end = |id: String| Step::run("ends a session that is open", &["session", "end", &id]);
    Ok(sessions
        .into_iter()
        .map(|session| end(session.id.to_string()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_one_word_of_a_command() {
        assert_eq!(quoted("corp/alice"), "corp/alice");
        assert_eq!(quoted("corp/a'; rm -rf ~ #$(x)"), r"'corp/a'\''; rm -rf ~ #$(x)'");
        assert_eq!(quoted(""), "''");
    }
}
