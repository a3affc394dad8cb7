//! From an issued value to its record.
#![expect(clippy::expect_used, reason = "helpers of tests")]

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use procura_contract::{ledger::MemoryLedger, ledger_suite::sample::entry};
use procura_core::{
    ids::IssuanceId,
    issued_value::record,
    ledger::{Conditions, Entry, Ledger},
};
use procura_wire::Secret;

fn jwt(id: IssuanceId, rest: &str) -> String {
    let claims = format!(r#"{{"jti":"{id}"}}"#);
    format!("e30.{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(claims))
}

/// Appends the record of a value, with or without its digest among the columns that queries filter by.
async fn issued(ledger: &MemoryLedger, mut entry: Entry, value: &str, by_digest: bool) -> Entry {
    let digest = Secret::new(value.to_owned()).digest();
    entry.leaf = format!(r#"{{"v":1,"id":"{}","value_sha256":"{digest}"}}"#, entry.id);
    entry.index.value = by_digest.then_some(digest);
    let appended = ledger.append(entry.clone(), Conditions::default()).await;
    appended.expect("appended");
    entry
}

async fn found(ledger: &MemoryLedger, value: &str) -> Option<IssuanceId> {
    let stored = record(ledger, &Secret::new(value.to_owned())).await;
    stored.expect("read").map(|stored| stored.id)
}

#[tokio::test]
async fn a_token_of_ours_is_found_by_its_jti() {
    let ledger = MemoryLedger::new();
    let entry = entry(1);
    let token = jwt(entry.id, "signed");
    let entry = issued(&ledger, entry, &token, false).await;
    assert_eq!(found(&ledger, &token).await, Some(entry.id));
}

#[tokio::test]
async fn a_token_that_only_names_a_record_is_not_its_value() {
    let ledger = MemoryLedger::new();
    let entry = entry(1);
    let token = jwt(entry.id, "signed");
    issued(&ledger, entry.clone(), &token, false).await;
    assert_eq!(found(&ledger, &jwt(entry.id, "forged")).await, None);
    assert_eq!(found(&ledger, &format!("{token} ")).await, None);
}

#[tokio::test]
async fn another_value_is_found_by_its_digest() {
    let ledger = MemoryLedger::new();
    let first = issued(&ledger, entry(1), "password", true).await;
    // A token that a target signed may have a `jti` of its own that is an id of ours by chance.
    let foreign = jwt(first.id, "of another signer");
    let second = issued(&ledger, entry(2), &foreign, true).await;
    assert_eq!(found(&ledger, "password").await, Some(first.id));
    assert_eq!(found(&ledger, &foreign).await, Some(second.id));
    assert_eq!(found(&ledger, "passwort").await, None);
}
