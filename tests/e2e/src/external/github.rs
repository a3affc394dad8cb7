//! The stand-in of GitHub.

use procura_contract::github::{APP, FakeGithub, INSTALLATION};

use crate::{
    Fault,
    http::{self, Reply},
};

/// A stand-in, and a key of its App.
pub struct Github {
    /// The stand-in.
    pub server: FakeGithub,
    pub(super) key: String,
}

impl Github {
    /// Starts one.
    pub fn start() -> Result<Self, Fault> {
        let server = FakeGithub::start_now()?;
        Ok(Self {
            key: server.new_pkcs1_key(),
            server,
        })
    }

    /// `read` reaches the repositories 101 and 102, or those of the parameter `repositories`.
    pub(super) fn keys(&self) -> String {
        format!(
            r#"api = "{}"
app_id = {APP}
installation_id = {INSTALLATION}
[grants.read]
risk = "read"
max_ttl = "5m"
permissions = {{ issues = "read" }}
repository_ids = ["101", "102"]
[grants.read.params]
repositories = {{ type = "set", pattern = "10[0-9]" }}
[grants.hidden]
risk = "write"
max_ttl = "5m"
permissions = {{ issues = "write" }}
repository_ids = ["101"]
"#,
            self.server.address()
        )
    }

    /// Asks for the token's repositories.
    pub async fn ask(&self, token: &str) -> Result<Reply, Fault> {
        let url = format!("{}/installation/repositories", self.server.address());
        let request = http::client()?.get(url).header("user-agent", "a tool");
        http::send(request.bearer_auth(token)).await
    }
}
