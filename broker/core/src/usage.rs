//! Sums of the log, which reports read: how often what was asked, by whom, with which key. They are filled behind the
//! log, so that no exchange waits for them, and say up to which record they count.
//!
//! A sum is kept for each UTC day and combination of [`Dimension`]s. Names of subjects and actors stand in a table of
//! their own, which loses a name together with the last side row that has it: then sums go on without the name.

use procura_wire::{Name, QualifiedId};
use serde::Serialize;

use crate::{
    Timestamp,
    ids::{IssuanceId, ReplicaId},
    ledger::StoreError,
    ports::BoxFuture,
};

/// Seconds of a UTC day.
const DAY: i64 = 24 * 60 * 60;

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Day(pub i64);

impl Day {
    /// The day that holds this moment.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(DAY))
    }

    /// Its first moment.
    pub fn begins(self) -> Timestamp {
        Timestamp::from_second(self.0 * DAY).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// So many days before.
    pub fn before(self, days: u32) -> Self {
        Self(self.0 - i64::from(days))
    }
}

/// What sums are kept by. In brackets: what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The UTC day ([`Day`] as a number).
    Day,
    /// The server (its name).
    Server,
    /// The tool; none of what was refused, where a server may name what it likes.
    Tool,
    /// The target (its name).
    Target,
    /// The grants that were asked for (JSON list of short names).
    Grants,
    /// The subject's issuer (its alias).
    Issuer,
    /// The target's own credential (its reference).
    Source,
    /// Its version.
    SourceVersion,
    /// `kid` of the broker's key that signed what was issued.
    SigningKey,
    /// `kid` of the issuer's key that signed the subject token.
    TokenKey,
    /// The deciding rules (JSON list of ids).
    Rules,
    /// The subject's groups (JSON list of qualified ids).
    Groups,
    /// The subject (qualified id); none once erased.
    Subject,
    /// The actor, where it is not the server (qualified id); none once erased.
    Actor,
}

/// Which sums; all that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// From this day on.
    pub since: Option<Day>,
    /// Before this day.
    pub until: Option<Day>,
    /// At one of these targets: what the reader may see. `None` is all, and what has no target.
    pub targets: Option<Vec<Name>>,
    /// The server.
    pub server: Option<Name>,
    /// The target.
    pub target: Option<Name>,
    /// The subject's issuer.
    pub issuer: Option<Name>,
    /// The source.
    pub source: Option<String>,
    /// The source's version.
    pub source_version: Option<String>,
    /// The broker's key.
    pub signing_key: Option<String>,
    /// The issuer's key.
    pub token_key: Option<String>,
    /// The subject.
    pub subject: Option<QualifiedId>,
    /// The actor.
    pub actor: Option<QualifiedId>,
}

/// One sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// What it is of, in the order that was asked for.
    #[serde(skip)]
    pub of: Vec<Option<String>>,
    /// Credentials issued.
    pub issued: u64,
    /// Requests refused.
    pub refused: u64,
    /// Uses of cached credentials that were reported.
    pub reported: u64,
    /// Time of the first record.
    pub first: Timestamp,
    /// Time of the last record.
    pub last: Timestamp,
    /// The last day that something was issued or reported as used on.
    #[serde(skip)]
    pub used_on: Option<Day>,
    /// Latest end of what was issued.
    pub until: Option<Timestamp>,
    /// Longest lifetime that was granted, seconds.
    pub granted: Option<u64>,
    /// Longest time from an issuance to the end of a use of it, seconds: uses that were reported, and credentials that
    /// were served again.
    pub used: Option<u64>,
    /// The record that came first in the order of ids.
    pub record: IssuanceId,
}

/// How far the sums count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Projected {
    /// Records that were looked at.
    pub records: u64,
    /// The last of them; `None` where there was none.
    pub record: Option<IssuanceId>,
    /// Its time.
    pub at: Option<Timestamp>,
    /// Records wait to be counted.
    pub behind: bool,
}

/// A finding of a report that somebody must be told, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What makes it the same finding: digest of its kind and what it is about, and of its day.
    pub key: procura_wire::Digest,
    /// When it was found.
    pub found: Timestamp,
    /// The JSON document that is sent.
    pub body: String,
    /// Attempts to send it so far.
    pub attempts: u32,
}

/// The sums. Reads are bounded by their limit and answered from indexes.
pub trait Usage: Send + Sync {
    /// Counts the next records in the order of their appends, some hundred at most, in one transaction with the
    /// position that is reached. Answers how many; 0 where none waits or another replica is counting.
    fn project(&self, replica: ReplicaId, now: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// How far they count.
    fn projected(&self) -> BoxFuture<'_, Result<Projected, StoreError>>;

    /// Sums by these dimensions, the last used first, so many at most.
    fn sums(&self, filter: UsageFilter, by: Vec<Dimension>, limit: u32) -> BoxFuture<'_, Result<Vec<Sum>, StoreError>>;

    /// Keeps alerts that are new; those whose key is there are left as they are. Answers how many are new.
    fn alert(&self, alerts: Vec<Alert>) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Takes alerts that are due to be sent, so many at most; nobody else gets them before `again`, and each counts as
    /// an attempt.
    fn take_alerts(
        &self,
        now: Timestamp,
        again: Timestamp,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Alert>, StoreError>>;

    /// Notes that an alert was sent, or is given up: its body is forgotten, its key stays.
    fn settle_alert(&self, key: procura_wire::Digest) -> BoxFuture<'_, Result<(), StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_utc_before_1970_too() {
        let day = |text: &str| Day::of(text.parse().expect("time"));
        assert_eq!(day("2026-11-20T23:59:59.999Z"), day("2026-11-20T00:00:00Z"));
        assert_eq!(day("2026-11-21T00:00:00Z").before(1), day("2026-11-20T09:00:00Z"));
        assert_eq!(day("1969-12-31T23:59:59Z"), Day(-1));
        assert_eq!(Day(20_777).begins().to_string(), "2026-11-20T00:00:00Z");
    }
}
