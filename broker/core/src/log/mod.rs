//! The issuance log as a tree (RFC 6962 section 2.1): records become leaves, the tree is kept as tiles of 256 hashes
//! (C2SP tlog-tiles), and its size and root are signed as checkpoints (C2SP tlog-checkpoint, signed-note) and put where
//! nobody changes them, the anchor.
//!
//! One process at a time integrates, under a fenced lease. Its order is what keeps two checkpoints from ever
//! contradicting each other: the tree is durable first, then the last checkpoint is read from the anchor, the stored
//! tree is proved to extend it, and only then the next one is signed, anchored, and kept as published.

mod epoch;
mod head;
mod integrate;
mod ports;
mod proof;
mod publish;
mod state;
mod tree;

use std::sync::Arc;

pub use epoch::OpenError;
pub use head::{Head, Link, MalformedNote, Statement, origin};
pub use integrate::run;
pub use ports::{
    Anchor, AnchorError, Anchored, Epoch, Grown, IntegratorClaim, KeptLeaf, LeafRecord, LogStore, Notary, NotaryError,
    TileData, Tree,
};
pub use proof::{Proof, ProofError, Receipt};
pub use state::{Contradiction, Problem, Progress};
pub use tlog_tiles::{
    EMPTY_HASH, Hash,
    tlog::{check_record, check_tree, record_hash},
};
pub use tree::{BrokenTree, Growing, MAX_SIZE, TILE_WIDTH, TileKey, Tiles};

use crate::{ids::ReplicaId, ports::Clock};

/// The log of one broker and what it needs.
pub struct Log {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where leaves and tiles are kept.
    pub store: Arc<dyn LogStore>,
    /// Where checkpoints are kept.
    pub anchor: Arc<dyn Anchor>,
    /// Signs and verifies notes.
    pub notary: Arc<dyn Notary>,
    /// This process.
    pub replica: ReplicaId,
    state: state::State,
}

impl Log {
    /// Puts the parts together; nothing is asked yet.
    pub fn new(
        clock: Arc<dyn Clock>,
        store: Arc<dyn LogStore>,
        anchor: Arc<dyn Anchor>,
        notary: Arc<dyn Notary>,
        replica: ReplicaId,
    ) -> Self {
        Self {
            clock,
            store,
            anchor,
            notary,
            replica,
            state: state::State::default(),
        }
    }

    /// How far the tree is, and what is in its way.
    pub fn progress(&self) -> Progress {
        self.state.progress()
    }
}
