//! The record, version 1: the exact bytes of a leaf of the issuance log.
//!
//! A leaf is JSON without spaces in one fixed member order, absent members left out. Subject, actor,
//! address and parameter values stand only in the commitment: SHA-256 over [`COMMITMENT`], a salt of
//! 32 random bytes and the clear text, which the side table keeps and may erase.

mod facts;

use procura_wire::Digest;
use serde::Serialize;

use facts::millis;
pub use facts::{Clear, ClientAuth, Extent, Facts, Right, Used, rights};

use crate::{
    Timestamp,
    ids::IssuanceId,
    ledger::{Entry, Event, Index, Outcome},
    ports::Entropy,
};

/// Version of the record.
pub const VERSION: u32 = 1;
/// Longest leaf, bytes.
pub const MAX_LEAF: usize = 60 * 1024;
/// What every commitment is taken over first, so that it is the digest of nothing else.
pub const COMMITMENT: &[u8] = b"procura commitment v1\0";

/// The commitment to a clear text.
pub fn commitment(salt: &[u8; 32], clear: &str) -> Digest {
    Digest::of_parts([COMMITMENT, salt, clear.as_bytes()])
}

/// A leaf of the log. Members that do not apply are left out.
#[derive(Debug, Clone, Serialize)]
pub struct Leaf<'a> {
    v: u32,
    id: IssuanceId,
    event: Event,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(serialize_with = "millis")]
    at: Timestamp,
    trace_id: &'a str,
    #[serde(flatten)]
    facts: &'a Facts,
    commitment: Digest,
}

/// A record that grows on its way and is sealed once.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its id.
    pub id: IssuanceId,
    /// Its time.
    pub at: Timestamp,
    /// What it is of.
    pub event: Event,
    /// Trace id of the request.
    pub trace_id: String,
    /// In clear.
    pub facts: Facts,
    /// In the commitment.
    pub clear: Clear,
}

/// The record would be longer than 60 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is longer than 60 KiB")]
pub struct TooLong;

impl Draft {
    /// Begins a record.
    pub fn new(id: IssuanceId, at: Timestamp, event: Event, trace_id: String) -> Self {
        Self {
            id,
            at,
            event,
            trace_id,
            facts: Facts::default(),
            clear: Clear::default(),
        }
    }

    /// The same with no more than the server: for a refusal whose details would not fit into a record.
    pub fn bare(&self) -> Self {
        let facts = Facts {
            server: self.facts.server.clone(),
            client_auth: self.facts.client_auth.clone(),
            bundle: self.facts.bundle,
            ..Facts::default()
        };
        let clear = Clear {
            address: self.clear.address.clone(),
            ..Clear::default()
        };
        Self {
            facts,
            clear,
            trace_id: self.trace_id.clone(),
            ..*self
        }
    }

    /// The finished record with this outcome.
    pub fn seal(&self, outcome: Outcome, reason: Option<&str>, entropy: &dyn Entropy) -> Result<Entry, TooLong> {
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        let clear = text(&self.clear)?;
        let leaf = text(&Leaf {
            v: VERSION,
            id: self.id,
            event: self.event,
            outcome,
            reason,
            at: self.at,
            trace_id: &self.trace_id,
            facts: &self.facts,
            commitment: commitment(&salt, &clear),
        })?;
        if leaf.len() > MAX_LEAF || clear.len() > MAX_LEAF {
            return Err(TooLong);
        }
        Ok(Entry {
            id: self.id,
            leaf,
            salt,
            clear,
            index: self.index(outcome, reason),
        })
    }

    fn index(&self, outcome: Outcome, reason: Option<&str>) -> Index {
        let facts = &self.facts;
        Index {
            event: self.event,
            outcome,
            reason: reason.map(str::to_owned),
            at: self.at,
            server: facts.server.clone(),
            tool: facts.tool.clone(),
            target: facts.target.clone(),
            grants: facts.grants.clone(),
            session: facts.session,
            subject: self.clear.subject.as_ref().map(|subject| subject.id().clone()),
            actor: self.clear.actor.clone(),
            about: facts.about,
            // A value that we signed names its record; only what a target made is looked up by its digest.
            value: facts.value_sha256.filter(|_| facts.handle.is_some()),
            until: facts.until,
            source_version: facts.source_version.clone(),
        }
    }
}

fn text(value: &impl Serialize) -> Result<String, TooLong> {
    serde_json::to_string(value).map_err(|_| TooLong)
}

#[cfg(test)]
mod tests;
