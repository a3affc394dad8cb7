//! Servers that prove themselves by a key or by their platform, through real OAuth clients and the client library.

use std::{fs, os::unix::fs::PermissionsExt};

use procura_client::{Client, PrivateKey, Secret, UseOutcome};
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    http::unverified_claims,
    oauth_client::{By, OAuthClient, assertion},
    serve::{Replica, SERVER, Site, Store},
};
use serde_json::{Value, json};

const TARGET: (&str, &str) = ("api", "read-tickets");
const FILE: &str = "policies/servers/tickets.toml";

/// Lets the server prove itself by a key, which is answered, and says more of it.
fn keyed(site: &Site<'_>, more: &str) -> Result<Value, Fault> {
    let auth = site.new_key("tickets.json")?;
    proves(site, &auth.replace(" }] } }", &format!(" }}] }}{more} }}")))?;
    Ok(serde_json::from_slice(&fs::read(site.path("tickets.json"))?)?)
}

/// Puts another `auth` into the server's file.
fn proves(site: &Site<'_>, auth: &str) -> Outcome {
    site.amend(FILE, |text| {
        let lines = text
            .lines()
            .map(|line| if line.starts_with("auth") { auth } else { line });
        lines.map(|line| format!("{line}\n")).collect()
    })
}

/// By what the server of a record proved itself.
fn method(record: &Value) -> Result<String, Fault> {
    let leaf: Value = serde_json::from_str(record["leaf"].as_str().ok_or("no leaf")?)?;
    Ok(leaf["client_auth"]["method"].as_str().unwrap_or_default().to_owned())
}

/// Asks with an assertion; the reason of a refusal, or nothing.
async fn ask(replica: &Replica<'_>, site: &Site<'_>, assertion: &str) -> Result<String, Fault> {
    let reply = replica
        .exchange_asserting(assertion, &site.user("alice")?, TARGET)
        .await?;
    Ok(reply.text("reason").to_owned())
}

pub(crate) async fn openid_client_and_authlib_sign_and_what_they_signed_serves_once(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    let jwk = keyed(&site, "")?;
    let broker = site.start().await?;
    let mut used = Vec::new();
    for client in [OAuthClient::OpenidClient, OAuthClient::AuthlibForIssuer] {
        let done = client.exchange(testbed, &site, By::Key(&jwk), false).await?;
        assert_eq!(done["response"]["scope"], "read-tickets", "{client:?}: {done}");
        let sent = done["assertion"].as_str().ok_or("no assertion")?.to_owned();
        assert_eq!(unverified_claims(&sent)?["aud"], site.identifier);
        assert_eq!(
            ask(&broker, &site, &sent).await?,
            "client.assertion_replay",
            "{client:?}"
        );
        used.push(sent);
    }
    let refused = OAuthClient::Authlib
        .exchange(testbed, &site, By::Key(&jwk), false)
        .await?;
    assert_eq!(
        (&refused["error"]["error"], &refused["error"]["reason"]),
        (&json!("invalid_client"), &json!("client.aud"))
    );

    let records = broker.all("issuances").await?;
    let issued = records
        .iter()
        .find(|record| record["outcome"] == "issued")
        .ok_or("no record")?;
    assert_eq!(method(issued)?, "private_key_jwt");
    let replays = records
        .iter()
        .filter(|record| record["reason"] == "client.assertion_replay");
    assert_eq!(replays.count(), 2, "a replay is a record");

    broker.kill().await?;
    site.amend(FILE, |text| {
        text.replace(" }] } }", " }] }, legacy_assertion_audience = true }")
    })?;
    let broker = site.start().await?;
    for sent in &used {
        assert_eq!(
            ask(&broker, &site, sent).await?,
            "client.assertion_replay",
            "after a restart"
        );
    }
    let done = OAuthClient::Authlib
        .exchange(testbed, &site, By::Key(&jwk), false)
        .await?;
    assert_eq!(done["response"]["scope"], "read-tickets", "{done}");
    Ok(())
}

