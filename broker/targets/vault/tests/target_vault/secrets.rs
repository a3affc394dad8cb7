//! What an engine makes for the token.

use std::time::Duration;

use procura_contract::asked;
use procura_core::{
    catalogue::Target,
    kind::{MintError, UndoError},
    params::{ParamSpec, ParamType, ParamValue},
    ports::Clock,
};
use serde_json::{Value, json};

use crate::{
    bed::{Bed, is_about, undo},
    on_both,
};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPdtEgdABZXYnXEZWS3Bcsa7xi0yJv5yIJ2Xc0zXCk1w someone";

on_both! {
    a_grant_with_a_path_issues_what_the_engine_makes,
    the_lease_is_gone_when_it_is_undone,
    a_lease_shorter_than_the_plan_is_renewed_once_and_never_past_it,
    a_lease_that_the_server_cuts_short_ends_the_credential,
    a_parameter_is_a_member_of_what_is_written,
    a_certificate_ends_with_its_plan_and_nothing_takes_it_back,
    attack_170_an_ssh_certificate_is_for_the_principals_of_its_plan,
    attack_170_a_principal_that_is_not_a_plain_name_makes_nothing,
    attack_170_an_extension_that_the_grant_does_not_name_is_not_within_it,
    a_static_secret_is_not_handed_out_and_leaves_nothing,
    a_path_that_the_policies_do_not_permit_leaves_nothing,
}

fn creds(bed: &Bed, role: &str) -> Target {
    bed.target(json!({ "path": format!("db-{}/creds/{role}", bed.id) }))
}

async fn a_grant_with_a_path_issues_what_the_engine_makes(bed: &Bed) {
    let target = creds(bed, "reader");
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let (minted, document) = bed.minted(&asked, &*minter).await;
    assert_eq!((&document["version"], &document["kind"]), (&json!(1), &json!("secret")));
    assert_eq!(document["path"], format!("db-{}/creds/reader", bed.id));
    assert!(document["data"]["username"].is_string() && document["data"]["password"].is_string());
    assert!(document.get("token").is_none());
    assert!(
        is_about(minted.end, asked.plan.end),
        "the engine's 15 minutes are cut by the plan"
    );
    assert_eq!(minted.lapses, None, "whether it is gone is asked");
    let lease = document["lease_id"].as_str().expect("a lease");
    assert_eq!(minted.known_as.as_deref(), Some(lease));
    assert!(bed.has_lease(lease).await);
}

