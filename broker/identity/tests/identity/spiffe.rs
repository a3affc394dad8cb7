//! Client authentication by SVIDs (rules 130 to 132).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use procura_core::{catalogue::ServerAuth, identity::ClientAuthMethod};
use procura_wire::Reason;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose, date_time_ymd};
use serde_json::{Value, json};

use crate::{
    kit::{Answer, OURS, TestKey},
    pki::{Bed, Ca, client, dns, seconds, uri},
};

const ID: &str = "spiffe://example.org/ns/tools/tickets";

fn by_id(pattern: &str) -> ServerAuth {
    ServerAuth::Spiffe(pattern.parse().expect("pattern"))
}

fn x509(ca: &Ca) -> Value {
    json!({"use": "x509-svid", "kty": "EC", "x5c": [BASE64_STANDARD.encode(&ca.der)]})
}

fn jwt(key: &TestKey) -> Value {
    let mut jwk = key.jwk("k1");
    jwk["use"] = json!("jwt-svid");
    jwk
}

/// A trust domain `example.org` with one authority of each kind.
struct Domain {
    bed: Bed,
    ca: Ca,
    key: TestKey,
}

impl Domain {
    async fn new() -> Self {
        Self::beside("/nowhere".into()).await
    }

    async fn beside(file: std::path::PathBuf) -> Self {
        let servers = vec![("tickets", by_id(ID)), ("others", by_id("spiffe://other.org/*"))];
        let bed = Bed::new(servers, file).await;
        let domain = Self {
            bed,
            ca: Ca::new("example.org"),
            key: TestKey::es256(),
        };
        domain.publish(json!({}));
        domain
    }

    /// The bundle with these members beside its keys.
    fn publish(&self, members: Value) {
        self.bed.idp.jwks(Answer::json(&self.bundle(members)));
    }

    fn bundle(&self, mut members: Value) -> Value {
        members["keys"] = json!([x509(&self.ca), jwt(&self.key), {"use": "future", "kty": "X"}, {"kty": "EC"}]);
        members
    }

    fn claims(&self) -> Value {
        json!({"sub": ID, "aud": [OURS], "exp": seconds() + 300})
    }

    fn svid(&self, header: &Value, claims: &Value) -> String {
        self.key.compact(&header.to_string(), claims.to_string().as_bytes())
    }

    async fn refusal(&self, header: &Value, claims: &Value) -> Option<Reason> {
        self.bed.assert_svid(None, &self.svid(header, claims)).await.err()
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})
}

#[tokio::test]
async fn req_132_an_x509_svid_proves_its_server() {
    let domain = Domain::new().await;
    let svid = domain.ca.issue(&client(vec![uri(ID), dns("tickets.example.com")]));
    let server = domain.bed.ask("tickets", &svid).await.expect("authenticated");
    assert_eq!(
        (server.name.as_str(), server.method),
        ("tickets", ClientAuthMethod::SpiffeX509)
    );
    let unnamed = domain.bed.ask_unnamed(Some(&svid)).await.expect("authenticated");
    assert_eq!(unnamed, server);
}

