//! A log in memory, an anchor and a notary, which die or fail when a test says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use procura_core::{
    Timestamp,
    ids::{IssuanceId, ReplicaId},
    ledger::StoreError,
    log::{
        Anchor, AnchorError, Anchored, EMPTY_HASH, Epoch, Growing, Grown, Hash, IntegratorClaim, LeafRecord, LogStore,
        Notary, NotaryError, Statement, TileKey, Tiles, Tree,
    },
    ports::BoxFuture,
};
use procura_wire::Digest;
use tokio::sync::Notify;

/// Ends a process at one of its calls to the outside. Shared by what that process has.
#[derive(Default)]
pub struct Faults(Mutex<Option<Fate>>);

#[derive(Clone, Copy)]
struct Fate {
    left: usize,
    done: bool,
}

impl Faults {
    /// So many calls succeed; the next has its effect if `done`, and from it on all fail.
    pub fn after(&self, calls: usize, done: bool) {
        *self.lock() = Some(Fate { left: calls, done });
    }

    /// Nothing fails any more.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Fate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work, or not, and answers or not.
    fn call<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let fate = {
            let mut fate = self.lock();
            let now = *fate;
            if let Some(fate) = &mut *fate {
                fate.done &= fate.left > 0;
                fate.left = fate.left.saturating_sub(1);
            }
            now
        };
        match fate {
            Some(Fate { left: 0, done: true }) => {
                work();
                None
            }
            Some(Fate { left: 0, .. }) => None,
            _ => Some(work()),
        }
    }
}

/// What a log in memory keeps; a clone is a backup.
#[derive(Clone)]
pub struct Kept {
    /// Every record, in the order of their appends.
    pub records: Vec<LeafRecord>,
    tree: Tree,
    holder: Option<ReplicaId>,
    tiles: BTreeMap<TileKey, Vec<u8>>,
    links: Vec<String>,
}

/// A log in memory.
#[derive(Default)]
pub struct MemoryLog {
    kept: Mutex<Option<Kept>>,
    appended: Notify,
    faults: Arc<Faults>,
}

impl MemoryLog {
    /// An empty one.
    pub fn new(faults: Arc<Faults>) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// Appends a record.
    pub fn append(&self, id: IssuanceId, leaf: String) {
        self.with(|kept| kept.records.push(LeafRecord { id, leaf }));
        self.appended.notify_one();
    }

    /// What it keeps.
    pub fn backup(&self) -> Kept {
        self.with(|kept| kept.clone())
    }

    /// The number of its epoch.
    pub fn epoch(&self) -> u64 {
        self.with(|kept| kept.tree.epoch)
    }

    /// Puts a backup in the place of what it keeps.
    pub fn restore(&self, backup: Kept) {
        self.with(|kept| *kept = backup);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        work(kept.get_or_insert_with(|| Kept {
            records: vec![],
            tree: Tree {
                origin: String::new(),
                epoch: 1,
                size: 0,
                root: EMPTY_HASH,
                published: None,
                fence: 0,
                until: Timestamp::UNIX_EPOCH,
                waiting: false,
            },
            holder: None,
            tiles: BTreeMap::new(),
            links: vec![],
        }))
    }

    fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut Kept) -> T) -> BoxFuture<'_, Result<T, StoreError>> {
        let answer = self.faults.call(|| self.with(work)).ok_or(StoreError::Unavailable);
        Box::pin(async move { answer })
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl LogStore for MemoryLog {
    fn begin(&self, origin: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(|kept| {
            if kept.tree.origin.is_empty() {
                kept.tree.origin = origin;
            }
        })
    }

    fn tree(&self) -> BoxFuture<'_, Result<Tree, StoreError>> {
        self.call(|kept| Tree {
            waiting: kept.records.len() > size(kept.tree.size),
            ..kept.tree.clone()
        })
    }

    fn hold(&self, claim: IntegratorClaim) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        self.call(move |kept| {
            let free = kept.tree.until <= claim.now || kept.holder == Some(claim.replica);
            if kept.tree.fence != claim.seen || !free {
                return None;
            }
            kept.tree.fence += 1;
            kept.tree.until = claim.until;
            kept.holder = Some(claim.replica);
            Some(kept.tree.fence)
        })
    }

    fn release(&self, fence: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |kept| {
            if kept.tree.fence == fence {
                kept.tree.until = Timestamp::UNIX_EPOCH;
            }
        })
    }

    fn waiting(&self, from: u64, limit: u32) -> BoxFuture<'_, Result<Vec<LeafRecord>, StoreError>> {
        let records = move |kept: &mut Kept| {
            kept.records
                .iter()
                .skip(size(from))
                .take(limit as usize)
                .cloned()
                .collect()
        };
        self.call(records)
    }

    fn integrate(&self, fence: i64, grown: Grown) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.call(move |kept| {
            if kept.tree.fence != fence || kept.tree.size != grown.from {
                return false;
            }
            kept.tree.size += grown.ids.len() as u64;
            kept.tree.root = grown.root;
            let tiles = grown.tiles.into_iter();
            kept.tiles
                .extend(tiles.map(|tile| ((tile.level, tile.number), tile.data)));
            true
        })
    }

    fn tiles(&self, keys: Vec<TileKey>) -> BoxFuture<'_, Result<BTreeMap<TileKey, Vec<u8>>, StoreError>> {
        self.call(move |kept| {
            let tile = |key: TileKey| Some((key, kept.tiles.get(&key)?.clone()));
            keys.into_iter().filter_map(tile).collect()
        })
    }

    fn publish(&self, fence: i64, size: u64, note: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.call(move |kept| {
            let older = kept.tree.published.as_ref().is_some_and(|(last, _)| *last > size);
            if kept.tree.fence != fence || older || kept.tree.size < size {
                return false;
            }
            kept.tree.published = Some((size, note));
            true
        })
    }

    fn begin_epoch(&self, fence: i64, epoch: Epoch) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.call(move |kept| {
            if kept.tree.fence != fence || kept.tree.epoch >= epoch.number {
                return false;
            }
            kept.tree.epoch = epoch.number;
            kept.tree.origin = epoch.origin;
            kept.tree.published = None;
            kept.links.push(epoch.link);
            true
        })
    }

    fn links(&self) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        self.call(|kept| kept.links.clone())
    }

    fn index_of(&self, id: IssuanceId) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        self.call(move |kept| {
            let mut leaves = kept.records.iter().take(size(kept.tree.size));
            leaves.position(|record| record.id == id).map(|index| index as u64)
        })
    }

    fn leaves(&self, first: u64, count: u32) -> BoxFuture<'_, Result<Vec<LeafRecord>, StoreError>> {
        self.call(move |kept| {
            let leaves = kept.records.iter().take(size(kept.tree.size));
            leaves.skip(size(first)).take(count as usize).cloned().collect()
        })
    }

    fn appended(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.appended.notified())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

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
