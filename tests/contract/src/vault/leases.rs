//! Leases: what an engine gave for a time, to the token that asked.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Kept, Request, done, errors, tokens::seconds};

pub(super) struct Lease {
    /// It ends with this one.
    pub(super) token: String,
    pub(super) end: Duration,
    /// How long it lives after a renewal.
    ttl: Duration,
    /// When no renewal helps any more.
    last_end: Duration,
    renewable: bool,
}

/// What an engine gives.
pub(super) struct Leased {
    /// Below the engine's mount.
    pub(super) path: String,
    pub(super) ttl: Duration,
    pub(super) max_ttl: Duration,
    pub(super) data: Value,
}

impl Kept {
    /// Keeps a lease for the token that asked, and answers it.
    pub(super) fn lease(&mut self, request: &Request<'_>, leased: Leased) -> Answer {
        let mount = request.path.split('/').next().unwrap_or_default();
        let id = format!("{mount}/{}/fakelease{}", leased.path, self.made);
        let ttl = leased.ttl.min(leased.max_ttl);
        let lease = Lease {
            token: request.token.to_owned(),
            end: request.now + ttl,
            ttl,
            last_end: request.now + leased.max_ttl,
            renewable: true,
        };
        self.leases.insert(id.clone(), lease);
        let body = json!({
            "lease_id": id,
            "lease_duration": ttl.as_secs(),
            "renewable": true,
            "data": leased.data,
        });
        (StatusCode::OK, body)
    }

    /// What is below `sys/leases/`.
    pub(super) fn manage_leases(&mut self, request: &Request<'_>, path: &str) -> Answer {
        if let Some(prefix) = path.strip_prefix("revoke-prefix/") {
            if let Some(mount) = prefix
                .strip_prefix("auth/")
                .and_then(|rest| rest.strip_suffix("/login"))
            {
                return self.revoke_all(request, mount);
            }
            self.leases.retain(|id, _| !id.starts_with(&format!("{prefix}/")));
            return done();
        }
        let id = request.text("lease_id");
        let now = request.now;
        match (path, self.leases.get_mut(id)) {
            ("lookup", Some(lease)) => {
                let left = lease.end.saturating_sub(now).as_secs();
                let data = json!({ "id": id, "ttl": left, "renewable": lease.renewable });
                (StatusCode::OK, json!({ "data": data }))
            }
            ("renew", Some(lease)) => {
                let asked = seconds(&request.body["increment"]);
                let time = if asked.is_zero() { lease.ttl } else { asked };
                lease.end = (now + time).min(lease.last_end);
                let left = lease.end.saturating_sub(now).as_secs();
                (
                    StatusCode::OK,
                    json!({ "lease_id": id, "lease_duration": left, "renewable": true }),
                )
            }
            ("revoke", _) => {
                self.leases.remove(id);
                done()
            }
            ("lookup", None) => errors(StatusCode::BAD_REQUEST, "invalid lease"),
            ("renew", None) => errors(StatusCode::BAD_REQUEST, "lease not found"),
            _ => errors(StatusCode::NOT_FOUND, "no handler for route"),
        }
    }
}
