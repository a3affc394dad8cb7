//! The store's port: records, sessions, leases. Everything that must be durable goes through here.

use std::time::Duration;

use procura_wire::{Digest, Name, QualifiedId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Timestamp,
    identity::Principal,
    ids::{Handle, IssuanceId, ReplicaId, SessionId},
    limits::Counted,
    ports::BoxFuture,
};

/// A record ready to be appended: the leaf's exact bytes, the side table's row, the query columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the record.
    pub id: IssuanceId,
    /// The exact bytes of the leaf, at most 60 KiB; never serialised again.
    pub leaf: String,
    /// Salt of the commitment.
    pub salt: [u8; 32],
    /// Clear text of the commitment, JSON.
    pub clear: String,
    /// What queries filter by.
    pub index: Index,
}

/// Query columns of a record. `subject` and `actor` are erased together with the clear text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// What the record is of.
    pub event: Event,
    /// How it ended.
    pub outcome: Outcome,
    /// [`Reason`](procura_wire::Reason) code, unless issued or done.
    pub reason: Option<String>,
    /// Time of the record.
    pub at: Timestamp,
    /// The server.
    pub server: Option<Name>,
    /// The tool.
    pub tool: Option<String>,
    /// The target.
    pub target: Option<Name>,
    /// The grants asked for, short names.
    pub grants: Vec<Name>,
    /// The session.
    pub session: Option<SessionId>,
    /// The subject.
    pub subject: Option<QualifiedId>,
    /// The actor, where it is not the server.
    pub actor: Option<QualifiedId>,
    /// For uses, revocations and the like: the issuance that it is about.
    pub about: Option<IssuanceId>,
    /// SHA-256 of an issued value that does not name its record, see [`issued_value`](crate::issued_value).
    pub value: Option<Digest>,
    /// End of the issued credential.
    pub until: Option<Timestamp>,
    /// Version of the source's secret.
    pub source_version: Option<String>,
}

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A request at the token endpoint.
    Exchange,
    /// A use of a cached credential, as its server reported it.
    Use,
    /// A request at the revocation endpoint, or an operator's undoing of one credential.
    Revocation,
    /// The end of a session.
    SessionEnd,
    /// An operator's rotation of the broker's own credential at a target.
    Rotation,
}

/// How what is recorded ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A credential was issued.
    Issued,
    /// Nothing was issued or done.
    Refused,
    /// A use was reported.
    Reported,
    /// Something was ended.
    Done,
}

/// What an append does beside the record, in the same transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Refuse unless this holds.
    pub guard: Option<Guard>,
    /// One-time ids not burnt before; refuse if one of them was.
    pub burn: Vec<ReplayId>,
    /// Move the lease of this issuance.
    pub lease: Option<LeaseStep>,
}

/// What must still be true when an issuance is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The session is live.
    pub session: SessionId,
    /// No mark revokes the subject token.
    pub token: TokenFacts,
}

/// What marks are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// The server.
    pub server: Name,
    /// The subject.
    pub subject: Principal,
    /// The actor, where it is not the server.
    pub actor: Option<QualifiedId>,
    /// `iat` of the subject token.
    pub issued_at: Option<Timestamp>,
}

/// An id that may be used once, kept until it cannot be accepted any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayId {
    /// Digest of kind, issuer and id.
    pub id: Digest,
    /// When it may be forgotten.
    pub until: Timestamp,
}

/// A step of a lease, by whoever owns it; zero rows changed means that somebody took it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseStep {
    /// `intended → live`
    Live {
        /// Who began it.
        owner: Owner,
        /// When it must be undone.
        until: Timestamp,
        /// Version of the source's secret that made it.
        source_version: Option<String>,
        /// What its minter handed out.
        kept: Kept,
    },
    /// `intended → gone`: undone, the target confirmed.
    Gone(Owner),
    /// `intended → undoing`: the sweeper goes on.
    Undo {
        /// Who began it.
        owner: Owner,
        /// When the next attempt is due.
        at: Timestamp,
        /// What its minter handed out, if it came to that.
        kept: Kept,
    },
    /// No step: the lease of this other issuance must be live, whose credential is served again.
    Shared(IssuanceId),
}

/// What is kept of a credential beside its handle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The minter's receipt, sealed; forgotten once the credential is gone.
    pub sealed: Option<Vec<u8>>,
    /// When it ends by itself at the latest.
    pub lapses: Option<Timestamp>,
    /// What the target calls it, where that is not the handle.
    pub known_as: Option<String>,
}

