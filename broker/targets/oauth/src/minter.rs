//! The minter of one upstream.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::future::{Either, select};
use procura_core::{
    Timestamp,
    ids::Handle,
    kind::{KindPorts, MintError, MintOrder, Minted, Minter, ProofError, UndoError, Undoable},
    ports::{BoxFuture, Clock},
    source::{Attempt, RotationError, Source, SourceSecret, through_rotation},
};
use procura_wire::Secret;

use crate::{
    LIFE,
    answer::{self, Granted},
    client::Client,
    endpoints::{Directory, Endpoints},
    http::{Form, Http, Lost, Reply},
    refusal::{Refusal, refusal},
    request::{Request, details, form},
    settings::{GrantType, Settings, Where, rights_of, wanted},
};

/// How long an undo or a probe may take before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct OauthMinter {
    settings: Settings,
    http: Http,
    directory: Directory,
    client: Client,
    clock: Arc<dyn Clock>,
    source: Arc<dyn Source>,
    /// The upstream has refused to revoke what it said it would.
    unrevocable: AtomicBool,
}

impl Minter for OauthMinter {
    /// Finds the endpoints before anything is promised; the upstream's clock is not asked.
    fn prepare(&self, budget: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        Box::pin(async move {
            let deadline = self.clock.monotonic() + budget;
            let found = before(&*self.clock, deadline, self.directory.endpoints(&self.http)).await;
            let found = found.unwrap_or_else(|| Err("the deadline came first".to_owned()));
            found.map(|_| None).map_err(MintError::Failed)
        })
    }

    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        Box::pin(self.make(order))
    }

    fn undo<'a>(&'a self, undoable: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        Box::pin(async move {
            // A token is known to the upstream by nothing but itself.
            let token = undoable.receipt.ok_or(UndoError::Never)?;
            let revoked = self.revoke(token).await;
            if matches!(revoked, Err(UndoError::Never)) && !self.unrevocable.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "the upstream revokes no such tokens: those to come are promised no earlier end than their own"
                );
            }
            revoked
        })
    }

    /// Asks to revoke a token that there never was, which only a client that proves itself may.
    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(async move {
            match self.revoke(&self.made_up()).await {
                Err(UndoError::Never) => Ok(()),
                asked => asked,
            }
        })
    }

    /// No upstream lists tokens.
    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// As the probe does. Where the upstream has no revocation endpoint nothing is proved.
    fn prove<'a>(&'a self, secret: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async move {
            let endpoints = self.directory.endpoints(&self.http).await.map_err(ProofError::Failed)?;
            let Some(url) = self.revocation(&endpoints) else {
                return Ok(());
            };
            let proof = self.client.prove(&secret, &mut Form::default(), &endpoints.token);
            proof.map_err(ProofError::Refused)?;
            let made_up = self.made_up();
            match self.ask_to_revoke(secret, &made_up, (url, &endpoints.token)).await {
                Attempt::Done(()) | Attempt::Failed(UndoError::Never) => Ok(()),
                Attempt::SecretRefused(problem) => Err(ProofError::Refused(problem)),
                Attempt::Failed(UndoError::Failed(problem)) => Err(ProofError::Failed(problem)),
            }
        })
    }
}

impl OauthMinter {
    pub(crate) fn new(settings: Settings, ports: KindPorts) -> Result<Self, String> {
        let plain = match &settings.endpoints {
            Where::Discovered(issuer) => issuer.starts_with("http:"),
            Where::Given { token, .. } => token.scheme() == "http",
        };
        Ok(Self {
            http: Http::new(settings.ca_file.as_deref(), plain)?,
            directory: Directory::new(settings.endpoints.clone(), Arc::clone(&ports.clock)),
            client: Client {
                id: settings.client_id.clone(),
                auth: settings.client_auth,
                issuer: settings.issuer.clone(),
                clock: Arc::clone(&ports.clock),
                entropy: ports.entropy,
                kept: Mutex::default(),
            },
            clock: ports.clock,
            source: ports.source.ok_or("it names no source")?,
            unrevocable: AtomicBool::new(false),
            settings,
        })
    }

    fn made_up(&self) -> Secret {
        let mut random = [0; 16];
        self.client.entropy.fill(&mut random);
        Secret::new(BASE64_URL_SAFE_NO_PAD.encode(random))
    }

