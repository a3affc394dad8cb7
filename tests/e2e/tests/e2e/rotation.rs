//! The administrator's password changes again and again, at the target first, while servers exchange.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use futures_util::future::try_join_all;
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    serve::{Replica, Site, Store},
};

const CALLERS: u32 = 16;
/// Longest time until the source has the password that the target has already.
const BEHIND: Duration = Duration::from_millis(1900);

pub(crate) async fn no_exchange_fails_while_the_administrators_password_changes(testbed: &Testbed) -> Outcome {
    rotate(testbed, 6).await.map(drop)
}

/// What a run has shown.
pub(crate) struct Rotated {
    pub(crate) exchanges: usize,
    pub(crate) versions: usize,
    /// The longest that an exchange took.
    pub(crate) slowest: Duration,
}

/// Changes the password so many times.
pub(crate) async fn rotate(testbed: &Testbed, times: u32) -> Result<Rotated, Fault> {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let mut broker = site.start().await?;
    let over = Cell::new(false);
    let callers = (0..CALLERS).map(|number| call(&broker, number, &over));
    let (changed, exchanges) = futures_util::join!(
        async {
            let changed = change(&site, times).await;
            over.set(true);
            changed
        },
        try_join_all(callers)
    );
    changed?;
    let exchanges: Vec<Duration> = exchanges.map_err(|fault| with_log(&fault, &broker))?.concat();
    let versions = versions(&broker).await?;
    if broker.is_over()? || versions.len() < times as usize {
        return Err(with_log(
            &format!("{} versions were used", versions.len()).into(),
            &broker,
        ));
    }
    Ok(Rotated {
        exchanges: exchanges.len(),
        versions: versions.len(),
        slowest: exchanges.into_iter().max().unwrap_or_default(),
    })
}

fn with_log(fault: &Fault, broker: &Replica<'_>) -> Fault {
    format!("{fault}\n{}", broker.stderr()).into()
}

/// Target first; the source follows within two seconds. Connections that stand idle are ended too, so that
/// new ones are needed while the source is behind.
async fn change(site: &Site<'_>, times: u32) -> Outcome {
    let administrator = &site.database.administrator;
    for time in 0..times {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let secret = site.database.set_password(&format!("password-{time}")).await?;
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE usename = '{administrator}' AND state = 'idle'"
        );
        site.database.administer(&end).await?;
        tokio::time::sleep(BEHIND * (time % 4 + 1) / 4).await;
        site.put_secret(&secret)?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// One server, with its own user: exchanges and takes back until it is over.
async fn call(broker: &Replica<'_>, number: u32, over: &Cell<bool>) -> Result<Vec<Duration>, Fault> {
    let (user, mut times) = (format!("user-{number}"), Vec::new());
    while !over.get() {
        let before = tokio::time::Instant::now();
        let reply = broker.exchange(&user).await?.expect_status(200)?;
        times.push(before.elapsed());
        broker.revoke(reply.text("issuance_id")).await?.expect_status(200)?;
    }
    Ok(times)
}

/// The source's versions in the records of everything that was issued; each names one.
async fn versions(broker: &Replica<'_>) -> Result<BTreeSet<String>, Fault> {
    let records = broker.all("issuances").await?;
    let issued = records.iter().filter(|record| record["event"] == "exchange");
    let named = issued.map(|record| match record["source_version"].as_str() {
        Some(version) if record["outcome"] == "issued" => Ok(version.to_owned()),
        _ => Err(format!("no version, or not issued: {record}").into()),
    });
    named.collect()
}
