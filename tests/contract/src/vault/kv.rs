//! The KV engine, version 1 and 2.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Answer, Request, done, errors};

pub(super) struct Kv {
    versioned: bool,
    /// All versions by path; `None` where one was deleted. A mount of version 1 keeps one.
    secrets: BTreeMap<String, Vec<Option<Value>>>,
}

impl Kv {
    pub(super) fn new(versioned: bool) -> Self {
        Self {
            versioned,
            secrets: BTreeMap::new(),
        }
    }

    pub(super) fn write(&mut self, path: &str, secret: Value) -> usize {
        let versions = self.secrets.entry(path.to_owned()).or_default();
        if !self.versioned {
            versions.clear();
        }
        versions.push(Some(secret));
        versions.len()
    }

    pub(super) fn answer(&mut self, request: &Request<'_>, path: &str) -> Answer {
        match (self.versioned, path.strip_prefix("data/")) {
            (true, Some(path)) => {
                let expected = request.body["options"]["cas"].as_u64();
                let current = self.secrets.get(path).map_or(0, Vec::len);
                if request.writes() && expected.is_some_and(|expected| usize::try_from(expected) != Ok(current)) {
                    let problem = "check-and-set parameter did not match the current version";
                    return errors(StatusCode::BAD_REQUEST, problem);
                }
                self.serve(request.method, path, &request.body["data"])
            }
            (true, None) => errors(StatusCode::NOT_FOUND, "no handler for route"),
            (false, _) => self.serve(request.method, path, &request.body),
        }
    }

    fn serve(&mut self, method: &Method, path: &str, secret: &Value) -> Answer {
        let versions = self.secrets.get_mut(path);
        match (method, versions.and_then(|versions| versions.last_mut())) {
            (&Method::POST | &Method::PUT, _) => {
                let version = self.write(path, secret.clone());
                if self.versioned {
                    (StatusCode::OK, json!({ "data": { "version": version } }))
                } else {
                    done()
                }
            }
            (&Method::DELETE, latest) => {
                if let Some(latest) = latest {
                    *latest = None;
                }
                done()
            }
            (_, None) => (StatusCode::NOT_FOUND, json!({ "errors": [] })),
            (_, Some(_)) => self.read(path),
        }
    }

    fn read(&self, path: &str) -> Answer {
        let versions = self.secrets.get(path).map(Vec::as_slice).unwrap_or_default();
        let version = versions.len();
        match (self.versioned, versions.last()) {
            (false, Some(Some(secret))) => (StatusCode::OK, json!({ "data": secret })),
            (true, Some(Some(secret))) => {
                let metadata = json!({ "version": version, "deletion_time": "", "destroyed": false });
                (
                    StatusCode::OK,
                    json!({ "data": { "data": secret, "metadata": metadata } }),
                )
            }
            (true, Some(None)) => {
                let metadata = json!({ "version": version, "deletion_time": "2026-11-20T09:00:00Z" });
                (
                    StatusCode::NOT_FOUND,
                    json!({ "data": { "data": null, "metadata": metadata } }),
                )
            }
            _ => (StatusCode::NOT_FOUND, json!({ "errors": [] })),
        }
    }
}
