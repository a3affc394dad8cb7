//! Servers that prove themselves by certificates and SVIDs.

use std::fs;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{Json, Router, routing::get};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64},
};
use procura_e2e::{
    Fault, Testbed,
    authority::{Authority, ClientName},
    harness::Outcome,
    http,
    serve::{Replica, SERVER, Site, Store},
};
use reqwest::Client;
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) const HOST: &str = "tickets.example";
const WORKLOAD: &str = "spiffe://example.org/ns/tools/tickets";
pub(crate) const TICKETS: &str = "policies/servers/tickets.toml";

/// Lets the server prove itself so.
pub(crate) fn prove_by(site: &Site<'_>, auth: &str) -> Result<(), Fault> {
    site.amend(TICKETS, |text| {
        let lines = text.lines().map(|line| match line.starts_with("auth = ") {
            true => format!("auth = {{ {auth} }}\n"),
            false => format!("{line}\n"),
        });
        lines.collect()
    })
}

async fn site(testbed: &Testbed) -> Result<Site<'_>, Fault> {
    Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await
}

/// A site that speaks TLS, with a CA for clients.
pub(crate) async fn speaking(testbed: &Testbed) -> Result<(Site<'_>, Authority), Fault> {
    let (mut site, clients) = (site(testbed).await?, Authority::new()?);
    site.speak_tls()?;
    fs::write(site.path("clients.pem"), &clients.certificate)?;
    site.amend("procura.toml", |text| {
        text.replace("[tls]\n", "[tls]\nclient_ca = \"clients.pem\"\n")
    })?;
    Ok((site, clients))
}

/// A client that presents that certificate.
fn presenting(site: &Site<'_>, own: &(String, String)) -> Result<Client, Fault> {
    let authority = site.authority.as_ref().ok_or("it speaks no TLS")?;
    http::presenting(&authority.certificate, own)
}

/// Exchanges as the server, by the certificate of the client or these headers; answers status and reason.
async fn exchange(
    broker: &Replica<'_>,
    site: &Site<'_>,
    client: &Client,
    headers: &[(&str, &str)],
    more: &[(&str, &str)],
) -> Result<(u16, Value), Fault> {
    let token = site.user("alice")?;
    let mut fields = http::exchange(&token, "api", "read-tickets");
    fields.extend(more);
    let reply = broker.post_by(client, "/token", headers, &fields).await?;
    Ok((reply.status, reply.body))
}

const ID: [(&str, &str); 1] = [("client_id", SERVER)];

fn refused(answer: (u16, Value), reason: &str) {
    assert_eq!((answer.0, &answer.1["reason"]), (401, &json!(reason)), "{}", answer.1);
    assert_eq!(answer.1["error"], "invalid_client");
}

/// The method and key of the record of an answer.
pub(crate) async fn recorded(broker: &Replica<'_>, answer: &(u16, Value)) -> Result<Value, Fault> {
    assert_eq!(answer.0, 200, "{}", answer.1);
    let records = broker.all("issuances").await?;
    let record = records.iter().find(|record| record["id"] == answer.1["issuance_id"]);
    let leaf = record.and_then(|record| record["leaf"].as_str()).ok_or("no record")?;
    Ok(serde_json::from_str::<Value>(leaf)?["client_auth"].clone())
}

