//! Connections of the load generator, bare or over TLS.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::Fault;

/// What TLS needs, PEM.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Tls {
    /// Who vouches for the server.
    pub(crate) authority: String,
    /// The client's own certificate and its key.
    pub(crate) own: Option<(String, String)>,
}

pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

pub(crate) type Stream = Box<dyn Connection>;

pub(crate) struct Connector {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(crate) fn new(address: SocketAddr, tls: Option<&Tls>) -> Result<Self, Fault> {
        let tls = tls.map(config).transpose()?;
        Ok(Self {
            address,
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
        })
    }

    pub(crate) async fn connect(&self) -> Result<Stream, Fault> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                Ok(Box::new(tls.connect(name, stream).await?))
            }
        }
    }
}

fn config(tls: &Tls) -> Result<ClientConfig, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(tls.authority.as_bytes())?)?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    Ok(match &tls.own {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
            config.with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
    })
}