/// Who may move a lease: the replica, at this fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The replica.
    pub replica: ReplicaId,
    /// Raised by whoever takes over.
    pub fence: i64,
}

/// Why an append was refused. Nothing of that row is stored; other rows of its batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The session is not live.
    #[error("the session has ended")]
    SessionEnded,
    /// A mark revokes the subject token.
    #[error("the subject token was revoked")]
    SubjectRevoked,
    /// A one-time id was used before.
    #[error("a one-time id was used before")]
    Replayed,
    /// Somebody else owns the lease now.
    #[error("the lease was taken over")]
    Superseded,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be written or read now (full, read-only, away); nothing was stored.
    #[error("the store is unavailable")]
    Unavailable,
    /// Too much waits.
    #[error("the store's queue is full")]
    Overloaded,
    /// What is stored contradicts itself; the log of the process says where.
    #[error("the store holds an inconsistent row")]
    Inconsistent,
}

/// A durable intent to mint at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// What the target will know.
    pub handle: Handle,
    /// The lease's id.
    pub id: IssuanceId,
    /// The target.
    pub target: Name,
    /// Where the target is, [`Target::place`](crate::catalogue::Target::place).
    pub place: String,
    /// The session.
    pub session: SessionId,
    /// Who begins it; the fence is 1.
    pub replica: ReplicaId,
    /// When the call is given up.
    pub deadline: Timestamp,
    /// When what an interrupted call made ends by itself at the latest.
    pub lapses: Option<Timestamp>,
    /// One-time ids, burnt with it.
    pub burn: Vec<ReplayId>,
    /// The record that recovery appends if the request never gets to write its own.
    pub aborted: Entry,
}

/// State of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// A mint is under way or was interrupted.
    Intended,
    /// Recorded and in use.
    Live,
    /// To be undone; asked until the target confirms.
    Undoing,
    /// Undone, the target confirmed.
    Gone,
}

/// A credential at a target that wants undoing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The issuance.
    pub id: IssuanceId,
    /// What the target knows.
    pub handle: Handle,
    /// The target.
    pub target: Name,
    /// Where the target was when it was begun.
    pub place: String,
    /// The session.
    pub session: SessionId,
    /// Its state.
    pub state: LeaseState,
    /// Who may move it.
    pub owner: Owner,
    /// When the mint is given up.
    pub deadline: Timestamp,
    /// When it must be undone, once live.
    pub until: Option<Timestamp>,
    /// Version of the source's secret that made it.
    pub source_version: Option<String>,
    /// What is kept of it.
    pub kept: Kept,
    /// Attempts to undo so far.
    pub attempts: u32,
    /// When the next attempt is due.
    pub next_attempt: Option<Timestamp>,
    /// The record to append where the mint never got to its own.
    pub aborted: Option<Entry>,
}

/// Takes a lease over: raises its fence and makes `replica` its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The new owner.
    pub replica: ReplicaId,
    /// Now.
    pub now: Timestamp,
    /// Nobody else takes it before this time.
    pub again: Timestamp,
    /// Intended leases are left alone until their deadline is over by this.
    pub margin: Duration,
}

/// How an attempt to undo ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// The target confirmed.
    Gone,
    /// It did not; next attempt at that time. The problem holds no secret.
    Retry {
        /// When.
        at: Timestamp,
        /// What the target said.
        problem: String,
    },
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// Its own server; leaves no mark.
    Server,
    /// An operator; leaves a mark.
    Operator,
    /// The bundle; leaves a mark.
    Policy,
    /// Its time was over, or nothing happened in it for 30 minutes.
    Time,
}

/// What a session is joined by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// The server.
    pub server: Name,
    /// The subject.
    pub subject: Principal,
    /// The actor, where it is not the server.
    pub actor: Option<QualifiedId>,
    /// `sid` of the subject token; absent equals absent.
    pub sid: Option<String>,
}

/// One run of subject, actor and server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What it is joined by.
    pub key: SessionKey,
    /// Made on purpose by `session=new`: joined by its id only.
    pub pinned: bool,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ends at the latest.
    pub ends: Timestamp,
    /// Last issuance or use.
    pub last_used: Timestamp,
    /// Credentials issued in it.
    pub issuances: u64,
    /// When and by whom it was ended.
    pub ended: Option<(Timestamp, EndedBy)>,
}

/// After this time without issuance or use a session ends.
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);

impl Stored {
    /// The issuance that made the credential: an earlier one where it was served again.
    pub fn made_by(&self) -> IssuanceId {
        let issued = (self.index.event, self.index.outcome) == (Event::Exchange, Outcome::Issued);
        let shared = self.index.about.filter(|_| issued);
        shared.unwrap_or(self.id)
    }
}

