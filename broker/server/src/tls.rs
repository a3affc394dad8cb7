//! TLS of the public listener.

use std::{io, path::Path, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

/// Most certificates of a client's chain beside its own.
const MAX_INTERMEDIATES: usize = 8;

/// What the listener speaks with this certificate chain and key (PEM).
pub(crate) async fn config(cert: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let (cert, key) = (tokio::fs::read(cert).await?, tokio::fs::read(key).await?);
    server(&cert, &key).map_err(io::Error::other)
}

fn server(cert: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = AnyCertificate(provider.signature_verification_algorithms);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // No connection goes on where another ended: each shows its certificate and that it has the key.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Takes every certificate whose key the client proves to have, or none. Each server's file says who must vouch for
/// its own, so that is looked at where the server is known.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(Error::General("the client sends too many certificates".to_owned()));
        }
        ParsedCertificate::try_from(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::{
        ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
        client::ResolvesClientCert,
        sign::CertifiedKey,
        version::{TLS12, TLS13},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    struct Pair {
        certificate: CertificateDer<'static>,
        key: KeyPair,
    }

    impl Pair {
        fn new(name: &str) -> Self {
            let key = KeyPair::generate().expect("key");
            let params = CertificateParams::new([name.to_owned()]).expect("name");
            let certificate = params.self_signed(&key).expect("certificate").der().clone();
            Self { certificate, key }
        }

        fn private(&self) -> PrivateKeyDer<'static> {
            PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
        }

        /// What a client presents that has this certificate and that key.
        fn with_key_of(&self, other: &Self) -> Presents {
            let key = aws_lc_rs::sign::any_supported_type(&other.private()).expect("key");
            Presents(Some(Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key))))
        }
    }

    #[derive(Debug)]
    struct Presents(Option<Arc<CertifiedKey>>);

    impl ResolvesClientCert for Presents {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            self.0.clone()
        }

        fn has_certs(&self) -> bool {
            self.0.is_some()
        }
    }

    struct Bed {
        server: Arc<ServerConfig>,
        roots: RootCertStore,
    }

    impl Bed {
        fn new() -> Self {
            let own = Pair::new("broker.example");
            let params = CertificateParams::new(["broker.example".to_owned()]).expect("name");
            let pem = params.self_signed(&own.key).expect("certificate");
            let server = server(pem.pem().as_bytes(), own.key.serialize_pem().as_bytes()).expect("config");
            let mut roots = RootCertStore::empty();
            roots.add(pem.der().clone()).expect("root");
            Self { server, roots }
        }

        fn client(&self, version: &'static SupportedProtocolVersion, presents: Presents) -> Arc<ClientConfig> {
            let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[version])
                .expect("version")
                .with_root_certificates(self.roots.clone())
                .with_client_cert_resolver(Arc::new(presents));
            Arc::new(config)
        }

        /// One connection: the certificates that the server saw, and how the handshake went.
        async fn connect(
            &self,
            client: &Arc<ClientConfig>,
        ) -> io::Result<(Vec<CertificateDer<'static>>, HandshakeKind)> {
            let (near, far) = duplex(64 * 1024);
            let name = "broker.example".try_into().expect("name");
            let connector = TlsConnector::from(Arc::clone(client));
            let answer = async {
                let mut stream = connector.connect(name, near).await?;
                stream.read_u8().await
            };
            let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
            let serve = async {
                let mut stream = acceptor.accept(far).await?;
                stream.write_u8(1).await?;
                stream.shutdown().await?;
                let connection = stream.get_ref().1;
                let certificates = connection.peer_certificates().unwrap_or_default().to_vec();
                Ok((certificates, connection.handshake_kind().expect("handshake")))
            };
            let (served, _) = tokio::join!(serve, answer);
            served
        }
    }

    #[tokio::test]
    async fn req_083_each_connection_shows_its_certificate_and_none_goes_on_where_another_ended() {
        let (bed, own) = (Bed::new(), Pair::new("client"));
        for version in [&TLS12, &TLS13] {
            let client = bed.client(version, own.with_key_of(&own));
            for _ in 0..3 {
                let (certificates, kind) = bed.connect(&client).await.expect("connected");
                assert_eq!(certificates, std::slice::from_ref(&own.certificate));
                assert_ne!(kind, HandshakeKind::Resumed, "{version:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_client_without_a_certificate_is_served() {
        let bed = Bed::new();
        for version in [&TLS12, &TLS13] {
            let client = bed.client(version, Presents(None));
            assert_eq!(bed.connect(&client).await.expect("connected").0, []);
        }
    }

    #[tokio::test]
    async fn a_certificate_without_its_key_does_not_connect() {
        let (bed, own, other) = (Bed::new(), Pair::new("client"), Pair::new("other"));
        for version in [&TLS12, &TLS13] {
            let client = bed.client(version, own.with_key_of(&other));
            assert!(bed.connect(&client).await.is_err(), "{version:?}");
        }
    }
}
