//! The minter of one target.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::Handle,
    kind::{MintError, MintOrder, Minted, Minter, ProofError, RotateError, Rotated, UndoError, Undoable},
    ports::BoxFuture,
    source::SourceSecret,
};
use serde_json::{Map, Value};

use crate::{
    access::{Access, Login},
    fault::Fault,
    mint::words,
    probe,
    settings::Settings,
    undo::{Receipt, inventory, undo, undo_by_handle},
};

/// How long an undo, a probe or an inventory may take before it is asked for again.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct VaultMinter {
    pub(crate) settings: Settings,
    pub(crate) access: Access,
    pub(crate) installation: String,
    /// What each token at the server is to us, by accessor; `None` where it is somebody else's.
    pub(crate) known: Mutex<BTreeMap<String, Option<Handle>>>,
}

impl Minter for VaultMinter {
    /// Nothing: the server ends what is late by itself, and it is found by its handle.
    fn prepare(&self, _: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>> {
        Box::pin(async { Ok(None) })
    }

    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>> {
        Box::pin(self.make(order))
    }

    fn undo<'a>(&'a self, Undoable { handle, receipt }: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>> {
        Box::pin(async move {
            let failed = |problem: &str| UndoError::Failed(format!("{handle:?} {problem}"));
            if Handle::parse(&self.installation, handle.as_str()).is_none() {
                return Err(failed("is none of this installation"));
            }
            let Some(receipt) = receipt else {
                return self.patiently(|login| undo_by_handle(login, self, handle)).await;
            };
            let receipt = Receipt::read(receipt).ok_or_else(|| failed("has an unreadable receipt"))?;
            self.patiently(|login| undo(login, self, &receipt)).await?;
            match receipt.is_lasting() {
                true => Err(UndoError::Never),
                false => Ok(()),
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(async move {
            let problems = self.patiently(|login| probe::problems(login, &self.settings)).await?;
            match problems.is_empty() {
                true => Ok(()),
                false => Err(UndoError::Failed(problems.join("; "))),
            }
        })
    }

    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>> {
        Box::pin(self.patiently(|login| inventory(login, self)))
    }

    /// What the probe asks for, which makes nothing.
    fn prove<'a>(&'a self, secret: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async move {
            let login = self.access.login(&secret);
            let login = login.map_err(|fault| ProofError::Refused(fault.to_string()))?;
            match probe::problems(login, &self.settings).await {
                Ok(problems) if problems.is_empty() => Ok(()),
                Ok(problems) => Err(ProofError::Refused(problems.join("; "))),
                Err(Fault::Refused(problem)) => Err(ProofError::Refused(problem)),
                Err(fault) => Err(ProofError::Failed(fault.to_string())),
            }
        })
    }

    /// Vault makes and keeps the engine's own credential; nobody else sees it, and the one before is gone at once.
    fn rotate(&self) -> BoxFuture<'_, Result<Rotated, RotateError>> {
        Box::pin(async move {
            let path = self.settings.rotate_path.as_ref().ok_or(RotateError::Unable)?;
            let asked =
                self.patiently(|login| async move { login.ask(path, Some(&Map::new())).await?.wanted(path).map(drop) });
            asked.await.map_err(|error| RotateError::Failed(error.to_string()))?;
            Ok(Rotated {
                did: format!("Vault has rotated {path}"),
                version: None,
            })
        })
    }
}

impl VaultMinter {
    /// The handle in a token's metadata, where it was made through our role.
    pub(crate) fn handle_of(&self, data: &Value) -> Option<Handle> {
        let path = format!("auth/token/create/{}", self.settings.token_role);
        let text = data["meta"]["procura"].as_str().filter(|_| data["path"] == path)?;
        Handle::parse(&self.installation, text)
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, BTreeMap<String, Option<Handle>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn patiently<'a, T, Done>(&'a self, work: impl Fn(Login) -> Done + Send + Sync + 'a) -> Result<T, UndoError>
    where
        T: Send + 'a,
        Done: Future<Output = Result<T, Fault>> + Send + 'a,
    {
        let deadline = self.access.clock.monotonic() + PATIENCE;
        let outcome = self.access.with(deadline, work).await;
        outcome.map_err(|error| UndoError::Failed(words(error)))
    }
}
