//! What a bundle does not give any more, what a restored store does not know, and what runs out.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use procura_client::Secret;
use procura_e2e::{
    Fault, Testbed,
    broker::Signal,
    harness::Outcome,
    serve::{DATABASE, Replica, SERVER, Site, Store},
};
use serde_json::{Value, json};

const SERVER_FILE: &str = "policies/servers/tickets.toml";
/// Shortest life of a log-in.
const SHORTEST: Duration = Duration::from_secs(10);
/// A few looks of the sweeper.
const SWEEPS: Duration = Duration::from_secs(3);

pub(crate) async fn a_grant_that_is_taken_from_a_server_is_undone(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    let broker = site.start().await?;
    let rows = broker.exchange("alice").await?.expect_status(200)?;
    let other = broker
        .exchange_at("alice", "api", "read-tickets")
        .await?
        .expect_status(200)?;
    assert_eq!(roles(&site, &broker).await?.len(), 1);
    take_grant(&site)?;
    put_in_force(&site, &broker).await?;
    until_no_roles(&site, &broker).await?;

    let issuance = rows.text("issuance_id");
    let records = broker.all("issuances").await?;
    let about = |record: &&Value| record["event"] == "revocation" && record["about"] == issuance;
    let revocation = records.iter().find(about).ok_or("no record of it")?;
    let leaf: Value = serde_json::from_str(revocation["leaf"].as_str().unwrap_or_default())?;
    assert_eq!(leaf["ended_by"], "policy");
    let session = session(&broker, other.text("session")).await?;
    assert!(session["ended"].is_null(), "what is left of it goes on: {session}");
    let refused = broker.exchange("alice").await?.expect_status(400)?;
    assert_eq!(refused.text("error"), "invalid_target");
    let goes_on = broker.exchange_at("alice", "api", "read-tickets").await?;
    goes_on.expect_status(200).map(drop)
}

pub(crate) async fn a_server_that_is_removed_loses_its_sessions_and_what_they_hold(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    let broker = site.start().await?;
    let rows = broker.exchange("alice").await?.expect_status(200)?;
    fs::remove_file(site.path(SERVER_FILE))?;
    for file in ["sre", "support", "tickets-db"] {
        let other = |text: &str| text.replace("Server::\"tickets\"", "Server::\"wiki\"");
        site.amend(&format!("policies/rules/{file}.cedar"), other)?;
    }
    put_in_force(&site, &broker).await?;
    until_no_roles(&site, &broker).await?;
    let session = session(&broker, rows.text("session")).await?;
    assert_eq!(session["ended"]["by"], "policy");
    broker.exchange("alice").await?.expect_status(401).map(drop)
}

pub(crate) async fn a_target_with_live_leases_is_not_dropped_unless_it_is_abandoned(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    let broker = site.start().await?;
    broker.exchange("alice").await?.expect_status(200)?;
    let before = bundle(&broker).await?;
    drop_target(&site)?;
    site.seal()?;
    broker.signal(Signal::HUP)?;
    let refused = async |broker: &Replica<'_>| {
        let ready = broker.readiness().await?.expect_status(200)?;
        Ok((ready.body["degraded"] == true).then_some(ready.body))
    };
    let ready = broker.until(refused).await?;
    assert_eq!(
        (&ready["bundle"], &ready["bundle_mistakes"]),
        (&json!(before), &json!(1))
    );
    let log = broker.stderr();
    for part in [
        "targets/tickets-db.toml: credentials at",
        "procura lease list --target tickets-db",
        "abandon = [\\\"tickets-db\\\"]",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    broker.exchange("bob").await?.expect_status(200)?;
    assert_eq!(roles(&site, &broker).await?.len(), 2, "the old bundle goes on");

    site.amend("policies/bundle.toml", |text| {
        format!("{text}abandon = [\"tickets-db\"]\n")
    })?;
    put_in_force(&site, &broker).await?;
    assert_eq!(broker.readiness().await?.body["degraded"], false);
    broker.exchange("alice").await?.expect_status(400)?;
    tokio::time::sleep(SWEEPS).await;
    assert_eq!(roles(&site, &broker).await?.len(), 2, "they were given up");
    let leases = broker.all("leases").await?;
    assert!(leases.iter().all(|lease| lease["state"] != "gone"), "{leases:?}");
    Ok(())
}

pub(crate) async fn a_target_is_dropped_when_its_leases_are_gone(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    let broker = site.start().await?;
    let rows = broker.exchange("alice").await?.expect_status(200)?;
    broker.end_session(rows.text("session")).await?.expect_status(200)?;
    until_no_roles(&site, &broker).await?;
    broker
        .until(async |broker| {
            let leases = broker.all("leases").await?;
            Ok(leases.iter().all(|lease| lease["state"] == "gone").then_some(()))
        })
        .await?;
    drop_target(&site)?;
    put_in_force(&site, &broker).await?;
    assert_eq!(broker.readiness().await?.body["degraded"], false);
    Ok(())
}

