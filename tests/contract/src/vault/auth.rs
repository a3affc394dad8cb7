//! The auth methods that give tokens: AppRole, JWT and Kubernetes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    Answer, Kept, Request, done, errors,
    tokens::{Token, seconds, texts},
};

/// An auth method that is enabled.
pub(super) struct Auth {
    kind: String,
    roles: BTreeMap<String, Role>,
}

#[derive(Default)]
struct Role {
    ttl: Duration,
    max_ttl: Duration,
    /// Batch tokens cannot be renewed.
    batch: bool,
    audiences: Vec<String>,
    policies: BTreeSet<String>,
    secret_ids: Vec<String>,
}

impl Auth {
    pub(super) fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            roles: BTreeMap::new(),
        }
    }

    /// The role that a log-in is for, if what it brings is right.
    fn role(&self, body: &Value) -> Option<&Role> {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        if self.kind == "approle" {
            let name = text("role_id").strip_prefix("id-of-")?;
            let role = self.roles.get(name)?;
            return role.secret_ids.iter().any(|id| id == text("secret_id")).then_some(role);
        }
        let role = self.roles.get(text("role"))?;
        let claims = URL_SAFE_NO_PAD.decode(text("jwt").split('.').nth(1)?).ok()?;
        // The signature is not looked at.
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let audience = claims["aud"][0].as_str()?;
        role.audiences.iter().any(|one| one == audience).then_some(role)
    }
}

fn denied() -> Answer {
    errors(StatusCode::FORBIDDEN, "permission denied")
}

impl Kept {
    /// `auth/MOUNT/login`
    pub(super) fn log_in(&mut self, request: &Request<'_>, mount: &str) -> Answer {
        let auths = self.spaces.get(request.namespace).map(|space| &space.auths);
        let Some(auth) = auths.and_then(|auths| auths.get(mount)) else {
            return denied();
        };
        let Some(role) = auth.role(&request.body) else {
            return match auth.kind.as_str() {
                "kubernetes" => denied(),
                _ => errors(StatusCode::BAD_REQUEST, "invalid role or proof"),
            };
        };
        let mut policies = role.policies.clone();
        policies.insert("default".to_owned());
        let token = Token {
            policies,
            ttl: role.ttl,
            end: Some(request.now + role.ttl),
            renewable: !role.batch,
            last_end: Some(request.now + role.max_ttl),
            namespace: request.namespace.to_owned(),
            origin: Some(mount.to_owned()),
            ..Token::default()
        };
        self.keep_made(token)
    }

    /// Ends all tokens that a method in the namespace gave.
    pub(super) fn revoke_all(&mut self, request: &Request<'_>, mount: &str) -> Answer {
        self.tokens
            .retain(|_, token| token.namespace != request.namespace || token.origin.as_deref() != Some(mount));
        done()
    }

    /// What is below `auth/`, apart from log-ins and tokens.
    pub(super) fn manage_auth(&mut self, request: &Request<'_>, path: &str) -> Answer {
        let made = self.made + 1;
        let auths = self.spaces.get_mut(request.namespace).map(|space| &mut space.auths);
        let parts: Vec<_> = path.split('/').collect();
        let Some(auth) = auths.and_then(|auths| auths.get_mut(parts.first().copied().unwrap_or_default())) else {
            return errors(StatusCode::NOT_FOUND, "no handler for route");
        };
        let body = &request.body;
        match parts.as_slice() {
            [_, "config"] => done(),
            [_, "role", name] => {
                let role = auth.roles.entry((*name).to_owned()).or_default();
                role.ttl = seconds(&body["token_ttl"]);
                role.max_ttl = seconds(&body["token_max_ttl"]);
                role.batch = body["token_type"] == "batch";
                role.policies = texts(&body["token_policies"]);
                let listed = body["bound_audiences"].as_array().into_iter().flatten();
                let audiences = listed.chain([&body["audience"]]).filter_map(Value::as_str);
                role.audiences = audiences.map(str::to_owned).collect();
                done()
            }
            [_, "role", name, "role-id"] => (
                StatusCode::OK,
                json!({ "data": { "role_id": format!("id-of-{name}") } }),
            ),
            [_, "role", name, "secret-id"] if *request.method == Method::POST => {
                let id = format!("fake-secret-id-{made}");
                self.made = made;
                auth.roles
                    .entry((*name).to_owned())
                    .or_default()
                    .secret_ids
                    .push(id.clone());
                (StatusCode::OK, json!({ "data": { "secret_id": id } }))
            }
            [_, "role", name, "secret-id", "destroy"] => {
                let role = auth.roles.entry((*name).to_owned()).or_default();
                role.secret_ids.retain(|id| body["secret_id"] != id.as_str());
                done()
            }
            _ => errors(StatusCode::NOT_FOUND, "no handler for route"),
        }
    }
}
