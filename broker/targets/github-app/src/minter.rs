//! The minter of one installation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::Handle,
    kind::{MintError, MintOrder, Minted, Minter, ProofError, Rights, UndoError, Undoable},
    ports::{BoxFuture, Clock},
    source::{Attempt, Source, SourceSecret, through_rotation},
};
use procura_wire::Secret;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::{
    LIFE,
    api::{Api, Lost, Reply},
    app::AppKey,
    fault::{before, late, mint_error, words},
    settings::{Settings, Wanted, covers, permission, rights_of, wanted},
};

/// How long a probe may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time until all of GitHub knows a token: before, a part that does not says so of it.
const SPREAD: Duration = Duration::from_secs(60);
/// What stands in rights where GitHub gave everything, or does not say what it gave: within nothing.
const ALL: &str = "all";

pub(crate) struct GithubMinter {
    settings: Settings,
    api: Api,
    clock: Arc<dyn Clock>,
    source: Arc<dyn Source>,
    /// The key of the source's version that was used last.
    key: Mutex<Option<(String, Arc<AppKey>)>>,
}

/// One request for a token.
#[derive(Clone, Copy)]
struct Request<'a> {
    order: MintOrder<'a>,
    wanted: &'a Wanted<'a>,
    /// Whether GitHub may be making a token, or has made one.
    asked: &'a AtomicBool,
}

impl Minter for GithubMinter {
    fn prepare(&self, _: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        Box::pin(async { Ok(None) })
    }

    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        Box::pin(self.make(order))
    }

    fn undo<'a>(&'a self, undoable: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        Box::pin(async move {
            // A token is known to GitHub by nothing but itself.
            let token = undoable.receipt.ok_or(UndoError::Never)?;
            let known = self.revoke(token).await.map_err(UndoError::Failed)?;
            match known || !self.is_young(undoable.handle) {
                true => Ok(()),
                false => Err(UndoError::Failed(
                    "GitHub does not know the token, or not yet".to_owned(),
                )),
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(async move {
            let deadline = self.clock.monotonic() + PATIENCE;
            let look = |secret| self.look(secret);
            let looked = through_rotation(&*self.source, &*self.clock, deadline, look);
            let outcome = before(&*self.clock, deadline, looked).await;
            outcome
                .unwrap_or_else(|| Err(late()))
                .map_err(|error| UndoError::Failed(words(mint_error(error))))
        })
    }

    /// GitHub lists no tokens.
    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// That GitHub knows the key as one of the App and answers for the installation.
    fn prove<'a>(&'a self, secret: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async move {
            let app = self.app_token(&secret).map_err(ProofError::Refused)?;
            match self.missing(&app, std::iter::empty()).await {
                Ok(_) => Ok(()),
                Err(Looked::Refused(problem)) => Err(ProofError::Refused(problem)),
                Err(Looked::Failed(problem)) => Err(ProofError::Failed(problem)),
            }
        })
    }
}

impl GithubMinter {
    pub(crate) fn new(settings: Settings, api: Api, clock: Arc<dyn Clock>, source: Arc<dyn Source>) -> Self {
        Self {
            settings,
            api,
            clock,
            source,
            key: Mutex::default(),
        }
    }

    async fn make(&self, order: MintOrder<'_>) -> Result<Minted, MintError> {
        let wanted = wanted(order.target, order.plan).map_err(MintError::Failed)?;
        let asked = AtomicBool::new(false);
        let request = Request {
            order,
            wanted: &wanted,
            asked: &asked,
        };
        let ask = |secret| self.ask(secret, request);
        let attempts = through_rotation(&*self.source, &*self.clock, order.deadline, ask);
        let outcome = before(&*self.clock, order.deadline, attempts).await;
        outcome
            .unwrap_or_else(|| Err(late()))
            .map_err(|error| match asked.load(Ordering::Relaxed) {
                true => MintError::Uncertain(words(mint_error(error))),
                false => mint_error(error),
            })
    }

