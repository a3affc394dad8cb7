//! OAuth clients of somebody else's: they find the broker by its metadata and prove themselves, and their keys, in each way.

use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use procura_e2e::{
    Fault, Testbed,
    authority::{ClientName, self_signed_client},
    harness::Outcome,
    http::unverified_claims,
    oauth_client::{By, OAuthClient},
    serve::{Replica, Site},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use crate::mtls::{HOST, TICKETS, prove_by, recorded, speaking};

const LIBRARIES: [OAuthClient; 2] = [OAuthClient::OpenidClient, OAuthClient::AuthlibForIssuer];

/// What the issued token is bound to.
fn bound(done: &Value) -> Result<Value, Fault> {
    let token = done["response"]["access_token"].as_str();
    let token = token.ok_or_else(|| format!("no token: {done}"))?;
    Ok(unverified_claims(token)?["cnf"].clone())
}

/// RFC 8705 section 3.1.
fn thumbprint((pem, _): &(String, String)) -> Result<Value, Fault> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    Ok(json!({ "x5t#S256": BASE64.encode(digest(&SHA256, &der)) }))
}

/// By what the server of an answer proved itself, as its record has it.
async fn method(broker: &Replica<'_>, done: &Value) -> Result<String, Fault> {
    let recorded = recorded(broker, &(200, done["response"].clone())).await?;
    Ok(recorded["method"].as_str().unwrap_or_default().to_owned())
}

pub(crate) async fn openid_client_authlib_and_curl_prove_themselves_by_certificates(testbed: &Testbed) -> Outcome {
    let (site, clients) = speaking(testbed).await?;
    site.amend(TICKETS, |text| {
        format!("certificate_bound_access_tokens = true\n{text}")
    })?;
    let mut peers = LIBRARIES.to_vec();
    peers.push(OAuthClient::Curl);
    let known = clients.issue_client(ClientName::Dns(HOST))?;
    let (own, jwk) = self_signed_client()?;
    for (name, more, certificate, other) in [
        ("tls_client_auth", format!("san_dns = \"{HOST}\""), &known, &own),
        (
            "self_signed_tls_client_auth",
            format!("jwks = {{ keys = [{jwk}] }}"),
            &own,
            &known,
        ),
    ] {
        prove_by(&site, &format!("method = \"{name}\", {more}"))?;
        let broker = site.start().await?;
        for client in &peers {
            let done = client
                .exchange(testbed, &site, By::Certificate(name, certificate), false)
                .await?;
            assert_eq!(bound(&done)?, thumbprint(certificate)?, "{client:?}: {done}");
            assert_eq!(method(&broker, &done).await?, name);
            let refused = client
                .exchange(testbed, &site, By::Certificate(name, other), false)
                .await?;
            assert_eq!(
                (&refused["error"]["error"], &refused["error"]["reason"]),
                (&json!("invalid_client"), &json!("client.mtls")),
                "{client:?}: {refused}"
            );
        }
        broker.kill().await?;
    }
    Ok(())
}

/// Twice with one key: the first proof is asked for a nonce, the second exchange has one from the start.
async fn prove(testbed: &Testbed, site: &Site<'_>, by: By<'_>, expected: &str) -> Outcome {
    let broker = site.start().await?;
    for client in LIBRARIES {
        let done = client.exchange(testbed, site, by, true).await?;
        assert_eq!(bound(&done)?, json!({ "jkt": done["jkt"] }), "{client:?}: {done}");
        assert_eq!(done["statuses"], json!([400, 200, 200]), "{client:?}: {done}");
        let ty = done["response"]["token_type"].as_str().unwrap_or_default();
        assert!(ty.eq_ignore_ascii_case("DPoP"), "{client:?}: {ty}");
        let method = method(&broker, &done).await?;
        assert!(method.starts_with(expected), "{client:?}: {method}");
    }
    broker.kill().await
}

pub(crate) async fn openid_client_and_authlib_bind_tokens_to_their_keys_however_they_prove_themselves(
    testbed: &Testbed,
) -> Outcome {
    let (site, _) = speaking(testbed).await?;
    prove(testbed, &site, By::Secret, "client_secret").await?;

    let line = site.new_key("tickets.json")?;
    let jwk: Value = serde_json::from_slice(&fs::read(site.path("tickets.json"))?)?;
    let auth = line.strip_prefix("auth = { ").and_then(|line| line.strip_suffix(" }"));
    prove_by(&site, auth.ok_or("no line for the server's file")?)?;
    prove(testbed, &site, By::Key(&jwk), "private_key_jwt").await?;

    let (own, jwk) = self_signed_client()?;
    let name = "self_signed_tls_client_auth";
    prove_by(&site, &format!("method = \"{name}\", jwks = {{ keys = [{jwk}] }}"))?;
    prove(testbed, &site, By::Certificate(name, &own), name).await
}
