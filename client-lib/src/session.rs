//! Sessions and what is asked for in them.

use std::{sync::Arc, time::Duration};

use procura_wire::{
    AwsCredential, PostgresCredential, Secret, TOKEN_EXCHANGE, TokenResponse, TokenType, VaultCredential,
    tool_definition,
};
use reqwest::header::HeaderValue;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    cache::{Cache, Cell, Found, Issued},
    client::Inner,
    credential::Credential,
    error::Error,
    http::{Post, TRIES},
    key::{Draft, Key},
    slot::Slot,
};

/// One run of a subject, perhaps an agent, and this server.
#[derive(Clone)]
pub struct Session {
    client: Arc<Inner>,
    subject: Arc<Secret>,
    actor: Option<Arc<Secret>>,
    slot: Arc<Slot>,
}

/// A type of credential: how it is asked for and read.
struct Shape<T> {
    issued: TokenType,
    /// The kind that its parameters are sent under.
    kind: &'static str,
    read: fn(Secret) -> Option<T>,
    cache: fn(&Inner) -> &Cache<T>,
}

const BEARER: Shape<Secret> = Shape {
    issued: TokenType::AccessToken,
    kind: "jwt",
    read: Some,
    cache: |client| &client.bearer,
};

const POSTGRES: Shape<PostgresCredential> = Shape {
    issued: TokenType::Postgres,
    kind: "postgres",
    read: |document| document_of(&document).filter(|credential: &PostgresCredential| credential.version == 1),
    cache: |client| &client.postgres,
};

const AWS: Shape<AwsCredential> = Shape {
    issued: TokenType::Aws,
    kind: "aws",
    read: |document| document_of(&document).filter(|credential: &AwsCredential| credential.version == 1),
    cache: |client| &client.aws,
};

const VAULT: Shape<VaultCredential> = Shape {
    issued: TokenType::Vault,
    kind: "vault",
    read: |document| document_of(&document).filter(|credential: &VaultCredential| credential.version() == 1),
    cache: |client| &client.vault,
};

const GITHUB_APP: Shape<Secret> = Shape {
    kind: "github-app",
    ..BEARER
};

const OAUTH: Shape<Secret> = Shape {
    kind: "oauth",
    ..BEARER
};

#[expect(
    clippy::disallowed_methods,
    reason = "the document is parsed into its fields, secrets again"
)]
fn document_of<T: DeserializeOwned>(document: &Secret) -> Option<T> {
    serde_json::from_str(document.expose()).ok()
}

impl Session {
    pub(crate) fn new(client: Arc<Inner>, subject: Secret) -> Self {
        Self {
            slot: client.slot(subject.digest(), None),
            client,
            subject: Arc::new(subject),
            actor: None,
        }
    }

    /// The same for the agent of this token.
    #[must_use]
    pub fn actor(self, actor_token: Secret) -> Self {
        Self {
            slot: self.client.slot(self.subject.digest(), Some(actor_token.digest())),
            actor: Some(Arc::new(actor_token)),
            ..self
        }
    }

    /// The broker's id of the session, once it has answered.
    pub fn id(&self) -> Option<String> {
        self.slot.id()
    }

    /// A proof for one request that uses a token which is bound to this client's key: the header `DPoP`, beside
    /// `Authorization: DPoP`. The nonce is the one that the resource server asked for last.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where the client has no [`ProofKey`](crate::ProofKey).
    pub fn proof(&self, method: &str, uri: &str, token: &Secret, nonce: Option<&str>) -> Result<Secret, Error> {
        let proofs = self.client.broker.proofs.as_ref();
        let proofs =
            proofs.ok_or_else(|| Error::Setting("give the client a key with Builder::proof_key".to_owned()))?;
        proofs.key.proof(method, uri, Some(token), nonce)
    }

