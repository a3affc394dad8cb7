//! Tokens that real issuers are asked about, and what a token must show for a grant.

use std::{net::TcpListener, path::Path, pin::pin};

use futures_util::future::{Either, join_all, select};
use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    harness::Outcome,
    http::{self, Reply, exchange},
    keycloak::{Keycloak, RESOURCE},
    oidc_provider::{Format, INTROSPECTS, OidcProvider},
};
use serde_json::{Value, json};

use crate::upstream::stage::{audience, write};

/// The client of Keycloak that people use here; its tokens are for the broker's client too, which may ask about no others.
const DESK: &str = "introspected-desk";
/// The broker's client at Keycloak.
const ASKS: (&str, &str) = ("triage-bot", "triage-bot-secret");

struct Stage<'a> {
    keycloak: &'a Keycloak,
    provider: &'a OidcProvider,
    broker: Broker,
    _launch: Launch,
}

impl<'a> Stage<'a> {
    /// `endpoint` is where Keycloak is asked; by default where its metadata says.
    async fn set(testbed: &'a Testbed, endpoint: Option<&str>) -> Result<Self, Fault> {
        let (keycloak, provider) = (testbed.keycloak().await?, testbed.oidc_provider().await?);
        let launch = testbed.dev()?.arg("--policies").arg("bundle");
        bundle(&launch.dir().join("bundle"), (keycloak, endpoint), provider)?;
        let broker = launch.start().await?;
        for (file, (_, secret)) in [("keycloak", ASKS), ("provider", INTROSPECTS)] {
            write(&launch.dir().join(".procura/secrets").join(file), secret, 0o600)?;
        }
        Ok(Self {
            keycloak,
            provider,
            broker,
            _launch: launch,
        })
    }

    async fn exchange(&self, token: &str, grant: &str) -> Result<Reply, Fault> {
        self.broker.exchange(&exchange(token, "api", grant)).await
    }

    async fn refusal(&self, token: &str, grant: &str) -> Result<String, Fault> {
        let reply = self.exchange(token, grant).await?;
        assert_ne!(reply.status, 200, "{}", reply.body);
        Ok(reply.text("reason").to_owned())
    }

    async fn leaf(&self, issued: &Reply) -> Result<Value, Fault> {
        let record = self
            .broker
            .record(issued.text("issuance_id"))
            .await?
            .expect_status(200)?;
        Ok(serde_json::from_str(record.text("leaf"))?)
    }
}

fn bundle(folder: &Path, (keycloak, endpoint): (&Keycloak, Option<&str>), provider: &OidcProvider) -> Outcome {
    let endpoint = endpoint
        .map(|url| format!(", endpoint = \"{url}\""))
        .unwrap_or_default();
    let people = format!(
        "issuer = \"{}\"\nalgorithms = [\"ES256\"]\ntoken_types = [\"JWT\"]\nextra_audiences = [\"account\", \"{}\"]\n\
         introspection = {{ client_id = \"{}\", secret = \"dev:keycloak\", mode = \"always\"{endpoint} }}\n",
        keycloak.issuer, ASKS.0, ASKS.0
    );
    let opaque = format!(
        "issuer = \"{}\"\nalgorithms = [\"ES256\"]\n\
         introspection = {{ client_id = \"{}\", secret = \"dev:provider\", mode = \"opaque\" }}\n",
        provider.issuer, INTROSPECTS.0
    );
    let server = format!(
        "owner = \"support@example.com\"\nresource = \"{RESOURCE}\"\nauth = {{ method = \"builtin:dev\" }}\n\
         opaque_tokens_from = \"provider\"\ngrants = [\"api/read\", \"api/scoped\", \"api/strong\"]\n"
    );
    let target = "kind = \"jwt\"\nowner = \"platform@example.com\"\naudience = \"https://api.example/v1\"\n\
                  [grants.read]\nrisk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"read\"]\n\
                  [grants.scoped]\nrisk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"read\"]\nrequires_scope = [\"issues:read\"]\n\
                  [grants.strong]\nrisk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"read\"]\n\
                  requires_auth = { acr = [\"urn:example:gold\"], max_age = \"15m\" }\n";
    let rules = "@id(\"everybody-reads\")\npermit (principal, action in [Action::\"api/read\", Action::\"api/scoped\", \
                 Action::\"api/strong\"], resource == Target::\"api\");\n\
                 @id(\"operator\")\npermit (principal == User::\"dev/operator\", action in [Action::\"read_log\"], resource);\n";
    for (file, text) in [
        ("bundle.toml", "format = 1\n"),
        (
            "issuers/dev.toml",
            "issuer = \"builtin:dev\"\nalgorithms = [\"ES256\"]\noperators = true\n",
        ),
        ("issuers/keycloak.toml", &people),
        ("issuers/provider.toml", &opaque),
        ("servers/tickets.toml", &server),
        ("targets/api.toml", target),
        ("rules/api.cedar", rules),
    ] {
        write(&folder.join(file), text, 0o644)?;
    }
    Ok(())
}

