//! Authorities and certificates as tests need them, and a verifier that trusts one of each kind.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, ServerAuth},
    certificate::CertificateName,
    identity::{AssertionType, AuthenticatedServer, ClientCredentials, PeerCertificates},
    ports::{Clock, TokenVerifier},
};
use procura_identity::{BundleSource, HttpOptions, Identity, IdentityOptions, Vouchers};
use procura_wire::{Reason, Secret};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};

use crate::{
    clients::server,
    kit::{Idp, NOW, OURS, TestClock},
};

/// An authority.
pub(crate) struct Ca {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let own = params.self_signed(&key).expect("certificate");
        Self {
            der: own.der().to_vec(),
            pem: own.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority that this one vouches for.
    pub(crate) fn below(&self, name: &str) -> Self {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let own = params.signed_by(&key, &self.issuer).expect("certificate");
        Self {
            der: own.der().to_vec(),
            pem: own.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> PeerCertificates {
        let key = KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        PeerCertificates(vec![certificate.der().to_vec()])
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example, Inc.");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

/// A client certificate in order.
pub(crate) fn client(names: Vec<SanType>) -> CertificateParams {
    let mut params = named("tickets");
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("name"))
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("name"))
}

/// A verifier that trusts `ca` for `tls_client_auth`, and for `example.org` and `other.org` what their bundles say.
pub(crate) struct Bed {
    pub(crate) ca: Ca,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) catalogue: Catalogue,
    /// Serves the bundle of `example.org`.
    pub(crate) idp: Idp,
    identity: Identity,
}

impl Bed {
    /// With these servers; the bundle of `other.org` is in that file.
    pub(crate) async fn new(servers: Vec<(&str, ServerAuth)>, file: PathBuf) -> Self {
        let (ca, clock, idp) = (Ca::new("CA"), Arc::new(TestClock::default()), Idp::start().await);
        let mut catalogue = Catalogue::default();
        for (name, auth) in servers {
            catalogue.servers.insert(name.parse().expect("name"), server(auth));
        }
        let endpoint = format!("{}/jwks", idp.url).parse().expect("url");
        let identity = Identity::new(IdentityOptions {
            issuer: OURS.into(),
            http: HttpOptions {
                allow_http_loopback: true,
                ..HttpOptions::default()
            },
            builtin: None,
            dev_secrets: BTreeMap::new(),
            signer: std::sync::Arc::new(crate::kit::Tagger(vec![1])),
            vouchers: Vouchers {
                client_ca: Some(ca.pem.clone()),
                trust_domains: BTreeMap::from([
                    ("example.org".to_owned(), BundleSource::Endpoint(endpoint)),
                    ("other.org".to_owned(), BundleSource::File(file)),
                ]),
            },
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        });
        Self {
            identity: identity.expect("identity"),
            ca,
            clock,
            catalogue,
            idp,
        }
    }

    async fn authenticate(
        &self,
        credentials: &ClientCredentials,
        certificates: Option<&PeerCertificates>,
    ) -> Result<AuthenticatedServer, Reason> {
        let now = self.clock.now();
        self.identity
            .authenticate(&self.catalogue, credentials, certificates, now)
            .await
    }

    /// Asks with a client id and a certificate.
    pub(crate) async fn ask(&self, id: &str, certificates: &PeerCertificates) -> Result<AuthenticatedServer, Reason> {
        let credentials = ClientCredentials::Id(id.to_owned());
        self.authenticate(&credentials, Some(certificates)).await
    }

    /// Why the certificate does not prove that server.
    pub(crate) async fn refusal(&self, id: &str, certificates: &PeerCertificates) -> Option<Reason> {
        self.ask(id, certificates).await.err()
    }

    /// Asks with a certificate alone.
    pub(crate) async fn ask_unnamed(
        &self,
        certificates: Option<&PeerCertificates>,
    ) -> Result<AuthenticatedServer, Reason> {
        self.authenticate(&ClientCredentials::None, certificates).await
    }

    /// Asks with a client id alone.
    pub(crate) async fn ask_without(&self, id: &str) -> Option<Reason> {
        let credentials = ClientCredentials::Id(id.to_owned());
        self.authenticate(&credentials, None).await.err()
    }

    /// Asks with a JWT-SVID.
    pub(crate) async fn assert_svid(&self, id: Option<&str>, svid: &str) -> Result<AuthenticatedServer, Reason> {
        let credentials = ClientCredentials::Assertion {
            id: id.map(str::to_owned),
            ty: AssertionType::JwtSpiffe,
            assertion: Secret::new(svid.to_owned()),
        };
        self.authenticate(&credentials, None).await
    }
}

/// `tls_client_auth` by a DNS name.
pub(crate) fn by_dns(name: &str) -> ServerAuth {
    ServerAuth::TlsClient(CertificateName::SanDns(name.to_owned()))
}

/// `NOW` for claims.
pub(crate) fn seconds() -> i64 {
    Timestamp::from_second(NOW).expect("time").as_second()
}
