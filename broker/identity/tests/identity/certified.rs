//! Client authentication by certificate (RFC 8705 section 2).

use std::net::IpAddr;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa,
};
use procura_core::{
    catalogue::{SecretHash, ServerAuth},
    certificate::{CertificateName, RegisteredKey},
    identity::{ClientAuthMethod, PeerCertificates},
};
use procura_wire::{Digest, Reason};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256, SanType, date_time_ymd,
};
use serde_json::{Value, json};

use crate::{
    kit::{TestKey, b64},
    pki::{Bed, Ca, by_dns, client, dns, uri},
};

const HOST: &str = "tickets.example.com";
const DN: &str = "CN=tickets,O=Example\\, Inc.";

async fn bed(servers: Vec<(&str, ServerAuth)>) -> Bed {
    Bed::new(servers, "/nowhere".into()).await
}

/// `tickets`, known by a DNS name.
async fn tickets() -> Bed {
    bed(vec![("tickets", by_dns(HOST))]).await
}

#[tokio::test]
async fn req_079_a_certificate_of_the_ca_with_the_registered_name_proves_the_server() {
    let bed = tickets().await;
    let certificates = bed
        .ca
        .issue(&client(vec![dns("other.example.com"), dns("Tickets.example.com")]));
    let server = bed.ask("tickets", &certificates).await.expect("authenticated");
    assert_eq!(
        (server.name.as_str(), server.method),
        ("tickets", ClientAuthMethod::TlsClientAuth)
    );
    assert_eq!(server.key, Digest::of(&certificates.0[0]).to_string()[..16]);
    assert_eq!(server.once, None);
}

#[tokio::test]
async fn req_079_each_kind_of_name_is_compared_with_its_own() {
    let address: IpAddr = "192.0.2.7".parse().expect("address");
    let registered = [
        CertificateName::SubjectDn(DN.into()),
        CertificateName::SanDns(HOST.into()),
        CertificateName::SanUri("https://tickets.example.com/".into()),
        CertificateName::SanIp(address),
        CertificateName::SanEmail("tickets@example.com".into()),
    ];
    let mut plain = client(vec![]);
    plain.distinguished_name = rcgen::DistinguishedName::new();
    let carrying = |name: SanType| {
        let mut params = plain.clone();
        params.subject_alt_names = vec![name];
        params
    };
    let certificates = [
        client(vec![]),
        carrying(dns(HOST)),
        carrying(uri("https://tickets.example.com/")),
        carrying(SanType::IpAddress(address)),
        carrying(SanType::Rfc822Name("tickets@example.com".try_into().expect("mail"))),
    ];
    for (at, name) in registered.into_iter().enumerate() {
        let bed = bed(vec![("tickets", ServerAuth::TlsClient(name.clone()))]).await;
        for (other, params) in certificates.iter().enumerate() {
            let accepted = bed.ask("tickets", &bed.ca.issue(params)).await.is_ok();
            assert_eq!(accepted, at == other, "{name:?} and certificate {other}");
        }
    }
}

