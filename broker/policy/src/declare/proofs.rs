//! What `auth` of a server file says of certificates and workloads.

use std::{cell::RefCell, net::IpAddr};

use procura_core::{
    certificate::{CertificateName, RegisteredKey},
    spiffe::SpiffePattern,
};
use serde_json::Value;
use x509_cert::name::Name;

use super::Around;
use crate::table::{Item, Table};

/// Most keys of one server: each request compares with all of them.
const MAX_KEYS: usize = 8;

/// The keys that name a certificate; a server has one of them.
const NAMES: [&str; 5] = ["subject_dn", "san_dns", "san_uri", "san_ip", "san_email"];

/// SPIFFE ids that servers have, with the file of each.
#[derive(Default)]
pub(crate) struct Workloads(RefCell<Vec<(SpiffePattern, String)>>);

/// The one name that the certificates of a server carry (RFC 8705 section 2.1.2).
pub(super) fn name(table: &mut Table<'_>, around: &Around<'_>) -> Option<CertificateName> {
    let named: Vec<_> = NAMES
        .into_iter()
        .filter_map(|key| Some((key, table.take(key)?)))
        .collect();
    let [(key, item)] = named[..] else {
        let all = NAMES.join(", ");
        table.mistake(format!(
            "tls_client_auth needs exactly one of {all}; write for example san_dns = \"tickets.example.com\""
        ));
        return None;
    };
    let text = item.filled()?;
    match certificate_name(key, text) {
        Ok(name) => {
            item.unique(&around.seen, "certificate name", format!("{name:?}"));
            Some(name)
        }
        Err(problem) => {
            item.mistake(format!("`{text}` {problem}"));
            None
        }
    }
}

fn certificate_name(key: &str, text: &str) -> Result<CertificateName, &'static str> {
    let plain = text.bytes().all(|c| c.is_ascii_graphic());
    match key {
        "subject_dn" => {
            let name = text.parse::<Name>().map_err(|_| NO_NAME)?;
            let name = name.to_string();
            if name.is_empty() {
                Err(NO_NAME)
            } else {
                Ok(CertificateName::SubjectDn(name))
            }
        }
        "san_dns" if plain && !text.contains(['*', '/', ':']) => Ok(CertificateName::SanDns(text.to_ascii_lowercase())),
        "san_dns" => Err("is no DNS name; write one host, such as tickets.example.com, without wildcard"),
        "san_uri" if plain && url::Url::parse(text).is_ok() => Ok(CertificateName::SanUri(text.to_owned())),
        "san_uri" => Err("is no absolute URI"),
        "san_ip" => {
            let address = text.parse::<IpAddr>().map_err(|_| "is no IP address")?;
            Ok(CertificateName::SanIp(address))
        }
        _ if plain && text.contains('@') => Ok(CertificateName::SanEmail(text.to_owned())),
        _ => Err("is no mail address"),
    }
}

const NO_NAME: &str = "is no distinguished name; write it as RFC 4514 does: CN=tickets,O=Example";

/// The keys of the certificates of a server (RFC 8705 section 2.2.2).
pub(super) fn keys(item: Item<'_>, around: &Around<'_>) -> Option<Vec<RegisteredKey>> {
    let mut table = item.table()?;
    let list = table.need("keys", "[{ kty = \"EC\", crv = \"P-256\", x = \"…\", y = \"…\" }]");
    let list = list.and_then(|item| Some((item, item.list()?)));
    table.finish();
    let (place, list) = list?;
    if !(1..=MAX_KEYS).contains(&list.len()) {
        place.mistake(format!("1 to {MAX_KEYS} keys are needed here"));
    }
    let read = |item: Item<'_>| {
        let Some(Value::Object(jwk)) = item.tree() else {
            item.mistake("a key is a table: { kty = \"EC\", … } (RFC 7517)");
            return None;
        };
        let key = RegisteredKey::read(&jwk)
            .map_err(|problem| item.mistake(problem))
            .ok()?;
        item.unique(&around.seen, "certificate key", key.key.to_string());
        Some(key)
    };
    Some(list.into_iter().filter_map(read).collect())
}

/// The SPIFFE ids of a server. No id may be of two.
pub(super) fn workload(item: Item<'_>, around: &Around<'_>) -> Option<SpiffePattern> {
    let text = item.filled()?;
    let Ok(pattern) = text.parse::<SpiffePattern>() else {
        item.mistake(format!(
            "`{text}` is no SPIFFE id; write spiffe://example.org/ns/tools/tickets, or spiffe://example.org/ns/tools/* \
             for all below"
        ));
        return None;
    };
    let mut known = around.workloads.0.borrow_mut();
    if let Some((other, file)) = known.iter().find(|(other, _)| other.overlaps(&pattern)) {
        item.mistake(format!("{file} has {other}, and an id may be of one server only"));
    }
    known.push((pattern.clone(), item.doc.file.to_owned()));
    Some(pattern)
}
