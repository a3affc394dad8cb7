//! Servers that prove themselves by a key or by a file of their platform.

use std::{collections::BTreeMap, fs};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use procura_client::{Client, Error, PrivateKey, Secret};
use serde_json::{Value, json};
use tokio::time::advance;

use crate::kit::{Broker, user};

/// RFC 7515 appendix A.3.
const JWK: &str = r#"{"kty":"EC","crv":"P-256","kid":"k1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
/// RFC 8037 appendix A.1.
const ED25519: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn key(jwk: &str) -> Result<PrivateKey, Error> {
    PrivateKey::from_jwk(&Secret::new(jwk.to_owned()))
}

fn client(broker: &Broker) -> Client {
    let builder = Client::builder_with_key(&broker.url, "tickets", key(JWK).expect("a key"));
    builder.build().expect("a client")
}

/// The claims of an assertion whose signature is right.
fn claims(form: &BTreeMap<String, String>, audience: &str) -> Value {
    assert_eq!(form["client_id"], "tickets");
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let text = &form["client_assertion"];
    let header = decode_header(text).expect("a header");
    assert_eq!(
        (header.kid.as_deref(), header.typ.as_deref()),
        (Some("k1"), Some("client-authentication+jwt"))
    );
    let public: Value = serde_json::from_str(JWK).expect("json");
    let public = DecodingKey::from_ec_components(public["x"].as_str().expect("x"), public["y"].as_str().expect("y"));
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[audience]);
    decode::<Value>(text, &public.expect("a key"), &validation)
        .expect("valid")
        .claims
}

#[tokio::test]
async fn req_073_each_request_carries_an_assertion_of_its_own_and_no_secret() {
    let broker = Broker::start().await;
    let client = client(&broker);
    let session = user(&client, "subject");
    for grant in ["read", "write"] {
        session.bearer("api", grant).get().await.expect("a credential");
    }
    let script = broker.script();
    let mut seen = Vec::new();
    for (form, head) in script.exchanges.iter().zip(&script.heads) {
        assert!(!head.contains_key("authorization") && !form.contains_key("client_secret"));
        let claims = claims(form, &broker.url);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("tickets"), &json!("tickets")));
        let life = claims["exp"]
            .as_i64()
            .zip(claims["iat"].as_i64())
            .map(|(exp, iat)| exp - iat);
        assert_eq!(life, Some(60));
        seen.push(claims["jti"].as_str().expect("jti").to_owned());
    }
    assert_eq!(seen.len(), 2);
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test(start_paused = true)]
async fn req_075_another_try_is_signed_anew() {
    let broker = Broker::start().await;
    broker.script().token_failures.push_back((503, "server.overloaded"));
    user(&client(&broker), "subject")
        .bearer("api", "read")
        .get()
        .await
        .expect("a credential");
    let script = broker.script();
    let [first, second] = script.exchanges.as_slice() else {
        panic!("two tries")
    };
    assert_ne!(claims(first, &broker.url)["jti"], claims(second, &broker.url)["jti"]);
}

#[tokio::test(start_paused = true)]
async fn uses_are_reported_in_a_form_with_an_assertion() {
    let broker = Broker::start().await;
    let client = client(&broker);
    let session = user(&client, "subject");
    let credential = session
        .bearer("api", "read")
        .tool_call_id("1")
        .get()
        .await
        .expect("a credential");
    drop(credential.begin("2").await.expect("a use"));
    advance(std::time::Duration::from_secs(1)).await;
    client.shutdown().await.expect("all reported");
    let script = broker.script();
    assert_eq!(script.batches.concat()[0]["tool_call_id"], "2");
    claims(&script.use_forms[0], &broker.url);
}

#[tokio::test]
async fn a_token_in_a_file_is_read_for_each_request() {
    let broker = Broker::start().await;
    let file = std::env::temp_dir().join(format!("procura-client-{}", std::process::id()));
    fs::write(&file, "first\n").expect("written");
    let builder = Client::builder_with_assertion_file(&broker.url, "tickets", &file);
    let client = builder.build().expect("a client");
    let session = user(&client, "subject");
    session.bearer("api", "read").get().await.expect("a credential");
    fs::write(&file, "second").expect("written");
    session.bearer("api", "write").get().await.expect("a credential");
    fs::remove_file(&file).expect("removed");
    let gone = session.bearer("api", "delete").get().await.err();
    assert!(matches!(gone, Some(Error::Setting(_))), "{gone:?}");
    let sent: Vec<_> = broker
        .script()
        .exchanges
        .iter()
        .map(|form| form["client_assertion"].clone())
        .collect();
    assert_eq!(sent, ["first", "second"]);
}

#[test]
fn keys_that_are_none_are_refused_and_never_quoted() {
    assert!(key(ED25519).is_ok());
    for jwk in [
        "",
        "{}",
        &JWK.replace("P-256", "P-384"),
        &JWK.replace("\"d\":\"j", "\"d\":\"k"),
        &JWK.replace("EC", "RSA"),
        &JWK.replace("\"d\"", "\"D\""),
    ] {
        let error = key(jwk).expect_err("no key").to_string();
        assert!(
            error.contains("no private JWK") && !error.contains("psQnnGQ"),
            "{error}"
        );
    }
    assert_eq!(
        format!("{:?}", key(JWK).expect("a key")),
        r#"PrivateKey { kid: Some("k1"), .. }"#
    );
}
