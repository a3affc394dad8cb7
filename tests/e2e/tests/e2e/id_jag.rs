//! The identity provider's word as grant, brought by the MCP SDKs' own clients.

use procura_e2e::{
    Testbed,
    harness::Outcome,
    http::unverified_claims,
    id_jag_client::{Sdk, present},
    serve::{SERVER, Site, Store},
};
use serde_json::json;

const RESOURCE: &str = "https://api.example/v1";

pub(crate) async fn the_sdks_present_id_jags_and_each_serves_once(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    site.amend("policies/issuers/dev.toml", |text| {
        format!("id_jag = \"single-use\"\n{text}")
    })?;
    let broker = site.start().await?;
    let metadata = broker.metadata().await?.body;
    assert_eq!(
        metadata["authorization_grant_profiles_supported"],
        json!(["urn:ietf:params:oauth:grant-profile:id-jag"])
    );
    let granted = |client: &str| json!({ "client_id": client, "resource": RESOURCE, "scope": "read-tickets openid", "groups": ["support"] });
    let sdks = [Sdk::NpmFunction, Sdk::NpmProvider, Sdk::PythonProvider];
    for sdk in sdks {
        let assertion = site.id_jag("alice", granted(SERVER))?;
        let done = present(testbed, &site, sdk, (RESOURCE, &assertion)).await?;
        let response = &done["response"];
        assert_eq!(response["scope"], "read-tickets", "{sdk:?}: {done}");
        let claims = unverified_claims(response["access_token"].as_str().ok_or("no token")?)?;
        assert_eq!(claims["aud"], RESOURCE);
        let again = present(testbed, &site, Sdk::NpmFunction, (RESOURCE, &assertion)).await?;
        assert!(again["error"].is_string(), "{sdk:?}: {again}");
    }
    let foreign = site.id_jag("alice", granted("wiki"))?;
    let refused = present(testbed, &site, Sdk::PythonProvider, (RESOURCE, &foreign)).await?;
    assert!(refused["error"].is_string(), "{refused}");
    let records = broker.all("issuances").await?;
    let count = |name: &str, value: &str| records.iter().filter(|record| record[name] == value).count();
    assert_eq!(count("outcome", "issued"), sdks.len());
    assert_eq!(
        (count("reason", "idjag.replay"), count("reason", "idjag.client")),
        (sdks.len(), 1)
    );
    Ok(())
}
