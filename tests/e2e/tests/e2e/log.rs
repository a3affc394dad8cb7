//! The issuance log as a tree: checkpoints, proofs, receipts, and a store that goes back.

use std::{fs, process::Command};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    serve::{DATABASE, Replica, Site, Store},
};
use procura_wire::Digest;
use serde_json::Value;

pub(crate) type Hash = [u8; 32];

/// A checkpoint whose signature by one of the keys was verified.
pub(crate) struct Checkpoint {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) note: String,
}

impl Checkpoint {
    /// Verifies by the rules of C2SP signed-note, without the broker's code.
    fn verified(note: &str, vkeys: &str) -> Result<Self, Fault> {
        let (text, signatures) = note.split_once("\n\n").ok_or("no signature")?;
        let text = format!("{text}\n");
        let good = |line: &str| {
            let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
            let signature = STANDARD.decode(signature).ok()?;
            vkeys.lines().find(|vkey| {
                let mut parts = vkey.splitn(3, '+');
                let known = parts.next() == Some(name);
                let id = parts.next().and_then(|id| u32::from_str_radix(id, 16).ok());
                let key = parts
                    .next()
                    .and_then(|key| STANDARD.decode(key).ok())
                    .unwrap_or_default();
                let named = known && id.is_some_and(|id| signature.get(..4) == Some(&id.to_be_bytes()));
                let key = UnparsedPublicKey::new(&ED25519, key.get(1..).unwrap_or_default());
                named && key.verify(text.as_bytes(), &signature[4..]).is_ok()
            })
        };
        if signatures.lines().find_map(good).is_none() {
            return Err(format!("nobody of\n{vkeys}signed\n{note}").into());
        }
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or("too short");
        Ok(Self {
            origin: line()?.to_owned(),
            size: line()?.parse()?,
            root: hash(line()?)?,
            note: note.to_owned(),
        })
    }
}

fn hash(text: &str) -> Result<Hash, Fault> {
    Ok(STANDARD.decode(text)?.try_into().map_err(|_| "no hash")?)
}

fn node(left: &Hash, right: &Hash) -> Hash {
    *Digest::of_parts([&[1][..], left, right]).as_bytes()
}

/// RFC 9162 section 2.1.3.2.
fn root_of(proof: &Value) -> Result<Hash, Fault> {
    let number = |member: &str| proof[member].as_u64().ok_or("no number");
    let (mut at, mut last) = (number("index")?, number("size")? - 1);
    let mut root = hash(proof["leaf_hash"].as_str().unwrap_or_default())?;
    for part in proof["path"].as_array().ok_or("no path")? {
        let part = hash(part.as_str().unwrap_or_default())?;
        if at % 2 == 1 || at == last {
            root = node(&part, &root);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            root = node(&root, &part);
        }
        (at, last) = (at / 2, last / 2);
    }
    Ok(root)
}

async fn checkpoint(broker: &Replica<'_>) -> Result<Checkpoint, Fault> {
    let text = async |path| -> Result<String, Fault> { Ok(String::from_utf8(broker.bytes(path, false).await?.1)?) };
    Checkpoint::verified(&text("/log/checkpoint").await?, &text("/log/keys").await?)
}

/// Waits until everything that was recorded so far is published.
pub(crate) async fn published(broker: &Replica<'_>, least: u64) -> Result<Checkpoint, Fault> {
    broker
        .until(async |broker| {
            let ready = broker.readiness().await?.body;
            assert_eq!(ready["log"]["problem"], Value::Null, "{}", broker.stderr());
            let published = ready["log"]["published"].as_u64().unwrap_or(0);
            Ok((published >= least && ready["log"]["size"] == published).then_some(()))
        })
        .await?;
    checkpoint(broker).await
}

