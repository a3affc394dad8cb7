//! Tokens: made, looked at, renewed and revoked, by themselves and by their accessors, and through roles.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Answer, Kept, Request, done, errors};

#[derive(Default)]
pub(super) struct Token {
    pub(super) accessor: String,
    pub(super) policies: BTreeSet<String>,
    pub(super) meta: Value,
    pub(super) display_name: String,
    pub(super) ttl: Duration,
    pub(super) explicit_max: Duration,
    /// Never for the root token.
    pub(super) end: Option<Duration>,
    pub(super) renewable: bool,
    /// When no renewal helps any more.
    pub(super) last_end: Option<Duration>,
    /// It is good there and below.
    pub(super) namespace: String,
    /// The auth method that gave it.
    pub(super) origin: Option<String>,
    /// It ends with this one; an orphan has none.
    pub(super) parent: Option<String>,
    /// The role that it was made through.
    pub(super) role: Option<String>,
}

impl Token {
    pub(super) fn root() -> Self {
        Self {
            accessor: "accessor-of-root".to_owned(),
            policies: BTreeSet::from(["root".to_owned()]),
            ..Self::default()
        }
    }

    /// `data` of a look-up.
    fn data(&self, now: Duration) -> Value {
        let left = self.end.map_or(0, |end| end.saturating_sub(now).as_secs());
        let path = match &self.role {
            Some(role) => format!("auth/token/create/{role}"),
            None => "auth/token/create".to_owned(),
        };
        json!({
            "accessor": self.accessor,
            "policies": self.policies,
            "meta": self.meta,
            "display_name": self.display_name,
            "ttl": left,
            "creation_ttl": self.ttl.as_secs(),
            "explicit_max_ttl": self.explicit_max.as_secs(),
            "renewable": self.renewable,
            "orphan": self.parent.is_none(),
            "path": path,
            "type": "service",
            "num_uses": 0,
        })
    }
}