    async fn make(&self, order: MintOrder<'_>) -> Result<Minted, MintError> {
        let wanted = wanted(order.target, order.plan).map_err(MintError::Failed)?;
        if wanted.grant_type == GrantType::TokenExchange {
            self.may_have(&order).map_err(MintError::Failed)?;
        }
        let asked = AtomicBool::new(false);
        let work = async {
            let endpoints = self.directory.endpoints(&self.http).await;
            let endpoints = endpoints.map_err(|problem| RotationError::Failed(MintError::Failed(problem)))?;
            let request = Request {
                order,
                wanted: &wanted,
                endpoints: &endpoints,
                asked: &asked,
            };
            let ask = |secret| self.ask(secret, request);
            through_rotation(&*self.source, &*self.clock, order.deadline, ask).await
        };
        let outcome = before(&*self.clock, order.deadline, work).await;
        outcome
            .unwrap_or_else(|| Err(late()))
            .map_err(|error| match asked.load(Ordering::Relaxed) {
                true => MintError::Uncertain(words(mint_error(error))),
                false => mint_error(error),
            })
    }

    /// A subject token goes back to its own issuer and to nobody else.
    fn may_have(&self, order: &MintOrder<'_>) -> Result<(), String> {
        let iss = &order.caller.subject.token.iss;
        match &self.settings.issuer {
            Some(issuer) if issuer == iss => Ok(()),
            _ => Err(format!(
                "the subject token is from {iss:?}, which is not the target's issuer"
            )),
        }
    }

