//! Laws of the tree, by the verifiers of the library.

use procura_core::log::{EMPTY_HASH, Growing, Hash, Tiles, check_record, check_tree, record_hash};
use proptest::prelude::*;

const MOST: u64 = 600;

pub(crate) fn leaf(index: u64) -> Vec<u8> {
    format!("leaf {index}").into_bytes()
}

/// The root by its definition (RFC 6962 section 2.1).
fn root_by_definition(leaves: &[Hash]) -> Hash {
    use procura_wire::Digest;
    match leaves {
        [] => EMPTY_HASH,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let (left, right) = (root_by_definition(left), root_by_definition(right));
            Hash(*Digest::of_parts([&[1][..], &left.0, &right.0]).as_bytes())
        }
    }
}

/// A tree of that size, grown in steps, with all its tiles; and its roots at each size.
pub(crate) fn grown(size: u64, step: u64) -> (Tiles, Vec<Hash>) {
    let mut kept = std::collections::BTreeMap::new();
    let (mut at, mut roots) = (0, vec![EMPTY_HASH]);
    while at < size {
        let edge = Tiles::edge(at).into_iter().map(|key| (key, tile(&kept, key))).collect();
        let last = *roots.last().expect("a root");
        let mut growing = Growing::new(at, last, Tiles::new(edge)).expect("whole");
        for index in at..size.min(at + step) {
            assert_eq!(growing.push(&leaf(index)), record_hash(&leaf(index)));
            roots.push(growing.root().expect("root"));
        }
        at = growing.size();
        kept.extend(
            growing
                .changed()
                .into_iter()
                .map(|tile| ((tile.level, tile.number), tile.data)),
        );
    }
    (Tiles::new(kept), roots)
}

fn tile(kept: &std::collections::BTreeMap<(u8, u64), Vec<u8>>, key: (u8, u64)) -> Vec<u8> {
    kept.get(&key).cloned().unwrap_or_default()
}

#[test]
fn req_151_every_size_has_the_root_of_rfc_6962() {
    let (_, roots) = grown(MOST, 7);
    let leaves: Vec<_> = (0..MOST).map(|index| record_hash(&leaf(index))).collect();
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(*root, root_by_definition(&leaves[..size]), "size {size}");
    }
}

#[test]
fn req_154_every_leaf_of_every_size_is_proved_and_every_size_extends_every_earlier_one() {
    let (tiles, roots) = grown(MOST, 50);
    for size in 1..=MOST {
        let root = roots[usize::try_from(size).expect("small")];
        // All pairs would be 180,000; over all sizes these miss no shape for long.
        for other in [0, size / 3, size * 7 / 8, size - 1] {
            let path = tiles
                .inclusion((size, root), other, record_hash(&leaf(other)))
                .expect("proved");
            assert!(check_record(&path, size, root, other, record_hash(&leaf(other))).is_ok());
            assert!(tiles.inclusion((size, root), other, record_hash(b"other")).is_err());
            let before = (other + 1, roots[usize::try_from(other + 1).expect("small")]);
            let path = tiles.consistency((size, root), before).expect("proved");
            assert!(check_tree(&path, size, root, before.0, before.1).is_ok());
            assert!(
                tiles
                    .consistency((size, root), (before.0, record_hash(b"other")))
                    .is_err()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tree_is_the_same_in_whatever_steps_it_grows(size in 1..MOST, step in 1..MOST) {
        let (_, roots) = grown(size, step);
        let (_, at_once) = grown(size, size);
        prop_assert_eq!(roots, at_once);
    }

    #[test]
    fn a_tile_that_was_changed_anywhere_is_noticed(size in 1..MOST, at in 0..8192_usize, bit in 0..8_u8) {
        let (_, roots) = grown(size, size);
        let root = roots[usize::try_from(size).expect("small")];
        let mut growing = Growing::new(0, EMPTY_HASH, Tiles::default()).expect("empty");
        (0..size).for_each(|index| { growing.push(&leaf(index)); });
        let mut tiles: std::collections::BTreeMap<_, _> =
            growing.changed().into_iter().map(|tile| ((tile.level, tile.number), tile.data)).collect();
        let edge = Tiles::edge(size);
        let key = edge[at % edge.len()];
        let data = tiles.get_mut(&key).expect("a tile of the edge");
        let at = at % data.len();
        data[at] ^= 1 << bit;
        tiles.retain(|key, _| edge.contains(key));
        prop_assert!(Growing::new(size, root, Tiles::new(tiles)).is_err());
    }
}

#[test]
fn attack_196_sizes_beyond_any_log_are_refused_and_nothing_panics() {
    for size in [u64::MAX, 1 << 63, (1 << 48) + 1] {
        assert!(Growing::new(size, EMPTY_HASH, Tiles::default()).is_err());
    }
}
