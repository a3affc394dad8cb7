//! What runs out soon: certificates, secrets of servers, keys, sources that are away. Told in the log, in
//! `/readyz` and as a metric, while there is time to do something.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use procura_core::{
    Timestamp,
    catalogue::{Catalogue, Server, ServerAuth},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::Serialize;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::assembly::Broker;

/// What ends so long before its end is told.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// Looks after which a warning is repeated: a day.
const REPEAT: u32 = 24 * 60 * 2;

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Expiry {
    /// `certificate`, `server secret`, `signing key`, `source`, `issuer keys`.
    pub(crate) what: &'static str,
    pub(crate) name: String,
    pub(crate) ends: Timestamp,
}

impl Expiry {
    fn key(&self) -> (&'static str, String) {
        (self.what, self.name.clone())
    }

    fn advice(&self) -> &'static str {
        match self.what {
            "certificate" => "put the new one in its place and send SIGHUP",
            "server secret" => "add the next one to the server's file (`procura server new-secret`)",
            "signing key" => "rotate it (`procura keys new --rotate`)",
            "source" => "it cannot be read, or its token is not renewed; what was read last serves until then",
            _ => "they cannot be fetched; the last good ones serve until then",
        }
    }
}

/// Looks until the broker stops.
pub(crate) async fn watch(broker: Arc<Broker>) {
    let (mut told, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for look in 0_u32.. {
        let now = broker.ports.clock.now();
        let all = all(&broker, now);
        gauge(&all, &mut shown, now);
        let soon: Vec<_> = all.into_iter().filter(|expiry| expiry.ends < now + SOON).collect();
        if look.is_multiple_of(REPEAT) {
            told.clear();
        }
        told.retain(|told| soon.iter().any(|expiry| *told == expiry.key()));
        for expiry in &soon {
            if told.insert(expiry.key()) {
                let (what, name, ends) = (expiry.what, &expiry.name, expiry.ends);
                tracing::warn!(what, name, %ends, advice = expiry.advice(), "runs out soon");
            }
        }
        broker.health.expiring(soon);
        broker.ports.clock.sleep(LOOK).await;
    }
}

/// What does not run out any more has no end, so that no alarm stays.
fn gauge(all: &[Expiry], shown: &mut BTreeSet<(&'static str, String)>, now: Timestamp) {
    let present: BTreeSet<_> = all.iter().map(Expiry::key).collect();
    for (what, name) in shown.difference(&present) {
        metrics::gauge!("procura_expires_in_seconds", "what" => *what, "name" => name.clone()).set(f64::INFINITY);
    }
    *shown = present;
    for Expiry { what, name, ends } in all {
        let left = ends.duration_since(now).as_secs_f64();
        metrics::gauge!("procura_expires_in_seconds", "what" => *what, "name" => name.clone()).set(left);
    }
}

fn all(broker: &Broker, now: Timestamp) -> Vec<Expiry> {
    let snapshot = broker.ports.active.snapshot();
    let mut all = secrets(snapshot.judge.catalogue());
    let certificate = broker.health.report().certificate_ends;
    all.extend(certificate.map(|ends| expiry("certificate", "[tls] cert".to_owned(), ends)));
    all.extend(
        broker
            .keys
            .ring
            .ends()
            .map(|ends| expiry("signing key", "active".to_owned(), ends)),
    );
    let after = |what| move |(name, left): (String, Duration)| expiry(what, name, now + left);
    all.extend(broker.workshop.sources.running_out().into_iter().map(after("source")));
    all.extend(broker.identity.running_out().into_iter().map(after("issuer keys")));
    all
}

fn expiry(what: &'static str, name: String, ends: Timestamp) -> Expiry {
    Expiry { what, name, ends }
}

/// Of each server the end of the secret that ends last; none where one does not end.
fn secrets(catalogue: &Catalogue) -> Vec<Expiry> {
    let last = |server: &Server| match &server.auth {
        ServerAuth::ClientSecret(hashes) => {
            let ends: Option<BTreeSet<Timestamp>> = hashes.iter().map(|hash| hash.expires).collect();
            ends?.pop_last()
        }
        ServerAuth::PrivateKeyJwt { .. }
        | ServerAuth::Workload(_)
        | ServerAuth::TlsClient(_)
        | ServerAuth::SelfSigned(_)
        | ServerAuth::Spiffe(_)
        | ServerAuth::BuiltinDev => None,
    };
    let servers: &BTreeMap<_, _> = &catalogue.servers;
    let secret = |(name, server): (&procura_wire::Name, &Server)| {
        last(server).map(|ends| expiry("server secret", name.to_string(), ends))
    };
    servers.iter().filter_map(secret).collect()
}

/// The end of the first certificate of a PEM file.
pub(crate) fn certificate_ends(path: &Path) -> Option<Timestamp> {
    let pem = fs::read(path).ok()?;
    let der = CertificateDer::from_pem_slice(&pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use procura_core::catalogue::SecretHash;
    use procura_wire::Digest;

    use super::*;
    use crate::testing;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("time")
    }

    #[tokio::test]
    async fn of_a_servers_secrets_the_last_one_counts_and_one_without_an_end_is_enough() {
        let (broker, _folder) = testing::broker().await;
        let mut catalogue = broker.ports.active.snapshot().judge.catalogue().clone();
        let secret = |expires: Option<i64>| SecretHash {
            hash: Digest::of(b"x"),
            expires: expires.map(at),
        };
        let mut ends = |hashes| {
            catalogue.servers.values_mut().next().expect("a server").auth = ServerAuth::ClientSecret(hashes);
            secrets(&catalogue).first().map(|expiry| expiry.ends)
        };
        assert_eq!(ends(vec![secret(Some(5)), secret(Some(9))]), Some(at(9)));
        assert_eq!(ends(vec![secret(Some(5)), secret(None)]), None);
    }

    #[test]
    fn a_certificate_says_when_it_ends() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().expect("key");
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("cert.pem");
        fs::write(&path, params.self_signed(&key).expect("certificate").pem()).expect("written");
        assert_eq!(
            certificate_ends(&path),
            Some("2031-02-03T00:00:00Z".parse().expect("time"))
        );
        fs::write(&path, "nothing").expect("written");
        assert_eq!(certificate_ends(&path), None);
    }

    #[tokio::test]
    async fn what_runs_out_soon_is_told_and_what_does_not_is_not() {
        let (broker, _folder) = testing::broker().await;
        let now = broker.ports.clock.now();
        let ends = |left| {
            broker.health.note(|report| report.certificate_ends = Some(now + left));
            let soon = all(&broker, now).into_iter().filter(|expiry| expiry.ends < now + SOON);
            soon.map(|expiry| expiry.what).collect::<Vec<_>>()
        };
        assert_eq!(ends(SOON * 2), Vec::<&str>::new());
        assert_eq!(ends(SOON / 2), ["certificate"]);
    }
}
