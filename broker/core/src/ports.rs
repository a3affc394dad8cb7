//! The ports: everything that the core asks of the outside, as small object-safe traits, and the one
//! struct that carries them.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use procura_wire::{Digest, Name, Reason, Secret};

use crate::{
    Timestamp,
    catalogue::Catalogue,
    exchange::Reuse,
    identity::{
        AuthenticatedServer, ClientCredentials, IdJag, PeerCertificates, PresentedProof, PresentedToken, Proof,
        VerifiedToken,
    },
    ids::{IssuanceId, ReplicaId},
    judgement::Judge,
    kind::Minter,
    ledger::Ledger,
    limits::Limiter,
    staged::Staged,
};

pub use futures_util::future::BoxFuture;

/// Time.
pub trait Clock: Send + Sync {
    /// Wall clock.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process; never steps.
    fn monotonic(&self) -> Duration;

    /// Waits. A deadline is a race against this.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// Randomness fit for keys.
pub trait Entropy: Send + Sync {
    /// Fills the bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// Verifies who presents what.
pub trait TokenVerifier: Send + Sync {
    /// Authenticates a server by what it presented. Unknown, wrong and expired take the same time.
    fn authenticate<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        credentials: &'a ClientCredentials,
        certificates: Option<&'a PeerCertificates>,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<AuthenticatedServer, Reason>>;

    /// Verifies form, typ, algorithm, key, signature and the types of the claims under the rules of the
    /// token's issuer. Does not look at `exp`, `nbf`, `iat`, audience or client: those are looked at on each use.
    fn verify<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        token: &'a PresentedToken,
        role: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>>;

    /// The same for an ID-JAG, which only issuers with `id_jag` may make.
    fn verify_id_jag<'a>(
        &'a self,
        catalogue: &'a Catalogue,
        assertion: &'a Secret,
    ) -> BoxFuture<'a, Result<IdJag, Reason>>;

    /// Verifies a DPoP proof (RFC 9449 section 4.3), but not that it is used for the first time. Without a token it is
    /// that of a token request and must have a nonce of ours; with one it must be made for that token.
    fn prove(&self, proof: &PresentedProof, token: Option<&Secret>, now: Timestamp) -> Result<Proof, Reason>;

    /// A nonce for proofs to come (RFC 9449 section 8), known to every replica; `None` where none can be made.
    fn nonce(&self, now: Timestamp) -> Option<String>;

    /// Asks that issuer about an access token that is no JWT (RFC 7662), or takes its answer of at most 30 s ago.
    /// What is said of [`TokenVerifier::verify`] holds for what it answers. [`Reason::JwtFormat`] where the token has
    /// not the form of one, or the issuer is not to be asked.
    fn introspect<'a>(
        &'a self,
        _catalogue: &'a Catalogue,
        _issuer: &'a Name,
        _token: &'a PresentedToken,
        _role: Role,
    ) -> BoxFuture<'a, Result<Arc<VerifiedToken>, Reason>> {
        Box::pin(async { Err(Reason::JwtFormat) })
    }
}

/// What a token is presented as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `subject_token`
    Subject,
    /// `actor_token`
    Actor,
    /// Bearer token at `/v1`, from issuers with `operators = true` only.
    Operator,
    /// `client_assertion` of a server whose platform vouches for it.
    Workload,
}

/// Signs tokens with the broker's active key.
pub trait Signer: Send + Sync {
    /// A compact JWS with that `typ` over the claims (a JSON object); `alg` and `kid` are the active key's.
    fn sign(&self, typ: &str, claims: &[u8]) -> Result<Secret, SignError>;

    /// HMAC-SHA-256 over the message, by each of the broker's keys, the active one first: what only the broker and
    /// its replicas can make. The message begins with what it is for. Empty where there is no key.
    fn tags(&self, message: &[u8]) -> Vec<Digest>;
}

/// There is no active key.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no signing key is active; make one with `procura keys new`")]
pub struct SignError;

/// Encrypts what the store must keep and nobody may read there, with a key of the broker's.
pub trait Sealer: Send + Sync {
    /// Seals a receipt for this issuance alone.
    fn seal(&self, issuance: IssuanceId, receipt: &Secret) -> Result<Vec<u8>, SealError>;

    /// Opens what was sealed for this issuance.
    fn open(&self, issuance: IssuanceId, sealed: &[u8]) -> Result<Secret, SealError>;
}

/// A receipt cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key.
    #[error("no key seals; name one as [keys.seal] and make it with `procura keys new --seal`")]
    NoKey,
    /// None of the keys opens it, or it was changed.
    #[error("none of the keys of [keys.seal] opens it; put the key back that sealed it")]
    Unopened,
}

/// A bundle in force with the minters of its targets.
pub struct Snapshot {
    /// Its rules and catalogue.
    pub judge: Arc<dyn Judge>,
    /// A minter for each of its targets.
    pub minters: BTreeMap<Name, Arc<dyn Minter>>,
    /// What stands before the source of each of its targets that has one.
    pub staged: BTreeMap<Name, Arc<Staged>>,
}

/// The bundle in force. A request takes one snapshot and keeps it.
pub struct Active(RwLock<Arc<Snapshot>>);

impl Active {
    /// Starts with a bundle.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(RwLock::new(Arc::new(snapshot)))
    }

    /// The bundle in force now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place; requests under way keep theirs.
    pub fn swap(&self, snapshot: Snapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// All ports of one running broker.
pub struct Ports {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Identities.
    pub tokens: Arc<dyn TokenVerifier>,
    /// The store.
    pub ledger: Arc<dyn Ledger>,
    /// Seals receipts.
    pub sealer: Arc<dyn Sealer>,
    /// Live credentials that may be served again.
    pub reuse: Reuse,
    /// What rate limits have counted.
    pub limiter: Limiter,
    /// The bundle in force.
    pub active: Active,
    /// This process.
    pub replica: ReplicaId,
    /// This installation: 8 of `[a-z0-9]`, kept in the store.
    pub installation: String,
    /// The broker's issuer identifier.
    pub issuer: String,
    /// How long an external mint may take, at least 5 s.
    pub mint_budget: Duration,
}

/// How far the wall clock may be behind the log before nothing is issued.
const MAX_CLOCK_STEP: Duration = Duration::from_secs(5);

impl Ports {
    /// The later of the wall clock and the highest durable time, in milliseconds, so that a clock that steps back
    /// never makes anything valid again. Further behind than 5 s it is an error.
    pub fn now(&self) -> Result<Timestamp, Reason> {
        let (wall, durable) = (self.clock.now(), self.ledger.durable_time());
        let wall = Timestamp::from_millisecond(wall.as_millisecond()).unwrap_or(wall);
        if wall + MAX_CLOCK_STEP < durable {
            Err(Reason::ClockStep)
        } else {
            Ok(wall.max(durable))
        }
    }
}
