//! What the log asks of the outside.

use std::collections::BTreeMap;

use super::{Hash, TileKey};
use crate::{
    Timestamp,
    ids::{IssuanceId, ReplicaId},
    ledger::StoreError,
    ports::BoxFuture,
};

/// The tree as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// Origin of the epoch.
    pub origin: String,
    /// Number of the epoch, from 1.
    pub epoch: u64,
    /// Leaves that have an index.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Size and note of the last checkpoint of this epoch that stands at the anchor, as far as the store knows.
    pub published: Option<(u64, String)>,
    /// Raised by whoever takes the lease.
    pub fence: i64,
    /// End of the lease.
    pub until: Timestamp,
    /// There are records without an index.
    pub waiting: bool,
}

/// A record as a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRecord {
    /// Its id.
    pub id: IssuanceId,
    /// The exact bytes of the leaf.
    pub leaf: String,
}

/// A leaf with what it commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLeaf {
    /// The record.
    pub record: LeafRecord,
    /// Salt and clear text of its commitment; `None` once erased.
    pub side: Option<([u8; 32], String)>,
}

/// A tile of hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileData {
    /// Level, from 0.
    pub level: u8,
    /// Number in its level, from 0.
    pub number: u64,
    /// Its hashes one after another, 1 to 256 of 32 bytes.
    pub data: Vec<u8>,
}

/// A step of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Grown {
    /// Size before it.
    pub from: u64,
    /// Records that become leaves, in the order of [`LogStore::waiting`].
    pub ids: Vec<IssuanceId>,
    /// Root after it.
    pub root: Hash,
    /// Tiles that changed.
    pub tiles: Vec<TileData>,
}

/// Who wants to integrate, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntegratorClaim {
    /// The process.
    pub replica: ReplicaId,
    /// The fence that it saw.
    pub seen: i64,
    /// Now: a lease that ended by then is free.
    pub now: Timestamp,
    /// End of the new lease.
    pub until: Timestamp,
}

/// A new epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Its number.
    pub number: u64,
    /// Its origin.
    pub origin: String,
    /// The signed link from what was before.
    pub link: String,
}

/// Leaves, tiles and the lease of the integrator. Whoever keeps the ledger keeps these too, so that a record waits to
/// become a leaf from the very commit that makes it durable.
pub trait LogStore: Send + Sync {
    /// Makes the log, empty and in epoch 1, where there is none.
    fn begin(&self, origin: String) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The tree as it is now.
    fn tree(&self) -> BoxFuture<'_, Result<Tree, StoreError>>;

    /// Takes the lease where it is free and its fence is the one that was seen; answers the new fence.
    fn hold(&self, claim: IntegratorClaim) -> BoxFuture<'_, Result<Option<i64>, StoreError>>;

    /// Gives the lease back, if the fence is still this one.
    fn release(&self, fence: i64) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The records that become leaves next, in their order; none that is a leaf of the tree of that size.
    fn waiting(&self, size: u64, limit: u32) -> BoxFuture<'_, Result<Vec<LeafRecord>, StoreError>>;

    /// Keeps a step, whole or not at all. `false` where the fence or the size is another one: then nothing changed.
    fn integrate(&self, fence: i64, grown: Grown) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Tiles, as far as they are kept.
    fn tiles(&self, keys: Vec<TileKey>) -> BoxFuture<'_, Result<BTreeMap<TileKey, Vec<u8>>, StoreError>>;

    /// Keeps a checkpoint as published. `false` where the fence is another one.
    fn publish(&self, fence: i64, size: u64, note: String) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Begins an epoch, in which nothing is published yet. `false` where the fence is another one.
    fn begin_epoch(&self, fence: i64, epoch: Epoch) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The links of all epochs after the first, oldest first.
    fn links(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;

    /// The index of a record, once it has one.
    fn index_of(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<u64>, StoreError>>;

    /// So many leaves from an index on, in the order of their indexes.
    fn leaves(&self, first: u64, count: u32) -> BoxFuture<'_, Result<Vec<KeptLeaf>, StoreError>>;

    /// Ends when this process has appended a record since it ended last.
    fn appended(&self) -> BoxFuture<'_, ()>;

    /// Whether other processes append too, of which [`LogStore::appended`] knows nothing.
    fn is_shared(&self) -> bool;
}

/// The last note at the anchor, and where the next one goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// What [`Anchor::append`] is given, so that it fails where somebody was quicker.
    pub position: u64,
    /// The last note; `None` where there is none.
    pub note: Option<String>,
}

/// A note was not anchored, or the anchor not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Another note stands at that position.
    #[error("another note was anchored meanwhile")]
    Taken,
    /// It is away, full, or holds what it cannot hold. Says what happened and what to do.
    #[error("{0}")]
    Away(String),
    /// It does not keep what was anchored: a note was deleted, or what is there can be written over. Says what happened
    /// and what to do.
    #[error("{0}")]
    Unfit(String),
}

/// Where signed notes are kept out of the store's reach: nothing is changed or taken away there.
pub trait Anchor: Send + Sync {
    /// The last note.
    fn last(&self) -> BoxFuture<'_, Result<Anchored, AnchorError>>;

    /// Appends a note. Once it has answered, the note is durable. After an error it may stand there all the same.
    fn append(&self, position: u64, note: String) -> BoxFuture<'_, Result<(), AnchorError>>;
}

/// A note was not signed or not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotaryError {
    /// No key is active.
    #[error("no key of [keys.log] is active; make one with `procura keys new FILE --algorithm ed25519`")]
    NoKey,
    /// The note is malformed, or none of our keys signed it, or the signature of one is wrong.
    #[error("the note is not signed by a key of [keys.log]")]
    Foreign,
}

/// Signs and verifies notes (C2SP signed-note) with the log's keys.
pub trait Notary: Send + Sync {
    /// A note of that text, which ends with a line break, signed under that name by every key that is active.
    fn sign(&self, name: &str, text: &str) -> Result<String, NotaryError>;

    /// The text of a note that one of our keys signed under that name, whatever state that key has. Signatures of
    /// unknown keys are ignored.
    fn open(&self, name: &str, note: &str) -> Result<String, NotaryError>;

    /// The keys' public halves under that name, one `vkey` each (C2SP signed-note).
    fn verifiers(&self, name: &str) -> Vec<String>;
}