async fn every_record_is_proved(testbed: &Testbed, store: &Store) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, store).await?;
    let broker = site.start().await?;
    let token = site.user("alice")?;
    let answer = broker.exchange_for(&token, DATABASE, &[("receipt", "true")]).await?;
    let answer = answer.expect_status(200)?;
    let receipt = answer.body["receipt"].clone();
    let index = receipt["index"].as_u64().ok_or("the index was there within a second")?;
    let head = published(&broker, index + 1).await?;
    let id = answer.text("issuance_id");
    let path = format!("/issuances/{id}");
    assert_eq!(receipt["proof"], format!("{}/v1{path}/proof", site.identifier));

    let record = broker.api(&path).await?.expect_status(200)?;
    let leaf = Digest::of_parts([&[0][..], record.text("leaf").as_bytes()]);
    let proof = broker.api(&format!("{path}/proof")).await?.expect_status(200)?.body;
    assert_eq!(
        (&proof["index"], &proof["leaf_hash"]),
        (&receipt["index"], &receipt["leaf_hash"])
    );
    assert_eq!(
        hash(receipt["leaf_hash"].as_str().unwrap_or_default())?,
        *leaf.as_bytes()
    );
    let (_, keys) = broker.bytes("/log/keys", false).await?;
    let note = proof["checkpoint"].as_str().unwrap_or_default();
    let proved = Checkpoint::verified(note, &String::from_utf8(keys)?)?;
    assert_eq!(root_of(&proof)?, proved.root, "{proof}");
    assert!(proved.size >= head.size && proved.origin == head.origin);

    let anchored = fs::read_to_string(site.path("anchor/log.jsonl"))?;
    let anchored: Vec<String> = anchored.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert!(
        anchored.contains(&head.note) && anchored.contains(&proved.note),
        "what is served is anchored"
    );

    let tile = format!("/log/tile/0/000.p/{}", head.size);
    let (status, hashes) = broker.bytes(&tile, false).await?;
    let at = usize::try_from(index)? * 32;
    assert_eq!((status, hashes.get(at..at + 32)), (200, Some(&leaf.as_bytes()[..])));
    let entries = format!("/log/tile/entries/000.p/{}", head.size);
    let (status, stranger) = broker.bytes(&entries, false).await?;
    assert!(
        status == 401 && !String::from_utf8_lossy(&stranger).contains(id),
        "records are for readers"
    );
    let (status, bundle) = broker.bytes(&entries, true).await?;
    assert_eq!(status, 200);
    let text = record.text("leaf").as_bytes();
    let entry = [&u16::try_from(text.len())?.to_be_bytes(), text].concat();
    assert!(bundle.windows(entry.len()).any(|part| part == entry));
    let beyond = format!("/log/tile/0/000.p/{}", 255);
    assert_eq!(
        broker.bytes(&beyond, false).await?.0,
        404,
        "no checkpoint vouches for so many"
    );
    for bad in [
        "/log/tile/0/000.p/0",
        "/log/tile/64/000",
        "/log/tile/0/0",
        "/log/tile/00/000.p/1",
    ] {
        assert_eq!(broker.bytes(bad, false).await?.0, 404, "{bad}");
    }
    let malformed = broker
        .exchange_for(&token, DATABASE, &[("receipt", "yes")])
        .await?
        .expect_status(400)?;
    assert_eq!(malformed.text("reason"), "param.malformed");
    broker.kill().await
}

pub(crate) async fn every_record_is_under_a_signed_and_anchored_checkpoint_and_proved(testbed: &Testbed) -> Outcome {
    every_record_is_proved(testbed, &Store::Sqlite).await?;
    let store = Store::Postgres(testbed.postgres().await?.empty().await?);
    every_record_is_proved(testbed, &store).await
}

pub(crate) async fn a_store_that_went_back_is_refused_until_an_operator_acknowledges_it(testbed: &Testbed) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let broker = site.start().await?;
    broker.exchange("alice").await?.expect_status(200)?;
    let before = published(&broker, 1).await?;
    broker.kill().await?;
    super::withdraw::copy(&site.path("store"), &site.path("older"))?;
    let broker = site.start().await?;
    broker.exchange("bob").await?.expect_status(200)?;
    let last = published(&broker, before.size + 1).await?;
    broker.kill().await?;
    fs::remove_dir_all(site.path("store"))?;
    super::withdraw::copy(&site.path("older"), &site.path("store"))?;

    let refused = site.start().await.err().ok_or("it started")?.to_string();
    assert!(refused.contains("--new-log-epoch"), "{refused}");
    let again = "exec \"$@\" --new-log-epoch";
    let broker = site.start_by(Command::new("sh"), again).await?;
    broker.exchange("carol").await?.expect_status(200)?;
    let new = published(&broker, before.size + 1).await?;
    assert!(
        new.origin.ends_with("/procura/2") && last.origin.ends_with("/procura/1"),
        "{}",
        new.note
    );
    let anchored = fs::read_to_string(site.path("anchor/log.jsonl"))?;
    let link = format!("old {} {} ", last.origin, last.size);
    assert!(anchored.contains(&link), "{anchored}");
    broker.kill().await?;
    let broker = site.start().await?;
    assert_eq!(
        checkpoint(&broker).await?.origin,
        new.origin,
        "no second acknowledgement is wanted"
    );
    broker.kill().await
}
