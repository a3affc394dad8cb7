//! Rows as the tables have them, and how they become domain values.

use std::str::FromStr;

use procura_core::{
    Timestamp,
    identity::Principal,
    ids::{Handle, IssuanceId, ReplicaId, SessionId},
    ledger::{Held, Index, Kept, Lease, LeaseState, Owner, Session, SessionKey, Stored},
    limits::Counted,
};
use procura_wire::{Digest, Name, QualifiedId};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};
use serde_json::value::RawValue;
use sqlx::FromRow;
use uuid::Uuid;

/// A row contradicts the domain: which one, and in what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{table} {id}: column {column} holds what it cannot hold")]
pub(crate) struct InconsistentRow {
    table: &'static str,
    id: Uuid,
    column: &'static str,
}

/// Names the row in errors.
#[derive(Clone, Copy)]
pub(crate) struct At(pub(crate) &'static str, pub(crate) Uuid);

impl At {
    pub(crate) fn wrong(self, column: &'static str) -> InconsistentRow {
        InconsistentRow {
            table: self.0,
            id: self.1,
            column,
        }
    }

    pub(crate) fn text<T: FromStr>(self, column: &'static str, text: &str) -> Result<T, InconsistentRow> {
        text.parse().map_err(|_| self.wrong(column))
    }

    fn maybe<T: FromStr>(self, column: &'static str, text: Option<&str>) -> Result<Option<T>, InconsistentRow> {
        text.map(|text| self.text(column, text)).transpose()
    }

    pub(crate) fn word<'de, T: Deserialize<'de>>(
        self,
        column: &'static str,
        word: &'de str,
    ) -> Result<T, InconsistentRow> {
        T::deserialize(IntoDeserializer::<value::Error>::into_deserializer(word)).map_err(|_| self.wrong(column))
    }

    pub(crate) fn time(self, column: &'static str, micros: i64) -> Result<Timestamp, InconsistentRow> {
        Timestamp::from_microsecond(micros).map_err(|_| self.wrong(column))
    }

    pub(crate) fn maybe_time(
        self,
        column: &'static str,
        micros: Option<i64>,
    ) -> Result<Option<Timestamp>, InconsistentRow> {
        micros.map(|micros| self.time(column, micros)).transpose()
    }

    pub(crate) fn bytes(self, column: &'static str, bytes: Vec<u8>) -> Result<[u8; 32], InconsistentRow> {
        bytes.try_into().map_err(|_| self.wrong(column))
    }

    fn json(self, column: &'static str, text: String) -> Result<Box<RawValue>, InconsistentRow> {
        RawValue::from_string(text).map_err(|_| self.wrong(column))
    }
}

/// A value of this row type as the domain has it.
pub(crate) trait IntoDomain {
    /// The domain's type.
    type Domain;

    /// Converts, or names the column that cannot be.
    fn into_domain(self) -> Result<Self::Domain, InconsistentRow>;
}

#[derive(FromRow)]
pub(crate) struct SessionRow {
    pub(crate) id: Uuid,
    server: String,
    subject_kind: String,
    subject: String,
    actor: Option<String>,
    sid: Option<String>,
    pinned: bool,
    opened: i64,
    ends: i64,
    last_used: i64,
    issuances: i64,
    ended_at: Option<i64>,
    ended_by: Option<String>,
}

impl IntoDomain for SessionRow {
    type Domain = Session;

    fn into_domain(self) -> Result<Session, InconsistentRow> {
        let at = At("session", self.id);
        let subject: QualifiedId = at.text("subject", &self.subject)?;
        let key = SessionKey {
            server: at.text("server", &self.server)?,
            subject: match self.subject_kind.as_str() {
                "user" => Principal::User(subject),
                "agent" => Principal::Agent(subject),
                _ => return Err(at.wrong("subject_kind")),
            },
            actor: at.maybe("actor", self.actor.as_deref())?,
            sid: self.sid,
        };
        let ended = match (self.ended_at, self.ended_by.as_deref()) {
            (None, None) => None,
            (Some(time), Some(by)) => Some((at.time("ended_at", time)?, at.word("ended_by", by)?)),
            _ => return Err(at.wrong("ended_by")),
        };
        Ok(Session {
            id: SessionId(self.id),
            key,
            pinned: self.pinned,
            opened: at.time("opened", self.opened)?,
            ends: at.time("ends", self.ends)?,
            last_used: at.time("last_used", self.last_used)?,
            issuances: u64::try_from(self.issuances).map_err(|_| at.wrong("issuances"))?,
            ended,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct RecordRow {
    id: Uuid,
    leaf: String,
    event: String,
    outcome: String,
    reason: Option<String>,
    at: i64,
    server: Option<String>,
    tool: Option<String>,
    target: Option<String>,
    grants: String,
    session: Option<Uuid>,
    about: Option<Uuid>,
    value: Option<Vec<u8>>,
    until: Option<i64>,
    source_version: Option<String>,
    revoked_at: Option<i64>,
    salt: Option<Vec<u8>>,
    clear: Option<String>,
    subject: Option<String>,
    actor: Option<String>,
}

impl IntoDomain for RecordRow {
    type Domain = Stored;

    fn into_domain(self) -> Result<Stored, InconsistentRow> {
        let at = At("record", self.id);
        let index = Index {
            event: at.word("event", &self.event)?,
            outcome: at.word("outcome", &self.outcome)?,
            reason: self.reason,
            at: at.time("at", self.at)?,
            server: at.maybe("server", self.server.as_deref())?,
            tool: self.tool,
            target: at.maybe("target", self.target.as_deref())?,
            grants: self
                .grants
                .split_whitespace()
                .map(|grant| at.text("grants", grant))
                .collect::<Result<Vec<Name>, _>>()?,
            session: self.session.map(SessionId),
            subject: at.maybe("subject", self.subject.as_deref())?,
            actor: at.maybe("actor", self.actor.as_deref())?,
            about: self.about.map(IssuanceId),
            value: self
                .value
                .map(|value| at.bytes("value", value).map(Digest::from_bytes))
                .transpose()?,
            until: at.maybe_time("until", self.until)?,
            source_version: self.source_version,
        };
        let side = match (self.salt, self.clear) {
            (Some(salt), Some(clear)) => Some((at.bytes("salt", salt)?, at.json("clear", clear)?)),
            _ => None,
        };
        Ok(Stored {
            id: IssuanceId(self.id),
            leaf: at.json("leaf", self.leaf)?,
            side,
            index,
            revoked: at.maybe_time("revoked_at", self.revoked_at)?,
        })
    }
}

/// The grants as the column has them.
pub(crate) fn grants_text(index: &Index) -> String {
    let grants: String = index.grants.iter().map(|grant| format!("{grant} ")).collect();
    format!(" {grants}")
}

#[derive(FromRow)]
pub(crate) struct LeaseRow {
    id: Uuid,
    handle: String,
    target: String,
    place: String,
    session: Uuid,
    state: String,
    replica: Uuid,
    fence: i64,
    deadline: i64,
    until: Option<i64>,
    source_version: Option<String>,
    sealed: Option<Vec<u8>>,
    lapses: Option<i64>,
    known_as: Option<String>,
    attempts: i64,
    due: Option<i64>,
    aborted: Option<String>,
}

impl IntoDomain for LeaseRow {
    type Domain = Lease;

    fn into_domain(self) -> Result<Lease, InconsistentRow> {
        let at = At("lease", self.id);
        let state: LeaseState = at.word("state", &self.state)?;
        Ok(Lease {
            id: IssuanceId(self.id),
            handle: Handle::from_kept(self.handle),
            target: at.text("target", &self.target)?,
            place: self.place,
            session: SessionId(self.session),
            state,
            owner: Owner {
                replica: ReplicaId(self.replica),
                fence: self.fence,
            },
            deadline: at.time("deadline", self.deadline)?,
            until: at.maybe_time("until", self.until)?,
            source_version: self.source_version,
            kept: Kept {
                sealed: self.sealed,
                lapses: at.maybe_time("lapses", self.lapses)?,
                known_as: self.known_as,
            },
            attempts: u32::try_from(self.attempts).map_err(|_| at.wrong("attempts"))?,
            next_attempt: match state {
                LeaseState::Undoing => at.maybe_time("due", self.due)?,
                _ => None,
            },
            aborted: self
                .aborted
                .map(|entry| serde_json::from_str(&entry).map_err(|_| at.wrong("aborted")))
                .transpose()?,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct HeldRow {
    pub(crate) id: Uuid,
    target: String,
    until: i64,
    lease: Option<Uuid>,
}

impl IntoDomain for HeldRow {
    type Domain = Held;

    fn into_domain(self) -> Result<Held, InconsistentRow> {
        let at = At("record", self.id);
        Ok(Held {
            id: IssuanceId(self.id),
            target: at.text("target", &self.target)?,
            until: at.time("until", self.until)?,
            lease: self.lease.map(IssuanceId),
        })
    }
}

#[derive(FromRow)]
pub(crate) struct IdRow {
    id: Uuid,
}

impl IntoDomain for IdRow {
    type Domain = IssuanceId;

    fn into_domain(self) -> Result<IssuanceId, InconsistentRow> {
        Ok(IssuanceId(self.id))
    }
}

/// Who owns a lease and what state it is in.
#[derive(FromRow)]
pub(crate) struct OwnerRow {
    pub(crate) id: Uuid,
    pub(crate) state: String,
    pub(crate) replica: Uuid,
    pub(crate) fence: i64,
}

#[derive(FromRow)]
pub(crate) struct PlaceRow {
    pub(crate) target: String,
    pub(crate) place: String,
}

#[derive(FromRow)]
pub(crate) struct DigestRow {
    pub(crate) digest: Vec<u8>,
}

#[derive(FromRow)]
pub(crate) struct MarkRow {
    pub(crate) key: Vec<u8>,
    pub(crate) second: i64,
}

#[derive(FromRow)]
pub(crate) struct CountedRow {
    digest: Vec<u8>,
    ends: i64,
    used: i64,
}

impl IntoDomain for CountedRow {
    type Domain = Counted;

    fn into_domain(self) -> Result<Counted, InconsistentRow> {
        let at = At("counted", Uuid::nil());
        let key = self.digest.try_into().map_err(|_| at.wrong("key"))?;
        Ok(Counted {
            key: Digest::from_bytes(key),
            ends: Timestamp::from_microsecond(self.ends).map_err(|_| at.wrong("ends"))?,
            count: u64::try_from(self.used).map_err(|_| at.wrong("used"))?,
        })
    }
}

#[derive(FromRow)]
pub(crate) struct NumberRow {
    pub(crate) number: Option<i64>,
}

#[derive(FromRow)]
pub(crate) struct TextRow {
    pub(crate) text: String,
}

#[derive(FromRow)]
pub(crate) struct BytesRow {
    pub(crate) bytes: Vec<u8>,
}
