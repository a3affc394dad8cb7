//! The client: one per MCP server process.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_wire::{AwsCredential, Digest, PostgresCredential, Secret, VaultCredential};

use crate::{
    cache::Cache,
    error::Error,
    http::{Broker, Settings},
    identification::{Identification, PrivateKey},
    proof::ProofKey,
    session::Session,
    slot::Slot,
    uses::Reporter,
};

/// Longest wait for an answer, unless set: a target may take its time.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A client of one broker. Cheap to clone; clones share cache and reports.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// What clones, sessions and credentials share.
pub(crate) struct Inner {
    pub(crate) broker: Arc<Broker>,
    pub(crate) bearer: Cache<Secret>,
    pub(crate) postgres: Cache<PostgresCredential>,
    pub(crate) aws: Cache<AwsCredential>,
    pub(crate) vault: Cache<VaultCredential>,
    pub(crate) reporter: Reporter,
    /// By digest of subject and actor token.
    slots: Mutex<HashMap<Digest, Arc<Slot>>>,
}

impl Client {
    /// A client that authenticates as the server `client_id` at the broker of that URL (its issuer identifier).
    pub fn builder(url: impl Into<String>, client_id: impl Into<String>, client_secret: Secret) -> Builder {
        Builder(Settings {
            url: url.into(),
            client_id: client_id.into(),
            identification: Identification::Secret(client_secret),
            ca: None,
            proof_key: None,
            timeout: TIMEOUT,
        })
    }

    /// The same with a key in place of a secret: `private_key_jwt` (RFC 7523). Each request is signed anew, for
    /// exactly this URL as audience: write it as the broker's metadata does.
    pub fn builder_with_key(url: impl Into<String>, client_id: impl Into<String>, key: PrivateKey) -> Builder {
        Builder(Settings {
            url: url.into(),
            client_id: client_id.into(),
            identification: Identification::Key(key),
            ca: None,
            proof_key: None,
            timeout: TIMEOUT,
        })
    }

    /// The same with a token that the platform keeps in a file, such as a projected service account token of
    /// Kubernetes: `workload`. The file is read for each request.
    pub fn builder_with_assertion_file(
        url: impl Into<String>,
        client_id: impl Into<String>,
        file: impl Into<PathBuf>,
    ) -> Builder {
        Builder(Settings {
            url: url.into(),
            client_id: client_id.into(),
            identification: Identification::File(file.into()),
            ca: None,
            proof_key: None,
            timeout: TIMEOUT,
        })
    }

    /// The run that this subject token belongs to. Costs nothing: make one per request if that is simpler, since
    /// equal tokens share session and cache.
    pub fn session(&self, subject_token: Secret) -> Session {
        Session::new(Arc::clone(&self.0), subject_token)
    }

    /// Waits until every use that was begun has ended and was reported. Afterwards no use can begin.
    ///
    /// # Errors
    ///
    /// [`Error::Unreported`] where the broker did not take all; the missing ones were also logged.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.reporter.shut_down().await
    }
}

impl Inner {
    /// The place where the session of these tokens is remembered.
    pub(crate) fn slot(&self, subject: Digest, actor: Option<Digest>) -> Arc<Slot> {
        let actor = actor.as_ref().map_or(&[][..], |actor| actor.as_bytes());
        let key = Digest::of_parts([&subject.as_bytes()[..], actor]);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() == slots.capacity() && !slots.contains_key(&key) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.is_live());
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

/// Settings of a [`Client`].
pub struct Builder(Settings);

impl Builder {
    /// Trusts only these CAs (PEM) for the broker, in place of the system's roots.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.0.ca = Some(pem.into());
        self
    }

    /// Proves this key with every exchange (DPoP, RFC 9449): the broker binds the tokens that it signs to it, and
    /// whoever uses one needs [`Session::proof`].
    #[must_use]
    pub fn proof_key(mut self, key: ProofKey) -> Self {
        self.0.proof_key = Some(key);
        self
    }

    /// Longest wait for one answer; 15 s if unset.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// The client. Call it inside a tokio runtime: reports are sent from a task of their own.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where URL or CA cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let broker = Arc::new(Broker::new(self.0)?);
        Ok(Client(Arc::new(Inner {
            reporter: Reporter::start(Arc::clone(&broker)),
            broker,
            bearer: Cache::default(),
            postgres: Cache::default(),
            aws: Cache::default(),
            vault: Cache::default(),
            slots: Mutex::default(),
        })))
    }
}
