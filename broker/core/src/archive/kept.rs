//! What an auditor kept of a log: checkpoints, and the links that lead from one epoch to the next.

use std::collections::VecDeque;

use crate::log::{Head, Link, Statement};

/// Two signed heads of one size and different roots: whoever signed them shows different people different logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two checkpoints of {origin} of size {size} have different roots: the log was forked")]
pub struct Fork {
    /// The log.
    pub origin: String,
    /// The size.
    pub size: u64,
}

/// Checkpoints and links.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Each head once, the smallest first.
    heads: VecDeque<Head>,
    links: Vec<Link>,
}

impl Kept {
    /// From notes in any order, whose signatures were verified. Both heads of a link count as checkpoints do.
    ///
    /// # Errors
    ///
    /// Two of them contradict each other, whatever the log is.
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Result<Self, Fork> {
        let (mut heads, mut links) = (Vec::new(), Vec::new());
        for statement in statements {
            match statement {
                Statement::Checkpoint(head) => heads.push(head),
                Statement::Link(link) => {
                    heads.extend([link.old.clone(), link.new.clone()]);
                    links.push(link);
                }
            }
        }
        heads.sort_by(|one, other| (one.size, &one.origin).cmp(&(other.size, &other.origin)));
        heads.dedup();
        let forked = heads
            .windows(2)
            .find(|pair| pair[0].size == pair[1].size && pair[0].origin == pair[1].origin);
        match forked {
            Some(pair) => Err(Fork {
                origin: pair[0].origin.clone(),
                size: pair[0].size,
            }),
            None => Ok(Self {
                heads: heads.into(),
                links,
            }),
        }
    }

    /// The next head of that size.
    pub(super) fn next_of(&mut self, size: u64) -> Option<Head> {
        self.heads.pop_front_if(|head| head.size == size)
    }

    /// The largest heads that were not looked at, one after another.
    pub(super) fn last(&mut self) -> Option<Head> {
        self.heads.pop_back()
    }

    /// Whether a link says that the log does not go on from this head: it lies before the end of an epoch that an
    /// operator gave up. Of such a head only the last one is known to be of the log that ended.
    pub(super) fn gives_up(&self, head: &Head) -> bool {
        let ends = |link: &Link| link.old.origin == head.origin && (head.size < link.old.size || link.old == *head);
        self.links.iter().any(ends)
    }
}