pub(crate) async fn a_certificate_proves_its_server_and_nothing_else_does(testbed: &Testbed) -> Outcome {
    let (site, clients) = speaking(testbed).await?;
    prove_by(&site, &format!("method = \"tls_client_auth\", san_dns = \"{HOST}\""))?;
    let broker = site.start().await?;
    let own = presenting(&site, &clients.issue_client(ClientName::Dns(HOST))?)?;
    let answer = exchange(&broker, &site, &own, &[], &ID).await?;
    assert_eq!(recorded(&broker, &answer).await?["method"], "tls_client_auth");
    let methods = broker.metadata().await?.body["token_endpoint_auth_methods_supported"].to_string();
    assert!(methods.contains("\"tls_client_auth\""), "{methods}");

    let wrong = presenting(&site, &clients.issue_client(ClientName::Dns("mail.example"))?)?;
    refused(exchange(&broker, &site, &wrong, &[], &ID).await?, "client.mtls");
    let foreign = presenting(&site, &Authority::new()?.issue_client(ClientName::Dns(HOST))?)?;
    refused(exchange(&broker, &site, &foreign, &[], &ID).await?, "client.mtls");
    let authority = site.authority.as_ref().ok_or("no TLS")?;
    let bare = http::trusting(&authority.certificate)?;
    refused(
        exchange(&broker, &site, &bare, &[], &ID).await?,
        "client.unauthenticated",
    );
    let header = forwarded(&clients.issue_client(ClientName::Dns(HOST))?.0)?;
    for client in [&bare, &own] {
        let answer = exchange(&broker, &site, client, &[("client-cert", &header)], &ID).await?;
        refused(answer, "client.header_spoof");
    }
    Ok(())
}

pub(crate) async fn another_bundle_ends_what_a_certificate_proves_on_open_connections(testbed: &Testbed) -> Outcome {
    let (site, clients) = speaking(testbed).await?;
    prove_by(&site, &format!("method = \"tls_client_auth\", san_dns = \"{HOST}\""))?;
    let broker = site.start().await?;
    let own = presenting(&site, &clients.issue_client(ClientName::Dns(HOST))?)?;
    let answer = exchange(&broker, &site, &own, &[], &ID).await?;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let before = broker.readiness().await?.text("bundle").to_owned();
    prove_by(&site, "method = \"tls_client_auth\", san_dns = \"other.example\"")?;
    broker.signal(Signal::HUP)?;
    let changed = async |broker: &Replica<'_>| Ok((broker.readiness().await?.text("bundle") != before).then_some(()));
    broker.until(changed).await?;
    refused(exchange(&broker, &site, &own, &[], &ID).await?, "client.mtls");
    Ok(())
}

/// `Client-Cert` of a certificate in PEM (RFC 9440).
fn forwarded(pem: &str) -> Result<String, Fault> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    Ok(format!(":{}:", BASE64_STANDARD.encode(der)))
}

pub(crate) async fn a_certificate_in_a_header_is_believed_from_the_named_proxy_only(testbed: &Testbed) -> Outcome {
    let (site, clients, client) = (site(testbed).await?, Authority::new()?, http::client()?);
    fs::write(site.path("clients.pem"), &clients.certificate)?;
    let proxy = "[proxy]\nfrom = [\"127.0.0.1\"]\nclient_certificate_header = \"X-Client-Cert\"\n";
    site.amend("procura.toml", |text| {
        text.replace("[tls]\n", &format!("{proxy}[tls]\nclient_ca = \"clients.pem\"\n"))
    })?;
    prove_by(&site, &format!("method = \"tls_client_auth\", san_dns = \"{HOST}\""))?;
    let known = forwarded(&clients.issue_client(ClientName::Dns(HOST))?.0)?;
    let foreign = forwarded(&Authority::new()?.issue_client(ClientName::Dns(HOST))?.0)?;
    let broker = site.start().await?;
    let answer = exchange(&broker, &site, &client, &[("x-client-cert", &known)], &ID).await?;
    assert_eq!(recorded(&broker, &answer).await?["method"], "tls_client_auth");
    let answer = exchange(&broker, &site, &client, &[("x-client-cert", &foreign)], &ID).await?;
    refused(answer, "client.mtls");
    drop(broker);
    site.amend("procura.toml", |text| {
        text.replace("from = [\"127.0.0.1\"]", "from = [\"10.0.0.0/8\"]")
    })?;
    let broker = site.start().await?;
    let answer = exchange(&broker, &site, &client, &[("x-client-cert", &known)], &ID).await?;
    refused(answer, "client.header_spoof");
    Ok(())
}

/// A trust domain's endpoint. Dropped, it stops.
struct Domain {
    url: String,
    key: EcdsaKeyPair,
    _serving: JoinSet<()>,
}

