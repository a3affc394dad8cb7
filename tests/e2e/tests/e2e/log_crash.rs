//! Killed between the steps from a durable tree to a published checkpoint: afterwards there is one tree, every
//! checkpoint at the anchor is of it, and whatever was answered is in it.

use std::{collections::BTreeSet, fs, time::Duration};

use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    serve::{Replica, Site, Store},
};
use tokio::time::{Instant, sleep};

/// Behind each step, in their order: the tree is durable, the anchor was read and the tree proved to extend it, the
/// checkpoint is signed, anchored, kept as published.
pub(crate) const POINTS: [&str; 5] = [
    "log-integrated",
    "log-compared",
    "log-signed",
    "log-anchored",
    "log-published",
];
/// The first checkpoint ever, and one that extends another.
const TIMES: [u32; 2] = [1, 2];
/// Time until what was answered is proved again: a second, and room for a machine that has other things to do.
const SOON: Duration = Duration::from_secs(4);
/// The lease of a replica that died ends first, where others could be alive.
const LEASE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// Exchanges after which a step that was not reached never will be.
const STEPS: usize = 100;

pub(crate) async fn kill_9_between_the_steps_of_the_log_leaves_one_tree_on_sqlite(testbed: &Testbed) -> Outcome {
    for point in POINTS {
        for nth in TIMES {
            let died = killed(testbed, &Store::Sqlite, (point, nth), SOON).await;
            died.map_err(|fault| format!("{point}@{nth}: {fault}"))?;
        }
    }
    Ok(())
}

pub(crate) async fn kill_9_between_the_steps_of_the_log_leaves_one_tree_on_postgres(testbed: &Testbed) -> Outcome {
    for point in POINTS {
        for nth in TIMES {
            let store = Store::Postgres(testbed.postgres().await?.empty().await?);
            let died = killed(testbed, &store, (point, nth), SOON + LEASE).await;
            died.map_err(|fault| format!("{point}@{nth}: {fault}"))?;
        }
    }
    Ok(())
}

async fn killed(testbed: &Testbed, store: &Store, (point, nth): (&str, u32), soon: Duration) -> Outcome {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, store).await?;
    site.speak_tls()?;
    let mut broker = site.start_armed(&format!("{point}=kill@{nth}")).await?;
    let answered = until_dead(&mut broker).await?;
    drop(broker);
    let anchored_before = anchored(&site)?;

    let broker = site.start().await?;
    let began = Instant::now();
    for id in &answered {
        while broker.api(&format!("/issuances/{id}/proof")).await?.status != 200 {
            assert!(began.elapsed() < soon, "{id} is not proved\n{}", broker.stderr());
            sleep(LOOK).await;
        }
    }
    let anchored = anchored(&site)?;
    assert!(anchored.starts_with(&anchored_before), "nothing was taken away");
    let sizes: BTreeSet<u64> = anchored.iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes.len(), anchored.len(), "none is signed twice: {anchored:?}");
    let anchor = site.path("anchor/log.jsonl");
    let keys = String::from_utf8(broker.bytes("/log/keys", false).await?.1)?;
    let checked = [
        "log",
        "verify",
        "--json",
        "--against",
        &anchor.to_string_lossy(),
        "--key",
        &keys,
    ];
    let report = site.procura(&checked, "")?.json(0)?;
    assert_eq!(report["extended"], anchored.len(), "{report}");
    broker.kill().await
}

/// Exchanges until the broker is dead; answers the ids of what it answered.
async fn until_dead(broker: &mut Replica<'_>) -> Result<Vec<String>, Fault> {
    let mut answered = Vec::new();
    for _ in 0..STEPS {
        if let Ok(reply) = broker.exchange("alice").await {
            answered.push(reply.expect_status(200)?.text("issuance_id").to_owned());
        }
        if broker.is_over()? {
            return Ok(answered);
        }
        sleep(LOOK).await;
    }
    Err(format!("never reached\n{}", broker.stderr()).into())
}

/// Size and text of each note at the anchor.
fn anchored(site: &Site<'_>) -> Result<Vec<(u64, String)>, Fault> {
    let path = site.path("anchor/log.jsonl");
    let text = if path.exists() {
        fs::read_to_string(path)?
    } else {
        String::new()
    };
    let note = |line: &str| {
        let note: String = serde_json::from_str(line)?;
        let size = note.lines().nth(1).ok_or("no size")?.parse()?;
        Ok((size, note))
    };
    text.lines().map(note).collect()
}
