//! Logs of others: sigstore reads and verifies what the broker publishes, ct-merkle makes the same tree of it, and the
//! broker's verifier takes a checkpoint of that tree.

use std::fs;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine, engine::general_purpose::STANDARD};
use ct_hash::Sha256;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    serve::{DATABASE, Replica, Site, Store},
};
use sigstore_crypto::{VerificationKey, sha256};
use sigstore_merkle::{hash_children, hash_leaf, verify_consistency_proof, verify_inclusion_proof};
use sigstore_types::{Checkpoint, DerPublicKey, KeyHint, Sha256Hash};

use crate::log::published;

type Tree = MemoryBackedTree<Sha256, Vec<u8>>;

/// Leaves of a full tile.
const TILE: u64 = 256;
/// What the key of an Ed25519 `vkey` begins with (C2SP signed-note).
const ED25519: u8 = 1;
/// An Ed25519 public key as SPKI, but for the key (RFC 8410 section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

fn hash(bytes: &[u8]) -> Result<Sha256Hash, Fault> {
    Ok(Sha256Hash::try_from(bytes)?)
}

fn hashes(bytes: &[u8]) -> Result<Vec<Sha256Hash>, Fault> {
    bytes.chunks(32).map(hash).collect()
}

/// The id of a key under a name (C2SP signed-note).
fn key_id(name: &str, key: &[u8]) -> [u8; 4] {
    let digest = sha256(&[name.as_bytes(), b"\n", &[ED25519], key].concat());
    let mut id = [0; 4];
    id.copy_from_slice(&digest.as_bytes()[..4]);
    id
}

/// Name, id and bytes of a key, as its `vkey` has them.
fn key_of(vkey: &str) -> Result<(&str, [u8; 4], Vec<u8>), Fault> {
    let parts: Vec<&str> = vkey.splitn(3, '+').collect();
    let [name, id, key] = parts[..] else {
        return Err(format!("no vkey: {vkey}").into());
    };
    let key = STANDARD.decode(key)?;
    let key = key.strip_prefix(&[ED25519]).ok_or("no Ed25519 key")?;
    let own = key_id(name, key);
    assert_eq!(id, hex(own), "{vkey}");
    Ok((name, own, key.to_vec()))
}

fn hex(id: [u8; 4]) -> String {
    id.map(|byte| format!("{byte:02x}")).concat()
}

/// A checkpoint that sigstore read, signed by one of these keys.
fn verified(note: &str, vkeys: &str) -> Result<Checkpoint, Fault> {
    let checkpoint = Checkpoint::from_text(note)?;
    for vkey in vkeys.lines() {
        let (name, id, key) = key_of(vkey)?;
        assert_eq!(checkpoint.origin(), name);
        let key = VerificationKey::from_spki(&DerPublicKey::new([&SPKI[..], &key].concat()))?;
        let Some(signature) = checkpoint.find_signature_by_key_hint(&KeyHint::new(id)) else {
            continue;
        };
        key.verify(checkpoint.signed_data(), &signature.signature)?;
        let forged = Checkpoint::from_text(&note.replacen('\n', "x\n", 1))?;
        assert!(key.verify(forged.signed_data(), &signature.signature).is_err());
        return Ok(checkpoint);
    }
    Err(format!("nobody of\n{vkeys}signed\n{note}").into())
}

/// The leaves of a published tree, from its tiles of entries.
async fn entries(broker: &Replica<'_>, size: u64) -> Result<Vec<Vec<u8>>, Fault> {
    let mut leaves = Vec::new();
    for number in 0..size.div_ceil(TILE) {
        let width = (size - number * TILE).min(TILE);
        let part = if width < TILE {
            format!(".p/{width}")
        } else {
            String::new()
        };
        let (status, bundle) = broker
            .bytes(&format!("/log/tile/entries/{number:03}{part}"), true)
            .await?;
        assert_eq!(status, 200);
        let mut rest = &bundle[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let (leaf, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            leaves.push(leaf.to_vec());
            rest = after;
        }
    }
    Ok(leaves)
}

fn tree_of(leaves: &[Vec<u8>]) -> Tree {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.push(leaf.clone()));
    tree
}

/// The full tile is of these leaves, and the tile above holds its root.
async fn tiles_are_of(broker: &Replica<'_>, leaves: &[Vec<u8>]) -> Outcome {
    let (_, tile) = broker.bytes("/log/tile/0/000", false).await?;
    let mut level = hashes(&tile)?;
    let expected: Vec<_> = leaves.iter().take(level.len()).map(|leaf| hash_leaf(leaf)).collect();
    assert!(level.len() == 256 && level == expected);
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| hash_children(&pair[0], &pair[1])).collect();
    }
    let (_, above) = broker.bytes("/log/tile/1/000.p/1", false).await?;
    assert_eq!(hashes(&above)?, level);
    Ok(())
}

