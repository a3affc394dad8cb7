//! Tokens of a grant's policies.

use std::time::Duration;

use procura_core::ports::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    bed::{Bed, document, is_about, undo},
    on_both,
};

on_both! {
    a_grant_of_policies_issues_a_token_with_just_those,
    the_token_leads_back_to_its_issuance,
    attack_172_the_token_ends_with_its_plan_and_is_not_renewed,
    the_token_outlives_the_one_that_the_broker_made_it_with,
    attack_146_a_token_with_wider_policies_than_the_grant_is_not_within_it,
    a_token_role_that_makes_other_tokens_gives_none,
    a_target_in_a_namespace_mints_there_and_nowhere_else,
}

async fn a_grant_of_policies_issues_a_token_with_just_those(bed: &Bed) {
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let (minted, document) = bed.minted(&asked, &*minter).await;
    assert_eq!(
        (&document["version"], &document["kind"], &document["namespace"]),
        (&json!(1), &json!("token"), &Value::Null)
    );
    assert_eq!(document["address"], bed.address.as_str());
    assert_eq!(document["expiration"], minted.end.to_string());
    let token = document["token"].as_str().expect("a token");
    assert!(bed.is_good(token).await);
    for (method, path) in [
        (Method::POST, format!("kv-{}/app", bed.id)),
        (Method::GET, "auth/token/lookup-self".to_owned()),
        (Method::POST, format!("auth/token/create/{}", bed.role())),
    ] {
        let (status, _) = bed.call(token, method, &path, json!({ "a": "b" })).await;
        assert_eq!(status, 403, "{path}");
    }
    assert_eq!(minted.source_version.as_deref(), Some("1"));
}

async fn the_token_leads_back_to_its_issuance(bed: &Bed) {
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let (minted, document) = bed.minted(&asked, &*minter).await;
    let accessor = document["accessor"].as_str().expect("an accessor");
    assert_eq!(minted.known_as.as_deref(), Some(accessor));
    let found = bed.look_up(accessor).await;
    let handle = asked.undoable(None).handle.to_string();
    assert_eq!(found["meta"], json!({ "procura": handle }));
    assert_eq!(found["display_name"], format!("token-{}", handle.replace('_', "-")));
    assert_eq!(found["policies"], json!([bed.child()]));
    assert_eq!((&found["orphan"], &found["renewable"]), (&json!(true), &json!(false)));
}

async fn attack_172_the_token_ends_with_its_plan_and_is_not_renewed(bed: &Bed) {
    bed.policy(
        &bed.child(),
        &format!(
            "path \"kv-{}/*\" {{ capabilities = [\"read\"] }}\npath \"auth/token/renew-self\" {{ capabilities = [\"update\"] }}",
            bed.id
        ),
    )
    .await;
    let target = bed.target(json!({}));
    let (mut asked, minter) = (bed.ask(&target), bed.open(&target));
    asked.plan.end = bed.clock.now() + Duration::from_secs(4);
    let (minted, document) = bed.minted(&asked, &*minter).await;
    let token = document["token"].as_str().expect("a token");
    assert!(bed.is_good(token).await);
    let increment = json!({ "increment": "600s" });
    let (status, answer) = bed.call(token, Method::POST, "auth/token/renew-self", increment).await;
    assert_eq!(status, 400, "{answer}");
    assert!(is_about(minted.lapses.expect("an end of its own"), asked.plan.end));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!bed.is_good(token).await);
}

async fn the_token_outlives_the_one_that_the_broker_made_it_with(bed: &Bed) {
    let own = bed.broker_token().await;
    bed.put_broker_token(&own).await;
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let (_, document) = bed.minted(&asked, &*minter).await;
    bed.post("auth/token/revoke", json!({ "token": own })).await;
    assert!(bed.is_good(document["token"].as_str().expect("a token")).await);
}

async fn attack_146_a_token_with_wider_policies_than_the_grant_is_not_within_it(bed: &Bed) {
    let target = bed.target(json!({}));
    let (mut asked, minter) = (bed.ask(&target), bed.open(&target));
    let minted = bed.mint(&asked, &*minter).await.expect("minted");
    assert_eq!(document(&minted)["kind"], "token");
    asked.target = bed.target(json!({}));
    let grants = asked.target.grants.values_mut();
    grants.for_each(|grant| drop(grant.settings.insert("policies".to_owned(), json!(["narrower"]))));
    assert!(!asked.is_within(&minted));
    undo(&*minter, asked.undoable(minted.receipt.as_ref())).await;
}

async fn a_token_role_that_makes_other_tokens_gives_none(bed: &Bed) {
    bed.token_role(json!({ "orphan": false })).await;
    let target = bed.target(json!({}));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let error = bed
        .mint(&asked, &*minter)
        .await
        .expect_err("a child of ours")
        .to_string();
    assert!(error.contains("check the token role"), "{error}");
    undo(&*minter, asked.undoable(None)).await;
    assert_eq!(minter.inventory().await.expect("a list"), []);
}

async fn a_target_in_a_namespace_mints_there_and_nowhere_else(bed: &Bed) {
    let Some(inside) = bed.inside().await else { return };
    let target = inside.target(json!({}));
    let (asked, minter) = (inside.ask(&target), inside.open(&target));
    minter.probe().await.expect("all is there");
    let (_, document) = inside.minted(&asked, &*minter).await;
    assert_eq!(document["namespace"].as_str(), inside.namespace.as_deref());
    let token = document["token"].as_str().expect("a token");
    assert!(inside.is_good(token).await);
    assert!(!bed.is_good(token).await);
    assert_eq!(
        minter.inventory().await.expect("a list"),
        [asked.undoable(None).handle.clone()]
    );
    let outside = bed.target(json!({}));
    assert_eq!(bed.open(&outside).inventory().await.expect("a list"), []);
    undo(&*minter, asked.undoable(None)).await;
    assert!(!inside.is_good(token).await);
}