#[tokio::test]
async fn req_131_attack_88_what_is_no_x509_svid_proves_nothing() {
    let domain = Domain::new().await;
    let with = |tweak: fn(&mut CertificateParams)| {
        let mut params = client(vec![uri(ID)]);
        tweak(&mut params);
        domain.ca.issue(&params)
    };
    assert!(domain.bed.ask("tickets", &with(|_| {})).await.is_ok());
    let good = || client(vec![uri(ID)]);
    for (what, svid) in [
        (
            "two URIs",
            with(|params| params.subject_alt_names.push(uri("https://x.example/"))),
        ),
        (
            "no URI",
            with(|params| params.subject_alt_names = vec![dns("tickets.example.com")]),
        ),
        (
            "another id",
            with(|params| params.subject_alt_names = vec![uri("spiffe://example.org/ns/tools/wiki")]),
        ),
        (
            "no path",
            with(|params| params.subject_alt_names = vec![uri("spiffe://example.org")]),
        ),
        (
            "another scheme",
            with(|params| params.subject_alt_names = vec![uri("https://example.org/ns/tools/tickets")]),
        ),
        (
            "a CA",
            with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
        ("no usage", with(|params| params.key_usages.clear())),
        (
            "no signature",
            with(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        ),
        (
            "signs certificates",
            with(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign)),
        ),
        (
            "signs revocations",
            with(|params| params.key_usages.push(KeyUsagePurpose::CrlSign)),
        ),
        ("expired", with(|params| params.not_after = date_time_ymd(2026, 11, 19))),
        ("another root", Ca::new("example.org").issue(&good())),
        ("the root of tls_client_auth", domain.bed.ca.issue(&good())),
    ] {
        assert_eq!(
            domain.bed.refusal("tickets", &svid).await,
            Some(Reason::ClientMtls),
            "{what}"
        );
    }
}

#[tokio::test]
async fn req_131_a_trust_domain_vouches_for_its_own_ids_only() {
    let folder = std::env::temp_dir().join(format!("procura-identity-bundle-{}", std::process::id()));
    let domain = Domain::beside(folder.clone()).await;
    let other = Ca::new("other.org");
    let write = |ca: &Ca| std::fs::write(&folder, json!({"keys": [x509(ca)]}).to_string()).expect("written");
    write(&other);
    let foreign = other.issue(&client(vec![uri("spiffe://other.org/a/b")]));
    assert!(domain.bed.ask("others", &foreign).await.is_ok());
    let claims_ours = other.issue(&client(vec![uri(ID)]));
    assert_eq!(
        domain.bed.refusal("tickets", &claims_ours).await,
        Some(Reason::ClientMtls)
    );
    let renewed = Ca::new("other.org");
    write(&renewed);
    let svid = renewed.issue(&client(vec![uri("spiffe://other.org/a/b")]));
    assert_eq!(
        domain.bed.refusal("others", &svid).await,
        Some(Reason::ClientMtls),
        "the file is not read yet"
    );
    domain.bed.clock.advance(5);
    assert!(
        domain.bed.ask("others", &svid).await.is_ok(),
        "a file that changed is read again"
    );
    assert_eq!(domain.bed.refusal("others", &foreign).await, Some(Reason::ClientMtls));
    std::fs::remove_file(&folder).expect("removed");
}

#[tokio::test]
async fn req_130_attack_86_a_jwt_svid_proves_its_server_again_and_again() {
    let domain = Domain::new().await;
    let svid = domain.svid(&header(), &domain.claims());
    for _ in 0..100 {
        let server = domain.bed.assert_svid(None, &svid).await.expect("authenticated");
        assert_eq!(
            (server.name.as_str(), server.method),
            ("tickets", ClientAuthMethod::SpiffeJwt)
        );
        assert_eq!((server.once, server.key.len()), (None, 16));
    }
    assert!(domain.bed.assert_svid(Some("tickets"), &svid).await.is_ok());
    let other = domain.bed.assert_svid(Some("others"), &svid).await.err();
    assert_eq!(other, Some(Reason::ClientUnauthenticated));
    for typ in [
        json!({"alg": "ES256", "kid": "k1"}),
        json!({"alg": "ES256", "kid": "k1", "typ": "JOSE"}),
    ] {
        assert_eq!(domain.refusal(&typ, &domain.claims()).await, None, "{typ}");
    }
    let mut claims = domain.claims();
    claims["aud"] = json!(OURS);
    assert_eq!(domain.refusal(&header(), &claims).await, None);
}

#[tokio::test]
async fn req_130_a_jwt_svid_with_another_claim_proves_nothing() {
    let domain = Domain::new().await;
    for (claim, value) in [
        ("aud", json!("https://other.example.com")),
        ("aud", json!([OURS, "https://other.example.com"])),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("exp", json!(seconds())),
        ("exp", json!("soon")),
        ("exp", Value::Null),
        ("nbf", json!(seconds() + 60)),
        ("iat", json!(seconds() + 60)),
        ("sub", json!("tickets")),
        ("sub", json!("spiffe://example.org/ns/tools/wiki")),
        ("sub", json!("spiffe://third.org/ns/tools/tickets")),
        ("sub", Value::Null),
    ] {
        let mut claims = domain.claims();
        match value {
            Value::Null => drop(claims.as_object_mut().expect("object").remove(claim)),
            _ => claims[claim] = value.clone(),
        }
        let reason = domain.refusal(&header(), &claims).await;
        assert_eq!(reason, Some(Reason::ClientUnauthenticated), "{claim} {value}");
    }
}

#[tokio::test]
async fn req_130_a_jwt_svid_with_another_header_or_key_proves_nothing() {
    let domain = Domain::new().await;
    for (member, value) in [
        ("typ", json!("at+jwt")),
        ("typ", json!("jwt")),
        ("cty", json!("JWT")),
        ("iat", json!(1)),
        ("kid", json!("k2")),
        ("alg", json!("RS256")),
        ("alg", json!("none")),
    ] {
        let mut header = header();
        header[member] = value;
        let reason = domain.refusal(&header, &domain.claims()).await;
        assert_eq!(reason, Some(Reason::ClientUnauthenticated), "{header}");
    }
    let forged = TestKey::es256().compact(&header().to_string(), domain.claims().to_string().as_bytes());
    let reason = domain.bed.assert_svid(None, &forged).await.err();
    assert_eq!(reason, Some(Reason::ClientUnauthenticated));
}

#[tokio::test]
async fn req_130_ed25519_signs_no_svid() {
    let mut domain = Domain::new().await;
    domain.key = TestKey::ed25519();
    domain.publish(json!({}));
    let header = json!({"alg": "EdDSA", "kid": "k1"});
    assert_eq!(
        domain.refusal(&header, &domain.claims()).await,
        Some(Reason::ClientUnauthenticated)
    );
}

#[tokio::test]
async fn req_132_the_refresh_hint_is_followed_within_limits() {
    for (hint, held, asked) in [
        (json!(60), 59, 60),
        (json!(1), 9, 10),
        (json!(86400), 899, 900),
        (Value::Null, 299, 300),
    ] {
        let domain = Domain::new().await;
        domain.publish(json!({"spiffe_refresh_hint": hint}));
        let svid = domain.ca.issue(&client(vec![uri(ID)]));
        assert!(domain.bed.ask("tickets", &svid).await.is_ok());
        domain.bed.clock.advance(held);
        assert!(domain.bed.ask("tickets", &svid).await.is_ok());
        assert_eq!(domain.bed.idp.fetches(), 1, "{hint}");
        domain.bed.clock.advance(asked - held);
        assert!(domain.bed.ask("tickets", &svid).await.is_ok());
        assert_eq!(domain.bed.idp.fetches(), 2, "{hint}");
    }
}

#[tokio::test]
async fn req_132_an_older_bundle_is_not_taken_and_the_last_good_one_is_kept_for_a_while() {
    let mut domain = Domain::new().await;
    domain.publish(json!({"spiffe_sequence": 7}));
    let svid = domain.ca.issue(&client(vec![uri(ID)]));
    assert!(domain.bed.ask("tickets", &svid).await.is_ok());
    let before = std::mem::replace(&mut domain.ca, Ca::new("example.org"));
    domain.publish(json!({"spiffe_sequence": 6}));
    domain.bed.clock.advance(300);
    assert!(domain.bed.ask("tickets", &svid).await.is_ok(), "sequence 6 is older");
    domain.bed.idp.jwks(Answer::status(503));
    domain.bed.clock.advance(300);
    assert!(
        domain
            .bed
            .ask("tickets", &before.issue(&client(vec![uri(ID)])))
            .await
            .is_ok()
    );
    domain.bed.clock.advance(3000);
    assert_eq!(
        domain.bed.refusal("tickets", &svid).await,
        Some(Reason::IssuerUnavailable)
    );
    domain.publish(json!({"spiffe_sequence": 8}));
    domain.bed.clock.advance(5);
    assert_eq!(
        domain.bed.refusal("tickets", &svid).await,
        Some(Reason::ClientMtls),
        "the old root is gone"
    );
    let renewed = domain.ca.issue(&client(vec![uri(ID)]));
    assert!(domain.bed.ask("tickets", &renewed).await.is_ok());
}

#[tokio::test]
async fn a_bundle_that_cannot_be_had_authenticates_nobody() {
    let domain = Domain::new().await;
    domain.bed.idp.jwks(Answer::status(404));
    let svid = domain.ca.issue(&client(vec![uri(ID)]));
    assert_eq!(
        domain.bed.refusal("tickets", &svid).await,
        Some(Reason::IssuerUnavailable)
    );
    let token = domain.svid(&header(), &domain.claims());
    let reason = domain.bed.assert_svid(None, &token).await.err();
    assert_eq!(reason, Some(Reason::IssuerUnavailable));
}

#[tokio::test]
async fn a_new_key_of_the_trust_domain_is_found_at_once() {
    let mut domain = Domain::new().await;
    assert_eq!(domain.refusal(&header(), &domain.claims()).await, None);
    domain.key = TestKey::es256();
    let mut key = domain.key.jwk("k2");
    key["use"] = json!("jwt-svid");
    domain.bed.idp.publish(&[x509(&domain.ca), key]);
    let header = json!({"alg": "ES256", "kid": "k2"});
    assert_eq!(domain.refusal(&header, &domain.claims()).await, None);
}