impl Session {
    /// Whether it may be joined at that time.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.ends && now < self.last_used + SESSION_IDLE
    }
}

/// A credential that a session holds: issued, not ended, not undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The issuance.
    pub id: IssuanceId,
    /// The target.
    pub target: Name,
    /// Its end.
    pub until: Timestamp,
    /// The lease that must be undone at the target: its own, or the one whose credential was served again.
    pub lease: Option<IssuanceId>,
}

/// A record as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its id.
    pub id: IssuanceId,
    /// The exact bytes.
    pub leaf: Box<RawValue>,
    /// Salt and clear text; `None` once erased.
    pub side: Option<([u8; 32], Box<RawValue>)>,
    /// The query columns.
    pub index: Index,
    /// When the credential was revoked, alone or with its session.
    pub revoked: Option<Timestamp>,
}

/// Conditions that the store has columns for; all that are given must hold. An id is of the time of its record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// What records are of.
    pub event: Option<Event>,
    /// How they ended.
    pub outcome: Option<Outcome>,
    /// The subject.
    pub subject: Option<QualifiedId>,
    /// What the subject begins with; one that was erased passes.
    pub subject_begin: Option<String>,
    /// The actor.
    pub actor: Option<QualifiedId>,
    /// The subject's issuer, as the leaf says.
    pub issuer: Option<Name>,
    /// The server.
    pub server: Option<Name>,
    /// The tool.
    pub tool: Option<String>,
    /// The target.
    pub target: Option<Name>,
    /// The grant's short name.
    pub grant: Option<Name>,
    /// The session.
    pub session: Option<SessionId>,
    /// The issuance that uses and revocations are about.
    pub about: Option<IssuanceId>,
    /// At or after.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// This id or a later one.
    pub from: Option<IssuanceId>,
}

/// One page of a listing, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only what is older than this id.
    pub before: Option<IssuanceId>,
    /// At most so many, 1 to 1000.
    pub limit: u32,
}

/// Filters of `GET /v1/sessions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// The subject's id.
    pub subject: Option<QualifiedId>,
    /// The actor.
    pub actor: Option<QualifiedId>,
    /// The server.
    pub server: Option<Name>,
    /// Only those live at this time.
    pub live_at: Option<Timestamp>,
}

/// Filters of `GET /v1/leases`; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseFilter {
    /// The target.
    pub target: Option<Name>,
    /// Version of the source's secret that made it.
    pub source_version: Option<String>,
    /// The subject's id, of the session.
    pub subject: Option<QualifiedId>,
    /// The actor, of the session.
    pub actor: Option<QualifiedId>,
    /// The server, of the session.
    pub server: Option<Name>,
    /// The session.
    pub session: Option<SessionId>,
    /// Their state.
    pub state: Option<LeaseState>,
}

/// The store. Every write is durable when its future ends with `Ok`; a write with an unknown outcome
/// is read back by its id before it is answered. Reads see every answered write.
pub trait Ledger: Send + Sync {
    /// Id of the installation, made with the store: 8 of `[a-z0-9]`.
    fn installation(&self) -> &str;

    /// Highest time that a durable record has.
    fn durable_time(&self) -> Timestamp;

    /// Appends a record. One durable commit is shared by all that wait. On an issued exchange the
    /// session's `last_used` and `issuances` move along. A record whose id is there already is refused
    /// as [`AppendError::Superseded`]. Every lease step drops the lease's `aborted` record.
    fn append(&self, entry: Entry, conditions: Conditions) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Writes an intent and burns its one-time ids. Refused like an append where an id was burnt before.
    fn intend(&self, intent: Intent) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Burns one-time ids, where no record comes of it. Refused as [`AppendError::Replayed`] where one was burnt before.
    fn burn(&self, ids: Vec<ReplayId>) -> BoxFuture<'_, Result<(), AppendError>>;

    /// The live session of this key that is not pinned, and whether a mark revokes the token.
    fn find_session(&self, key: SessionKey, now: Timestamp) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;

    /// A session by id, live or not.
    fn session(&self, id: SessionId) -> BoxFuture<'_, Result<Option<Session>, StoreError>>;

    /// Whether a mark revokes a token with these facts.
    fn is_revoked(&self, token: TokenFacts) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Opens a session. Where a live one of the same key exists (and neither is pinned), that one is
    /// answered; dead ones of the key are ended by time first.
    fn open_session(&self, session: Session) -> BoxFuture<'_, Result<Session, StoreError>>;

