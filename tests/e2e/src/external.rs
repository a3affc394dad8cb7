//! Systems beside the database that credentials are made at: a stand-in or a server of each kind, what a bundle says
//! of it, and what it tells of what lives there.

mod aws;
mod github;
mod oauth;
mod vault;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};

use serde_json::Value;

pub use self::{aws::Aws, github::Github, oauth::Oauth, vault::Vault};
use crate::{Fault, serve::Site};

/// A grant of every such target that everybody may have, without a parameter.
pub const READ: &str = "read";
/// A grant of every such target that no rule permits.
pub const HIDDEN: &str = "hidden";

/// A system of one kind. A site calls the target by the name of its kind.
pub enum External {
    /// Tokens, leases and certificates.
    Vault(Vault),
    /// Installation tokens.
    Github(Github),
    /// Sessions of a role.
    Aws(Aws),
    /// Tokens of an authorization server.
    Oauth(Oauth),
}

impl External {
    /// The kind, and the name of the target.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vault(_) => "vault",
            Self::Github(_) => "github-app",
            Self::Aws(_) => "aws",
            Self::Oauth(_) => "oauth",
        }
    }

    /// Whether the end of a session takes back there what it was issued.
    pub fn takes_back(&self) -> bool {
        !matches!(self, Self::Aws(_))
    }

    /// The target file's own keys and grants.
    fn keys(&self) -> String {
        match self {
            Self::Vault(vault) => vault.keys(),
            Self::Github(github) => github.keys(),
            Self::Aws(aws) => aws.keys(),
            Self::Oauth(oauth) => oauth.keys(),
        }
    }

    /// Grants that everybody may have, the first being [`READ`].
    fn grants(&self) -> &'static [&'static str] {
        match self {
            Self::Vault(_) => vault::GRANTS,
            Self::Github(_) | Self::Oauth(_) => &[READ],
            Self::Aws(_) => aws::GRANTS,
        }
    }

    fn secret(&self) -> String {
        match self {
            Self::Vault(vault) => vault.broker_token.clone(),
            Self::Github(github) => github.key.clone(),
            Self::Aws(_) => aws::broker_key(),
            Self::Oauth(oauth) => oauth.server.upstream_key.clone(),
        }
    }

    /// Whether an `access_token` that was issued for [`READ`] is good there.
    pub async fn takes(&self, issued: &str) -> Result<bool, Fault> {
        match self {
            Self::Vault(vault) => vault.takes(issued).await,
            Self::Github(github) => Ok(github.ask(issued).await?.status == 200),
            Self::Aws(aws) => aws.takes(issued).await,
            Self::Oauth(oauth) => oauth.takes(issued).await,
        }
    }

    /// How many credentials were made there, as far as it can tell.
    pub async fn made(&self) -> Result<usize, Fault> {
        match self {
            Self::Vault(vault) => Ok(vault.handles().await?.len()),
            Self::Github(github) => Ok(github.server.asked().len()),
            Self::Aws(aws) => Ok(aws.sessions().len()),
            Self::Oauth(oauth) => Ok(oauth.server.issued().await?.made),
        }
    }

    /// Compares what lives there with what the broker says: the error tells of what lives and is on no lease, or is on
    /// one that is live and does not.
    pub async fn compare(&self, leases: &[Value]) -> Result<(), Fault> {
        let of = |state: &str| -> BTreeSet<String> {
            let chosen = leases.iter().filter(|lease| lease["state"] == state);
            chosen
                .filter_map(|lease| lease["handle"].as_str().map(str::to_owned))
                .collect()
        };
        let (live, undoing) = (of("live"), of("undoing"));
        let (there, known) = match self {
            Self::Vault(vault) => (vault.handles().await?, live.clone()),
            Self::Github(github) => return counted(github.server.live(), &live, &undoing),
            Self::Oauth(oauth) => return counted(oauth.server.issued().await?.live, &live, &undoing),
            // Nothing ends a session there.
            Self::Aws(aws) => (aws.sessions(), live.union(&undoing).cloned().collect()),
        };
        let (more, less): (Vec<_>, Vec<_>) = (there.difference(&known).collect(), live.difference(&there).collect());
        match more.is_empty() && less.is_empty() {
            true => Ok(()),
            false => Err(format!("lives without a lease: {more:?}; on a live lease and not there: {less:?}").into()),
        }
    }
}

impl Site<'_> {
    /// Lets it serve a target, and its server reach the grants there, by the tool `use-KIND` too. To be called
    /// before it starts.
    pub fn add(&self, external: &External) -> Result<(), Fault> {
        let (kind, secret) = (external.kind(), external.secret());
        let policies = self.path("policies");
        self.seal_receipts()?;
        self.amend("procura.toml", |text| {
            text.replace("allow = [\"target\"", &format!("allow = [\"target\", \"{kind}\""))
        })?;
        write(&self.path(&format!("secrets/{kind}")), &secret, 0o600)?;
        let target = format!(
            "kind = \"{kind}\"\nowner = \"platform@example.com\"\nsource = \"db:{kind}\"\n{}",
            external.keys()
        );
        write(&policies.join(format!("targets/{kind}.toml")), &target, 0o644)?;
        let grants = external.grants();
        write(
            &policies.join(format!("rules/{kind}.cedar")),
            &rule(kind, grants),
            0o644,
        )?;
        let listed = grants
            .iter()
            .chain([&HIDDEN])
            .map(|grant| format!("\"{kind}/{grant}\""));
        let listed = listed.collect::<Vec<_>>().join(", ");
        let rows = "\"tickets-db/read-rows\"";
        self.amend("policies/servers/tickets.toml", |text| {
            let reached = text.replacen(rows, &format!("{rows}, {listed}"), 1);
            format!("{reached}\n[tools.use-{kind}]\ngrants = [{listed}]\n")
        })
    }

    /// Gives it a key that what undoing needs is sealed with.
    fn seal_receipts(&self) -> Result<(), Fault> {
        let key = self.path("own/seal.json");
        if key.exists() {
            return Ok(());
        }
        self.run(&["keys", "new", "--seal", &key.to_string_lossy()])?;
        self.amend("procura.toml", |text| {
            text.replace(
                "[sources.own]",
                "[keys.seal]\nsource = \"own:seal.json\"\n[sources.own]",
            )
        })
    }
}

/// Compares where no tokens are listed, only counted. An interrupted mint may have made one.
fn counted(there: usize, live: &BTreeSet<String>, undoing: &BTreeSet<String>) -> Result<(), Fault> {
    let (least, most) = (live.len(), live.len() + undoing.len());
    match (least..=most).contains(&there) {
        true => Ok(()),
        false => Err(format!("{there} tokens live there, {least} to {most} by the leases").into()),
    }
}

/// Everybody in support may have these grants, by this rule.
fn rule(kind: &str, grants: &[&str]) -> String {
    let actions: Vec<_> = grants
        .iter()
        .map(|grant| format!("Action::\"{kind}/{grant}\""))
        .collect();
    format!(
        "@id(\"support-uses-{kind}\")\npermit (\n    principal in Group::\"dev/support\",\n    action in [{}],\n    \
         resource == Target::\"{kind}\"\n);\n",
        actions.join(", ")
    )
}

/// Writes a file that nobody else may write; its folder too, where it is missing.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Fault> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}
