//! The anchor in a bucket: checkpoints of `serve` there, and what it says of a store that went back.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use procura_contract::moto::Moto;
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    http,
    serve::{Site, Store},
};
use serde_json::json;

use crate::log::published;

/// Moto takes any.
const OPERATOR: &str = "AWS4-HMAC-SHA256 Credential=a/20261120/eu-central-1/s3/aws4_request";
const BUCKET: &str = "anchor-of-serve";
const PREFIX: &str = "prod/log";

/// Makes the bucket.
async fn make(moto: &Moto) -> Outcome {
    let location = "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint>\
                    </CreateBucketConfiguration>";
    let request = http::client()?.put(format!("{}/{BUCKET}", moto.address));
    let answer = request.header("Authorization", OPERATOR).body(location).send().await?;
    Ok(answer.error_for_status().map(drop)?)
}

/// The notes in the bucket, in the order of their numbers.
async fn notes(moto: &Moto) -> Result<Vec<String>, Fault> {
    let mut notes = Vec::new();
    loop {
        let object = format!("{}/{BUCKET}/{PREFIX}/{:020}", moto.address, notes.len());
        let request = http::client()?.get(object).header("Authorization", OPERATOR);
        let answer = request.send().await?;
        if answer.status() == 404 {
            return Ok(notes);
        }
        notes.push(answer.error_for_status()?.text().await?);
    }
}

/// Lets it anchor in the bucket from its next start on.
fn anchor_there(site: &Site<'_>, moto: &Moto) -> Outcome {
    let key = json!({ "access_key_id": "AKIAANCHOR0000000000", "secret_access_key": "canary-of-the-anchor" });
    let file = site.path("own/s3.json");
    fs::write(&file, key.to_string())?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let bucket = format!(
        "{{ s3 = {{ endpoint = \"{}\", region = \"eu-central-1\", bucket = \"{BUCKET}\", prefix = \"{PREFIX}\", \
         credentials = \"own:s3.json\" }} }}",
        moto.address
    );
    site.amend("procura.toml", |text| {
        text.replace("{ file = \"anchor/log.jsonl\" }", &bucket)
    })
}

pub(crate) async fn checkpoints_in_a_bucket_outlive_restarts_and_tell_of_a_restore(testbed: &Testbed) -> Outcome {
    let moto = tokio::task::spawn_blocking(Moto::shared).await??;
    make(&moto).await?;
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    site.speak_tls()?;
    anchor_there(&site, &moto)?;
    let broker = site.start().await?;
    broker.exchange("alice").await?.expect_status(200)?;
    let first = published(&broker, 1).await?;
    broker.kill().await?;
    assert_eq!(notes(&moto).await?.last(), Some(&first.note));
    super::withdraw::copy(&site.path("store"), &site.path("older"))?;

    let broker = site.start().await?;
    broker.exchange("bob").await?.expect_status(200)?;
    let last = published(&broker, first.size + 1).await?;
    broker.kill().await?;
    let before = notes(&moto).await?;
    assert!(
        before.contains(&first.note) && before.last() == Some(&last.note),
        "it was extended"
    );

    fs::remove_dir_all(site.path("store"))?;
    super::withdraw::copy(&site.path("older"), &site.path("store"))?;
    let refused = site.start().await.err().ok_or("it started")?.to_string();
    for said in ["it was rolled back or restored", "start once with --new-log-epoch"] {
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(notes(&moto).await?, before, "nothing is signed meanwhile");
    let broker = site.start_by(Command::new("sh"), "exec \"$@\" --new-log-epoch").await?;
    broker.exchange("carol").await?.expect_status(200)?;
    let new = published(&broker, first.size + 1).await?;
    assert!(new.origin.ends_with("/procura/2"), "{}", new.note);
    let after = notes(&moto).await?;
    assert!(
        after.starts_with(&before) && after.last() == Some(&new.note),
        "{after:?}"
    );
    let link = format!("old {} {} ", last.origin, last.size);
    assert!(after[before.len()].contains(&link), "{}", after[before.len()]);

    let keys = String::from_utf8(broker.bytes("/log/keys", false).await?.1)?;
    let folder = site.path("notes");
    fs::create_dir(&folder)?;
    for (number, note) in after.iter().enumerate() {
        fs::write(folder.join(format!("{number:020}")), note)?;
    }
    let verify = |code| {
        let checked = [
            "log",
            "verify",
            "--json",
            "--against",
            &folder.to_string_lossy(),
            "--key",
            &keys,
        ];
        site.procura(&checked, "")?.json(code)
    };
    let report = verify(0)?;
    assert_eq!(
        (&report["verified"], &report["truncation_checked"]),
        (&json!(true), &json!(true))
    );
    assert!(
        report["given_up"].as_u64() >= Some(1),
        "what the restore lost is told: {report}"
    );
    fs::remove_file(folder.join(format!("{:020}", before.len())))?;
    let report = verify(1)?;
    let problem = report["found"]["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("no link gives that up"), "{report}");
    broker.kill().await?;
    let refused = site.start_by(Command::new("sh"), "exec \"$@\" --new-log-epoch").await;
    let refused = refused.err().ok_or("it started")?.to_string();
    assert!(refused.contains("start without --new-log-epoch"), "{refused}");
    Ok(())
}