    /// Ends a session with its record: marks it, revokes what it holds, queues its leases for undoing at
    /// once (intended ones are refused by their own append), leaves a mark where `by` says so. Answers
    /// what it held; `None` where it is unknown or had ended.
    fn end_session(
        &self,
        id: SessionId,
        by: EndedBy,
        entry: Entry,
    ) -> BoxFuture<'_, Result<Option<Vec<Held>>, StoreError>>;

    /// Revokes one issued credential with its record and queues its lease. Answers what it was; `None`
    /// where it is unknown, ended or revoked already (the record is appended all the same).
    fn revoke(&self, id: IssuanceId, entry: Entry) -> BoxFuture<'_, Result<Option<Held>, StoreError>>;

    /// Targets that have a lease which is due, see [`Self::take_due`]. What this costs depends on the number
    /// of targets, not of leases.
    fn due_targets(&self, now: Timestamp, margin: Duration) -> BoxFuture<'_, Result<Vec<Name>, StoreError>>;

    /// Takes leases of one target that are due, the longest due first: undoing ones whose time has come,
    /// live ones past their end, intended ones whose deadline is over by the claim's margin. Live and
    /// intended ones become undoing.
    fn take_due(&self, target: Name, claim: Claim, limit: u32) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>>;

    /// Takes one lease that is undoing, or live and past its end, at once, if no attempt of somebody else is under way.
    fn take(&self, id: IssuanceId, claim: Claim) -> BoxFuture<'_, Result<Option<Lease>, StoreError>>;

    /// Notes how an attempt to undo ended. `false` where another owner or fence has it.
    fn settle(&self, id: IssuanceId, owner: Owner, undone: Undone) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// A lease by the issuance's id.
    fn lease(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<Lease>, StoreError>>;

    /// Every target that has a lease which is not gone, with each place that such a lease was made at. What this
    /// costs depends on their number, not on that of the leases.
    fn leased_places(&self) -> BoxFuture<'_, Result<Vec<(Name, String)>, StoreError>>;

    /// The newest lease that the target calls so, see [`Kept::known_as`].
    fn lease_known_as(&self, name: String) -> BoxFuture<'_, Result<Option<Lease>, StoreError>>;

    /// Leases, newest first.
    fn leases(&self, filter: LeaseFilter, page: Page) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>>;

    /// Sessions whose time is over or that are idle, and that nobody ended.
    fn expired_sessions(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Session>, StoreError>>;

    /// A record by id.
    fn record(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<Stored>, StoreError>>;

    /// The issued record whose value has this digest.
    fn record_by_value(&self, value: Digest) -> BoxFuture<'_, Result<Option<Stored>, StoreError>>;

    /// Records, newest first.
    fn records(&self, filter: Filter, page: Page) -> BoxFuture<'_, Result<Vec<Stored>, StoreError>>;

    /// Where a walk of so many records ends: of those that the index which leads for this filter finds, older than
    /// `before`, the id of the last. All that pass are among them. `None` where there are not so many.
    fn floor(
        &self,
        filter: Filter,
        before: Option<IssuanceId>,
        records: u32,
    ) -> BoxFuture<'_, Result<Option<IssuanceId>, StoreError>>;

    /// Sessions, newest first; `before` is a session's id.
    fn sessions(
        &self,
        filter: SessionFilter,
        before: Option<SessionId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Session>, StoreError>>;

    /// What a session holds: issued, not past its end, not revoked, not gone.
    fn held(&self, id: SessionId, now: Timestamp) -> BoxFuture<'_, Result<Vec<Held>, StoreError>>;

    /// Keeps the content of a bundle by its digest; a second time is no change.
    fn keep_bundle(&self, digest: Digest, content: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Notes that what hung on earlier bundles and not on this one, which is kept, was withdrawn.
    fn settle_bundle(&self, digest: Digest) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The content of the bundle that was settled last; `None` where this one was settled ever, as by a replica that is
    /// behind.
    fn settled_bundle(&self, unless: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// The content of a bundle that was ever active.
    fn bundle(&self, digest: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// Whether the store can be read and written.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds to what rate limits counted and answers the sums of all replicas, in any order; forgets windows that ended.
    fn count(&self, counts: Vec<Counted>, now: Timestamp) -> BoxFuture<'_, Result<Vec<Counted>, StoreError>>;

    /// Sums of windows that have not ended, the highest first, so many at most.
    fn counted(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Counted>, StoreError>>;

    /// Forgets one-time ids whose time is over by durable time.
    fn forget_replay_ids(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