/// A time as requests have it: seconds, or `6s`.
pub(super) fn seconds(value: &Value) -> Duration {
    let text = value.as_str().map(|text| text.strip_suffix('s').unwrap_or(text));
    let seconds = value.as_u64().or_else(|| text?.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

pub(super) fn texts(value: &Value) -> BTreeSet<String> {
    let listed = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    listed.map(str::to_owned).collect()
}

impl Kept {
    pub(super) fn make_token(&mut self, now: Duration, ttl: Duration, renewable: bool) -> String {
        self.keep_token(Token {
            policies: BTreeSet::from(["root".to_owned()]),
            ttl,
            end: Some(now + ttl),
            renewable,
            ..Token::default()
        })
    }

    pub(super) fn keep_token(&mut self, mut token: Token) -> String {
        self.made += 1;
        let text = format!("fake-token-{}", self.made);
        token.accessor = format!("fake-accessor-{}", self.made);
        self.tokens.insert(text.clone(), token);
        text
    }

    /// Ends what is past its end: tokens, then the children and the leases of those.
    pub(super) fn sweep(&mut self, now: Duration) {
        self.tokens.retain(|_, token| token.end.is_none_or(|end| now < end));
        loop {
            let known: BTreeSet<String> = self.tokens.keys().cloned().collect();
            let lives = |parent: &Option<String>| parent.as_ref().is_none_or(|parent| known.contains(parent));
            self.tokens.retain(|_, token| lives(&token.parent));
            if known.len() == self.tokens.len() {
                break;
            }
        }
        let tokens = &self.tokens;
        self.leases
            .retain(|_, lease| now < lease.end && tokens.contains_key(&lease.token));
    }

    /// Whether the token is good in the namespace.
    pub(super) fn knows(&self, request: &Request<'_>) -> bool {
        self.tokens.get(request.token).is_some_and(|token| {
            let below = request.namespace.strip_prefix(token.namespace.as_str());
            below.is_some_and(|rest| token.namespace.is_empty() || rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// What is below `auth/token/`.
    pub(super) fn token(&mut self, request: &Request<'_>, path: &str) -> Answer {
        let (what, name) = path.split_once('/').unwrap_or((path, ""));
        match what {
            "accessors" if request.list => {
                let keys: Vec<_> = self.tokens.values().map(|token| token.accessor.as_str()).collect();
                (StatusCode::OK, json!({ "data": { "keys": keys } }))
            }
            "lookup-self" => self.look_up(request, request.token),
            "lookup-accessor" => match self.by_accessor(request) {
                Some(text) => self.look_up(request, &text),
                None => errors(StatusCode::BAD_REQUEST, "invalid accessor"),
            },
            "renew-self" => self.renew(request),
            "create" => self.create(request, name),
            "revoke" => {
                self.tokens.remove(request.text("token"));
                done()
            }
            "revoke-self" => {
                self.tokens.remove(request.token);
                done()
            }
            "revoke-accessor" => match self.by_accessor(request) {
                Some(text) => {
                    self.tokens.remove(&text);
                    done()
                }
                None => (
                    StatusCode::OK,
                    json!({ "warnings": ["No token found with this accessor"] }),
                ),
            },
            "roles" => self.role(request, name),
            _ => errors(StatusCode::NOT_FOUND, "no handler for route"),
        }
    }

    fn by_accessor(&self, request: &Request<'_>) -> Option<String> {
        let wanted = request.text("accessor");
        let found = self.tokens.iter().find(|(_, token)| token.accessor == wanted);
        found.map(|(text, _)| text.clone())
    }

    fn look_up(&self, request: &Request<'_>, token: &str) -> Answer {
        match self.tokens.get(token) {
            Some(token) => (StatusCode::OK, json!({ "data": token.data(request.now) })),
            None => errors(StatusCode::FORBIDDEN, "permission denied"),
        }
    }

    fn renew(&mut self, request: &Request<'_>) -> Answer {
        let now = request.now;
        match self.tokens.get_mut(request.token) {
            Some(token) if token.renewable => {
                let end = now + token.ttl;
                let end = token.last_end.map_or(end, |last| end.min(last));
                token.end = Some(end);
                let auth = json!({ "lease_duration": end.saturating_sub(now).as_secs(), "renewable": true });
                (StatusCode::OK, json!({ "auth": auth }))
            }
            _ => errors(StatusCode::BAD_REQUEST, "lease is not renewable"),
        }
    }

    /// Makes a token as the body says, within the role if one is named.
    fn create(&mut self, request: &Request<'_>, role_name: &str) -> Answer {
        let roles = self.spaces.get(request.namespace).map(|space| &space.token_roles);
        let named = (!role_name.is_empty()).then_some(role_name);
        let role = match named.map(|name| roles.and_then(|roles| roles.get(name))) {
            Some(None) => return errors(StatusCode::BAD_REQUEST, &format!("unknown role {role_name}")),
            Some(Some(role)) => role.clone(),
            None => Value::Null,
        };
        let body = &request.body;
        let mut policies = texts(&body["policies"]);
        let allowed = texts(&role["allowed_policies"]);
        if policies.is_empty() {
            policies.clone_from(&allowed);
        }
        if !allowed.is_empty() && !policies.is_subset(&allowed) {
            return errors(
                StatusCode::BAD_REQUEST,
                "token policies must be subset of the role's allowed policies",
            );
        }
        if body["no_default_policy"] != true && !policies.contains("root") {
            policies.insert("default".to_owned());
        }
        let limits = [&body["explicit_max_ttl"], &role["token_explicit_max_ttl"]].map(seconds);
        let explicit_max = limits
            .into_iter()
            .filter(|limit| !limit.is_zero())
            .min()
            .unwrap_or_default();
        let asked = [seconds(&body["ttl"]), explicit_max];
        let Some(ttl) = asked.into_iter().filter(|ttl| !ttl.is_zero()).min() else {
            return errors(StatusCode::BAD_REQUEST, "the fake takes a ttl in seconds, like 6s");
        };
        let orphan = role["orphan"] == true || body["no_parent"] == true;
        let token = Token {
            policies,
            meta: body["meta"].clone(),
            display_name: format!("token-{}", request.text("display_name").replace('_', "-")),
            ttl,
            explicit_max,
            end: Some(request.now + ttl),
            renewable: body["renewable"].as_bool().unwrap_or(true) && role["renewable"].as_bool().unwrap_or(true),
            last_end: (!explicit_max.is_zero()).then_some(request.now + explicit_max),
            namespace: request.namespace.to_owned(),
            parent: (!orphan).then(|| request.token.to_owned()),
            role: named.map(str::to_owned),
            ..Token::default()
        };
        self.keep_made(token)
    }

    /// Keeps a token and answers it.
    pub(super) fn keep_made(&mut self, token: Token) -> Answer {
        let text = self.keep_token(token);
        let token = &self.tokens[&text];
        let auth = json!({
            "client_token": text,
            "accessor": token.accessor,
            "policies": token.policies,
            "token_policies": token.policies,
            "metadata": token.meta,
            "lease_duration": token.ttl.as_secs(),
            "renewable": token.renewable,
            "orphan": token.parent.is_none(),
            "token_type": "service",
        });
        (StatusCode::OK, json!({ "auth": auth }))
    }

    /// `auth/token/roles/NAME`
    fn role(&mut self, request: &Request<'_>, name: &str) -> Answer {
        let roles: &mut BTreeMap<_, _> = match self.spaces.get_mut(request.namespace) {
            Some(space) => &mut space.token_roles,
            None => return errors(StatusCode::NOT_FOUND, "namespace not found"),
        };
        if request.writes() {
            roles.insert(name.to_owned(), request.body.clone());
            return done();
        }
        let Some(role) = roles.get(name) else {
            return (StatusCode::NOT_FOUND, json!({ "errors": [] }));
        };
        let data = json!({
            "name": name,
            "orphan": role["orphan"] == true,
            "renewable": role["renewable"].as_bool().unwrap_or(true),
            "allowed_policies": texts(&role["allowed_policies"]),
            "allowed_policies_glob": texts(&role["allowed_policies_glob"]),
            "token_explicit_max_ttl": seconds(&role["token_explicit_max_ttl"]).as_secs(),
            "token_period": seconds(&role["token_period"]).as_secs(),
            "token_type": role["token_type"].as_str().unwrap_or("default-service"),
        });
        (StatusCode::OK, json!({ "data": data }))
    }
}
