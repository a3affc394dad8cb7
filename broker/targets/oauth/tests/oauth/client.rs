//! How the broker proves which client it is, and what becomes of it when its secret is rotated.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    encoding::AsBigEndian,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use procura_contract::upstream::CLIENT;
use procura_core::{
    kind::{MintError, ProofError},
    ports::Clock,
    source::SourceSecret,
};
use procura_wire::Secret;
use serde_json::{Value, json};

use crate::bed::{Bed, grant};

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        BASE64_STANDARD.encode(der)
    )
}

#[tokio::test]
async fn a_secret_goes_into_the_header_or_into_the_form_and_not_into_both() {
    let bed = Bed::new();
    bed.mint(&bed.asked()).await.expect("minted");
    let heard = bed.upstream.heard().pop().expect("a request");
    assert!(heard.authorization.starts_with("Basic ") && !heard.form.contains_key("client_secret"));
    assert!(!heard.form.contains_key("client_id"));

    let bed = Bed::with(&grant(), |own, _| own["client_auth"] = json!("client_secret_post"));
    bed.mint(&bed.asked()).await.expect("minted");
    let heard = bed.upstream.heard().pop().expect("a request");
    assert_eq!(heard.authorization, "");
    assert_eq!(
        (heard.form["client_id"].as_str(), heard.form["client_secret"].as_str()),
        CLIENT
    );
}

#[tokio::test]
async fn attack_148_a_rotated_secret_is_taken_from_its_source_within_the_mint() {
    let bed = Bed::new();
    bed.mint(&bed.asked()).await.expect("minted");
    bed.upstream.set_secret("second");
    bed.source
        .rotate(&json!({ "client_secret": "second" }).to_string(), "2");
    let asked = bed.asked();
    let minted = bed.mint(&asked).await.expect("minted");
    assert_eq!(minted.source_version.as_deref(), Some("2"));
    // An undo goes the same way.
    bed.upstream.set_secret("third");
    bed.source.rotate("third\n", "3");
    bed.minter
        .undo(asked.undoable(minted.receipt.as_ref()))
        .await
        .expect("undone");
    assert_eq!(bed.upstream.live(), 1, "the first");
}

#[tokio::test]
async fn a_secret_that_is_refused_until_the_deadline_is_named() {
    let bed = Bed::new();
    bed.upstream.set_secret("second");
    let mut asked = bed.asked();
    bed.minter.prepare(asked.budget).await.expect("endpoints");
    asked.budget = Duration::ZERO;
    let refused = bed.mint(&asked).await;
    assert!(matches!(refused, Err(MintError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn a_secret_of_the_wrong_form_is_never_sent() {
    for secret in ["", "{}", r#"{"client_secret":""}"#, r#"{"password":"x"}"#] {
        let bed = Bed::new();
        bed.source.rotate(secret, "2");
        bed.upstream.set_secret("second");
        let failed = bed.mint(&bed.asked()).await;
        assert!(matches!(failed, Err(MintError::Source(_))), "{secret:?}: {failed:?}");
    }
}

/// Mints with that private key; answers the header and the claims of the assertion, whose signature fits.
async fn asserted(secret: &str, algorithm: &'static dyn VerificationAlgorithm, public: &[u8]) -> (Value, Value) {
    let bed = Bed::with(&grant(), |own, _| own["client_auth"] = json!("private_key_jwt"));
    bed.upstream.take_any_client();
    let source = procura_contract::asked::GivenSource::new(secret);
    let clock = Arc::clone(&bed.clock);
    let minter = procura_contract::asked::open(&bed.target, source, Arc::clone(&clock) as _).expect("a minter");
    let mut ids = Vec::new();
    for _ in 0..2 {
        bed.asked().mint(&*minter, &*clock).await.expect("minted");
        let form = bed.upstream.heard().pop().expect("a request").form;
        assert_eq!(
            form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        ids.push(form["client_assertion"].clone());
    }
    let (signed, signature) = ids[1].rsplit_once('.').expect("a JWS");
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
    UnparsedPublicKey::new(algorithm, public)
        .verify(signed.as_bytes(), &decode(signature))
        .expect("a good signature");
    let part = |token: &str, at| -> Value {
        serde_json::from_slice(&decode(token.split('.').nth(at).expect("a part"))).expect("JSON")
    };
    let claims = part(&ids[1], 1);
    assert_ne!(part(&ids[0], 1)["jti"], claims["jti"]);
    assert_eq!(claims["aud"], bed.upstream.issuer());
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT.0), &json!(CLIENT.0)));
    assert_eq!(claims["exp"], json!(clock.now().as_second() + 60));
    (part(&ids[1], 0), claims)
}

#[tokio::test]
async fn an_assertion_is_signed_by_a_key_in_any_usual_form() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let public = pair.public_key().as_ref();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let d = pair.private_key().as_be_bytes().expect("a number");
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "own", "d": encode(d.as_ref()),
        "x": encode(&public[1..33]), "y": encode(&public[33..]),
    });
    let (header, _) = asserted(&jwk.to_string(), &ECDSA_P256_SHA256_FIXED, public).await;
    assert_eq!(header, json!({ "alg": "ES256", "typ": "JWT", "kid": "own" }));
    let pkcs8 = pair.to_pkcs8v1().expect("a document");
    let (header, _) = asserted(&pem("PRIVATE KEY", pkcs8.as_ref()), &ECDSA_P256_SHA256_FIXED, public).await;
    assert_eq!(header, json!({ "alg": "ES256", "typ": "JWT" }));

    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let document: aws_lc_rs::encoding::Pkcs8V1Der<'_> = aws_lc_rs::encoding::AsDer::as_der(&pair).expect("a document");
    let public = pair.public_key().as_ref();
    let (header, _) = asserted(
        &pem("PRIVATE KEY", document.as_ref()),
        &RSA_PKCS1_2048_8192_SHA256,
        public,
    )
    .await;
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
}

#[tokio::test]
async fn what_is_no_private_key_is_never_tried() {
    let bed = Bed::with(&grant(), |own, _| own["client_auth"] = json!("private_key_jwt"));
    bed.upstream.take_any_client();
    let failed = bed.mint(&bed.asked()).await;
    assert!(matches!(failed, Err(MintError::Source(_))), "{failed:?}");
    assert_eq!(bed.upstream.live(), 0);
}

#[tokio::test]
async fn the_probe_proves_the_client_without_making_a_token() {
    let bed = Bed::new();
    bed.minter.probe().await.expect("a good client");
    bed.upstream.set_secret("second");
    let probed = async {
        let (probed, ()) = futures_util::future::join(bed.minter.probe(), async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
                bed.clock.advance(Duration::from_millis(250));
            }
        })
        .await;
        probed
    };
    assert!(probed.await.is_err());
    assert_eq!(bed.upstream.live(), 0);
}

#[tokio::test]
async fn a_secret_is_proved_before_it_is_used_and_makes_no_token_for_that() {
    let bed = Bed::new();
    bed.minter.prove(version("2", CLIENT.1)).await.expect("proved");
    for (number, bad) in [("3", "second"), ("4", "")] {
        let proof = bed.minter.prove(version(number, bad)).await;
        assert!(matches!(proof, Err(ProofError::Refused(_))), "{proof:?}");
    }
    assert_eq!(bed.upstream.live(), 0);
}

fn version(number: &str, secret: &str) -> Arc<SourceSecret> {
    Arc::new(SourceSecret {
        value: Secret::new(secret.to_owned()),
        version: number.to_owned(),
    })
}