async fn is_included(broker: &Replica<'_>, id: &str, vkeys: &str) -> Outcome {
    let record = broker.api(&format!("/issuances/{id}")).await?.expect_status(200)?;
    let proof = broker
        .api(&format!("/issuances/{id}/proof"))
        .await?
        .expect_status(200)?
        .body;
    let head = verified(proof["checkpoint"].as_str().unwrap_or_default(), vkeys)?;
    let path = proof["path"].as_array().ok_or("no path")?;
    let path: Vec<_> = path
        .iter()
        .map(|part| Ok::<_, Fault>(Sha256Hash::from_base64(part.as_str().unwrap_or_default())?))
        .collect::<Result<_, _>>()?;
    let index = proof["index"].as_u64().ok_or("no index")?;
    let leaf = hash_leaf(record.text("leaf").as_bytes());
    verify_inclusion_proof(&leaf, index, head.tree_size(), &path, head.root_hash())?;
    let other = hash_leaf(b"another");
    assert!(verify_inclusion_proof(&other, index, head.tree_size(), &path, head.root_hash()).is_err());
    Ok(())
}

/// Every checkpoint at the anchor is of one log, by sigstore's verifier and ct-merkle's proofs.
fn all_extend_each_other(anchored: &str, vkeys: &str, leaves: &[Vec<u8>]) -> Outcome {
    let heads = anchored
        .lines()
        .map(|line| verified(&serde_json::from_str::<String>(line)?, vkeys));
    let heads: Vec<Checkpoint> = heads.collect::<Result<_, _>>()?;
    assert!(heads.len() > 2, "{anchored}");
    for pair in heads.windows(2) {
        let (old, new) = (&pair[0], &pair[1]);
        let size = usize::try_from(new.tree_size())?;
        let tree = tree_of(&leaves[..size]);
        assert_eq!(hash(tree.root().as_bytes())?, *new.root_hash(), "size {size}");
        let added = usize::try_from(new.tree_size() - old.tree_size())?;
        let proof = hashes(tree.prove_consistency(added).as_bytes())?;
        let sizes = (old.tree_size(), new.tree_size());
        verify_consistency_proof(sizes.0, sizes.1, &proof, old.root_hash(), new.root_hash())?;
        assert!(verify_consistency_proof(sizes.0, sizes.1, &proof, new.root_hash(), new.root_hash()).is_err());
    }
    Ok(())
}

/// A checkpoint of a tree of ct-merkle, and the `vkey` of who signed it.
fn their_checkpoint(origin: &str, tree: &Tree) -> Result<(String, String), Fault> {
    let key = Ed25519KeyPair::generate()?;
    let public = key.public_key().as_ref();
    let id = key_id(origin, public);
    let text = format!(
        "{origin}\n{}\n{}\n",
        tree.len(),
        STANDARD.encode(tree.root().as_bytes())
    );
    let signature = STANDARD.encode([&id, key.sign(text.as_bytes()).as_ref()].concat());
    let encoded = STANDARD.encode([&[ED25519], public].concat());
    Ok((
        format!("{text}\n— {origin} {signature}\n"),
        format!("{origin}+{}+{encoded}", hex(id)),
    ))
}

pub(crate) async fn sigstore_and_ct_merkle_verify_the_log_as_it_verifies_theirs(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    let broker = site.start().await?;
    let token = site.user("alice")?;
    let mut ids = Vec::new();
    for least in [1, 2, TILE + 10] {
        let issued = broker
            .exchange_with(&token, DATABASE.0, DATABASE.1)
            .await?
            .expect_status(200)?;
        ids.push(issued.text("issuance_id").to_owned());
        while published(&broker, ids.len() as u64).await?.size < least {
            // A refusal is a record as well.
            for _ in 0..50 {
                broker
                    .exchange_with(&token, DATABASE.0, "nothing")
                    .await?
                    .expect_status(400)?;
            }
        }
    }
    let head = published(&broker, TILE + 10).await?;
    let vkeys = String::from_utf8(broker.bytes("/log/keys", false).await?.1)?;
    assert_eq!(verified(&head.note, &vkeys)?.tree_size(), head.size);
    for id in &ids {
        is_included(&broker, id, &vkeys).await?;
    }
    let leaves = entries(&broker, head.size).await?;
    tiles_are_of(&broker, &leaves).await?;
    all_extend_each_other(&fs::read_to_string(site.path("anchor/log.jsonl"))?, &vkeys, &leaves)?;

    let out = site.path("log.jsonl");
    let out = out.to_string_lossy();
    assert_eq!(site.procura(&["log", "export", "--out", &out], "")?.code, Some(0));
    let mut other = leaves.clone();
    other[7] = b"another".to_vec();
    for (leaves, code) in [(&leaves[..], 0), (&leaves[..200], 0), (&other[..], 1)] {
        let (note, theirs) = their_checkpoint(&head.origin, &tree_of(leaves))?;
        let kept = site.path("theirs.txt");
        fs::write(&kept, &note)?;
        let kept = kept.to_string_lossy();
        let checked = [
            "log",
            "verify",
            &out,
            "--json",
            "--against",
            &kept,
            "--key",
            &vkeys,
            "--key",
            &theirs,
        ];
        let report = site.procura(&checked, "")?.json(code)?;
        assert_eq!(report["extended"], u64::from(code == 0), "{report}");
        let unknown = site.procura(&checked[..8], "")?;
        assert_eq!(unknown.code, Some(2), "a key that was not given signed it: {unknown:?}");
    }
    broker.kill().await
}
