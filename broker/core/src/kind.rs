//! Kinds of targets: what one declares of itself, and the minter that makes and undoes credentials.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use procura_wire::{Name, Secret, TokenType};
use serde_json::{Map, Value};

use crate::{
    Timestamp,
    catalogue::Target,
    identity::Caller,
    ids::{Handle, IssuanceId, SessionId},
    judgement::Plan,
    ports::{BoxFuture, Clock, Entropy, Signer},
    source::{Source, SourceSecret},
};

/// A type of target. Each kind's crate exports one; the server's list names them all.
#[derive(Debug)]
pub struct Kind {
    /// Its name in bundles and in `authorization_details`.
    pub name: &'static str,
    /// Keys of a target file beside the common ones.
    pub target_keys: &'static [Key],
    /// Keys of a grant beside the common ones.
    pub grant_keys: &'static [Key],
    /// Keys of a target that say where its credentials are, most telling first; see [`Target::place`].
    pub place_keys: &'static [&'static str],
    /// Whether a target needs a `source`.
    pub needs_source: bool,
    /// What it issues.
    pub issues: TokenType,
    /// How long its credentials live.
    pub lifetime: Lifetime,
    /// Where they are made.
    pub place: Place,
    /// How long, from the mint's deadline on, what an interrupted mint made lives at most by itself; `None` where
    /// it lives until it is undone.
    pub lapses: Option<Duration>,
    /// Its minter hands out receipts, which the broker keeps sealed: without a key for that it cannot be used.
    pub receipts: bool,
    /// Within one session the same live credential is served again for an identical effective grant.
    pub reuses: bool,
    /// Its grants may hand the subject token to the target (`forward_subject = true`).
    pub forwards: bool,
    /// Grants with equal parameters can go into one credential.
    pub merges: bool,
    /// What it issues carries the plan's confirmation as `cnf`.
    pub binds: bool,
    /// What the keys' schema cannot say, checked at load: (grant or `None` for the target's own keys, key, problem).
    pub check: fn(&Target) -> Vec<SettingFault>,
    /// Whether the kind can narrow the grant by the plan's parameters, which fit the grant's declaration. Pure.
    pub narrows: fn(&Target, &Plan) -> bool,
    /// The most that a credential of this plan may carry. Pure.
    pub rights: fn(&Target, &Plan) -> Rights,
    /// Makes the minter of one target.
    pub open: fn(&Name, &Target, KindPorts) -> OpenResult,
}

/// A key that a kind adds to target files or grants.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: KeyType,
    /// Whether it must be there.
    pub required: bool,
    /// One line for the documentation.
    pub doc: &'static str,
}

/// Type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// A string.
    Text,
    /// A whole number.
    Int,
    /// true or false.
    Bool,
    /// A list of strings.
    Texts,
    /// A table of strings.
    Map,
    /// A list of tables; what may stand in them the kind itself checks.
    Tables,
}

/// A setting that the schema accepts and the kind does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingFault {
    /// The grant that it stands in; `None` for the target's own keys.
    pub grant: Option<Name>,
    /// The key.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// How long credentials of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Any end between these.
    Chosen {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
}

/// Where credentials of a kind are made, and how they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In memory; they end by themselves and cannot be taken back from who checks them offline.
    Local,
    /// At the target, behind a durable intent, and undone there.
    External,
}

/// What a kind's `open` may use.
#[derive(Clone)]
pub struct KindPorts {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Signs tokens.
    pub signer: Arc<dyn Signer>,
    /// Where the target's own credential is kept, if the target names a source.
    pub source: Option<Arc<dyn Source>>,
    /// Id of this installation, 8 of `[a-z0-9]`; every handle carries it.
    pub installation: String,
    /// The broker's issuer identifier.
    pub issuer: String,
    /// Aliases of all issuers that the bundle trusts.
    pub issuers: BTreeSet<Name>,
}

/// A minter, or why there is none.
pub type OpenResult = Result<Arc<dyn Minter>, OpenError>;

/// A minter could not be made from a target's settings.
#[derive(Debug, thiserror::Error)]
#[error("target {target}: {problem}")]
pub struct OpenError {
    /// The target.
    pub target: Name,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Rights of a credential as typed sets and numbers, so that two can be compared without knowing the kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Sets of names, each by what they are (`scope`, `member_of`).
    pub sets: BTreeMap<&'static str, BTreeSet<String>>,
    /// Upper bounds (`connection_limit`).
    pub numbers: BTreeMap<&'static str, i64>,
}

impl Rights {
    /// Whether these are within `allowed`: every set a subset of its like, every number at most its
    /// like, nothing that `allowed` does not know, and every bound that it sets also set here.
    pub fn within(&self, allowed: &Self) -> bool {
        let sets = self
            .sets
            .iter()
            .all(|(what, set)| allowed.sets.get(what).is_some_and(|most| set.is_subset(most)));
        let numbers = self.numbers.keys().eq(allowed.numbers.keys())
            && self
                .numbers
                .iter()
                .zip(&allowed.numbers)
                .all(|((_, number), (_, most))| number <= most);
        sets && numbers
    }
}

/// An order to mint, decided and planned.
#[derive(Debug, Clone, Copy)]
pub struct MintOrder<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The target's entry in the same bundle as the plan.
    pub target: &'a Target,
    /// Who takes part.
    pub caller: &'a Caller,
    /// The issuance.
    pub issuance: IssuanceId,
    /// What the target will know it by.
    pub handle: &'a Handle,
    /// The session.
    pub session: SessionId,
    /// Now.
    pub now: Timestamp,
    /// For external kinds: the moment, by the broker's monotonic clock, at which the call is given up.
    pub deadline: Duration,
    /// For external kinds: the same moment by the target's clock, as [`Minter::prepare`] told.
    pub target_deadline: Option<Timestamp>,
    /// The subject token, where the grants hand it on.
    pub forward: Option<&'a Secret>,
}

