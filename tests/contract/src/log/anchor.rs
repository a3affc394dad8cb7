//! An anchor and a notary in memory, and what checkpoints at an anchor must be.

#![expect(clippy::panic, reason = "the code of tests, kept in a library")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use procura_core::{
    log::{
        Anchor, AnchorError, Anchored, EMPTY_HASH, Growing, Hash, LeafRecord, Notary, NotaryError, Statement, Tiles,
    },
    ports::BoxFuture,
};
use procura_wire::Digest;

use super::Faults;

/// An anchor in memory.
#[derive(Default)]
pub struct MemoryAnchor {
    notes: Mutex<Vec<String>>,
    away: Mutex<bool>,
    faults: Arc<Faults>,
}

impl MemoryAnchor {
    /// An empty one.
    pub fn new(faults: Arc<Faults>) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// What was anchored, oldest first.
    pub fn notes(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// Changes what no anchor changes.
    pub fn tamper(&self, change: impl FnOnce(&mut Vec<String>)) {
        change(&mut self.lock());
    }

    /// Whether nothing can be read or written.
    pub fn set_away(&self, away: bool) {
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<String>) -> Result<T, AnchorError>,
    ) -> BoxFuture<'_, Result<T, AnchorError>> {
        let away = || Err(AnchorError::Away("no space left".to_owned()));
        let is_away = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if is_away {
            away()
        } else {
            self.faults.call(|| work(&mut self.lock())).unwrap_or_else(away)
        };
        Box::pin(async move { answer })
    }
}

impl Anchor for MemoryAnchor {
    fn last(&self) -> BoxFuture<'_, Result<Anchored, AnchorError>> {
        self.call(|notes| {
            Ok(Anchored {
                position: notes.len() as u64,
                note: notes.last().cloned(),
            })
        })
    }

    fn append(&self, position: u64, note: String) -> BoxFuture<'_, Result<(), AnchorError>> {
        self.call(move |notes| {
            if notes.len() as u64 != position {
                return Err(AnchorError::Taken);
            }
            notes.push(note);
            Ok(())
        })
    }
}

/// A notary whose keys are texts: the first ones sign, all verify.
pub struct MemoryNotary {
    /// Keys, and whether each is active.
    pub keys: Mutex<Vec<(&'static str, bool)>>,
}

impl Default for MemoryNotary {
    fn default() -> Self {
        Self::new(&[("first", true)])
    }
}

impl MemoryNotary {
    /// With these keys.
    pub fn new(keys: &[(&'static str, bool)]) -> Self {
        Self {
            keys: Mutex::new(keys.to_vec()),
        }
    }

    fn lines(&self, name: &str, text: &str, active: bool) -> Vec<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |key: &str| {
            let parts = [key, name, text].map(str::as_bytes);
            format!("— {name} {}\n", Digest::of_parts(parts))
        };
        keys.iter()
            .filter(|key| key.1 || !active)
            .map(|key| line(key.0))
            .collect()
    }
}

impl Notary for MemoryNotary {
    fn sign(&self, name: &str, text: &str) -> Result<String, NotaryError> {
        let lines = self.lines(name, text, true);
        match lines.is_empty() {
            true => Err(NotaryError::NoKey),
            false => Ok(format!("{text}\n{}", lines.concat())),
        }
    }

    fn open(&self, name: &str, note: &str) -> Result<String, NotaryError> {
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NotaryError::Foreign)?;
        let text = format!("{text}\n");
        let ours = self.lines(name, &text, false);
        let known = ours.iter().any(|line| signatures.contains(line.trim_end()));
        known.then_some(text).ok_or(NotaryError::Foreign)
    }

    fn verifiers(&self, name: &str) -> Vec<String> {
        self.lines(name, "", false)
    }
}

/// Asserts that checkpoints that follow each other at an anchor are all of one tree, that of these leaves, and answers the
/// sizes. Links begin another tree; checkpoints before the last one are passed over.
pub fn assert_one_tree(notes: &[String], leaves: &[LeafRecord]) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut roots: BTreeMap<u64, Hash> = BTreeMap::new();
    let Ok(mut growing) = Growing::new(0, EMPTY_HASH, Tiles::default()) else {
        panic!("an empty tree grows");
    };
    roots.insert(0, EMPTY_HASH);
    for leaf in leaves {
        growing.push(leaf.leaf.as_bytes());
        let root = growing.root().unwrap_or_else(|error| panic!("{error}"));
        roots.insert(growing.size(), root);
    }
    for note in notes {
        let statement = Statement::parse_unverified(note).unwrap_or_else(|error| panic!("{error}: {note}"));
        if let Statement::Link(_) = statement {
            sizes.clear();
        }
        sizes.push((statement.head().size, statement.head().root));
    }
    for pair in sizes.windows(2) {
        assert!(pair[0].0 <= pair[1].0, "checkpoints only grow: {sizes:?}");
    }
    for (size, root) in &sizes {
        assert_eq!(
            roots.get(size),
            Some(root),
            "the checkpoint of {size} is of another tree"
        );
    }
    sizes.into_iter().map(|(size, _)| size).collect()
}
