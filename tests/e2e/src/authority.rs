//! A CA of a site's own.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

use crate::Fault;

/// Vouches for brokers on 127.0.0.1.
pub struct Authority {
    /// Its certificate, PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// One that nobody trusts yet.
    pub fn new() -> Result<Self, Fault> {
        let mut params = named("CA of a test", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Another certificate for 127.0.0.1, and its key; both PEM.
    pub fn issue(&self) -> Result<(String, String), Fault> {
        let key = KeyPair::generate()?;
        let certificate = named("broker of a test", &["127.0.0.1"])?.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// A name that a client's certificate carries.
pub enum ClientName {
    /// A DNS name.
    Dns(&'static str),
    /// A URI, such as a SPIFFE id.
    Uri(&'static str),
}

impl Authority {
    /// A client's certificate with that name, and its key; both PEM.
    pub fn issue_client(&self, name: ClientName) -> Result<(String, String), Fault> {
        let key = KeyPair::generate()?;
        let mut params = named("client of a test", &[])?;
        params.subject_alt_names = vec![match name {
            ClientName::Dns(name) => SanType::DnsName(name.try_into()?),
            ClientName::Uri(name) => SanType::URI(name.try_into()?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// A client's certificate that nobody vouches for and its key, both PEM, and the public key as the server's file has it.
pub fn self_signed_client() -> Result<((String, String), String), Fault> {
    let key = KeyPair::generate()?;
    let certificate = named("client of a test", &[])?.self_signed(&key)?;
    // An uncompressed point: 4, x, y.
    let point = key.public_key_raw();
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    let jwk = format!("{{ kty = \"EC\", crv = \"P-256\", x = \"{x}\", y = \"{y}\" }}");
    Ok(((certificate.pem(), key.serialize_pem()), jwk))
}

fn named(name: &str, addresses: &[&str]) -> Result<CertificateParams, Fault> {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
    let mut params = CertificateParams::new(addresses)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
