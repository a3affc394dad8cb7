//! The identity provider's word as grant, brought by the MCP SDKs' own clients.

use procura_e2e::{
    Testbed,
    harness::Outcome,
    http::unverified_claims,
    id_jag_client::IdJagClient,
    serve::{SERVER, Site, Store},
};
use serde_json::json;

pub(crate) async fn the_sdks_present_an_id_jag_and_it_serves_once(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    // What the clients want a token for: it answers 401 without one.
    let resource = format!("{}/v1/issuances", site.identifier);
    site.amend("policies/targets/api.toml", |text| {
        text.replace("https://api.example/v1", &resource)
    })?;
    site.amend("policies/issuers/dev.toml", |text| {
        format!("id_jag = \"single-use\"\n{text}")
    })?;
    let broker = site.start().await?;
    let metadata = broker.metadata().await?.body;
    assert_eq!(
        metadata["authorization_grant_profiles_supported"],
        json!(["urn:ietf:params:oauth:grant-profile:id-jag"])
    );
    let granted =
        json!({ "client_id": SERVER, "resource": resource, "scope": "read-tickets openid", "groups": ["support"] });
    for client in [IdJagClient::Npm, IdJagClient::Python] {
        let assertion = site.id_jag("alice", granted.clone())?;
        let done = client.present(testbed, &site, &assertion, &resource).await?;
        let response = &done["response"];
        assert_eq!(response["scope"], "read-tickets", "{client:?}: {done}");
        let claims = unverified_claims(response["access_token"].as_str().ok_or("no token")?)?;
        assert_eq!(claims["aud"], json!(resource));
        let again = client.present(testbed, &site, &assertion, &resource).await?;
        let error = again["error"].as_str().unwrap_or_default();
        assert!(
            error.contains("invalid_grant") || error.contains("idjag.replay"),
            "{client:?}: {again}"
        );
        let foreign = site.id_jag(
            "alice",
            json!({ "client_id": "wiki", "resource": resource, "scope": "read-tickets" }),
        )?;
        let refused = client.present(testbed, &site, &foreign, &resource).await?;
        assert!(refused["error"].is_string(), "{client:?}: {refused}");
    }
    let records = broker.all("issuances").await?;
    let count = |name: &str, value: &str| records.iter().filter(|record| record[name] == value).count();
    assert_eq!(count("outcome", "issued"), 2);
    assert_eq!(
        (count("reason", "idjag.replay"), count("reason", "idjag.client")),
        (2, 2)
    );
    Ok(())
}
