//! A broker with records of two targets, and people who may read both, one or none.

use std::{fs, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use procura_core::{
    identity::{LogIn, Principal, VerifiedToken},
    ids::{IssuanceId, SessionId},
    ledger::{Conditions, Event, Outcome, Session, SessionKey},
    log,
    ports::Signer,
    record::Draft,
    trust::Vouched,
    web,
};
use procura_identity::{Builtin, Cached};
use procura_target_jwt::{Keyring, SigningAlgorithm, new_set};
use procura_wire::{Name, QualifiedId, Reason, Secret};
use serde_json::json;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::{
    assembly::{Broker, Trust},
    cli::keys::new_secret,
    http,
    testing::{self, ISSUER},
    web::{Web, cookie, guard},
};

const RULES: &str = r#"
@id("one-target") permit (principal == User::"dev/one", action == Action::"read_log", resource == Target::"api");
@id("all-targets") permit (principal == User::"dev/all", action == Action::"read_log", resource);
@id("ends") permit (principal == User::"dev/ender", action in [Action::"read_log", Action::"end_session"], resource);
"#;

const DB: &str = "kind = \"jwt\"\nowner = \"db@example.com\"\naudience = \"https://db.example\"\n\
                  [grants.read]\nrisk = \"read\"\nmax_ttl = \"5m\"\nscopes = [\"read\"]\n";

const REPORTS: &str = "owner = \"reports@example.com\"\nresource = \"https://reports.example/mcp\"\n\
                       auth = { method = \"builtin:dev\" }\ngrants = [\"db/read\"]\n";

pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) routes: Router,
    pub(crate) folder: TempDir,
    /// The keys of the development issuer.
    keys: Keyring,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("name")
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let keys = Keyring::parse(&new_set(SigningAlgorithm::Es256).expect("keys")).expect("keys");
        let trust = Trust {
            builtin: Some(Builtin {
                issuer_identifier: format!("{ISSUER}/dev"),
                jwks: keys.public_jwks(),
            }),
            ..Trust::default()
        };
        let (mut broker, folder) = testing::trusting(trust).await;
        broker.web = Some(Arc::new(Web {
            store: broker.engine.web(),
            identity: Arc::clone(&broker.identity),
            issuer: name("dev"),
            client_id: "page".to_owned(),
            client_secret: None,
            site: ISSUER.parse().expect("url"),
            described: Cached::default(),
        }));
        let routes = http::public(broker.app(&ISSUER.parse().expect("url"), None), "/");
        let stage = Self {
            broker,
            routes,
            folder,
            keys,
        };
        stage.write("targets/db.toml", DB);
        stage.write("servers/reports.toml", REPORTS);
        stage.write("rules/auditors.cedar", RULES);
        stage.reload().await;
        stage
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.folder.path().join("bundle").join(path), text).expect("written");
    }

    pub(crate) async fn reload(&self) {
        let snapshot = self
            .broker
            .workshop
            .make()
            .await
            .map_err(|rejected| rejected.to_string());
        self.broker.ports.active.swap(snapshot.expect("a bundle"));
    }

    /// Somebody who has logged in: the value of their cookie.
    pub(crate) async fn log_in(&self, sub: &str) -> Secret {
        let cookie = new_secret(self.broker.ports.entropy.as_ref());
        let store = self.broker.engine.web();
        let token = Arc::new(self.token(sub));
        web::log_in(&self.broker.ports, &*store, token, &cookie)
            .await
            .expect("logged in");
        cookie
    }

    /// A token of theirs for `/v1`.
    pub(crate) fn bearer(&self, sub: &str) -> Secret {
        let ports = &self.broker.ports;
        let jti = IssuanceId::new(ports.clock.now(), ports.entropy.as_ref());
        let now = ports.clock.now().as_second();
        let claims = json!({
            "iss": format!("{ISSUER}/dev"), "sub": sub, "aud": format!("{ISSUER}/v1"), "client_id": "cli",
            "jti": jti, "iat": now, "exp": now + 60, "auth_time": now,
        });
        self.keys.sign("at+jwt", claims.to_string().as_bytes()).expect("signed")
    }

    /// Has the sums count everything.
    pub(crate) async fn count(&self) {
        let (usage, ports) = (self.broker.engine.usage(), &self.broker.ports);
        while usage.project(ports.replica, ports.clock.now()).await.expect("counted") > 0 {}
    }

    /// Has everything signed and anchored.
    pub(crate) async fn publish(&self) {
        let log = &self.broker.keys.log.log;
        let watched = Arc::clone(log);
        let done = async move {
            while watched.store.tree().await.expect("tree").is_behind() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        log::run(Arc::clone(log), Box::pin(done)).await;
    }

    pub(crate) fn token(&self, sub: &str) -> VerifiedToken {
        let now = self.broker.ports.clock.now();
        VerifiedToken {
            issuer: name("dev"),
            iss: "builtin:dev".to_owned(),
            sub: sub.to_owned(),
            audience: vec!["page".to_owned()],
            expires: now + Duration::from_secs(60),
            not_before: None,
            issued_at: Some(now),
            jti: None,
            confirmation: None,
            sid: None,
            client: Some("page".to_owned()),
            scopes: None,
            groups: Default::default(),
            auth: LogIn {
                time: Some(now),
                ..LogIn::default()
            },
            act: Vec::new(),
            may_act: None,
            vouched: Vouched {
                id_token: true,
                ..Vouched::default()
            },
        }
    }

    /// An issued record of that target in a session of its own.
    pub(crate) async fn issued(&self, target: &str, tweak: impl FnOnce(&mut Draft)) -> (IssuanceId, SessionId) {
        let ports = &self.broker.ports;
        let now = ports.clock.now();
        let subject = Principal::User(QualifiedId::new(name("dev"), format!("alice-{target}")));
        let session = Session {
            id: SessionId::new(now, ports.entropy.as_ref()),
            key: SessionKey {
                server: name("tickets"),
                subject: subject.clone(),
                actor: None,
                sid: None,
            },
            pinned: true,
            opened: now,
            ends: now + Duration::from_secs(3600),
            last_used: now,
            issuances: 0,
            ended: None,
        };
        let session = ports.ledger.open_session(session).await.expect("session").id;
        let mut draft = self.draft(Event::Exchange);
        draft.facts.server = Some(name("tickets"));
        draft.facts.target = Some(name(target));
        draft.facts.session = Some(session);
        draft.facts.until = Some(now + Duration::from_secs(300));
        draft.facts.bundle = Some(ports.active.snapshot().judge.digest());
        draft.clear.subject = Some(subject);
        tweak(&mut draft);
        self.append(&draft, Outcome::Issued, None).await;
        (draft.id, session)
    }

    pub(crate) fn draft(&self, event: Event) -> Draft {
        let (now, entropy) = (self.broker.ports.clock.now(), &self.broker.ports.entropy);
        Draft::new(IssuanceId::new(now, entropy.as_ref()), now, event, "t".to_owned())
    }

    pub(crate) async fn append(&self, draft: &Draft, outcome: Outcome, reason: Option<Reason>) {
        let ports = &self.broker.ports;
        let entry = draft.seal(outcome, reason.map(Reason::code), ports.entropy.as_ref());
        let entry = entry.expect("sealed");
        ports
            .ledger
            .append(entry, Conditions::default())
            .await
            .expect("appended");
    }

    /// A refused record of no target.
    pub(crate) async fn refused(&self) -> IssuanceId {
        let draft = self.draft(Event::Exchange);
        self.append(&draft, Outcome::Refused, Some(Reason::TargetNotAvailable))
            .await;
        draft.id
    }

    pub(crate) async fn get(&self, path: &str, cookie: Option<&Secret>) -> Answer {
        self.ask(with_cookie(Request::get(path), cookie), String::new()).await
    }

    /// A form from a page of the broker's, with the token of that cookie.
    pub(crate) async fn post(&self, path: &str, cookie: Option<&Secret>) -> Answer {
        let token = cookie.map(guard::form_token).unwrap_or_default();
        self.post_from(path, cookie, Some(ISSUER), &format!("token={token}"))
            .await
    }

    pub(crate) async fn post_from(
        &self,
        path: &str,
        cookie: Option<&Secret>,
        origin: Option<&str>,
        form: &str,
    ) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri(path);
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        self.ask(with_cookie(request, cookie), form.to_owned()).await
    }

    pub(crate) async fn ask(&self, request: axum::http::request::Builder, body: String) -> Answer {
        let request = request.header(header::HOST, "127.0.0.1:8420").body(Body::from(body));
        let response = self
            .routes
            .clone()
            .oneshot(request.expect("request"))
            .await
            .expect("answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let is_endless = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == "text/event-stream");
        let bytes = match is_endless {
            true => Vec::new().into(),
            false => to_bytes(response.into_body(), 4 << 20).await.expect("body"),
        };
        Answer {
            status,
            headers,
            // Tiles are no text.
            body: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a browser sends it")]
pub(crate) fn with_cookie(
    request: axum::http::request::Builder,
    value: Option<&Secret>,
) -> axum::http::request::Builder {
    match value {
        Some(value) => request.header(header::COOKIE, format!("{}={}", cookie::SESSION, value.expose())),
        None => request,
    }
}
