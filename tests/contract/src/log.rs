//! A log in memory, an anchor and a notary, which die or fail when a test says so.

mod anchor;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use procura_core::{
    Timestamp,
    ids::{IssuanceId, ReplicaId},
    ledger::StoreError,
    log::{EMPTY_HASH, Epoch, Grown, IntegratorClaim, KeptLeaf, LeafRecord, LogStore, TileKey, Tree},
    ports::BoxFuture,
};
use tokio::sync::Notify;

pub use anchor::{MemoryAnchor, MemoryNotary, assert_one_tree};

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
    overtaken: Mutex<Option<Kept>>,
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

    /// Another process gets so far before tiles are read next.
    pub fn overtake(&self, later: Kept) {
        *self.overtaken.lock().unwrap_or_else(PoisonError::into_inner) = Some(later);
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
            let (until, minute) = (kept.tree.until, Duration::from_secs(60));
            let free = until <= claim.now || until > claim.now + minute || kept.holder == Some(claim.replica);
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
        let overtaken = self.overtaken.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.call(move |kept| {
            if let Some(later) = overtaken {
                *kept = later;
            }
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

    fn leaves(&self, first: u64, count: u32) -> BoxFuture<'_, Result<Vec<KeptLeaf>, StoreError>> {
        self.call(move |kept| {
            let leaves = kept.records.iter().take(size(kept.tree.size));
            let leaves = leaves.skip(size(first)).take(count as usize).cloned();
            leaves.map(|record| KeptLeaf { record, side: None }).collect()
        })
    }

    fn appended(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.appended.notified())
    }

    fn is_shared(&self) -> bool {
        false
    }
}
