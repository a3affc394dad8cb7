//! What the one process of an SQLite file knows without asking: live sessions by their key, and which
//! keys have marks. Exact, because every write passes through the one writer, which tells it before
//! it answers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use procura_core::ledger::Session;
use procura_wire::Digest;

use crate::{answer::session_key, batch::Effects};

/// So many sessions at most; when it is full it begins anew.
const SESSIONS: usize = 16_384;

pub(crate) struct Cache(Mutex<Known>);

struct Known {
    sessions: HashMap<Digest, Session>,
    marks: HashSet<Digest>,
    commits: u64,
}

impl Cache {
    pub(crate) fn new(marks: HashSet<Digest>) -> Self {
        Self(Mutex::new(Known {
            sessions: HashMap::new(),
            marks,
            commits: 0,
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, or the number of commits seen before it must be read.
    pub(crate) fn session(&self, key: &Digest) -> Result<Session, u64> {
        let known = self.known();
        known.sessions.get(key).cloned().ok_or(known.commits)
    }

    /// Keeps a session that was read, unless something was committed since.
    pub(crate) fn keep(&self, key: Digest, session: Session, commits: u64) {
        let mut known = self.known();
        if known.commits == commits {
            known.put(key, session);
        }
    }

    /// Whether there is a mark of that key.
    pub(crate) fn has_mark(&self, key: &Digest) -> bool {
        self.known().marks.contains(key)
    }

    /// Takes over what a commit changed.
    pub(crate) fn committed(&self, effects: &Effects) {
        let mut known = self.known();
        known.commits += 1;
        known.marks.extend(&effects.marked);
        for session in effects.changed.iter().filter(|session| !session.pinned) {
            let key = session_key(&session.key);
            match session.ended {
                None => known.put(key, session.clone()),
                Some(_) => {
                    known.sessions.remove(&key);
                }
            }
        }
    }
}

impl Known {
    fn put(&mut self, key: Digest, session: Session) {
        if self.sessions.len() >= SESSIONS && !self.sessions.contains_key(&key) {
            self.sessions.clear();
        }
        self.sessions.insert(key, session);
    }
}
