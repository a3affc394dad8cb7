//! What the one process of an SQLite file knows without asking: live sessions, and which keys have marks.
//! Exact, because every write passes through the one writer, which tells it before it answers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use procura_core::{ids::SessionId, ledger::Session};
use procura_wire::Digest;

use crate::{answer::session_key, batch::Effects};

/// So many sessions at most; when it is full it begins anew.
const SESSIONS: usize = 16_384;

pub(crate) struct Cache(Mutex<Known>);

struct Known {
    sessions: HashMap<SessionId, Session>,
    /// Those that are joined by their key.
    keys: HashMap<Digest, SessionId>,
    marks: HashSet<Digest>,
    commits: u64,
}

impl Cache {
    pub(crate) fn new(marks: HashSet<Digest>) -> Self {
        Self(Mutex::new(Known {
            sessions: HashMap::new(),
            keys: HashMap::new(),
            marks,
            commits: 0,
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that is joined by a key, or the number of commits seen before it must be read.
    pub(crate) fn joined(&self, key: &Digest) -> Result<Session, u64> {
        let known = self.known();
        let session = known.keys.get(key).and_then(|id| known.sessions.get(id));
        session.cloned().ok_or(known.commits)
    }

    /// A session by its id, unless it must be read.
    pub(crate) fn session(&self, id: SessionId) -> Option<Session> {
        self.known().sessions.get(&id).cloned()
    }

    /// Keeps a session that was read, unless something was committed since.
    pub(crate) fn keep(&self, session: Session, commits: u64) {
        let mut known = self.known();
        if known.commits == commits {
            known.put(session);
        }
    }

    /// Whether there is a mark of the key, which is made only where there are marks at all.
    pub(crate) fn has_mark(&self, key: impl FnOnce() -> Digest) -> bool {
        let known = self.known();
        !known.marks.is_empty() && known.marks.contains(&key())
    }

    /// Takes over what a commit changed.
    pub(crate) fn committed(&self, effects: Effects) {
        let mut known = self.known();
        known.commits += 1;
        known.marks.extend(effects.marked);
        for session in effects.changed {
            match session.ended {
                None => known.put(session),
                Some(_) => known.drop_session(session.id),
            }
        }
    }
}

impl Known {
    fn put(&mut self, session: Session) {
        if let Some(kept) = self.sessions.get_mut(&session.id) {
            *kept = session;
            return;
        }
        if self.sessions.len() >= SESSIONS {
            self.sessions.clear();
            self.keys.clear();
        }
        if !session.pinned {
            self.keys.insert(session_key(&session.key), session.id);
        }
        self.sessions.insert(session.id, session);
    }

    fn drop_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let key = session_key(&session.key);
        // Another one may have the key by now.
        if self.keys.get(&key) == Some(&id) {
            self.keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use procura_contract::ledger_suite::sample::{at, session};
    use procura_core::ledger::EndedBy;

    use super::*;

    fn changed(session: &Session) -> Effects {
        Effects {
            changed: vec![session.clone()],
            ..Effects::default()
        }
    }

    #[test]
    fn nothing_is_kept_of_sessions_that_ended() {
        let cache = Cache::new(HashSet::new());
        let mut first = session(0);
        cache.committed(changed(&first));
        assert!(cache.joined(&session_key(&first.key)).is_ok() && cache.session(first.id).is_some());
        first.ended = Some((at(1), EndedBy::Server));
        cache.committed(changed(&first));
        let known = cache.known();
        assert!(known.sessions.is_empty() && known.keys.is_empty());
    }
}