    /// Asks for a bearer token that the broker signs itself: a target of kind `jwt`.
    pub fn bearer(&self, target: &str, grant: &str) -> Request<'_, Secret> {
        self.request(&BEARER, target, grant)
    }

    /// Asks for a log-in role of a PostgreSQL.
    pub fn postgres(&self, target: &str, grant: &str) -> Request<'_, PostgresCredential> {
        self.request(&POSTGRES, target, grant)
    }

    /// Asks for a session of AWS.
    pub fn aws(&self, target: &str, grant: &str) -> Request<'_, AwsCredential> {
        self.request(&AWS, target, grant)
    }

    /// Asks for a token of Vault, or for what one of its engines makes.
    pub fn vault(&self, target: &str, grant: &str) -> Request<'_, VaultCredential> {
        self.request(&VAULT, target, grant)
    }

    /// Asks for an installation token of a GitHub App.
    pub fn github_app(&self, target: &str, grant: &str) -> Request<'_, Secret> {
        self.request(&GITHUB_APP, target, grant)
    }

    /// Asks for an access token of another authorization server: a target of kind `oauth`.
    pub fn oauth(&self, target: &str, grant: &str) -> Request<'_, Secret> {
        self.request(&OAUTH, target, grant)
    }

    fn request<T>(&self, shape: &'static Shape<T>, target: &str, grant: &str) -> Request<'_, T> {
        Request {
            session: self,
            shape,
            draft: Draft {
                target: target.to_owned(),
                grant: grant.to_owned(),
                ..Draft::default()
            },
        }
    }
}

/// A credential to be asked for.
pub struct Request<'a, T: 'static> {
    session: &'a Session,
    shape: &'static Shape<T>,
    draft: Draft,
}