    /// Asks for a token once.
    async fn ask(&self, secret: Arc<SourceSecret>, request: Request<'_>) -> Attempt<Minted, MintError> {
        let app = match self.app_token(&secret) {
            Ok(app) => app,
            Err(problem) => return Attempt::Failed(MintError::Source(problem)),
        };
        let path = format!("/app/installations/{}/access_tokens", self.settings.installation_id);
        let body = json!({ "repository_ids": request.wanted.repositories, "permissions": request.wanted.permissions });
        request.asked.store(true, Ordering::Relaxed);
        let reply = self.api.ask(Method::POST, &path, &app, Some(&body.to_string())).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(lost) => {
                request
                    .asked
                    .store(matches!(lost, Lost::Unanswered(_)), Ordering::Relaxed);
                return Attempt::Failed(MintError::Failed(lost.words()));
            }
        };
        // A server's error may come after the deed.
        request
            .asked
            .store(matches!(reply.status, 200..300 | 500..), Ordering::Relaxed);
        match reply.status {
            200..300 => match self.made(&reply, request, secret.version.clone()).await {
                Ok(minted) => Attempt::Done(minted),
                Err(error) => Attempt::Failed(error),
            },
            401 => Attempt::SecretRefused(self.refused(&reply)),
            422 => Attempt::Failed(MintError::Failed(self.lacking(&app, &reply, request.wanted).await)),
            _ => Attempt::Failed(MintError::Failed(self.problem(&reply))),
        }
    }

    /// Reads the answer. A token that cannot be used as it is is revoked at once.
    async fn made(&self, reply: &Reply, request: Request<'_>, version: String) -> Result<Minted, MintError> {
        let mut json = reply.json();
        let token = match json["token"].take() {
            Value::String(token) if is_token(&token) => Secret::new(token),
            _ => return Err(MintError::Uncertain("the answer holds no token".to_owned())),
        };
        let expires = json["expires_at"]
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok());
        let Some(expires) = expires.filter(|expires| *expires > request.order.now) else {
            let revoked = self.revoke(&token).await;
            request.asked.store(revoked.is_err(), Ordering::Relaxed);
            return Err(MintError::Failed(
                "the answer has no expires_at that is still to come".to_owned(),
            ));
        };
        Ok(Minted {
            rights: granted(&json),
            end: end(expires, &request.order),
            lapses: Some(expires),
            receipt: Some(copy(&token)),
            value: token,
            known_as: None,
            source_version: Some(version),
            details: details(&request.order),
        })
    }

    /// `Ok` once GitHub says that the token is gone.
    /// Whether a token of this handle may not be known to all of GitHub yet. The id in it begins with its time
    /// (UUIDv7, RFC 9562 section 5.7).
    fn is_young(&self, handle: &Handle) -> bool {
        let millis = handle
            .issuance()
            .and_then(|id| i64::try_from(id.0.as_u128() >> 80).ok());
        let made = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        made.is_none_or(|made| self.clock.now() < made + SPREAD)
    }

    /// Whether GitHub knew the token.
    async fn revoke(&self, token: &Secret) -> Result<bool, String> {
        let reply = self.api.ask(Method::DELETE, "/installation/token", token, None).await;
        match reply.map_err(Lost::words)? {
            Reply { status: 204, .. } => Ok(true),
            // Revoked before, over, or not known everywhere yet.
            Reply { status: 401, .. } => Ok(false),
            reply => Err(self.problem(&reply)),
        }
    }

    /// Whether the installation is there and grants what the target's grants need.
    async fn look(&self, secret: Arc<SourceSecret>) -> Attempt<(), MintError> {
        let app = match self.app_token(&secret) {
            Ok(app) => app,
            Err(problem) => return Attempt::Failed(MintError::Source(problem)),
        };
        let needed = self.settings.permissions.iter();
        let needed = needed.map(|(name, level)| (name.as_str(), level.as_str()));
        match self.missing(&app, needed).await {
            Ok(missing) if missing.is_empty() => Attempt::Done(()),
            Ok(missing) => Attempt::Failed(MintError::Failed(self.not_granted(&missing))),
            Err(Looked::Refused(problem)) => Attempt::SecretRefused(problem),
            Err(Looked::Failed(problem)) => Attempt::Failed(MintError::Failed(problem)),
        }
    }

    /// What the installation does not grant of this.
    async fn missing(&self, app: &Secret, needed: impl Iterator<Item = (&str, &str)>) -> Result<Vec<String>, Looked> {
        let path = format!("/app/installations/{}", self.settings.installation_id);
        let reply = self.api.ask(Method::GET, &path, app, None).await;
        let reply = reply.map_err(|lost| Looked::Failed(lost.words()))?;
        let json = match reply.status {
            200 => reply.json(),
            401 => return Err(Looked::Refused(self.refused(&reply))),
            _ => return Err(Looked::Failed(self.problem(&reply))),
        };
        if json["suspended_at"].is_string() {
            let problem = format!("installation {} is suspended", self.settings.installation_id);
            return Err(Looked::Failed(problem));
        }
        let held = |name: &str| json["permissions"][name].as_str().unwrap_or_default();
        let missing = needed.filter(|(name, level)| !covers(held(name), level));
        Ok(missing.map(|(name, level)| permission(name, level)).collect())
    }

    fn app_token(&self, secret: &SourceSecret) -> Result<Secret, String> {
        let mut kept = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match &*kept {
            Some((version, key)) if *version == secret.version => Arc::clone(key),
            _ => {
                let key = Arc::new(AppKey::read(&secret.value)?);
                *kept = Some((secret.version.clone(), Arc::clone(&key)));
                key
            }
        };
        let token = key.token(self.settings.app_id, self.clock.now());
        token.ok_or_else(|| "the App's private key cannot sign".to_owned())
    }

    fn refused(&self, reply: &Reply) -> String {
        format!(
            "GitHub says {} (401): is this private key one of App {}, and is this machine's clock right?",
            reply.message(),
            self.settings.app_id
        )
    }

    /// Why a request could not be processed (422): asks what the installation grants.
    async fn lacking(&self, app: &Secret, reply: &Reply, wanted: &Wanted<'_>) -> String {
        let needed = wanted.permissions.iter().map(|(name, level)| (*name, *level));
        let why = match self.missing(app, needed).await {
            Ok(missing) if missing.is_empty() => format!(
                "one of the repositories {:?} does not exist or is not among those of installation {}",
                wanted.repositories, self.settings.installation_id
            ),
            Ok(missing) => self.not_granted(&missing),
            Err(Looked::Refused(problem) | Looked::Failed(problem)) => problem,
        };
        format!("{why}; GitHub says {} (422)", reply.message())
    }

    fn not_granted(&self, missing: &[String]) -> String {
        format!(
            "installation {} does not grant {}: give the App that permission and let the account accept it",
            self.settings.installation_id,
            missing.join(", ")
        )
    }

    fn problem(&self, reply: &Reply) -> String {
        let Settings {
            app_id,
            installation_id,
            ..
        } = &self.settings;
        let wait = reply.retry_after;
        let wait = wait.map(|seconds| format!("; to be asked again in {seconds} s"));
        let why = match reply.status {
            300..400 => "the API redirects, which is not followed: set api",
            403 => "forbidden: suspended, not allowed from this address, or too many requests",
            404 => "no such installation of this App any more: was it removed?",
            429 => "too many requests",
            _ => "no answer that is expected",
        };
        format!(
            "installation {installation_id} of App {app_id}: {why}; GitHub says {} ({}){}",
            reply.message(),
            reply.status,
            wait.unwrap_or_default()
        )
    }
}

