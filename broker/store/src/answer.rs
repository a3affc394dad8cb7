//! What is asked of the writer, what it answers, and how it fails.

use procura_core::{
    Timestamp,
    identity::Principal,
    ids::{IssuanceId, SessionId},
    ledger::{
        AppendError, Claim, Conditions, EndedBy, Entry, Held, Intent, Lease, Owner, ReplayId, Session, SessionKey,
        Undone,
    },
    limits::Counted,
    usage::Alert,
};
use procura_wire::{Digest, Name, QualifiedId};
use tokio::sync::oneshot;

use crate::{log::LogWrite, rows::InconsistentRow, usage::UsageWrite, web::WebWrite};

/// One write.
pub(crate) enum Write {
    Append(Box<Entry>, Box<Conditions>),
    Intend(Box<Intent>),
    Burn(Vec<ReplayId>),
    Open(Box<Session>),
    End(SessionId, EndedBy, Box<Entry>),
    Revoke(IssuanceId, Box<Entry>),
    TakeDue(Name, Claim, u32),
    Take(IssuanceId, Claim),
    Settle(IssuanceId, Owner, Undone),
    KeepBundle(Digest, Vec<u8>),
    SettleBundle(Digest),
    Forget(Timestamp),
    Count(Vec<Counted>, Timestamp),
    Log(Box<LogWrite>),
    Web(WebWrite),
    Check,
    Usage(UsageWrite),
}

/// What a write that was carried out answers.
pub(crate) enum Answer {
    Done,
    Session(Box<Session>),
    Held(Option<Vec<Held>>),
    Leases(Vec<Lease>),
    Settled(bool),
    Changed(bool),
    Forgotten(u64),
    Counted(Vec<Counted>),
    Rows(u64),
    Alerts(Vec<Alert>),
}

/// What one write ends with; a refusal is its own, not its batch's.
pub(crate) type Outcome = Result<Answer, AppendError>;

/// A write and who waits for it.
pub(crate) struct Job {
    pub(crate) write: Write,
    pub(crate) reply: oneshot::Sender<Outcome>,
}

/// Why a transaction did not come to its commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Row(#[from] InconsistentRow),
    #[error("{0} rows were to change in {1}, and {2} did")]
    Count(usize, &'static str, u64),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Key of the mark that revokes tokens of these three.
pub(crate) fn mark_key(server: &Name, subject: &Principal, actor: Option<&QualifiedId>) -> Digest {
    let (id, actor) = (subject.id().to_string(), actor.map(ToString::to_string));
    digest_of([Some(server.as_str()), Some(subject.kind()), Some(&id), actor.as_deref()])
}

/// Key of a session that is joined.
pub(crate) fn session_key(key: &SessionKey) -> Digest {
    let whom = mark_key(&key.server, &key.subject, key.actor.as_ref()).to_string();
    digest_of([Some(&whom), key.sid.as_deref()])
}

/// Each part with its length before it, so that no two lists have the same bytes.
fn digest_of<const N: usize>(parts: [Option<&str>; N]) -> Digest {
    let heads = parts.map(|part| {
        let mut head = [0; 9];
        head[0] = u8::from(part.is_some());
        head[1..].copy_from_slice(&(part.unwrap_or_default().len() as u64).to_be_bytes());
        head
    });
    let texts = parts.iter().map(|part| part.unwrap_or_default().as_bytes());
    Digest::of_parts(heads.iter().zip(texts).flat_map(|(head, text)| [&head[..], text]))
}

/// Whether a mark at that second revokes a token issued then.
pub(crate) fn is_marked(second: i64, issued_at: Option<Timestamp>) -> bool {
    issued_at.is_none_or(|at| at.as_second() <= second)
}
