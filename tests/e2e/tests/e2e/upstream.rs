//! Tokens of real authorization servers, from the exchange to their end there.

pub(crate) mod stage;

use procura_client::{Client, Credential, Error, Secret, Session};
use procura_contract::github::{APP, FakeGithub, INSTALLATION, Quirk};
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    http::{self, unverified_claims},
    keycloak::ALICE,
    oidc_provider::{OidcProvider, UPSTREAM},
    serve::Replica,
};
use serde_json::{Value, json};

use self::stage::{ASKS, GRANT, TARGET, audience, bundle, client, key, register, site, write};

/// The text of an issued token, as a tool uses it.
async fn token(credential: &Credential<Secret>) -> Result<String, Fault> {
    let used = credential.begin("call-1").await?;
    #[expect(clippy::disallowed_methods, reason = "the test uses it as a tool does")]
    let token = used.value().expose().to_owned();
    Ok(token)
}

/// What the broker says of the credentials of a session that it has ended.
async fn end(broker: &Replica<'_>, session: &Session) -> Result<Value, Fault> {
    let id = session.id().ok_or("no session")?;
    Ok(broker.end_session(&id).await?.expect_status(200)?.body)
}

pub(crate) async fn keycloak_issues_to_a_client_that_signs_and_revokes_at_the_sessions_end(
    testbed: &Testbed,
) -> Outcome {
    let keycloak = testbed.keycloak().await?;
    let (private, public) = key()?;
    keycloak.add_scope("tickets.read").await?;
    keycloak
        .register(&json!({
            "clientId": "signs",
            "clientAuthenticatorType": "client-jwt",
            "serviceAccountsEnabled": true,
            "standardFlowEnabled": false,
            "defaultClientScopes": ["basic"],
            "optionalClientScopes": ["tickets.read"],
            "protocolMappers": [audience("asks", "included.client.audience", ASKS)],
            "attributes": {
                "use.jwks.string": "true",
                "jwks.string": json!({ "keys": [public] }).to_string(),
                "token.endpoint.auth.signing.alg": "ES256",
            },
        }))
        .await?;
    let keys = format!(
        "issuer = \"{}\"\nclient_id = \"signs\"\nclient_auth = \"private_key_jwt\"\n[grants.read]\nrisk = \"read\"\n\
         max_ttl = \"1m\"\ngrant_type = \"client_credentials\"\nscopes = [\"tickets.read\"]\n",
        keycloak.issuer
    );
    let site = site(testbed, "oauth", &keys, &private.to_string()).await?;
    let broker = site.start().await?;
    let client = client(&site)?;
    let session = client.session(Secret::new(site.user("alice")?));
    let credential = session.oauth(TARGET, GRANT).get().await?;
    assert!(credential.expires_in().as_secs() <= 60, "Keycloak's own live for 300 s");
    let token = token(&credential).await?;
    let claims = unverified_claims(&token)?;
    assert_eq!(
        (&claims["azp"], &claims["scope"]),
        (&json!("signs"), &json!("tickets.read"))
    );
    assert_eq!(keycloak.introspect(&token).await?.body["active"], true);

    let report = end(&broker, &session).await?;
    assert_eq!(
        keycloak.introspect(&token).await?.body["active"],
        false,
        "{report}\n{}",
        broker.stderr()
    );
    client.shutdown().await?;
    Ok(())
}

pub(crate) async fn keycloak_exchanges_a_users_token_and_nobody_else_gets_it(testbed: &Testbed) -> Outcome {
    let keycloak = testbed.keycloak().await?;
    register(keycloak).await?;
    let launch = testbed.dev()?.arg("--policies").arg("bundle");
    let folder = launch.dir().join("bundle");
    bundle(&folder, keycloak, &keycloak.issuer)?;
    let broker = launch.start().await?;
    write(
        &launch.dir().join(".procura/secrets/upstream"),
        "exchanges-secret",
        0o600,
    )?;
    let secret = Secret::new(broker.dev.client_secret.clone());
    let client = Client::builder(&broker.dev.issuer, "tickets", secret).build()?;
    let session = client.session(Secret::new(keycloak.user_token_for("desk", "alice").await?));
    let credential = session.oauth(TARGET, GRANT).get().await;
    let credential = credential.map_err(|error| format!("{error}\n{}", broker.stderr()))?;
    let token = token(&credential).await?;
    let claims = unverified_claims(&token)?;
    assert_eq!((&claims["sub"], &claims["azp"]), (&json!(ALICE), &json!("exchanges")));
    assert_eq!(claims["scope"], "calendar.read");
    assert_eq!(keycloak.introspect(&token).await?.body["active"], true);
    let id = session.id().ok_or("no session")?;
    let request = broker.http.delete(format!("{}/sessions/{id}", broker.dev.api));
    http::send(request.bearer_auth(&broker.dev.operator_token))
        .await?
        .expect_status(200)?;
    assert_eq!(
        keycloak.introspect(&token).await?.body["active"],
        false,
        "{}",
        broker.stderr()
    );

    // The same bundle, for a target at another party.
    let other = testbed.oidc_provider().await?;
    let launch = testbed.dev()?.arg("--policies").arg("bundle");
    bundle(&launch.dir().join("bundle"), keycloak, &other.issuer)?;
    let broker = launch.start().await?;
    write(
        &launch.dir().join(".procura/secrets/upstream"),
        "exchanges-secret",
        0o600,
    )?;
    let secret = Secret::new(broker.dev.client_secret.clone());
    let client = Client::builder(&broker.dev.issuer, "tickets", secret).build()?;
    let session = client.session(Secret::new(keycloak.user_token_for("desk", "alice").await?));
    let refused = session.oauth(TARGET, GRANT).get().await.err();
    assert!(
        matches!(refused, Some(Error::Refused(_) | Error::Unavailable(_))),
        "{refused:?}"
    );
    assert!(
        broker.stderr().contains("which is not the target's issuer"),
        "{}",
        broker.stderr()
    );
    Ok(())
}