    /// Asks for a token once.
    async fn ask(&self, secret: Arc<SourceSecret>, request: Request<'_>) -> Attempt<Minted, MintError> {
        let mut form = match form(&request) {
            Ok(form) => form,
            Err(problem) => return Attempt::Failed(MintError::Failed(problem)),
        };
        let url = &request.endpoints.token;
        let auth = match self.client.prove(&secret, &mut form, url) {
            Ok(auth) => auth,
            Err(problem) => return Attempt::Failed(MintError::Source(problem)),
        };
        request.asked.store(true, Ordering::Relaxed);
        let reply = match self.http.post(url, form, auth).await {
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
        if reply.status == 200 {
            return match self.made(&reply, request, secret.version.clone()).await {
                Ok(minted) => Attempt::Done(minted),
                Err(error) => Attempt::Failed(error),
            };
        }
        match refusal(&reply) {
            Refusal::Client(problem) => Attempt::SecretRefused(problem),
            Refusal::UnsupportedTokenType => Attempt::Failed(MintError::Failed(
                "the upstream answers unsupported_token_type".to_owned(),
            )),
            Refusal::Other(problem) => Attempt::Failed(MintError::Failed(problem)),
        }
    }

    /// Reads the answer. A token that cannot be handed on is revoked at once.
    async fn made(&self, reply: &Reply, request: Request<'_>, version: String) -> Result<Minted, MintError> {
        let Request { order, wanted, .. } = request;
        let mut json = reply.json();
        let token = answer::token(&mut json);
        let token = token.ok_or_else(|| MintError::Uncertain("the answer holds no access token".to_owned()))?;
        if !json["refresh_token"].is_null() {
            tracing::warn!(target = %order.plan.target, "the upstream gives refresh tokens, which are dropped: turn them off for this client");
        }
        let granted = match answer::granted(&json, wanted.grant_type) {
            Ok(granted) => granted,
            Err(problem) => {
                let revoked = self.revoke(&token).await;
                request.asked.store(revoked.is_err(), Ordering::Relaxed);
                return Err(MintError::Failed(problem.to_owned()));
            }
        };
        let end = self.end(&granted, &request);
        let scopes = granted.scopes;
        let scopes = scopes.unwrap_or_else(|| wanted.scopes.iter().map(|scope| (*scope).to_owned()).collect());
        Ok(Minted {
            receipt: Some(copy(&token)),
            value: token,
            details: details(&order, &scopes),
            rights: rights_of(scopes),
            end,
            lapses: Some(self.clock.now() + granted.life),
            known_as: None,
            source_version: Some(version),
        })
    }

    /// The broker ends a token when the plan does, where the upstream lets it. Otherwise it ends when the upstream
    /// says, and the core refuses it where that is later.
    fn end(&self, granted: &Granted, request: &Request<'_>) -> Timestamp {
        let MintOrder { now, plan, .. } = request.order;
        let upstream = now + granted.life;
        if granted.life > LIFE {
            tracing::error!(target = %plan.target, "the upstream's tokens live longer than a day: shorten the client's token lifetime there");
            return upstream;
        }
        if self.revocation(request.endpoints).is_some() && !self.unrevocable.load(Ordering::Relaxed) {
            return upstream.min(plan.end);
        }
        if upstream > plan.end {
            tracing::error!(
                target = %plan.target,
                "the upstream's tokens outlive what is planned and cannot be revoked: shorten the client's token lifetime \
                 there, or give a revocation endpoint"
            );
        }
        upstream
    }

    fn revocation<'a>(&self, endpoints: &'a Endpoints) -> Option<&'a url::Url> {
        endpoints.revocation.as_ref().filter(|_| self.settings.revokes)
    }

    /// RFC 7009. `Ok` once the upstream says that the token is not valid any more.
    async fn revoke(&self, token: &Secret) -> Result<(), UndoError> {
        let deadline = self.clock.monotonic() + PATIENCE;
        let work = async {
            let endpoints = self.directory.endpoints(&self.http).await;
            let endpoints = endpoints.map_err(|problem| RotationError::Failed(UndoError::Failed(problem)))?;
            let url = self
                .revocation(&endpoints)
                .ok_or(RotationError::Failed(UndoError::Never))?;
            let ask = |secret| self.ask_to_revoke(secret, token, (url, &endpoints.token));
            through_rotation(&*self.source, &*self.clock, deadline, ask).await
        };
        let outcome = before(&*self.clock, deadline, work).await;
        let late = || {
            Err(RotationError::Failed(UndoError::Failed(
                "the upstream did not answer in time".to_owned(),
            )))
        };
        outcome.unwrap_or_else(late).map_err(|error| match error {
            RotationError::Source(error) => UndoError::Failed(error.to_string()),
            RotationError::Refused(problem) => UndoError::Failed(problem),
            RotationError::Failed(error) => error,
        })
    }

    async fn ask_to_revoke(
        &self,
        secret: Arc<SourceSecret>,
        token: &Secret,
        (url, token_endpoint): (&url::Url, &url::Url),
    ) -> Attempt<(), UndoError> {
        let mut form = Form::default();
        form.secret("token", token);
        form.field("token_type_hint", "access_token");
        let auth = match self.client.prove(&secret, &mut form, token_endpoint) {
            Ok(auth) => auth,
            Err(problem) => return Attempt::Failed(UndoError::Failed(problem)),
        };
        match self.http.post(url, form, auth).await {
            Ok(Reply { status: 200, .. }) => Attempt::Done(()),
            Ok(reply) => match refusal(&reply) {
                Refusal::Client(problem) => Attempt::SecretRefused(problem),
                Refusal::UnsupportedTokenType => Attempt::Failed(UndoError::Never),
                Refusal::Other(problem) => Attempt::Failed(UndoError::Failed(problem)),
            },
            Err(lost) => Attempt::Failed(UndoError::Failed(lost.words())),
        }
    }
}

fn copy(token: &Secret) -> Secret {
    #[expect(
        clippy::disallowed_methods,
        reason = "the token itself is what revokes it; the core seals it"
    )]
    Secret::new(token.expose().to_owned())
}

/// The result of the work, or `None` where a moment of the monotonic clock comes first.
async fn before<T>(clock: &dyn Clock, deadline: Duration, work: impl Future<Output = T>) -> Option<T> {
    let left = deadline.saturating_sub(clock.monotonic());
    match select(Box::pin(work), clock.sleep(left)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

fn late() -> RotationError<MintError> {
    RotationError::Failed(MintError::Failed("the deadline came first".to_owned()))
}

fn mint_error(error: RotationError<MintError>) -> MintError {
    match error {
        RotationError::Source(error) => MintError::Source(error.to_string()),
        RotationError::Refused(problem) => MintError::Refused(problem),
        RotationError::Failed(error) => error,
    }
}

fn words(error: MintError) -> String {
    match error {
        MintError::Source(problem)
        | MintError::Refused(problem)
        | MintError::Failed(problem)
        | MintError::Uncertain(problem) => problem,
    }
}
