//! Proofs that a record is in the log.

use super::{Hash, Head, Log, Statement, Tiles, record_hash};
use crate::{ids::IssuanceId, ledger::StoreError};

/// A record in the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Receipt {
    /// RFC 6962 hash of its leaf.
    pub leaf_hash: Hash,
    /// Its index, once it has one.
    pub index: Option<u64>,
}

/// A verified proof of inclusion.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Index of the record.
    pub index: u64,
    /// RFC 6962 hash of its leaf.
    pub leaf_hash: Hash,
    /// Size of the tree, which the checkpoint is of.
    pub size: u64,
    /// From the leaf upwards (RFC 6962 section 2.1.1).
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// There is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No published checkpoint covers it yet.
    #[error("no checkpoint covers the record yet")]
    Pending,
    /// The store cannot be read, or contradicts itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Log {
    /// The proof of a record, whose leaf is given by its bytes, under the last published checkpoint.
    pub async fn prove(&self, id: IssuanceId, leaf: &str) -> Result<Proof, ProofError> {
        let index = self.store.index_of(id).await?.ok_or(ProofError::Pending)?;
        let (_, checkpoint) = self.store.tree().await?.published.ok_or(ProofError::Pending)?;
        // Kept by us: who reads the proof verifies the signature.
        let head = match Statement::parse_unverified(&checkpoint) {
            Ok(Statement::Checkpoint(head)) => head,
            _ => return Err(StoreError::Inconsistent.into()),
        };
        if index >= head.size {
            return Err(ProofError::Pending);
        }
        let leaf_hash = record_hash(leaf.as_bytes());
        let path = self.path(&head, index, leaf_hash).await?;
        Ok(Proof {
            index,
            leaf_hash,
            size: head.size,
            path,
            checkpoint,
        })
    }

    async fn path(&self, head: &Head, index: u64, leaf: Hash) -> Result<Vec<Hash>, StoreError> {
        let broken = |_| {
            tracing::error!(index, size = head.size, "the tree does not prove a record");
            StoreError::Inconsistent
        };
        let keys = Tiles::of_inclusion(head.size, index).map_err(broken)?;
        let tiles = Tiles::new(self.store.tiles(keys).await?);
        tiles.inclusion((head.size, head.root), index, leaf).map_err(broken)
    }

    /// What is known of a record by now.
    pub async fn receipt(&self, id: IssuanceId, leaf: &str) -> Result<Receipt, StoreError> {
        Ok(Receipt {
            leaf_hash: record_hash(leaf.as_bytes()),
            index: self.store.index_of(id).await?,
        })
    }
}
