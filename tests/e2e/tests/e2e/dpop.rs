//! Sender-constrained tokens (RFC 9449): nonces, proofs that are taken once, bound tokens, and real clients and issuers.

use std::fs;

use procura_client::{ProofKey, Secret, UseOutcome};
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    http::{Reply, exchange, unverified_claims},
    keycloak::RESOURCE,
    serve::{DATABASE, Replica, Site, Store},
};
use serde_json::{Value, json};

use crate::{
    trusted::{self, Trusted, until},
    upstream::stage::{audience, write},
};

/// A target whose tokens the broker signs, and its grant.
const API: (&str, &str) = ("api", "read-tickets");

fn clear(secret: &Secret) -> &str {
    #[expect(clippy::disallowed_methods, reason = "the test sends it")]
    secret.expose()
}

fn nonce(reply: &Reply) -> Result<&str, Fault> {
    Ok(reply.headers.get("dpop-nonce").ok_or("no nonce")?.to_str()?)
}

fn refusal(reply: &Reply) -> (u16, &str, &str) {
    (reply.status, reply.text("error"), reply.text("reason"))
}

/// What a record says in clear.
fn leaf(record: &Reply) -> Result<Value, Fault> {
    Ok(serde_json::from_str(record.text("leaf"))?)
}

/// A proof for the token endpoint of a site.
fn proof(site: &Site<'_>, key: &ProofKey, nonce: Option<&str>) -> Result<Secret, Fault> {
    Ok(key.proof("POST", &format!("{}/token", site.identifier), None, nonce)?)
}

const REPLAYED: (u16, &str, &str) = (400, "invalid_dpop_proof", "dpop.replay");

pub(crate) async fn a_proof_needs_a_nonce_and_is_taken_once_by_all_replicas_also_after_a_restart(
    testbed: &Testbed,
) -> Outcome {
    let postgres = testbed.postgres().await?;
    let store = Store::Postgres(postgres.empty().await?);
    let site = Site::new(testbed, postgres.target().await?, &store).await?;
    let (one, other) = (site.start().await?, site.start().await?);
    let (key, user) = (ProofKey::generate()?, site.user("alice")?);
    let ask = async |at: &Replica<'_>, proof: &Secret| at.exchange_proving(&user, API, clear(proof)).await;

    let without = ask(&one, &proof(&site, &key, None)?).await?;
    assert_eq!(refusal(&without), (400, "use_dpop_nonce", "dpop.nonce"));
    let nonce = nonce(&without)?.to_owned();
    let first = proof(&site, &key, Some(&nonce))?;
    let issued = ask(&other, &first).await?.expect_status(200)?;
    assert_eq!(issued.text("token_type"), "DPoP");
    let claims = unverified_claims(issued.text("access_token"))?;
    assert_eq!(claims["cnf"], json!({"jkt": key.thumbprint()}));
    for replica in [&one, &other] {
        assert_eq!(refusal(&ask(replica, &first).await?), REPLAYED);
    }
    let record = one.api(&format!("/issuances/{}", issued.text("issuance_id"))).await?;
    assert_eq!(leaf(&record)?["cnf"], json!({"jkt": key.thumbprint()}));

    other.kill().await?;
    let restarted = site.start().await?;
    assert_eq!(refusal(&ask(&restarted, &first).await?), REPLAYED);
    let second = proof(&site, &key, Some(&nonce))?;
    ask(&restarted, &second).await?.expect_status(200)?;
    // A log-in cannot be bound, and its proof is used up all the same.
    let third = proof(&site, &key, Some(&nonce))?;
    let row = one.exchange_proving(&user, DATABASE, clear(&third)).await?;
    assert_eq!(row.expect_status(200)?.text("token_type"), "N_A");
    assert_eq!(refusal(&ask(&restarted, &third).await?), REPLAYED);
    Ok(())
}

pub(crate) async fn a_token_of_oidc_provider_that_is_bound_needs_its_key(testbed: &Testbed) -> Outcome {
    let issuer = testbed.oidc_provider().await?;
    let file = trusted::oidc_provider(issuer);
    let trusted = Trusted::start(testbed, &[("bound", &file)]).await?;
    let key = ProofKey::generate()?;
    let token = issuer.bound_token(&key, RESOURCE).await?;
    needs_its_key(&trusted, &token, &key).await?;

    let present = format!("trusted_presenters = [\"{}\"]\n{file}", trusted.broker.dev.client_id);
    fs::write(trusted.path("bundle/issuers/bound.toml"), present)?;
    let issued = until(async || trusted.exchange(&token).await, |reply| reply.status == 200).await?;
    let record = trusted.broker.record(issued.text("issuance_id")).await?;
    assert_eq!(leaf(&record)?["binding"], "not_proven");
    Ok(())
}

