//! What a certificate says of who has it. Whether anybody vouches for that is seen elsewhere.

use std::net::IpAddr;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_core::{
    Timestamp,
    certificate::{CertificateName, thumbprint},
    spiffe::SpiffeId,
};
use procura_wire::Digest;
use serde_json::{Map, Value, json};
use x509_cert::{
    Certificate,
    der::{
        Decode, Reader, SliceReader,
        asn1::{ObjectIdentifier, UintRef},
        oid::AssociatedOid,
    },
    ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, name::GeneralName},
    spki::SubjectPublicKeyInfoOwned,
};

/// Largest certificate, bytes.
const MAX_CERTIFICATE: usize = 16 * 1024;
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// Named curves and the bytes of a coordinate.
const CURVES: [(ObjectIdentifier, &str, usize); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), "P-256", 32),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), "P-384", 48),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), "P-521", 66),
];

/// The certificate that a connection presented for itself.
pub(crate) struct Leaf {
    /// SHA-256 of the certificate, `x5t#S256`.
    pub(crate) sha256: Digest,
    /// Thumbprint of its key (RFC 7638), where it is of a known kind.
    pub(crate) key: Option<Digest>,
    subject: String,
    names: Vec<GeneralName>,
    /// First and last second.
    validity: (u64, u64),
    ca: bool,
    usage: Option<KeyUsage>,
}

impl Leaf {
    /// `None` where it is not a certificate, or one of its extensions cannot be read.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        if der.len() > MAX_CERTIFICATE {
            return None;
        }
        let certificate = Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let names = extension::<SubjectAltName>(&certificate)?;
        let constraints = extension::<BasicConstraints>(&certificate)?;
        let validity = tbs.validity();
        let key = jwk(tbs.subject_public_key_info());
        Some(Self {
            sha256: Digest::of(der),
            key: key.and_then(|jwk| thumbprint(&jwk)),
            subject: tbs.subject().to_string(),
            names: names.map(|names| names.0).unwrap_or_default(),
            validity: (
                validity.not_before.to_unix_duration().as_secs(),
                validity.not_after.to_unix_duration().as_secs(),
            ),
            ca: constraints.is_some_and(|constraints| constraints.ca),
            usage: extension::<KeyUsage>(&certificate)?,
        })
    }

    /// Whether it is within its time.
    pub(crate) fn is_current(&self, now: Timestamp) -> bool {
        let now = u64::try_from(now.as_second()).unwrap_or_default();
        (self.validity.0..=self.validity.1).contains(&now)
    }

    /// Whether it carries that name (RFC 8705 section 2.1.2).
    pub(crate) fn has(&self, name: &CertificateName) -> bool {
        let any = |fits: &dyn Fn(&GeneralName) -> bool| self.names.iter().any(fits);
        match name {
            CertificateName::SubjectDn(dn) => self.subject == *dn,
            CertificateName::SanDns(host) => {
                any(&|name| matches!(name, GeneralName::DnsName(text) if text.as_str().eq_ignore_ascii_case(host)))
            }
            CertificateName::SanUri(uri) => {
                any(&|name| matches!(name, GeneralName::UniformResourceIdentifier(text) if text.as_str() == uri))
            }
            CertificateName::SanIp(address) => {
                any(&|name| matches!(name, GeneralName::IpAddress(bytes) if is_address(bytes.as_bytes(), *address)))
            }
            CertificateName::SanEmail(mail) => {
                any(&|name| matches!(name, GeneralName::Rfc822Name(text) if text.as_str() == mail))
            }
        }
    }

    /// The workload whose X.509-SVID it is; `None` where it is none (X509-SVID sections 2 and 4).
    pub(crate) fn spiffe_id(&self) -> Option<SpiffeId> {
        let usage = self.usage.as_ref()?;
        if self.ca || !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
            return None;
        }
        let mut uris = self.names.iter().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            _ => None,
        });
        let uri = uris.next()?;
        uri.parse().ok().filter(|_| uris.next().is_none())
    }
}

/// `None` where it is there and cannot be read, or is there twice.
fn extension<T: for<'a> Decode<'a> + AssociatedOid>(certificate: &Certificate) -> Option<Option<T>> {
    let found = certificate.tbs_certificate().get_extension::<T>();
    Some(found.ok()?.map(|(_, extension)| extension))
}

fn is_address(bytes: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => bytes == address.octets(),
        IpAddr::V6(address) => bytes == address.octets(),
    }
}

/// The key as a JWK (RFC 7518 section 6, RFC 8037).
fn jwk(key: &SubjectPublicKeyInfoOwned) -> Option<Map<String, Value>> {
    let bytes = key.subject_public_key.as_bytes()?;
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwk = if key.algorithm.oid == EC {
        let curve: ObjectIdentifier = key.algorithm.parameters.as_ref()?.decode_as().ok()?;
        let (_, crv, length) = CURVES.into_iter().find(|(oid, ..)| *oid == curve)?;
        let point = bytes.strip_prefix(&[4]).filter(|point| point.len() == 2 * length)?;
        let (x, y) = point.split_at(length);
        json!({"kty": "EC", "crv": crv, "x": text(x), "y": text(y)})
    } else if key.algorithm.oid == RSA {
        let (n, e) = rsa(bytes)?;
        json!({"kty": "RSA", "n": text(&n), "e": text(&e)})
    } else if key.algorithm.oid == ED25519 {
        json!({"kty": "OKP", "crv": "Ed25519", "x": text(bytes)})
    } else {
        return None;
    };
    match jwk {
        Value::Object(jwk) => Some(jwk),
        _ => None,
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 appendix A.1.1), without leading zeros.
fn rsa(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(der).ok()?;
    let read = reader.sequence(|inner| {
        let (n, e) = (UintRef::decode(inner)?, UintRef::decode(inner)?);
        Ok::<_, x509_cert::der::Error>((n.as_bytes().to_vec(), e.as_bytes().to_vec()))
    });
    read.ok().filter(|_| reader.is_finished())
}