pub(crate) async fn oidc_provider_issues_to_a_client_that_signs_and_revokes_what_it_can(testbed: &Testbed) -> Outcome {
    let issuer: &OidcProvider = testbed.oidc_provider().await?;
    let grant = |name: &str, more: &str| {
        format!(
            "[grants.{name}]\nrisk = \"read\"\nmax_ttl = \"10m\"\ngrant_type = \"client_credentials\"\nscopes = \
             [\"tools\"]\n{more}"
        )
    };
    let keys = format!(
        "issuer = \"{}\"\nclient_id = \"{UPSTREAM}\"\nclient_auth = \"private_key_jwt\"\n{}{}",
        issuer.issuer,
        grant(GRANT, ""),
        grant("jwt", "resource = \"https://api.example/v1\"\n"),
    );
    let site = site(testbed, "oauth", &keys, &issuer.upstream_key).await?;
    site.amend("policies/rules/upstream.cedar", |text| {
        text.replace(
            "action == Action::\"upstream/read\"",
            "action in [Action::\"upstream/read\", Action::\"upstream/jwt\"]",
        )
    })?;
    site.amend("policies/servers/tickets.toml", |text| {
        text.replace("\"upstream/read\"]", "\"upstream/read\", \"upstream/jwt\"]")
    })?;
    let broker = site.start().await?;
    let client = client(&site)?;
    let session = client.session(Secret::new(site.user("alice")?));
    let credential = session.oauth(TARGET, GRANT).get().await?;
    let opaque = token(&credential).await?;
    let answer = issuer.introspect(&opaque).await?.body;
    assert_eq!((&answer["active"], &answer["scope"]), (&json!(true), &json!("tools")));
    let jwt = session.oauth(TARGET, "jwt").get().await?;
    let claims = unverified_claims(&token(&jwt).await?)?;
    assert_eq!(
        (&claims["aud"], &claims["scope"]),
        (&json!("https://api.example/v1"), &json!("tools"))
    );

    let report = end(&broker, &session).await?;
    assert_eq!(
        issuer.introspect(&opaque).await?.body["active"],
        false,
        "{report}\n{}",
        broker.stderr()
    );
    let said = |id: &str| -> Value {
        let held = report["credentials"].as_array().into_iter().flatten();
        held.filter(|held| held["issuance"] == id)
            .map(|held| held["status"].clone())
            .collect()
    };
    assert_eq!(said(credential.issuance_id()), json!(["done"]), "{report}");
    // A JWT is checked offline, and its issuer says that it cannot be revoked.
    assert_eq!(said(jwt.issuance_id()), json!(["until"]), "{report}");
    client.shutdown().await?;
    Ok(())
}

pub(crate) async fn github_gives_tokens_for_the_repositories_that_were_asked_for_until_the_session_ends(
    testbed: &Testbed,
) -> Outcome {
    let github = FakeGithub::start_now()?;
    let keys = format!(
        "api = \"{}\"\napp_id = {APP}\ninstallation_id = {INSTALLATION}\n[grants.read]\nrisk = \"read\"\nmax_ttl = \
         \"5m\"\npermissions = {{ issues = \"read\" }}\nrepository_ids = [\"101\", \"102\"]\n[grants.read.params]\n\
         repositories = {{ type = \"set\" }}\n",
        github.address()
    );
    let site = site(testbed, "github-app", &keys, &github.new_pkcs1_key()).await?;
    let broker = site.start().await?;
    let client = client(&site)?;
    let session = client.session(Secret::new(site.user("alice")?));
    let ask = |ids: &[&str]| {
        session
            .github_app(TARGET, GRANT)
            .param("repositories", json!(ids))
            .get()
    };
    let token = token(&ask(&["102"]).await?).await?;
    let http = reqwest::Client::builder().no_proxy().user_agent("a tool").build()?;
    let url = format!("{}/installation/repositories", github.address());
    let reply = http::get(&http, &url, Some(&token)).await?.expect_status(200)?;
    assert_eq!(reply.body["repositories"].as_array().map(Vec::len), Some(1));
    assert_eq!(reply.body["repositories"][0]["id"], 102);

    let refused = ask(&["103"]).await.err();
    assert!(refused.is_some_and(|error| error.refusal().is_some()));
    github.quirk(Quirk::AllRepositories);
    let wider = ask(&["101"]).await.err();
    let reason = wider
        .as_ref()
        .and_then(|error| error.refusal())
        .map(|refusal| refusal.body.reason.clone());
    assert_eq!(reason.as_deref(), Some("mint.scope_mismatch"), "{wider:?}");
    assert_eq!(github.live(), 1, "the wider one is revoked");

    end(&broker, &session).await?;
    assert_eq!(http::get(&http, &url, Some(&token)).await?.status, 401);
    assert_eq!(github.live(), 0);
    client.shutdown().await?;
    Ok(())
}
