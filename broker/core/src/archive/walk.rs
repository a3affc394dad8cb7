//! The walk over an export: whether it is one log, whole and in order, and the one that its checkpoints are about.

use procura_wire::Digest;

use super::{
    kept::{Fate, Kept},
    line::{Fault, Line},
};
use crate::log::{Head, Link};

/// RFC 6962 section 2.1: the hash of a leaf.
pub(super) fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_parts([&[0][..], leaf])
}

/// The Merkle tree over what came so far (RFC 6962 section 2.1): the hashes of its complete subtrees, largest first.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Digest>,
}

impl Frontier {
    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the hash of the next leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        let mut left = self.size;
        while left & 1 == 1
            && let Some(sibling) = self.subtrees.pop()
        {
            hash = node(&sibling, &hash);
            left >>= 1;
        }
        self.subtrees.push(hash);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> Digest {
        let mut subtrees = self.subtrees.iter().rev().copied();
        match subtrees.next() {
            None => Digest::of(b""),
            Some(smallest) => subtrees.fold(smallest, |right, left| node(&left, &right)),
        }
    }
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts([&[1][..], left.as_bytes(), right.as_bytes()])
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The first leaf index that cannot be trusted; where it is known only that it is one of several, the first.
    pub index: u64,
    /// The last of them.
    pub last: u64,
    /// What it is.
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The line is not whole.
    #[error(transparent)]
    Line(#[from] Fault),
    /// The file does not begin with the header of an export.
    #[error("the file does not begin as an export does")]
    Header,
    /// Another index stands there.
    #[error("here stands the record with index {0}: one is missing, or one too many, or they are out of order")]
    Order(u64),
    /// It cannot be read, or was signed by nobody whom we know.
    #[error("the checkpoint behind it does not hold: {0}")]
    Checkpoint(String),
    /// The checkpoint is about another number of records.
    #[error("the checkpoint behind it covers {0} records")]
    Size(u64),
    /// The records are not those that the checkpoint is about.
    #[error("the records are not those that the checkpoint of size {0} was signed for")]
    Root(u64),
    /// Records that no checkpoint covers, or none at all.
    #[error("the file does not end with a checkpoint")]
    Uncovered,
    /// There are fewer records than the checkpoint of the auditor covers.
    #[error("the log ends here, but a checkpoint that it was compared with covers {0} records")]
    Truncated(u64),
    /// A checkpoint of an earlier epoch is not of this log, and no link says that it was given up.
    #[error(
        "the records are not those that the checkpoint of size {size} of {origin} was signed for, and no link gives that \
         up: compare with the anchor's notes, which have the links, or find out who changed the log"
    )]
    Earlier {
        /// Its epoch.
        origin: String,
        /// Its size.
        size: u64,
    },
    /// A checkpoint of an earlier epoch is not of this log, although a link says that its records are.
    #[error(
        "the records are not those that the checkpoint of size {size} of {origin} was signed for, and the restore gave up \
         only what was behind the first {kept} records: somebody changed what was before, or others took the place of lost \
         ones before the new epoch began"
    )]
    Changed {
        /// Its epoch.
        origin: String,
        /// Its size.
        size: u64,
        /// Records that the link says are still there.
        kept: u64,
    },
    /// Whoever wrote the export says that the store lacks this record.
    #[error(
        "the store of the broker lacks this record, or does not have it whole: somebody took it away or changed it"
    )]
    Missing,
}

/// Reads the note of a checkpoint of that origin: its size and root, once the signature holds.
pub type Open<'a> = dyn Fn(&str, &str) -> Result<(u64, Digest), String> + 'a;

/// A walk over the lines of an export.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    origin: Option<String>,
    tree: Frontier,
    erased: u64,
    checkpoints: u64,
    /// Records that a checkpoint covered.
    covered: u64,
    last_was_checkpoint: bool,
    /// Those that are not reached yet.
    kept: Kept,
    extended: u64,
    given_up: u64,
}

