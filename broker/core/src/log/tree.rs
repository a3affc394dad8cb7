//! The tree itself: how tiles grow, its root, and the hashes that proofs are made of. No store, no time.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use tlog_tiles::{
    Hash, HashReader, Tile,
    tlog::{Error, HASH_SIZE, check_record, check_tree, prove_record, prove_tree, record_hash, tree_hash},
};

use super::ports::TileData;

/// Levels of the tree in a tile, and hashes of a full one (C2SP tlog-tiles).
const HEIGHT: u8 = 8;
/// Hashes of a full tile.
pub const TILE_WIDTH: u64 = 1 << HEIGHT;
/// Largest tree that is read or made: far beyond any log, and far below where arithmetic ends.
pub const MAX_SIZE: u64 = 1 << 48;

/// Level and number of a tile.
pub type TileKey = (u8, u64);

/// Tiles are missing, or do not fit the size or the root that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tiles of the log do not fit its size and root")]
pub struct BrokenTree;

impl From<Error> for BrokenTree {
    fn from(_: Error) -> Self {
        Self
    }
}

/// Tiles by their place: of each at least the hashes that are asked for.
#[derive(Debug, Clone, Default)]
pub struct Tiles(BTreeMap<TileKey, Vec<u8>>);

impl Tiles {
    /// Tiles as they are kept, each its hashes one after another.
    pub fn new(tiles: BTreeMap<TileKey, Vec<u8>>) -> Self {
        Self(tiles)
    }

    /// The tiles that are not full, of a tree of that size: what growing it needs.
    pub fn edge(size: u64) -> Vec<TileKey> {
        let level = |level: u8| {
            let hashes = size >> (HEIGHT * level);
            (!hashes.is_multiple_of(TILE_WIDTH)).then_some((level, hashes / TILE_WIDTH))
        };
        (0..7).filter_map(level).collect()
    }

    /// The root of the tree of that size.
    pub fn root(&self, size: u64) -> Result<Hash, BrokenTree> {
        Ok(tree_hash(size, self)?)
    }

    /// The tiles that a proof of inclusion needs.
    pub fn of_inclusion(size: u64, index: u64) -> Result<Vec<TileKey>, BrokenTree> {
        Self::wanted(|reader| prove_record(size, index, reader).map(drop))
    }

    /// The tiles that a proof of consistency needs.
    pub fn of_consistency(size: u64, before: u64) -> Result<Vec<TileKey>, BrokenTree> {
        Self::wanted(|reader| prove_tree(size, before, reader).map(drop))
    }

    fn wanted(ask: impl FnOnce(&Wanted) -> Result<(), Error>) -> Result<Vec<TileKey>, BrokenTree> {
        let wanted = Wanted::default();
        ask(&wanted)?;
        Ok(wanted.0.into_inner().into_iter().collect())
    }

    /// The path that proves that the tree of that size and root has this leaf there (RFC 6962 section 2.1.1). It was
    /// verified.
    pub fn inclusion(&self, (size, root): (u64, Hash), index: u64, leaf: Hash) -> Result<Vec<Hash>, BrokenTree> {
        let path = prove_record(size, index, self)?;
        check_record(&path, size, root, index, leaf)?;
        Ok(path)
    }

    /// The path that proves that the tree extends the one before (RFC 6962 section 2.1.2). It was verified.
    pub fn consistency(&self, (size, root): (u64, Hash), before: (u64, Hash)) -> Result<Vec<Hash>, BrokenTree> {
        let path = prove_tree(size, before.0, self)?;
        check_tree(&path, size, root, before.0, before.1)?;
        Ok(path)
    }
}

fn place(index: u64) -> (Tile, TileKey) {
    let tile = Tile::from_index(HEIGHT, index);
    (tile, (tile.level(), tile.level_index()))
}

impl HashReader for Tiles {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        let read = |index: &u64| {
            let (tile, key) = place(*index);
            let data = self.0.get(&key).ok_or(Error::InvalidTile)?;
            tile.hash_at_index(data, *index)
        };
        indexes.iter().map(read).collect()
    }
}

/// Notes what a proof reads, before it is there.
#[derive(Default)]
struct Wanted(RefCell<BTreeSet<TileKey>>);

impl HashReader for Wanted {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        self.0.borrow_mut().extend(indexes.iter().map(|index| place(*index).1));
        Ok(vec![Hash::default(); indexes.len()])
    }
}

/// A tree that takes leaves.
#[derive(Debug)]
pub struct Growing {
    size: u64,
    tiles: Tiles,
    changed: BTreeSet<TileKey>,
}

impl Growing {
    /// Goes on from a tree with these tiles at its edge ([`Tiles::edge`]); they are compared with its root.
    pub fn new(size: u64, root: Hash, edge: Tiles) -> Result<Self, BrokenTree> {
        let fits = |key: &TileKey| {
            let hashes = (size >> (HEIGHT * key.0)) % TILE_WIDTH;
            let length = edge.0.get(key).map(Vec::len);
            length == usize::try_from(hashes).ok().map(|hashes| hashes * HASH_SIZE)
        };
        if size > MAX_SIZE || !Tiles::edge(size).iter().all(fits) || edge.root(size)? != root {
            return Err(BrokenTree);
        }
        Ok(Self {
            size,
            tiles: edge,
            changed: BTreeSet::new(),
        })
    }

    /// Appends a leaf by its bytes; answers its hash (RFC 6962 section 2.1).
    pub fn push(&mut self, leaf: &[u8]) -> Hash {
        let hash = record_hash(leaf);
        self.add(0, self.size, hash);
        self.size += 1;
        hash
    }

    fn add(&mut self, level: u8, at: u64, hash: Hash) {
        let key = (level, at / TILE_WIDTH);
        let data = self.tiles.0.entry(key).or_default();
        data.extend_from_slice(&hash.0);
        self.changed.insert(key);
        if data.len() == HASH_SIZE << HEIGHT {
            let above = Tile::subtree_hash(data);
            self.add(level + 1, key.1, above);
        }
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over the leaves so far.
    pub fn root(&self) -> Result<Hash, BrokenTree> {
        self.tiles.root(self.size)
    }

    /// Every tile that has other hashes than at the beginning, whole.
    pub fn changed(mut self) -> Vec<TileData> {
        let data = |key: TileKey| TileData {
            level: key.0,
            number: key.1,
            data: self.tiles.0.remove(&key).unwrap_or_default(),
        };
        self.changed.into_iter().map(data).collect()
    }
}