pub(crate) async fn a_restored_store_undoes_nothing_while_revocation_is_held(testbed: &Testbed) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    let broker = site.start().await?;
    let client = site.client()?;
    let session = client.session(Secret::new(site.user("alice")?));
    let known = session.postgres(DATABASE.0, DATABASE.1).ttl(SHORTEST).get().await?;
    client.shutdown().await?;
    broker.kill().await?;
    copy(&site.path("store"), &site.path("older"))?;
    let broker = site.start().await?;
    let unknown = broker.exchange("bob").await?.expect_status(200)?;
    let document: Value = serde_json::from_str(unknown.text("access_token"))?;
    // From here on the anchor vouches for more than the older store has.
    broker
        .until(async |broker| Ok((broker.readiness().await?.body["log"]["published"] == 2).then_some(())))
        .await?;
    broker.kill().await?;
    fs::remove_dir_all(site.path("store"))?;
    copy(&site.path("older"), &site.path("store"))?;

    let held = site
        .start_by(Command::new("sh"), "exec \"$@\" --hold-revocation --new-log-epoch")
        .await?;
    assert_eq!(held.readiness().await?.expect_status(200)?.body["revocation"], "held");
    tokio::time::sleep(known.expires_in() + SWEEPS).await;
    assert_eq!(
        roles(&site, &held).await?.len(),
        2,
        "one is over, of one nothing is known"
    );
    let inventory = site.procura(&["inventory", "--json"], "")?.json(1)?;
    let target = json!({ "target": DATABASE.0, "handles": [document["user"]] });
    assert_eq!(inventory, json!({ "targets": [target] }));
    let undo = ["lease", "undo", known.issuance_id(), "--json"];
    let report = site.procura(&undo, "")?.json(0)?;
    assert_eq!(
        report["status"],
        "done",
        "what is asked for by name is undone\n{}",
        held.stderr()
    );
    let left = roles(&site, &held).await?;
    assert!(
        left.iter().eq([document["user"].as_str().unwrap_or_default()]),
        "{left:?}"
    );
    held.kill().await?;

    let broker = site.start().await?;
    until_no_roles(&site, &broker).await?;
    assert_eq!(broker.readiness().await?.body["revocation"], "runs");
    let inventory = site.procura(&["inventory", "--json"], "")?.json(0)?;
    assert_eq!(inventory["targets"][0]["handles"], json!([]));
    Ok(())
}

pub(crate) async fn a_secret_that_runs_out_soon_is_told_and_does_not_degrade(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    let soon = "SELECT (now() AT TIME ZONE 'UTC')::date + 3";
    let day = site.database.administer(soon).await?.concat();
    site.amend(SERVER_FILE, |text| {
        text.replace("\" }] }", &format!("\", expires = \"{day}\" }}] }}"))
    })?;
    site.seal()?;
    let broker = site.start().await?;
    let told = async |broker: &Replica<'_>| {
        let ready = broker.readiness().await?.expect_status(200)?.body;
        Ok(ready["expiring"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
            .then_some(ready))
    };
    let ready = broker.until(told).await?;
    let expiring = &ready["expiring"];
    assert_eq!(
        (&expiring[0]["what"], &expiring[0]["name"]),
        (&json!("server secret"), &json!(SERVER))
    );
    let ends = expiring[0]["ends"].as_str().unwrap_or_default();
    assert_eq!(ends, format!("{day}T00:00:00Z"));
    assert_eq!((&ready["ready"], &ready["degraded"]), (&json!(true), &json!(false)));
    assert!(broker.stderr().contains("runs out soon"));
    broker.exchange("alice").await?.expect_status(200).map(drop)
}

/// One whose bundle is sealed, without the cases that its rules were written for.
async fn site(testbed: &Testbed) -> Result<Site<'_>, Fault> {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    fs::remove_dir_all(site.path("policies/tests"))?;
    site.seal()?;
    Ok(site)
}

/// The server does not reach the database any more.
fn take_grant(site: &Site<'_>) -> Outcome {
    site.amend(SERVER_FILE, |text| {
        text.replace(", \"tickets-db/read-rows\"", "")
            .replace("\"tickets-db/read-rows\"", "")
    })
}

/// The bundle does not know the database any more.
fn drop_target(site: &Site<'_>) -> Outcome {
    take_grant(site)?;
    fs::remove_file(site.path("policies/targets/tickets-db.toml"))?;
    Ok(fs::remove_file(site.path("policies/rules/tickets-db.cedar"))?)
}

/// Seals the bundle, tells the broker and waits until it is in force.
async fn put_in_force(site: &Site<'_>, broker: &Replica<'_>) -> Outcome {
    let before = bundle(broker).await?;
    site.seal()?;
    broker.signal(Signal::HUP)?;
    broker
        .until(async |broker| Ok((bundle(broker).await? != before).then_some(())))
        .await
}

async fn bundle(broker: &Replica<'_>) -> Result<String, Fault> {
    Ok(broker.readiness().await?.text("bundle").to_owned())
}

async fn session(broker: &Replica<'_>, id: &str) -> Result<Value, Fault> {
    let reply = broker.api(&format!("/sessions/{id}")).await?;
    Ok(reply.expect_status(200)?.body)
}

/// The log-in roles of the broker.
async fn roles(site: &Site<'_>, broker: &Replica<'_>) -> Result<BTreeSet<String>, Fault> {
    let leases = broker.all("leases").await?;
    let handle = leases.first().and_then(|lease| lease["handle"].as_str());
    let installation = handle.and_then(|handle| handle.get(1..9)).ok_or("no lease")?;
    site.database.roles(installation).await
}

async fn until_no_roles(site: &Site<'_>, broker: &Replica<'_>) -> Outcome {
    let none = async |broker: &Replica<'_>| Ok(roles(site, broker).await?.is_empty().then_some(()));
    broker.until(none).await
}

pub(crate) fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