impl<T> Request<'_, T> {
    /// The tool that is being called.
    #[must_use]
    pub fn tool(mut self, name: &str) -> Self {
        self.draft.tool = Some(name.to_owned());
        self
    }

    /// The tool that is being called, as it stands in the server's answer to `tools/list`: its name, and the digest of
    /// its definition, for servers whose file at the broker has `definition_sha256`. What has no name is no tool, and
    /// is left out.
    #[must_use]
    pub fn tool_definition(mut self, tool: &Value) -> Self {
        let (name, digest) = tool_definition(tool).unzip();
        self.draft.tool = name.map(str::to_owned);
        self.draft.tool_definition = digest;
        self
    }

    /// JSON-RPC id of the call, for the record. Begin the use with the same.
    #[must_use]
    pub fn tool_call_id(mut self, id: &str) -> Self {
        self.draft.tool_call_id = Some(id.to_owned());
        self
    }

    /// A parameter of the grant, which narrows it.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.draft.params.insert(name.to_owned(), value.into());
        self
    }

    /// How long it should live, in whole seconds; the grant's own time if unset, its maximum at most.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.draft.ttl = Some(ttl.as_secs());
        self
    }

    /// The trace that the call belongs to (W3C Trace Context); left out where it cannot be a header.
    #[must_use]
    pub fn traceparent(mut self, traceparent: &str) -> Self {
        self.draft.traceparent = Some(traceparent.to_owned());
        self
    }

    /// A live credential: from the cache, else from the broker.
    ///
    /// # Errors
    ///
    /// What the broker refuses, or that it is away. While a credential is live, a refresh that fails is no error.
    pub async fn get(self) -> Result<Credential<T>, Error> {
        let slot = &self.session.slot;
        if let Some(id) = slot.id() {
            return self.get_in(&id).await;
        }
        let opening = slot.opening.lock().await;
        if let Some(id) = slot.id() {
            drop(opening);
            return self.get_in(&id).await;
        }
        let issued = self.exchange(None, TRIES).await?;
        Ok(self.issued(issued))
    }

    async fn get_in(&self, session: &str) -> Result<Credential<T>, Error> {
        let cell = self.cell(session);
        match cell.find() {
            Found::Live(issued) => Ok(self.cached(issued, cell)),
            Found::PerCall => self.ask(session, TRIES).await,
            Found::Ending(issued) => {
                let Ok(_flight) = cell.flight.try_lock() else {
                    return Ok(self.cached(issued, Arc::clone(&cell)));
                };
                // Another caller may have been faster since.
                if let Found::Live(issued) = cell.find() {
                    return Ok(self.cached(issued, Arc::clone(&cell)));
                }
                // Tried once, because the live one need not wait.
                self.ask(session, 1).await.or_else(|error| {
                    tracing::debug!(%error, "a credential could not be refreshed; the live one is used");
                    cell.refresh_failed();
                    Ok(self.cached(issued, Arc::clone(&cell)))
                })
            }
            Found::Nothing => {
                let _flight = cell.flight.lock().await;
                match cell.find() {
                    Found::Live(issued) | Found::Ending(issued) => Ok(self.cached(issued, Arc::clone(&cell))),
                    Found::Nothing | Found::PerCall => self.ask(session, TRIES).await,
                }
            }
        }
    }

    /// Asks within the session; in whatever session the broker opens if that one is over.
    async fn ask(&self, session: &str, tries: u32) -> Result<Credential<T>, Error> {
        let issued = match self.exchange(Some(session), tries).await {
            Err(error) if error.is_session_over() => self.exchange(None, tries).await,
            outcome => outcome,
        };
        Ok(self.issued(issued?))
    }

    /// A credential that this call asked the broker for.
    fn issued(&self, issued: Issued<T>) -> Credential<T> {
        let issued = Arc::new(issued);
        self.session.slot.remember(&issued);
        let cell = self.cell(&issued.session);
        cell.keep(&issued);
        let recorded = Some(self.draft.tool_call_id.clone());
        Credential::new(issued, cell, Arc::clone(&self.session.client), recorded)
    }

    /// One that an earlier call asked for.
    fn cached(&self, issued: Arc<Issued<T>>, cell: Arc<Cell<T>>) -> Credential<T> {
        Credential::new(issued, cell, Arc::clone(&self.session.client), None)
    }

    fn cell(&self, session: &str) -> Arc<Cell<T>> {
        let client = &self.session.client;
        let key = Key {
            broker: client.broker.url(),
            server: &client.broker.client_id,
            session,
            subject: self.session.subject.digest(),
            actor: self.session.actor.as_ref().map(|actor| actor.digest()),
            proof_key: client.broker.proofs.as_ref().map(|proofs| proofs.key.thumbprint()),
            issued: self.shape.issued,
            draft: &self.draft,
        };
        (self.shape.cache)(client).cell(key.digest())
    }

    /// `POST /token` (RFC 8693 section 2.1).
    #[expect(
        clippy::disallowed_methods,
        reason = "subject and actor token are presented to the broker"
    )]
    async fn exchange(&self, session: Option<&str>, tries: u32) -> Result<Issued<T>, Error> {
        let draft = &self.draft;
        let access_token = TokenType::AccessToken.as_str();
        let mut form = vec![
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", self.session.subject.expose()),
            ("subject_token_type", access_token),
            ("audience", &draft.target),
            ("scope", &draft.grant),
            ("requested_token_type", self.shape.issued.as_str()),
        ];
        if let Some(actor) = &self.session.actor {
            form.extend([("actor_token", actor.expose()), ("actor_token_type", access_token)]);
        }
        let ttl = draft.ttl.map(|ttl| ttl.to_string());
        let definition = draft.tool_definition.map(|digest| digest.to_string());
        let details = draft.details(self.shape.kind);
        let optional = [
            ("requested_expires_in", ttl.as_deref()),
            ("authorization_details", details.as_deref()),
            ("session", session),
            ("tool", draft.tool.as_deref()),
            ("tool_call_id", draft.tool_call_id.as_deref()),
            ("tool_definition_sha256", definition.as_deref()),
        ];
        form.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        // A malformed one is no reason to fail.
        let traceparent = draft.traceparent.as_deref().map(HeaderValue::from_str);
        let post = Post::Token(&form, traceparent.as_ref().and_then(|value| value.as_ref().ok()));
        let asked = Instant::now();
        self.read(&self.session.client.broker.send(post, tries).await?, asked)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the answer is parsed; its secrets are secrets again"
    )]
    fn read(&self, answer: &Secret, asked: Instant) -> Result<Issued<T>, Error> {
        let odd = |problem: &str| Error::Unreadable(problem.to_owned());
        let answer: TokenResponse = serde_json::from_str(answer.expose()).map_err(|_| odd("no token response"))?;
        if answer.issued_token_type != self.shape.issued {
            return Err(odd("it issues another type than was asked for"));
        }
        let value = (self.shape.read)(answer.access_token).ok_or_else(|| odd("no credential document of version 1"))?;
        Ok(Issued {
            value,
            issuance_id: answer.issuance_id,
            session: answer.session,
            tool: self.draft.tool.clone(),
            asked,
            life: Duration::from_secs(answer.expires_in),
            per_call: answer.per_call,
        })
    }
}