async fn the_lease_is_gone_when_it_is_undone(bed: &Bed) {
    let target = creds(bed, "reader");
    for with_receipt in [true, false] {
        let (asked, minter) = (bed.ask(&target), bed.open(&target));
        let (minted, document) = bed.minted(&asked, &*minter).await;
        let lease = document["lease_id"].as_str().expect("a lease");
        for _ in 0..2 {
            undo(
                &*minter,
                asked.undoable(minted.receipt.as_ref().filter(|_| with_receipt)),
            )
            .await;
        }
        if !with_receipt {
            // The server takes leases back in its own time.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(!bed.has_lease(lease).await);
    }
}

async fn a_lease_shorter_than_the_plan_is_renewed_once_and_never_past_it(bed: &Bed) {
    let target = creds(bed, "short");
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let (minted, document) = bed.minted(&asked, &*minter).await;
    assert!(
        is_about(minted.end, asked.plan.end),
        "{} {}",
        minted.end,
        asked.plan.end
    );
    let answer = bed
        .post("sys/leases/lookup", json!({ "lease_id": document["lease_id"] }))
        .await;
    let left = answer["data"]["ttl"].as_u64().expect("its life");
    assert!((290..=300).contains(&left), "{left}");
}

async fn a_lease_that_the_server_cuts_short_ends_the_credential(bed: &Bed) {
    let target = creds(bed, "capped");
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let (minted, _) = bed.minted(&asked, &*minter).await;
    assert!(
        is_about(minted.end, bed.clock.now() + Duration::from_secs(40)),
        "{}",
        minted.end
    );
}

fn with_text(mut target: Target, param: &str) -> Target {
    let spec = ParamSpec {
        ty: ParamType::String(None),
        required: true,
    };
    for grant in target.grants.values_mut() {
        grant.params.insert(param.to_owned(), spec.clone());
    }
    target
}

fn web(bed: &Bed) -> Target {
    let path = format!("pki-{}/issue/web", bed.id);
    with_text(bed.target(json!({ "path": path, "method": "write" })), "common_name")
}

async fn a_parameter_is_a_member_of_what_is_written(bed: &Bed) {
    let target = web(bed);
    let (mut asked, minter) = (bed.ask(&target), bed.open(&target));
    let error = bed
        .mint(&asked, &*minter)
        .await
        .expect_err("no common name")
        .to_string();
    assert!(error.contains("common_name"), "{error}");
    let name = ParamValue::Text("a.example.com".to_owned());
    asked.plan.params.insert("common_name".to_owned(), name);
    let (minted, document) = bed.minted(&asked, &*minter).await;
    assert!(document["data"]["certificate"].is_string() && document["data"]["private_key"].is_string());
    assert_eq!(
        minted.details,
        *json!({ "common_name": "a.example.com" }).as_object().expect("object")
    );
    assert_eq!(minted.known_as.as_deref(), document["data"]["serial_number"].as_str());
}

async fn a_certificate_ends_with_its_plan_and_nothing_takes_it_back(bed: &Bed) {
    let target = web(bed);
    let (mut asked, minter) = (bed.ask(&target), bed.open(&target));
    let name = ParamValue::Text("a.example.com".to_owned());
    asked.plan.params.insert("common_name".to_owned(), name);
    let (minted, document) = bed.minted(&asked, &*minter).await;
    assert_eq!(document["lease_id"], Value::Null);
    assert!(is_about(minted.end, asked.plan.end));
    assert!(is_about(minted.lapses.expect("an end"), asked.plan.end));
    for _ in 0..2 {
        let undone = minter.undo(asked.undoable(minted.receipt.as_ref())).await;
        assert!(matches!(undone, Err(UndoError::Never)), "{undone:?}");
    }
    assert_eq!(minter.inventory().await.expect("a list"), [], "its token is gone");
}

/// A grant that signs the key above for the principals of a set.
fn ssh(bed: &Bed, role: &str, extensions: &[&str]) -> Target {
    let grant = json!({
        "path": format!("ssh-{}/sign/{role}", bed.id),
        "method": "write",
        "data": { "public_key": KEY },
        "extensions": extensions,
    });
    asked::with_set(bed.target(grant), "valid_principals", true)
}

async fn attack_170_an_ssh_certificate_is_for_the_principals_of_its_plan(bed: &Bed) {
    for (role, extensions) in [("plain", &[][..]), ("plain", &["permit-pty"]), ("pty", &["permit-pty"])] {
        let target = ssh(bed, role, extensions);
        let asked = bed.ask(&target).with("valid_principals", &["alice", "bob"]);
        let (minted, document) = bed.minted(&asked, &*bed.open(&target)).await;
        assert!(document["data"]["signed_key"].is_string());
        let principals = &minted.rights.sets["principals"];
        assert!(principals.iter().eq(["alice", "bob"]), "{principals:?}");
        assert!(minted.rights.sets["extensions"].iter().eq(extensions));
        assert!(is_about(minted.lapses.expect("an end"), asked.plan.end));
        let narrower = bed.ask(&target).with("valid_principals", &["alice"]);
        assert!(!narrower.is_within(&minted));
    }
}

async fn attack_170_a_principal_that_is_not_a_plain_name_makes_nothing(bed: &Bed) {
    let target = ssh(bed, "plain", &[]);
    let minter = bed.open(&target);
    for bad in ["*", "alice,root", "", "alice root", "{{token}}"] {
        let asked = bed.ask(&target).with("valid_principals", &[bad]);
        let outcome = bed.mint(&asked, &*minter).await;
        assert!(matches!(outcome, Err(MintError::Failed(_))), "{bad} {outcome:?}");
    }
    let outcome = bed.mint(&bed.ask(&target), &*minter).await;
    assert!(matches!(outcome, Err(MintError::Failed(_))), "{outcome:?}");
    assert_eq!(minter.inventory().await.expect("a list"), []);
}

async fn attack_170_an_extension_that_the_grant_does_not_name_is_not_within_it(bed: &Bed) {
    let target = ssh(bed, "pty", &[]);
    let asked = bed.ask(&target).with("valid_principals", &["alice"]);
    let minted = bed.mint(&asked, &*bed.open(&target)).await.expect("minted");
    assert!(!asked.is_within(&minted), "the role adds permit-pty by itself");
}

async fn a_static_secret_is_not_handed_out_and_leaves_nothing(bed: &Bed) {
    let target = bed.target(json!({ "path": format!("kv-{}/app", bed.id) }));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let error = bed.mint(&asked, &*minter).await.expect_err("no lease");
    assert!(matches!(error, MintError::Uncertain(_)), "its token is to be undone");
    let words = error.to_string();
    assert!(words.contains("static secret") && !words.contains("canary"), "{words}");
    undo(&*minter, asked.undoable(None)).await;
    assert_eq!(minter.inventory().await.expect("a list"), []);
}

async fn a_path_that_the_policies_do_not_permit_leaves_nothing(bed: &Bed) {
    let target = bed.target(json!({ "path": format!("db-{}/config/app", bed.id) }));
    let (asked, minter) = (bed.ask(&target), bed.open(&target));
    let error = bed.mint(&asked, &*minter).await.expect_err("forbidden");
    assert!(
        matches!(&error, MintError::Uncertain(problem) if problem.contains("403")),
        "{error}"
    );
    undo(&*minter, asked.undoable(None)).await;
    assert_eq!(minter.inventory().await.expect("a list"), []);
}
