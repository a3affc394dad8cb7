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

    /// The links.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// What links say of a head of an earlier epoch that the log of `origin` does not extend. A link gives up what lies
    /// behind its new size, up to its old one; what lies before went on into the new epoch, and what the next link says
    /// of that holds for it too.
    pub(super) fn fate(&self, head: &Head, origin: &str) -> Fate {
        let (mut at, mut went_on) = (&head.origin, None);
        // Each link leads on once: those of a forger may lead round in a circle.
        for _ in &self.links {
            let leads_on = |link: &&Link| link.old.origin == *at && head.size <= link.old.size;
            let Some(link) = self.links.iter().find(leads_on) else {
                break;
            };
            if head.size > link.new.size {
                return Fate::GivenUp;
            }
            (at, went_on) = (&link.new.origin, Some(link.new.size));
        }
        match went_on {
            Some(size) if at == origin => Fate::WentOn(size),
            _ => Fate::Unknown,
        }
    }
}

/// What became of a head of an earlier epoch, as links say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its last records were lost, and an operator acknowledged that. Only of the last head of its epoch it is known that
    /// it is of the log that ended.
    GivenUp,
    /// The log of the last link's new size has all its records.
    WentOn(u64),
    /// They do not speak of it.
    Unknown,
}