/// Registers the client that people use, once.
async fn register(keycloak: &Keycloak) -> Outcome {
    if keycloak.user_token_for(DESK, "alice").await.is_ok() {
        return Ok(());
    }
    keycloak
        .register(&json!({
            "clientId": DESK,
            "publicClient": true,
            "standardFlowEnabled": false,
            "directAccessGrantsEnabled": true,
            "protocolMappers": [
                audience("tickets", "included.custom.audience", RESOURCE),
                audience("asks", "included.client.audience", ASKS.0),
            ],
        }))
        .await
}

/// Takes a token back as the public client that got it (RFC 7009).
async fn revoke(url: &str, client: &str, token: &str) -> Outcome {
    let fields = [("token", token), ("client_id", client)];
    let reply = http::post_form(&http::client()?, url, None, &fields).await?;
    reply.expect_status(200).map(drop)
}

pub(crate) async fn a_token_that_keycloak_revoked_is_refused_although_it_is_signed(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed, None).await?;
    let keycloak = stage.keycloak;
    register(keycloak).await?;
    let (live, revoked) = (
        keycloak.user_token_for(DESK, "alice").await?,
        keycloak.user_token_for(DESK, "alice").await?,
    );
    let endpoint = format!("{}/protocol/openid-connect/revoke", keycloak.issuer);
    revoke(&endpoint, DESK, &revoked).await?;
    assert_eq!(
        stage.refusal(&revoked, "read").await?,
        "introspect.inactive",
        "{}",
        stage.broker.stderr()
    );
    let issued = stage.exchange(&live, "read").await?;
    let issued = issued
        .expect_status(200)
        .map_err(|fault| format!("{fault}\n{}", stage.broker.stderr()))?;
    let leaf = stage.leaf(&issued).await?;
    assert_eq!(
        (&leaf["introspected"], &leaf["issuer"]),
        (&json!(true), &json!("keycloak"))
    );
    Ok(())
}

pub(crate) async fn opaque_tokens_of_oidc_provider_are_taken_until_they_are_revoked(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed, None).await?;
    let provider = stage.provider;
    let (live, revoked) = (
        provider.token("alice", RESOURCE, Format::Opaque).await?,
        provider.token("alice", RESOURCE, Format::Opaque).await?,
    );
    let elsewhere = provider
        .token("alice", "https://wiki.example/mcp", Format::Opaque)
        .await?;
    revoke(&format!("{}/token/revocation", provider.issuer), "agent", &revoked).await?;
    assert_eq!(
        stage.refusal(&revoked, "read").await?,
        "introspect.inactive",
        "{}",
        stage.broker.stderr()
    );
    assert_eq!(stage.refusal(&elsewhere, "read").await?, "jwt.audience");
    assert_eq!(stage.refusal("nobody-made-this", "read").await?, "introspect.inactive");
    let issued = stage.exchange(&live, "read").await?.expect_status(200)?;
    let leaf = stage.leaf(&issued).await?;
    assert_eq!(
        (&leaf["introspected"], &leaf["issuer"]),
        (&json!(true), &json!("provider"))
    );
    Ok(())
}

pub(crate) async fn an_issuer_that_does_not_answer_holds_up_no_other(testbed: &Testbed) -> Outcome {
    // Connections are taken by the system, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}/introspect", silent.local_addr()?);
    let stage = Stage::set(testbed, Some(&endpoint)).await?;
    register(stage.keycloak).await?;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(stage.keycloak.user_token_for(DESK, "alice").await?);
    }
    let quick = stage.provider.token("alice", RESOURCE, Format::Opaque).await?;
    let slow = pin!(join_all(tokens.iter().map(|token| stage.refusal(token, "read"))));
    let quick = pin!(async { stage.exchange(&quick, "read").await?.expect_status(200) });
    let Either::Right((quick, slow)) = select(slow, quick).await else {
        return Err("it waited for the other issuer".into());
    };
    quick?;
    for reason in slow.await {
        assert_eq!(reason?, "introspect.timeout");
    }
    Ok(())
}

pub(crate) async fn a_weak_log_in_and_a_lack_of_scope_are_told_what_suffices(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed, None).await?;
    let token = stage.provider.token("alice", RESOURCE, Format::Opaque).await?;
    let weak = stage.exchange(&token, "strong").await?.expect_status(400)?;
    assert_eq!(weak.text("error"), "insufficient_user_authentication");
    assert_eq!(
        (weak.text("acr_values"), &weak.body["max_age"]),
        ("urn:example:gold", &json!(900))
    );
    let scope = stage.exchange(&token, "scoped").await?.expect_status(400)?;
    assert_eq!(
        (scope.text("error"), scope.text("reason")),
        ("invalid_scope", "scope.insufficient")
    );
    assert_eq!(scope.text("required_scope"), "issues:read");
    Ok(())
}
