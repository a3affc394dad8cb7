//! Valid values to tweak.

use std::{sync::LazyLock, time::Duration};

use procura_core::{
    Timestamp,
    identity::Principal,
    ids::{Handle, IssuanceId, ReplicaId, SessionId},
    ledger::{
        Claim, Conditions, Entry, Event, Guard, Index, Intent, Kept, LeaseStep, Ledger, Outcome, Owner, Page, ReplayId,
        Session, SessionKey, TokenFacts,
    },
};
use procura_wire::{Digest, Name, QualifiedId};

use crate::entropy::CountingEntropy;

static ENTROPY: LazyLock<CountingEntropy> = LazyLock::new(CountingEntropy::default);

/// So many seconds after 2026-11-20T09:00:00Z.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::constant(1_795_165_200 + seconds, 0)
}

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// An id.
pub fn qualified(text: &str) -> QualifiedId {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A replica.
pub fn replica() -> ReplicaId {
    ReplicaId::new(at(0), &*ENTROPY)
}

/// The whole of a listing.
pub const ALL: Page = Page {
    before: None,
    limit: 1000,
};

/// An issued exchange at that second, without a session.
pub fn entry(second: i64) -> Entry {
    let id = IssuanceId::new(at(second), &*ENTROPY);
    Entry {
        id,
        leaf: format!(r#"{{"v":1,"id":"{id}","quote":"\"é"}}"#),
        salt: *Digest::of(id.0.as_bytes()).as_bytes(),
        clear: r#"{"subject":"corp/alice"}"#.to_owned(),
        index: Index {
            event: Event::Exchange,
            outcome: Outcome::Issued,
            reason: None,
            at: at(second),
            server: Some(name("tickets")),
            tool: Some("list_issues".to_owned()),
            target: Some(name("github")),
            grants: vec![name("read-issues"), name("read-code")],
            session: None,
            subject: Some(qualified("corp/alice")),
            actor: Some(qualified("corp/triage-bot")),
            about: None,
            value: Some(Digest::of(id.to_string().as_bytes())),
            until: Some(at(second + 300)),
            source_version: Some("7".to_owned()),
        },
    }
}

/// An issued exchange of a session.
pub fn issued(session: &Session, second: i64) -> Entry {
    let mut entry = entry(second);
    entry.index.session = Some(session.id);
    entry
}

/// A record of another kind, about nothing issued.
pub fn other(event: Event, outcome: Outcome, second: i64) -> Entry {
    let mut entry = entry(second);
    entry.index.event = event;
    entry.index.outcome = outcome;
    (entry.index.value, entry.index.until) = (None, None);
    entry
}

/// A session opened at that second, for eight hours.
pub fn session(second: i64) -> Session {
    Session {
        id: SessionId::new(at(second), &*ENTROPY),
        key: SessionKey {
            server: name("tickets"),
            subject: Principal::User(qualified("corp/alice")),
            actor: Some(qualified("corp/triage-bot")),
            sid: Some("s1".to_owned()),
        },
        pinned: false,
        opened: at(second),
        ends: at(second + 8 * 3600),
        last_used: at(second),
        issuances: 0,
        ended: None,
    }
}

/// The session, opened.
pub async fn opened(ledger: &dyn Ledger, session: Session) -> Session {
    ledger.open_session(session).await.expect("opened")
}

/// What the subject token of the sample session says, issued at that second.
pub fn token(issued_at: Option<i64>) -> TokenFacts {
    let key = session(0).key;
    TokenFacts {
        server: key.server,
        subject: key.subject,
        actor: key.actor,
        issued_at: issued_at.map(at),
    }
}

/// Conditions that guard this session; the token was issued at that second.
pub fn guarded(session: &Session, issued_at: i64) -> Conditions {
    Conditions {
        guard: Some(Guard {
            session: session.id,
            token: token(Some(issued_at)),
        }),
        ..Conditions::default()
    }
}

/// Conditions that burn these ids, which may be forgotten a minute after the start.
pub fn burning(ids: &[&str]) -> Conditions {
    Conditions {
        burn: replay_ids(ids),
        ..Conditions::default()
    }
}

/// One-time ids.
pub fn replay_ids(ids: &[&str]) -> Vec<ReplayId> {
    ids.iter()
        .map(|id| ReplayId {
            id: Digest::of(id.as_bytes()),
            until: at(60),
        })
        .collect()
}

/// An intent for this record, with a deadline ten seconds after it.
pub fn intent(entry: &Entry, replica: ReplicaId) -> Intent {
    let mut aborted = entry.clone();
    aborted.index.outcome = Outcome::Refused;
    Intent {
        handle: Handle::new("memory00", entry.id),
        id: entry.id,
        target: name("github"),
        place: "host=db.example;port=5433".to_owned(),
        session: entry.index.session.unwrap_or(SessionId(entry.id.0)),
        replica,
        deadline: entry.index.at + Duration::from_secs(10),
        lapses: Some(entry.index.at + Duration::from_secs(10_000_010)),
        burn: Vec::new(),
        aborted,
    }
}

/// The first owner of an intent.
pub fn first(replica: ReplicaId) -> Owner {
    Owner { replica, fence: 1 }
}

/// The lease of this record goes live until its end.
pub fn going_live(entry: &Entry, replica: ReplicaId) -> Conditions {
    Conditions {
        lease: Some(LeaseStep::Live {
            owner: first(replica),
            until: entry.index.until.expect("until"),
            source_version: Some("7".to_owned()),
            kept: kept(entry),
        }),
        ..Conditions::default()
    }
}

/// What is kept of this record's credential.
pub fn kept(entry: &Entry) -> Kept {
    Kept {
        sealed: Some(entry.id.0.as_bytes().to_vec()),
        lapses: Some(entry.index.at + Duration::from_secs(10_000_000)),
        known_as: Some(format!("database/creds/{}", entry.id)),
    }
}

/// An issued record of the session with a live lease.
pub async fn leased(ledger: &dyn Ledger, session: &Session, second: i64, replica: ReplicaId) -> Entry {
    let entry = issued(session, second);
    ledger.intend(intent(&entry, replica)).await.expect("intended");
    let conditions = going_live(&entry, replica);
    ledger.append(entry.clone(), conditions).await.expect("live");
    entry
}

/// A claim at that second, for a minute, with a margin of five seconds.
pub fn claim(replica: ReplicaId, second: i64) -> Claim {
    Claim {
        replica,
        now: at(second),
        again: at(second + 60),
        margin: Duration::from_secs(5),
    }
}
