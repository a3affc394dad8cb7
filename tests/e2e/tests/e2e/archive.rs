//! The log as a file: exported, verified without the broker, and found wrong wherever somebody touched it.

use std::fs;

use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    serve::{Replica, Site, Store},
};
use serde_json::{Value, json};

/// Verifies a file; the report says what its exit code says.
fn verify(site: &Site<'_>, text: &str, more: &[&str]) -> Result<Value, Fault> {
    let path = site.path("touched.jsonl");
    fs::write(&path, text)?;
    let path = path.to_string_lossy();
    let ran = site.procura(&[&["log", "verify", &path, "--json"], more].concat(), "")?;
    let report: Value = serde_json::from_str(&ran.stdout)?;
    let code = if report["verified"] == true { 0 } else { 1 };
    assert_eq!(ran.code, Some(code), "{ran:?}");
    Ok(report)
}

async fn published(broker: &Replica<'_>, least: u64) -> Outcome {
    broker
        .until(async |broker| {
            let ready = broker.readiness().await?.body;
            let published = ready["log"]["published"].as_u64().unwrap_or(0);
            Ok((published >= least && ready["log"]["size"] == published).then_some(()))
        })
        .await
}

/// As a table it has the same records, also where it was broken off in between.
fn is_a_table_too(site: &Site<'_>) -> Outcome {
    let out = site.path("log.csv");
    let out = out.to_string_lossy();
    let export = ["log", "export", "--format", "csv", "--out", &out];
    assert_eq!(site.procura(&export, "")?.code, Some(0));
    let whole = fs::read_to_string(&*out)?;
    let rows: Vec<&str> = whole.split_terminator("\r\n").collect();
    assert!(
        rows[0].starts_with("index,at,id,event,outcome,") && rows.len() == 10,
        "{whole}"
    );
    for (index, row) in rows[1..].iter().enumerate() {
        assert!(row.starts_with(&format!("{index},20")), "{row}");
    }
    for kept in [0, 20, whole.len() / 2, whole.len()] {
        fs::write(format!("{out}.part"), &whole[..kept])?;
        assert_eq!(site.procura(&export, "")?.code, Some(0));
        assert_eq!(fs::read_to_string(&*out)?, whole, "gone on with after {kept} bytes");
    }
    Ok(())
}

pub(crate) async fn an_export_is_verified_and_whatever_was_changed_is_named(testbed: &Testbed) -> Outcome {
    for store in [Store::Sqlite, Store::Postgres(testbed.postgres().await?.empty().await?)] {
        let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, &store).await?;
        site.speak_tls()?;
        let broker = site.start().await?;
        for least in [1, 2, 6] {
            for _ in 0..least {
                broker.exchange("alice").await?.expect_status(200)?;
            }
            published(&broker, least).await?;
        }
        let (out, anchor) = (site.path("log.jsonl"), site.path("anchor/log.jsonl"));
        let (out, anchor) = (out.to_string_lossy(), anchor.to_string_lossy());
        let keys = String::from_utf8(broker.bytes("/log/keys", false).await?.1)?;
        let checked = ["--against", &anchor, "--key", &keys];

        // What an export that was broken off left, half a line at its end, is gone on with.
        assert_eq!(site.procura(&["log", "export", "--out", &out], "")?.code, Some(0));
        let whole = fs::read_to_string(&*out)?;
        let part: String = whole.lines().take(3).map(|line| format!("{line}\n")).collect();
        fs::write(format!("{out}.part"), part + "{\"index\":2,\"leaf_ha")?;
        assert_eq!(site.procura(&["log", "export", "--out", &out], "")?.code, Some(0));
        let whole_again = fs::read_to_string(&*out)?;
        assert_eq!(whole_again.lines().nth(3), whole.lines().nth(3));

        is_a_table_too(&site)?;

        let live = site
            .procura(&[&["log", "verify", "--json"], &checked[..]].concat(), "")?
            .json(0)?;
        let done = verify(&site, &whole_again, &checked)?;
        assert_eq!(
            (&done["verified"], &done["signatures_checked"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(
            (&done["truncation_checked"], &live["verified"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(verify(&site, &whole, &[])?["truncation_checked"], false);

        let lines: Vec<&str> = whole.lines().collect();
        let touched = |lines: &[&str]| lines.join("\n") + "\n";
        let changed = lines[3].replacen("\"issued\"", "\"forged\"", 1);
        let [mut forged, mut gone, mut swapped] = [(); 3].map(|()| lines.clone());
        forged[3] = &changed;
        gone.remove(3);
        swapped.swap(3, 4);
        for lines in [forged, gone, swapped] {
            assert_eq!(verify(&site, &touched(&lines), &[])?["found"]["index"], 2, "{lines:?}");
        }
        let bare = lines[3].split_once(",\"salt\"").ok_or("no salt")?.0.to_owned() + "}";
        let mut erased = lines.clone();
        erased[3] = &bare;
        assert_eq!(
            verify(&site, &touched(&erased), &[])?["erased"],
            1,
            "which is no change of the log"
        );
        let stranger = format!("{}+00000000+AAAA", site.identifier);
        let ran = site.procura(&["log", "verify", &out, "--key", &stranger], "")?;
        assert!(ran.code == Some(2) && ran.stderr.contains("no verifier key"), "{ran:?}");

        // Cut off behind an earlier checkpoint, which the anchor still has.
        let earlier = fs::read_to_string(&*anchor)?;
        let earlier: String = serde_json::from_str(earlier.lines().next().ok_or("nothing is anchored")?)?;
        let size: usize = earlier.lines().nth(1).ok_or("no size")?.parse()?;
        let mut short = lines[..=size].to_vec();
        let note = json!({ "checkpoint": earlier }).to_string();
        short.push(&note);
        assert_eq!(verify(&site, &touched(&short), &["--key", &keys])?["verified"], true);
        let found = verify(&site, &touched(&short), &checked)?;
        assert_eq!(found["found"]["index"].as_u64(), Some(size as u64), "{found}");
        broker.kill().await?;
    }
    Ok(())
}
