//! A stand-in of GitHub, a target there and its minter.

use std::sync::Arc;

use procura_contract::{
    asked::{self, Asked, GivenSource},
    github::{APP, FakeGithub, INSTALLATION},
    manual_clock::ManualClock,
};
use procura_core::{
    catalogue::Target,
    kind::{MintError, Minted, Minter},
    ports::Clock,
};
use procura_target_github_app::KIND;
use procura_wire::Secret;
use serde_json::{Value, json};

pub(crate) struct Bed {
    pub(crate) github: FakeGithub,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) source: Arc<GivenSource>,
    pub(crate) target: Target,
    pub(crate) minter: Arc<dyn Minter>,
}

/// Reads issues of the repositories 101 and 102.
pub(crate) fn grant() -> Value {
    json!({ "permissions": { "issues": "read" }, "repository_ids": ["101", "102"] })
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with(grant(), false)
    }

    /// With this grant, whose parameter `repositories` is required or not.
    pub(crate) fn with(grant: Value, required: bool) -> Self {
        let clock = Arc::new(ManualClock::default());
        let github = FakeGithub::start(Arc::clone(&clock) as _).expect("a server");
        let own = json!({ "app_id": APP, "installation_id": INSTALLATION, "api": github.address() });
        let target = asked::with_set(asked::target(&KIND, &own, &grant), "repositories", required);
        assert_eq!((KIND.check)(&target), []);
        let source = GivenSource::new(&github.new_key());
        let minter = asked::open(&target, Arc::clone(&source) as _, Arc::clone(&clock) as _).expect("a minter");
        Self {
            github,
            clock,
            source,
            target,
            minter,
        }
    }

    pub(crate) fn asked(&self) -> Asked {
        Asked::new(&self.target, self.clock.now())
    }

    pub(crate) async fn mint(&self, asked: &Asked) -> Result<Minted, MintError> {
        asked.mint(&*self.minter, &*self.clock).await
    }

    /// The repositories that a token reads at GitHub; `None` where it does not work.
    pub(crate) async fn read(&self, token: &Secret) -> Option<Vec<u64>> {
        let url = format!("{}/installation/repositories", self.github.address());
        let http = reqwest::Client::builder().no_proxy().user_agent("test");
        #[expect(clippy::disallowed_methods, reason = "the test uses it as an MCP server does")]
        let request = http.build().expect("a client").get(url).bearer_auth(token.expose());
        let response = request.send().await.expect("an answer");
        if response.status() != 200 {
            return None;
        }
        let body: Value = serde_json::from_str(&response.text().await.expect("a body")).expect("JSON");
        let listed = body["repositories"].as_array().expect("a list");
        Some(listed.iter().filter_map(|one| one["id"].as_u64()).collect())
    }
}