/// Why it is not known what the installation grants.
enum Looked {
    Refused(String),
    Failed(String),
}

/// Visible ASCII of any length up to what a header takes.
fn is_token(text: &str) -> bool {
    (1..=16 * 1024).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic())
}

/// What GitHub says that it granted.
fn granted(json: &Value) -> Rights {
    let all = || BTreeSet::from([ALL.to_owned()]);
    let map = serde_json::from_value::<BTreeMap<String, String>>(json["permissions"].clone()).ok();
    let permissions = map.filter(|map| !map.is_empty());
    let permissions = permissions.map(|map| map.iter().map(|(name, level)| permission(name, level)).collect());
    let selected = json["repository_selection"] == "selected";
    let listed = json["repositories"]
        .as_array()
        .filter(|listed| selected && !listed.is_empty());
    let ids = listed.and_then(|listed| listed.iter().map(|one| Some(one["id"].as_u64()?.to_string())).collect());
    rights_of(permissions.unwrap_or_else(all), ids.unwrap_or_else(all))
}

/// The broker ends it when the plan does, unless it ends by itself before. One that lives longer than GitHub's do is
/// reported as it is, for the core to refuse.
fn end(expires: Timestamp, order: &MintOrder<'_>) -> Timestamp {
    match expires > order.now + LIFE {
        true => expires,
        false => expires.min(order.plan.end),
    }
}

fn copy(token: &Secret) -> Secret {
    #[expect(
        clippy::disallowed_methods,
        reason = "the token itself is what revokes it; the core seals it"
    )]
    Secret::new(token.expose().to_owned())
}

/// The parameters, which narrow the token.
fn details(order: &MintOrder<'_>) -> Map<String, Value> {
    match serde_json::to_value(&order.plan.params) {
        Ok(Value::Object(params)) => params,
        _ => Map::new(),
    }
}
