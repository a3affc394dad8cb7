//! Trees of others: the crate `ct-merkle`, and the published proofs of transparency-dev. Each side verifies the other's.

use base64::{Engine, engine::general_purpose::STANDARD};
use ct_hash::{Sha256, digest::Output};
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash, mem_backed_tree::MemoryBackedTree};
use procura_core::log::{EMPTY_HASH, Hash, check_record, check_tree, record_hash};
use serde::Deserialize;

use crate::laws::{grown, leaf};

/// Past a full tile, and past the second level's first hash.
const MOST: u64 = 300;

type Tree = MemoryBackedTree<Sha256, Vec<u8>>;

fn theirs(hash: Hash) -> Output<Sha256> {
    Output::<Sha256>::from(hash.0)
}

fn ours(bytes: &[u8]) -> Vec<Hash> {
    let hash = |part: &[u8]| Hash(part.try_into().expect("32 bytes"));
    bytes.chunks(32).map(hash).collect()
}

#[test]
fn req_154_another_library_makes_the_same_tree_and_takes_our_proofs_as_we_take_its() {
    let (tiles, roots) = grown(MOST, 7);
    let mut tree = Tree::new();
    assert_eq!(tree.root().as_bytes().as_slice(), EMPTY_HASH.0);
    for size in 1..=MOST {
        tree.push(leaf(size - 1));
        let root = roots[usize::try_from(size).expect("small")];
        assert_eq!(tree.root().as_bytes().as_slice(), root.0, "size {size}");
        let head = RootHash::<Sha256>::new(theirs(root), size);
        for index in [0, size / 3, size * 7 / 8, size - 1] {
            let at = usize::try_from(index).expect("small");
            let hash = record_hash(&leaf(index));
            let path = tiles.inclusion((size, root), index, hash).expect("proved");
            let proof = InclusionProof::from_digests(&path.iter().copied().map(theirs).collect::<Vec<_>>());
            assert!(
                head.verify_inclusion(&leaf(index), index, &proof).is_ok(),
                "{index} of {size}"
            );
            let path = ours(tree.prove_inclusion(at).as_bytes());
            assert!(
                check_record(&path, size, root, index, hash).is_ok(),
                "{index} of {size}"
            );
            assert!(check_record(&path, size, root, index, record_hash(b"other")).is_err());

            let (before, old) = (index + 1, roots[at + 1]);
            let path = tiles.consistency((size, root), (before, old)).expect("proved");
            let proof = ConsistencyProof::from_digests(&path.iter().copied().map(theirs).collect::<Vec<_>>());
            let old_head = RootHash::<Sha256>::new(theirs(old), before);
            assert!(head.verify_consistency(&old_head, &proof).is_ok(), "{before} to {size}");
            let added = usize::try_from(size - before).expect("small");
            let path = ours(tree.prove_consistency(added).as_bytes());
            assert!(check_tree(&path, size, root, before, old).is_ok(), "{before} to {size}");
            assert!(check_tree(&path, size, root, before, record_hash(b"other")).is_err());
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    case: String,
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Vec<String>,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    case: String,
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Vec<String>,
    want_err: bool,
}

/// A text that is no hash is no proof either.
fn hash(text: &str) -> Option<Hash> {
    Some(Hash(STANDARD.decode(text).ok()?.try_into().ok()?))
}

fn path(texts: &[String]) -> Option<Vec<Hash>> {
    texts.iter().map(|text| hash(text)).collect()
}

#[test]
fn req_154_published_proofs_of_inclusion_hold_or_not_as_their_authors_say() {
    let cases: Vec<Inclusion> = include_str!("vectors/inclusion.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case"))
        .collect();
    assert_eq!(cases.len(), 98);
    for case in cases {
        let holds = || {
            let path = path(&case.proof)?;
            check_record(
                &path,
                case.tree_size,
                hash(&case.root)?,
                case.leaf_idx,
                hash(&case.leaf_hash)?,
            )
            .ok()
        };
        assert_eq!(holds().is_some(), !case.want_err, "{}", case.case);
    }
}

#[test]
fn attack_194_published_proofs_of_consistency_hold_or_not_as_their_authors_say() {
    let cases: Vec<Consistency> = include_str!("vectors/consistency.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case"))
        .collect();
    assert_eq!(cases.len(), 95);
    for case in cases {
        let holds = || {
            let path = path(&case.proof)?;
            check_tree(&path, case.size2, hash(&case.root2)?, case.size1, hash(&case.root1)?).ok()
        };
        assert_eq!(holds().is_some(), !case.want_err, "{}", case.case);
    }
}
