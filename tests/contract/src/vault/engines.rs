//! The engines that are mounted.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Request, done, errors, kv::Kv, leases::Leased, ssh, tokens::seconds};

pub(super) enum Engine {
    Kv(Kv),
    /// One that makes what its roles say; these by name, as they were written.
    Maker(Maker, BTreeMap<String, Value>),
}

#[derive(Clone, Copy)]
pub(super) enum Maker {
    Database,
    Pki,
    Ssh,
}

impl Engine {
    pub(super) fn new(body: &Value) -> Self {
        let maker = match body["type"].as_str() {
            Some("database") => Maker::Database,
            Some("pki") => Maker::Pki,
            Some("ssh") => Maker::Ssh,
            _ => return Self::Kv(Kv::new(body["options"]["version"] == "2")),
        };
        Self::Maker(maker, BTreeMap::new())
    }

    /// What it gives; or what it answers where it gives nothing that has a lease. `number` is new each time.
    pub(super) fn answer(&mut self, request: &Request<'_>, path: &str, number: u64) -> Result<Leased, Answer> {
        let (maker, roles) = match self {
            Self::Kv(kv) => return Err(kv.answer(request, path)),
            Self::Maker(maker, roles) => (*maker, roles),
        };
        let (what, name) = path.split_once('/').unwrap_or((path, ""));
        if what == "roles" {
            roles.insert(name.to_owned(), request.body.clone());
            return Err(done());
        }
        if matches!(what, "config" | "rotate-root" | "root") {
            return Err((StatusCode::OK, json!({ "data": {} })));
        }
        let Some(role) = roles.get(name) else {
            return Err(errors(StatusCode::BAD_REQUEST, "unknown role"));
        };
        let read = *request.method == Method::GET;
        match (maker, what, read) {
            (Maker::Database, "creds", true) => Ok(Leased {
                path: path.to_owned(),
                ttl: seconds(&role["default_ttl"]),
                max_ttl: seconds(&role["max_ttl"]),
                data: json!({
                    "username": format!("v-{name}-{number}"),
                    "password": format!("fake-password-{number}"),
                }),
            }),
            (Maker::Pki, "issue", false) => Err(issue(request, role, number)),
            (Maker::Ssh, "sign", false) => Err(sign(request, role, number)),
            _ => Err(errors(StatusCode::METHOD_NOT_ALLOWED, "unsupported operation")),
        }
    }
}

/// The shorter of what is asked and what the role has, in seconds.
fn life(request: &Request<'_>, role: &Value) -> i64 {
    let times = [&request.body["ttl"], &role["max_ttl"]].map(seconds);
    let shortest = times.into_iter().filter(|time| !time.is_zero()).min();
    let shortest = shortest.unwrap_or(Duration::from_secs(600));
    i64::try_from(shortest.as_secs()).unwrap_or_default()
}

/// A certificate that holds nothing; only its end is right.
fn issue(request: &Request<'_>, role: &Value, number: u64) -> Answer {
    if request.text("common_name").is_empty() {
        return errors(StatusCode::BAD_REQUEST, "the common_name field is required");
    }
    let data = json!({
        "certificate": format!("-----BEGIN CERTIFICATE-----\nfake {number}\n-----END CERTIFICATE-----"),
        "private_key": format!("fake-private-key-{number}"),
        "serial_number": format!("00:{number}"),
        "expiration": request.wall + life(request, role),
    });
    (
        StatusCode::OK,
        json!({ "lease_id": "", "lease_duration": 0, "data": data }),
    )
}

/// A certificate that is whole apart from its signature.
fn sign(request: &Request<'_>, role: &Value, number: u64) -> Answer {
    let principals: Vec<_> = request.text("valid_principals").split(',').collect();
    let allowed = role["allowed_users"].as_str().unwrap_or_default();
    let fine = |name: &&str| allowed == "*" || allowed.split(',').any(|one| one == *name);
    if !principals.iter().all(fine) {
        return errors(StatusCode::BAD_REQUEST, "not a valid value for valid_principals");
    }
    let asked = request.body["extensions"].as_object().filter(|asked| !asked.is_empty());
    let extensions = asked.or_else(|| role["default_extensions"].as_object());
    let certificate = ssh::Certificate {
        serial: number,
        principals,
        until: request.wall + life(request, role),
        extensions: extensions
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect(),
    };
    let Some(signed) = certificate.over(request.text("public_key")) else {
        return errors(StatusCode::BAD_REQUEST, "failed to parse public_key as SSH key");
    };
    let data = json!({ "serial_number": format!("{number:016x}"), "signed_key": signed });
    (
        StatusCode::OK,
        json!({ "lease_id": "", "lease_duration": 0, "data": data }),
    )
}