impl Domain {
    /// Serves the bundle of `ca` and a new key, with a certificate of `web`.
    async fn start(web: &Authority, ca: &Authority) -> Result<Self, Fault> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let root = CertificateDer::from_pem_slice(ca.certificate.as_bytes()).map_err(|error| error.to_string())?;
        let point = key.public_key().as_ref();
        let bundle = json!({
            "spiffe_sequence": 1,
            "spiffe_refresh_hint": 60,
            "keys": [
                { "use": "x509-svid", "kty": "EC", "x5c": [BASE64_STANDARD.encode(root)] },
                {
                    "use": "jwt-svid", "kid": "authority", "kty": "EC", "crv": "P-256",
                    "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..]),
                },
            ],
        });
        let (certificate, own) = web.issue()?;
        let tls = RustlsConfig::from_pem(certificate.into(), own.into()).await?;
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let url = format!("https://{}/bundle", socket.local_addr()?);
        let routes = Router::new().route("/bundle", get(async move || Json(bundle)));
        let server = axum_server::from_tcp_rustls(socket, tls)?.handle(Handle::new());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = server.serve(routes.into_make_service()).await {
                eprintln!("the bundle endpoint ended: {error}");
            }
        });
        Ok(Self {
            url,
            key,
            _serving: serving,
        })
    }

    fn svid(&self, audience: &str) -> Result<String, Fault> {
        let part = |value: Value| BASE64.encode(value.to_string());
        let header = json!({ "alg": "ES256", "kid": "authority", "typ": "JWT" });
        // 2100-01-01
        let claims = json!({ "sub": WORKLOAD, "aud": audience, "exp": 4_102_444_800_u64 });
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }
}

pub(crate) async fn workloads_prove_their_server_by_either_svid(testbed: &Testbed) -> Outcome {
    let (site, clients) = speaking(testbed).await?;
    let authority = site.authority.as_ref().ok_or("no TLS")?;
    let workloads = Authority::new()?;
    let domain = Domain::start(authority, &workloads).await?;
    site.amend("ca.pem", |text| format!("{text}\n{}", authority.certificate))?;
    let section = format!(
        "[spiffe.tools]\ntrust_domain = \"example.org\"\nbundle_endpoint = \"{}\"\n",
        domain.url
    );
    site.amend("procura.toml", |text| format!("{text}{section}"))?;
    prove_by(&site, "method = \"spiffe\", id = \"spiffe://example.org/ns/tools/*\"")?;
    let broker = site.start().await?;

    let own = presenting(&site, &workloads.issue_client(ClientName::Uri(WORKLOAD))?)?;
    let answer = exchange(&broker, &site, &own, &[], &ID).await?;
    assert_eq!(recorded(&broker, &answer).await?["method"], "spiffe_x509");
    let foreign = presenting(&site, &clients.issue_client(ClientName::Uri(WORKLOAD))?)?;
    refused(exchange(&broker, &site, &foreign, &[], &ID).await?, "client.mtls");

    let bare = http::trusting(&authority.certificate)?;
    let ty = (
        "client_assertion_type",
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
    );
    let svid = domain.svid(&site.identifier)?;
    for _ in 0..3 {
        let answer = exchange(&broker, &site, &bare, &[], &[ty, ("client_assertion", &svid)]).await?;
        assert_eq!(recorded(&broker, &answer).await?["method"], "spiffe_jwt");
    }
    let elsewhere = domain.svid("https://other.example")?;
    let answer = exchange(&broker, &site, &bare, &[], &[ty, ("client_assertion", &elsewhere)]).await?;
    refused(answer, "client.unauthenticated");
    Ok(())
}

pub(crate) async fn a_server_that_could_never_authenticate_stops_the_start(testbed: &Testbed) -> Outcome {
    let (site, _) = speaking(testbed).await?;
    prove_by(&site, &format!("method = \"spiffe\", id = \"{WORKLOAD}\""))?;
    let failed = site.start().await.err().ok_or("it started")?.to_string();
    assert!(
        failed.contains("no [spiffe.NAME] with trust_domain = \"example.org\""),
        "{failed}"
    );
    Ok(())
}