#[tokio::test]
async fn req_079_attack_88_what_the_ca_does_not_vouch_for_proves_nothing() {
    let bed = tickets().await;
    let good = || client(vec![dns(HOST)]);
    let with = |tweak: fn(&mut CertificateParams)| {
        let mut params = good();
        tweak(&mut params);
        bed.ca.issue(&params)
    };
    assert!(bed.ask("tickets", &with(|_| {})).await.is_ok());
    for (what, certificates) in [
        ("expired", with(|params| params.not_after = date_time_ymd(2026, 11, 19))),
        (
            "not yet valid",
            with(|params| params.not_before = date_time_ymd(2026, 11, 21)),
        ),
        (
            "another name",
            with(|params| params.subject_alt_names = vec![dns("mail.example.com")]),
        ),
        ("no name", with(|params| params.subject_alt_names.clear())),
        (
            "a CA",
            with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
        (
            "for servers only",
            with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("another root", Ca::new("another").issue(&good())),
        ("another root of the same name", Ca::new("CA").issue(&good())),
        ("no certificate", PeerCertificates(vec![b"x".to_vec()])),
        ("none at all", PeerCertificates(vec![])),
    ] {
        assert_eq!(
            bed.refusal("tickets", &certificates).await,
            Some(Reason::ClientMtls),
            "{what}"
        );
    }
    let by_dn = ServerAuth::TlsClient(CertificateName::SubjectDn(DN.into()));
    let by_dn = self::bed(vec![("tickets", by_dn)]).await;
    let same_dn = bed.ca.issue(&client(vec![]));
    assert_eq!(
        by_dn.refusal("tickets", &same_dn).await,
        Some(Reason::ClientMtls),
        "right name, other CA"
    );
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_refused_on_its_next_use() {
    let bed = tickets().await;
    let certificates = bed.ca.issue(&client(vec![dns(HOST)]));
    assert!(bed.ask("tickets", &certificates).await.is_ok());
    bed.clock.advance(60 * 86400);
    assert_eq!(bed.refusal("tickets", &certificates).await, Some(Reason::ClientMtls));
}

#[tokio::test]
async fn a_chain_over_an_intermediate_ca_is_followed() {
    let bed = tickets().await;
    let below = bed.ca.below("intermediate");
    let mut certificates = below.issue(&client(vec![dns(HOST)]));
    assert_eq!(bed.refusal("tickets", &certificates).await, Some(Reason::ClientMtls));
    certificates.0.push(below.der.clone());
    assert!(bed.ask("tickets", &certificates).await.is_ok());
}

#[tokio::test]
async fn a_certificate_proves_its_own_server_and_no_other() {
    let secret = ServerAuth::ClientSecret(vec![SecretHash {
        hash: Digest::of(b"s"),
        expires: None,
    }]);
    let servers = vec![
        ("tickets", by_dns(HOST)),
        ("mail", by_dns("mail.example.com")),
        ("wiki", secret),
        ("dev", ServerAuth::BuiltinDev),
    ];
    let bed = bed(servers).await;
    let certificates = bed.ca.issue(&client(vec![dns(HOST)]));
    assert!(bed.ask("tickets", &certificates).await.is_ok());
    for other in ["mail", "wiki", "dev", "nobody", "", "Tickets"] {
        assert_eq!(
            bed.refusal(other, &certificates).await,
            Some(Reason::ClientMtls),
            "{other}"
        );
    }
    for id in ["tickets", "mail", "wiki", "nobody"] {
        assert_eq!(bed.ask_without(id).await, Some(Reason::ClientUnauthenticated), "{id}");
    }
}

#[tokio::test]
async fn without_a_client_id_the_certificate_must_name_one_server() {
    let bed = bed(vec![("tickets", by_dns(HOST)), ("mail", by_dns("mail.example.com"))]).await;
    let one = bed.ca.issue(&client(vec![dns(HOST)]));
    let found = bed.ask_unnamed(Some(&one)).await.map(|server| server.name.to_string());
    assert_eq!(found.as_deref(), Ok("tickets"));
    let two = bed.ca.issue(&client(vec![dns(HOST), dns("mail.example.com")]));
    assert_eq!(bed.ask_unnamed(Some(&two)).await.err(), Some(Reason::ClientMtls));
    assert_eq!(bed.ask_unnamed(None).await.err(), Some(Reason::ClientUnauthenticated));
}

/// A key of each kind that certificates have, and its JWK.
fn keys() -> Vec<(KeyPair, Value)> {
    let curves = [
        (&PKCS_ECDSA_P256_SHA256, "P-256"),
        (&PKCS_ECDSA_P384_SHA384, "P-384"),
        (&PKCS_ECDSA_P521_SHA512, "P-521"),
    ];
    let mut all: Vec<_> = curves
        .into_iter()
        .map(|(algorithm, crv)| {
            let key = KeyPair::generate_for(algorithm).expect("key");
            let point = &key.public_key_raw()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let jwk = json!({"kty": "EC", "crv": crv, "x": b64(x), "y": b64(y)});
            (key, jwk)
        })
        .collect();
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("key");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key_raw())});
    all.push((key, jwk));
    let own = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("key");
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&own).expect("der").as_ref().to_vec();
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &PKCS_RSA_SHA256).expect("key");
    let mut jwk = TestKey::Rsa(Box::new(own), "RS256").jwk("k");
    jwk["alg"] = json!("RS256");
    all.push((key, jwk));
    all
}

fn registered(jwk: &Value) -> RegisteredKey {
    RegisteredKey::read(jwk.as_object().expect("object")).expect("key")
}

fn self_signed(key: &KeyPair, params: &CertificateParams) -> PeerCertificates {
    PeerCertificates(vec![params.self_signed(key).expect("certificate").der().to_vec()])
}

#[tokio::test]
async fn req_080_a_self_signed_certificate_is_known_by_its_key() {
    let keys = keys();
    let jwks = keys.iter().map(|(_, jwk)| registered(jwk)).collect();
    let bed = bed(vec![("tickets", ServerAuth::SelfSigned(jwks))]).await;
    for (key, jwk) in &keys {
        let certificates = self_signed(key, &client(vec![]));
        let server = bed.ask("tickets", &certificates).await;
        let method = server.map(|server| server.method);
        assert_eq!(method, Ok(ClientAuthMethod::SelfSignedTlsClientAuth), "{jwk}");
    }
    let other = self_signed(&KeyPair::generate().expect("key"), &client(vec![]));
    assert_eq!(
        bed.refusal("tickets", &other).await,
        Some(Reason::ClientMtls),
        "another key"
    );
    let vouched = bed.ca.issue(&client(vec![dns(HOST)]));
    assert_eq!(
        bed.refusal("tickets", &vouched).await,
        Some(Reason::ClientMtls),
        "another key of the CA"
    );
}

#[tokio::test]
async fn req_080_a_self_signed_certificate_has_its_time() {
    let (key, jwk) = keys().remove(0);
    let bed = bed(vec![("tickets", ServerAuth::SelfSigned(vec![registered(&jwk)]))]).await;
    let mut params = client(vec![]);
    params.not_after = date_time_ymd(2026, 11, 19);
    assert_eq!(
        bed.refusal("tickets", &self_signed(&key, &params)).await,
        Some(Reason::ClientMtls)
    );
    let mut params = client(vec![]);
    params.not_before = date_time_ymd(2026, 11, 21);
    assert_eq!(
        bed.refusal("tickets", &self_signed(&key, &params)).await,
        Some(Reason::ClientMtls)
    );
}

#[tokio::test]
async fn req_080_a_key_with_a_certificate_takes_no_other_certificate() {
    let (key, mut jwk) = keys().remove(0);
    let (known, renewed) = (
        self_signed(&key, &client(vec![])),
        self_signed(&key, &client(vec![dns(HOST)])),
    );
    jwk["x5t#S256"] = json!(b64(Digest::of(&known.0[0]).as_bytes()));
    let bed = bed(vec![("tickets", ServerAuth::SelfSigned(vec![registered(&jwk)]))]).await;
    assert!(bed.ask("tickets", &known).await.is_ok());
    assert_eq!(bed.refusal("tickets", &renewed).await, Some(Reason::ClientMtls));
}