pub(crate) async fn an_assertion_serves_once_at_all_replicas_and_a_denial_uses_it_up(testbed: &Testbed) -> Outcome {
    let postgres = testbed.postgres().await?;
    let site = Site::new(
        testbed,
        postgres.target().await?,
        &Store::Postgres(postgres.empty().await?),
    )
    .await?;
    let jwk = keyed(&site, "")?;
    let (first, second) = (site.start().await?, site.start().await?);
    let signed = |jti: &str, tweak: Value| {
        let user = unverified_claims(&site.user("alice")?)?;
        let now = user["iat"].as_i64().ok_or("no iat")?;
        let mut claims = json!({
            "iss": SERVER, "sub": SERVER, "aud": site.identifier, "iat": now, "exp": now + 60, "jti": jti
        });
        for (name, value) in tweak.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        assertion(&jwk, &claims)
    };
    let one = signed("one", json!({}))?;
    // Changed behind the signature: refused, and it uses up nothing.
    let (head, tail) = one.rsplit_once('.').ok_or("no signature")?;
    let other = if tail.starts_with('A') { "B" } else { "A" };
    assert_eq!(
        ask(&first, &site, &format!("{head}.{other}{}", &tail[1..])).await?,
        "client.unauthenticated"
    );
    assert_eq!(ask(&first, &site, &one).await?, "");
    for replica in [&second, &first] {
        assert_eq!(ask(replica, &site, &one).await?, "client.assertion_replay");
    }
    let denied = signed("two", json!({}))?;
    let reply = second
        .exchange_asserting(&denied, &site.user("alice")?, ("api", "no-such-grant"))
        .await?;
    assert_eq!(reply.text("error"), "invalid_scope");
    assert_eq!(ask(&first, &site, &denied).await?, "client.assertion_replay");
    for (tweak, reason) in [
        (json!({"aud": [site.identifier, "https://other.example"]}), "client.aud"),
        (json!({"exp": 4_102_444_800_i64}), "client.assertion_invalid"),
        (json!({"iss": "nobody", "sub": "nobody"}), "client.unauthenticated"),
        (json!({"sub": "wiki"}), "client.assertion_invalid"),
    ] {
        assert_eq!(
            ask(&first, &site, &signed("three", tweak.clone())?).await?,
            reason,
            "{tweak}"
        );
    }
    assert_eq!(
        ask(&first, &site, &signed("three", json!({}))?).await?,
        "",
        "none of these used the id up"
    );
    Ok(())
}

pub(crate) async fn the_library_signs_or_sends_its_platforms_token_and_reports_uses(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    keyed(&site, "")?;
    let private = site.path("tickets.json");
    let mode = fs::metadata(&private)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let broker = site.start().await?;
    let key = PrivateKey::from_jwk(&Secret::new(fs::read_to_string(private)?))?;
    uses_one(&site, Client::builder_with_key(&site.identifier, SERVER, key)).await?;
    let records = broker.all("issuances").await?;
    let used = records.iter().find(|record| record["event"] == "use").ok_or("no use")?;
    assert_eq!(method(used)?, "private_key_jwt");
    broker.kill().await?;

    let platform = "system:serviceaccount:tools:tickets";
    proves(
        &site,
        &format!("auth = {{ method = \"workload\", issuer = \"dev\", sub = \"{platform}\" }}"),
    )?;
    let broker = site.start().await?;
    let file = site.path("token");
    fs::write(&file, site.workload(platform)?)?;
    let before = broker.all("issuances").await?.len();
    uses_one(
        &site,
        Client::builder_with_assertion_file(&site.identifier, SERVER, &file),
    )
    .await?;
    let records = broker.all("issuances").await?;
    let new: Vec<_> = records.iter().take(records.len() - before).collect();
    assert_eq!(new.len(), 2);
    for record in new {
        assert_eq!(method(record)?, "workload");
    }
    fs::write(&file, site.workload("system:serviceaccount:tools:wiki")?)?;
    let refused = uses_one(
        &site,
        Client::builder_with_assertion_file(&site.identifier, SERVER, &file),
    )
    .await;
    assert!(refused.is_err_and(|fault| fault.to_string().contains("client.unauthenticated")));
    Ok(())
}

/// Gets a credential, uses it and reports that.
async fn uses_one(site: &Site<'_>, builder: procura_client::Builder) -> Outcome {
    let authority = site.authority.as_ref().ok_or("no TLS")?;
    let client = builder.ca_pem(authority.certificate.clone()).build()?;
    let session = client.session(Secret::new(site.user("alice")?));
    let credential = session.bearer(TARGET.0, TARGET.1).get().await?;
    credential.begin("call-1").await?.finish(UseOutcome::Ok, None);
    Ok(client.shutdown().await?)
}