/// Keycloak is asked about each token too: what it answers about a bound one names the key as well.
pub(crate) async fn a_token_of_keycloak_that_is_bound_needs_its_key(testbed: &Testbed) -> Outcome {
    let issuer = testbed.keycloak().await?;
    let (client, asks) = ("bound-desk", "triage-bot");
    issuer
        .register(&json!({
            "clientId": client,
            "publicClient": true,
            "standardFlowEnabled": false,
            "directAccessGrantsEnabled": true,
            "attributes": { "dpop.bound.access.tokens": "true" },
            "protocolMappers": [
                audience("tickets", "included.custom.audience", RESOURCE),
                audience("asks", "included.client.audience", asks),
            ],
        }))
        .await?;
    let introspection = format!("{{ client_id = \"{asks}\", secret = \"dev:keycloak\", mode = \"always\" }}");
    let file = format!("{}introspection = {introspection}\n", trusted::keycloak(issuer));
    let trusted = Trusted::start(testbed, &[("bound", &file)]).await?;
    write(&trusted.path(".procura/secrets/keycloak"), "triage-bot-secret", 0o600)?;
    assert!(
        issuer.user_token_for(client, "alice").await.is_err(),
        "it binds all of its tokens"
    );
    let key = ProofKey::generate()?;
    let token = issuer.bound_token(client, "alice", &key).await?;
    needs_its_key(&trusted, &token, &key).await
}

/// Refused without a proof and with another key's, taken with its own: what is issued is bound to it too.
async fn needs_its_key(trusted: &Trusted, token: &str, key: &ProofKey) -> Outcome {
    let broker = &trusted.broker;
    let bound = unverified_claims(token)?;
    assert_eq!(bound["cnf"]["jkt"], key.thumbprint(), "{bound}");
    let plain = trusted.exchange(token).await?;
    assert_eq!(
        refusal(&plain),
        (400, "invalid_request", "pop.unproven"),
        "{}",
        plain.body
    );
    let fields = exchange(token, trusted::API.0, trusted::API.1);
    let ask = async |key: &ProofKey, nonce: Option<&str>| -> Result<Reply, Fault> {
        let proof = key.proof("POST", &broker.dev.token_endpoint, None, nonce)?;
        broker.exchange_proving(&fields, clear(&proof)).await
    };
    let stranger = ProofKey::generate()?;
    let challenge = ask(&stranger, None).await?;
    let nonce = nonce(&challenge)?;
    let wrong = ask(&stranger, Some(nonce)).await?;
    assert_eq!(refusal(&wrong), (400, "invalid_request", "pop.unproven"));
    let issued = ask(key, Some(nonce)).await?.expect_status(200)?;
    let claims = unverified_claims(issued.text("access_token"))?;
    assert_eq!(claims["cnf"]["jkt"], key.thumbprint());
    let record = broker.record(issued.text("issuance_id")).await?;
    assert_eq!(leaf(&record)?["binding"], "proven");
    Ok(())
}

pub(crate) async fn an_operators_bound_token_is_no_bearer_token(testbed: &Testbed) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let broker = site.start().await?;
    let key = ProofKey::generate()?;
    let token = site.operator_with(json!({"cnf": {"jkt": key.thumbprint()}}))?;
    let uri = format!("{}/v1/issuances", site.identifier);
    let proof = |token: &str| key.proof("GET", &uri, Some(&Secret::new(token.to_owned())), None);
    let get = async |scheme: &str, token: &str, proof: Option<&Secret>| {
        let reply = broker
            .api_as("/issuances", &format!("{scheme} {token}"), proof.map(clear))
            .await;
        reply.map(|reply| (reply.status, reply.text("reason").to_owned(), reply))
    };
    let refused = |seen: &(u16, String, Reply), reason: &str| assert_eq!((seen.0, &*seen.1), (401, reason));
    let bearer = get("Bearer", &token, None).await?;
    refused(&bearer, "v1.unauthenticated");
    let challenges = bearer.2.headers.get_all("www-authenticate").iter();
    let dpop = |value: &&_| format!("{value:?}").contains("DPoP ") && format!("{value:?}").contains("algs=");
    assert_eq!(
        challenges
            .collect::<Vec<_>>()
            .iter()
            .filter(|value| dpop(value))
            .count(),
        1
    );
    refused(
        &get("Bearer", &token, Some(&proof(&token)?)).await?,
        "v1.unauthenticated",
    );
    refused(&get("DPoP", &token, None).await?, "dpop.required");
    refused(&get("DPoP", &token, Some(&proof("another")?)).await?, "dpop.ath");
    let stale = key.proof("GET", &uri, Some(&Secret::new(token.clone())), Some("stale"))?;
    let challenge = get("DPoP", &token, Some(&stale)).await?;
    refused(&challenge, "dpop.nonce");
    assert!(!nonce(&challenge.2)?.is_empty());
    let valid = proof(&token)?;
    assert_eq!(get("DPoP", &token, Some(&valid)).await?.0, 200);
    refused(&get("DPoP", &token, Some(&valid)).await?, "dpop.replay");
    let unbound = site.operator_with(json!({}))?;
    refused(
        &get("DPoP", &unbound, Some(&proof(&unbound)?)).await?,
        "v1.unauthenticated",
    );
    Ok(())
}

pub(crate) async fn the_library_proves_its_key(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    let _broker = site.start().await?;
    let user = site.user("alice")?;
    let key = ProofKey::generate()?;
    let thumbprint = key.thumbprint().to_owned();
    let client = site.client_builder()?.proof_key(key).build()?;
    let session = client.session(Secret::new(user));
    let credential = session.bearer(API.0, API.1).get().await?;
    let used = credential.begin("call-1").await?;
    assert_eq!(unverified_claims(clear(used.value()))?["cnf"]["jkt"], thumbprint);
    let proof = session.proof("GET", "https://api.example/v1/tickets", used.value(), None)?;
    assert!(unverified_claims(clear(&proof))?["ath"].is_string());
    used.finish(UseOutcome::Ok, None);
    client.shutdown().await?;
    Ok(())
}