impl Walk {
    /// One that also looks whether the log extends what somebody kept of it.
    pub fn against(kept: Kept) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// The origin that the header names.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.tree.size()
    }

    /// Root of the tree over them.
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// Those among them without personal data.
    pub fn erased(&self) -> u64 {
        self.erased
    }

    /// Checkpoints that held.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints
    }

    /// Kept heads that the log extends.
    pub fn extended(&self) -> u64 {
        self.extended
    }

    /// Kept heads of earlier epochs that it does not, as a signed link says.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The links of what was kept, in no order.
    pub fn links(&self) -> &[Link] {
        self.kept.links()
    }

    /// Takes the next line.
    ///
    /// # Errors
    ///
    /// What is wrong; nothing behind it is worth looking at.
    pub fn line(&mut self, line: Result<Line, Fault>, open: &Open<'_>) -> Result<(), Found> {
        let line = line.map_err(|fault| self.here(Problem::Line(fault)))?;
        match (line, self.origin.is_some()) {
            (Line::Header(origin), false) => {
                self.origin = Some(origin);
                self.compare()
            }
            (Line::Record { index, hash, erased }, true) => self.record(index, hash, erased),
            (Line::Checkpoint(note), true) => self.checkpoint(&note, open),
            (Line::Missing(_), true) => Err(self.here(Problem::Missing)),
            _ => Err(self.here(Problem::Header)),
        }
    }

    /// Looks whether the file may end here.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn end(&mut self) -> Result<(), Found> {
        if !self.last_was_checkpoint {
            return Err(self.since_covered(Problem::Uncovered));
        }
        while let Some(head) = self.kept.last() {
            let problem = Problem::Truncated(head.size);
            self.missed(&head, problem).map_err(|problem| self.here(problem))?;
        }
        Ok(())
    }

    fn record(&mut self, index: u64, hash: Digest, erased: bool) -> Result<(), Found> {
        if index != self.records() {
            return Err(self.here(Problem::Order(index)));
        }
        self.tree.push(hash);
        self.erased += u64::from(erased);
        self.last_was_checkpoint = false;
        self.compare()
    }

    fn checkpoint(&mut self, note: &str, open: &Open<'_>) -> Result<(), Found> {
        let origin = self.origin.as_deref().unwrap_or_default();
        let (size, root) = open(origin, note).map_err(|problem| self.since_covered(Problem::Checkpoint(problem)))?;
        if size != self.records() {
            let index = size.min(self.records());
            return Err(Found {
                index,
                last: index,
                problem: Problem::Size(size),
            });
        }
        if root != self.tree.root() {
            return Err(self.since_covered(Problem::Root(size)));
        }
        self.covered = size;
        self.checkpoints += 1;
        self.last_was_checkpoint = true;
        Ok(())
    }

    /// Whether the log is what kept heads of this size say.
    fn compare(&mut self) -> Result<(), Found> {
        let records = self.records();
        while let Some(head) = self.kept.next_of(records) {
            if head.root.0 == *self.tree.root().as_bytes() {
                self.covered = records;
                self.extended += 1;
            } else {
                let problem = Problem::Root(records);
                self.missed(&head, problem)
                    .map_err(|problem| self.since_covered(problem))?;
            }
        }
        Ok(())
    }

    /// The log does not extend a head: that may be where it is of an earlier epoch and a link gives it up.
    fn missed(&mut self, head: &Head, problem: Problem) -> Result<(), Problem> {
        let here = self.origin.as_deref().unwrap_or_default();
        if here == head.origin {
            return Err(problem);
        }
        let (origin, size) = (head.origin.clone(), head.size);
        match self.kept.fate(head, here) {
            Fate::GivenUp => {
                self.given_up += 1;
                Ok(())
            }
            Fate::WentOn(kept) => Err(Problem::Changed { origin, size, kept }),
            Fate::Unknown => Err(Problem::Earlier { origin, size }),
        }
    }

    fn here(&self, problem: Problem) -> Found {
        Found {
            index: self.records(),
            last: self.records(),
            problem,
        }
    }

    /// It is one of those since the last checkpoint that held.
    fn since_covered(&self, problem: Problem) -> Found {
        Found {
            index: self.covered,
            last: self.records().saturating_sub(1).max(self.covered),
            problem,
        }
    }
}
