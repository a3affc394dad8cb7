//! Proofs of a key (RFC 9449).

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use procura_client::{ProofKey, Secret};
use serde_json::{Value, json};

use crate::kit::{Broker, user};

/// Claims of a proof that the key in its header signed, by a library of its own.
fn claims(proof: &str) -> Value {
    let header = jsonwebtoken::decode_header(proof).expect("a header");
    assert_eq!(header.typ.as_deref(), Some("dpop+jwt"));
    let key = DecodingKey::from_jwk(&header.jwk.expect("a key")).expect("a public key");
    let mut rules = Validation::new(Algorithm::ES256);
    rules.validate_exp = false;
    rules.required_spec_claims.clear();
    jsonwebtoken::decode(proof, &key, &rules).expect("signed").claims
}

fn sent(broker: &Broker) -> Vec<Value> {
    let script = broker.script();
    let proofs = script.heads.iter().map(|head| head["dpop"].to_str().expect("text"));
    proofs.map(claims).collect()
}

#[tokio::test]
async fn each_try_has_a_proof_of_its_own_and_a_nonce_is_sent_at_once() {
    let broker = Broker::start().await;
    let (client, _) = broker.proving_client();
    broker.script().token_failures = [(400, "dpop.nonce")].into();
    let session = user(&client, "subject");
    session.bearer("api", "read").get().await.expect("a credential");
    session.bearer("api", "write").get().await.expect("a credential");
    let proofs = sent(&broker);
    let nonces: Vec<_> = proofs.iter().map(|proof| proof["nonce"].clone()).collect();
    assert_eq!(
        nonces,
        [Value::Null, json!("n1"), json!("n1")],
        "the last nonce is kept"
    );
    for proof in &proofs {
        assert_eq!(
            (&proof["htm"], &proof["htu"]),
            (&json!("POST"), &json!(format!("{}/token", broker.url)))
        );
        assert!(proof["iat"].is_i64() && proof["ath"].is_null());
        assert_eq!(proofs.iter().filter(|other| other["jti"] == proof["jti"]).count(), 1);
    }
}

#[tokio::test]
async fn a_second_challenge_is_an_error() {
    let broker = Broker::start().await;
    let (client, _) = broker.proving_client();
    broker.script().token_failures = [(400, "dpop.nonce"), (400, "dpop.nonce")].into();
    let error = user(&client, "subject")
        .bearer("api", "read")
        .get()
        .await
        .expect_err("refused");
    assert_eq!(error.refusal().map(|refusal| &*refusal.body.reason), Some("dpop.nonce"));
    assert_eq!(broker.exchanges(), 2);
}

#[tokio::test]
async fn without_a_key_there_is_no_proof() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    session.bearer("api", "read").get().await.expect("a credential");
    assert!(!broker.script().heads[0].contains_key("dpop"));
    let token = Secret::new("t".to_owned());
    assert!(session.proof("GET", "https://api.example.com/", &token, None).is_err());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test looks at the proof")]
async fn a_use_is_proved_for_its_token() {
    let broker = Broker::start().await;
    let (client, _) = broker.proving_client();
    let session = user(&client, "subject");
    let uri = "https://api.example.com/issues";
    let proof = session.proof("GET", uri, &Secret::new("t".to_owned()), Some("n2"));
    let proof = claims(proof.expect("a proof").expose());
    // SHA-256 of `t`.
    assert_eq!(proof["ath"], "47mKTaMaEn1L3m5DAz9muidMqw636xxw7EFAK_YnPdg");
    assert_eq!(
        (&proof["htm"], &proof["htu"], &proof["nonce"]),
        (&json!("GET"), &json!(uri), &json!("n2"))
    );
}

#[test]
fn a_key_shows_its_thumbprint_and_no_more() {
    let key = ProofKey::generate().expect("a key");
    assert_eq!(format!("{key:?}"), format!("ProofKey({:?})", key.thumbprint()));
    assert!(ProofKey::from_pkcs8(b"no key").is_err());
}
