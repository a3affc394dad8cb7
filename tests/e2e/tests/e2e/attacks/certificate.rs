//! Client certificates as cases describe them, who issues them, and connections that show them.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use procura_e2e::Fault;
use rcgen::{
    BasicConstraints, Certificate as Made, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{
    case::{Certificate, Purpose, Usage},
    text::{Words, fill_text},
    token::{self, Keys},
};

/// Authorities by their names, all under one name of their own.
pub(super) struct Authorities(Vec<(&'static str, Made, Issuer<'static, KeyPair>)>);

/// `clients` vouches for servers, `strangers` for nobody, the others for the workloads of a trust domain each.
const NAMES: [&str; 4] = ["clients", "strangers", "workloads", "others"];

impl Authorities {
    pub(super) fn new() -> Result<Self, Fault> {
        let authority = |name| {
            let mut params = CertificateParams::default();
            params.distinguished_name = distinguished(&[("CN".into(), "an authority".into())], &Words::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate()?;
            Ok::<_, Fault>((name, params.self_signed(&key)?, Issuer::new(params, key)))
        };
        Ok(Self(NAMES.into_iter().map(authority).collect::<Result<_, _>>()?))
    }

    /// Their certificates, as trust domains publish them.
    pub(super) fn words(&self, words: &mut Words) {
        for (name, own, _) in &self.0 {
            words.insert(format!("x5c:{name}"), BASE64_STANDARD.encode(own.der()).into());
        }
    }

    /// The certificate of the one that vouches for servers, PEM.
    pub(super) fn clients(&self) -> String {
        self.0.iter().map(|(_, own, _)| own.pem()).next().unwrap_or_default()
    }

    /// Makes the certificate, with the words for it and its digest.
    pub(super) fn issue(&self, case: &Certificate, keys: &Keys, words: &mut Words) -> Result<Shown, Fault> {
        let (params, key) = (params(case, words)?, keys.of_certificates(&case.key)?);
        let made = match self.0.iter().find(|(name, ..)| *name == case.by) {
            Some((_, _, issuer)) => params.signed_by(&key, issuer)?,
            None if case.by == "itself" => params.self_signed(&key)?,
            None => return Err(format!("no authority is called {}", case.by).into()),
        };
        words.insert("certificate".into(), BASE64_STANDARD.encode(made.der()).into());
        words.insert("x5t".into(), token::hash(made.der()));
        Ok(Shown(made.der().clone(), key))
    }
}

/// A certificate that a connection can show.
pub(super) struct Shown(CertificateDer<'static>, KeyPair);

/// How to connect to a broker that this authority (PEM) vouches for.
pub(super) fn connecting(authority: &str, shown: Option<Shown>) -> Result<Arc<ClientConfig>, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|error| error.to_string())?)?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    Ok(Arc::new(match shown {
        None => config.with_no_client_auth(),
        Some(Shown(certificate, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der())?;
            config.with_client_auth_cert(vec![certificate], key)?
        }
    }))
}

fn params(case: &Certificate, words: &Words) -> Result<CertificateParams, Fault> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(&case.subject, words)?;
    for name in &case.dns {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.as_str().try_into()?));
    }
    for name in &case.uri {
        params.subject_alt_names.push(SanType::URI(name.as_str().try_into()?));
    }
    for name in &case.email {
        params
            .subject_alt_names
            .push(SanType::Rfc822Name(name.as_str().try_into()?));
    }
    for name in &case.ip {
        params.subject_alt_names.push(SanType::IpAddress(name.parse()?));
    }
    if case.ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.key_usages = case.usage.iter().copied().map(usage).collect();
    params.extended_key_usages = vec![match case.purpose {
        Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params.not_before = date_time_ymd(case.years.0, 1, 1);
    params.not_after = date_time_ymd(case.years.1, 1, 1);
    Ok(params)
}

fn usage(usage: Usage) -> KeyUsagePurpose {
    match usage {
        Usage::Sign => KeyUsagePurpose::DigitalSignature,
        Usage::Encipher => KeyUsagePurpose::KeyEncipherment,
        Usage::Certificates => KeyUsagePurpose::KeyCertSign,
        Usage::Revocations => KeyUsagePurpose::CrlSign,
    }
}

fn distinguished(parts: &[(String, String)], words: &Words) -> Result<DistinguishedName, Fault> {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        let kind = match kind.as_str() {
            "O" => DnType::OrganizationName,
            "CN" => DnType::CommonName,
            other => return Err(format!("no part of a name is called {other}").into()),
        };
        name.push(kind, fill_text(value, words)?);
    }
    Ok(name)
}
