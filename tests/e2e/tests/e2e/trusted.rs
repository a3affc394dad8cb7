//! A development broker that trusts real issuers and lets everybody read whom they vouch for.

use std::{path::PathBuf, time::Duration};

use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    http::{Reply, exchange},
    keycloak::{Keycloak, RESOURCE},
    oidc_provider::OidcProvider,
};

use crate::upstream::stage::write;

/// The target of the bundle, whose tokens the broker signs, and its grant.
pub(crate) const API: (&str, &str) = ("api", "read");

const TARGET: &str = "kind = \"jwt\"\nowner = \"platform@example.com\"\naudience = \"https://api.example/v1\"\n[grants.read]\n\
                      risk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"read\"]\n";
const RULES: &str = "@id(\"everybody-reads\")\npermit (principal, action == Action::\"api/read\", resource == \
                     Target::\"api\");\n@id(\"operator\")\npermit (principal == User::\"dev/operator\", action in \
                     [Action::\"read_log\"], resource);\n";
const OPERATORS: &str = "issuer = \"builtin:dev\"\nalgorithms = [\"ES256\"]\noperators = true\n";

pub(crate) struct Trusted {
    pub(crate) broker: Broker,
    launch: Launch,
}

/// What the file of Keycloak says.
pub(crate) fn keycloak(issuer: &Keycloak) -> String {
    let kind = "algorithms = [\"ES256\"]\ntoken_types = [\"JWT\"]\nextra_audiences = [\"account\", \"triage-bot\"]\n";
    format!("issuer = \"{}\"\n{kind}", issuer.issuer)
}

/// What the file of oidc-provider says.
pub(crate) fn oidc_provider(issuer: &OidcProvider) -> String {
    format!("issuer = \"{}\"\nalgorithms = [\"ES256\"]\n", issuer.issuer)
}

impl Trusted {
    /// Trusts issuers by their aliases, as their files say.
    pub(crate) async fn start(testbed: &Testbed, issuers: &[(&str, &str)]) -> Result<Self, Fault> {
        let launch = testbed.dev()?.arg("--policies").arg("bundle");
        let server = format!(
            "owner = \"support@example.com\"\nresource = \"{RESOURCE}\"\nauth = {{ method = \"builtin:dev\" }}\n\
             grants = [\"api/read\"]\n"
        );
        let bundle = launch.dir().join("bundle");
        for (file, text) in [
            ("bundle.toml", "format = 1\n"),
            ("issuers/dev.toml", OPERATORS),
            ("servers/tickets.toml", &server),
            ("targets/api.toml", TARGET),
            ("rules/api.cedar", RULES),
        ] {
            write(&bundle.join(file), text, 0o644)?;
        }
        for (alias, text) in issuers {
            write(&bundle.join(format!("issuers/{alias}.toml")), text, 0o644)?;
        }
        let broker = launch.start().await?;
        Ok(Self { broker, launch })
    }

    pub(crate) async fn exchange(&self, token: &str) -> Result<Reply, Fault> {
        self.broker.exchange(&exchange(token, API.0, API.1)).await
    }

    /// A file of the folder that the broker runs in.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.launch.dir().join(file)
    }
}

/// Looks until it is so, ten seconds at most.
pub(crate) async fn until<T>(look: impl AsyncFn() -> Result<T, Fault>, is_so: impl Fn(&T) -> bool) -> Result<T, Fault> {
    for _ in 0..200 {
        let seen = look().await?;
        if is_so(&seen) {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("it did not become so within ten seconds".into())
}