/// A credential that was made.
#[derive(Debug)]
pub struct Minted {
    /// The token or credential document.
    pub value: Secret,
    /// What it carries, read back from what was made.
    pub rights: Rights,
    /// When it ends: by itself, or because the broker undoes it then.
    pub end: Timestamp,
    /// When it ends by itself at the latest, whatever else happens; `None` where it lives until it is undone.
    pub lapses: Option<Timestamp>,
    /// What undoing needs beside the handle; kept sealed.
    pub receipt: Option<Secret>,
    /// What the target calls it where that is not the handle, for `procura whois`; no secret.
    pub known_as: Option<String>,
    /// Version of the source's secret that was used.
    pub source_version: Option<String>,
    /// RFC 9396 object members as granted, beside `type`.
    pub details: Map<String, Value>,
}

/// What is to be undone.
#[derive(Debug, Clone, Copy)]
pub struct Undoable<'a> {
    /// What the target knows it by.
    pub handle: &'a Handle,
    /// What its minter handed out with it; `None` where the mint was interrupted.
    pub receipt: Option<&'a Secret>,
}

impl<'a> Undoable<'a> {
    /// What has no receipt.
    pub fn by(handle: &'a Handle) -> Self {
        Self { handle, receipt: None }
    }
}

/// Why nothing was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The target's own credential cannot be had.
    #[error("source: {0}")]
    Source(String),
    /// The target refused our credential until the deadline.
    #[error("the target refuses the broker's credential: {0}")]
    Refused(String),
    /// The target said no, and certainly made nothing.
    #[error("the target failed: {0}")]
    Failed(String),
    /// The target may have made something.
    #[error("the target did not answer in time: {0}")]
    Uncertain(String),
}

/// It is not undone. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The target could not, or did not confirm; asked again later.
    #[error("{0}")]
    Failed(String),
    /// Nothing takes it back: it lives until it lapses.
    #[error("nothing takes it back before it ends by itself")]
    Never,
}

/// A version of the target's own credential is not proved. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The target refuses it, or it lets us do less than a mint needs.
    #[error("{0}")]
    Refused(String),
    /// The target could not be asked.
    #[error("{0}")]
    Failed(String),
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// In words for the operator, without a secret: `log-in procura_b has a new password`.
    pub did: String,
    /// The source's new version; `None` where the target keeps what was rotated itself.
    pub version: Option<String>,
}

/// Nothing was rotated: the source has what it had. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// This target cannot be rotated by the broker.
    #[error("this target has no rotation of its own")]
    Unable,
    /// Something failed.
    #[error("{0}")]
    Failed(String),
}

/// Makes narrowed credentials at one target and takes them back.
pub trait Minter: Send + Sync {
    /// Reads the target's clock and answers when, by it, a mint begun now must have committed.
    /// Called before the intent is written. Local kinds answer `None`.
    fn prepare(&self, budget: Duration) -> BoxFuture<'_, Result<Option<Timestamp>, MintError>>;

    /// Makes the credential of the order; gives up at its deadline.
    fn mint<'a>(&'a self, order: MintOrder<'a>) -> BoxFuture<'a, Result<Minted, MintError>>;

    /// Takes a credential back; idempotent; `Ok` once the target confirmed that it is gone.
    fn undo<'a>(&'a self, undoable: Undoable<'a>) -> BoxFuture<'a, Result<(), UndoError>>;

    /// Checks that the target is there and safe to mint at; the error says what is missing.
    fn probe(&self) -> BoxFuture<'_, Result<(), UndoError>>;

    /// Handles of this installation that exist at the target.
    fn inventory(&self) -> BoxFuture<'_, Result<Vec<Handle>, UndoError>>;

    /// Clears away what undoing left at the target and nobody needs any more; once a day.
    fn tidy(&self) -> BoxFuture<'_, Result<(), UndoError>> {
        Box::pin(async { Ok(()) })
    }

    /// Proves a version of the target's own credential by what a mint does with it; nothing stays.
    fn prove<'a>(&'a self, _secret: Arc<SourceSecret>) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async { Ok(()) })
    }

    /// Makes a new credential of the broker's own at the target, proves it and writes it to the source. Whatever
    /// interrupts it, what the source has works. The one before goes on working until [`Minter::retire`].
    fn rotate(&self) -> BoxFuture<'_, Result<Rotated, RotateError>> {
        Box::pin(async { Err(RotateError::Unable) })
    }

    /// Takes the version before away at the target, where [`Minter::rotate`] made its successor; idempotent.
    fn retire<'a>(
        &'a self,
        _old: Arc<SourceSecret>,
        _active: Arc<SourceSecret>,
    ) -> BoxFuture<'a, Result<(), ProofError>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(scopes: &[&str], limit: Option<i64>) -> Rights {
        Rights {
            sets: BTreeMap::from([("scope", scopes.iter().map(|s| (*s).to_owned()).collect())]),
            numbers: limit.map(|limit| ("connection_limit", limit)).into_iter().collect(),
        }
    }

    #[test]
    fn wider_is_not_within() {
        let allowed = rights(&["a", "b"], Some(2));
        assert!(rights(&["a"], Some(2)).within(&allowed));
        assert!(rights(&["a"], Some(1)).within(&allowed));
        assert!(!rights(&["a", "c"], Some(1)).within(&allowed));
        assert!(!rights(&["a"], Some(3)).within(&allowed));
        assert!(
            !rights(&["a"], None).within(&allowed),
            "a bound that is missing is no bound"
        );
        assert!(!rights(&["a"], Some(1)).within(&rights(&["a"], None)));
    }
}
