//! The administrator's credential changes again and again while servers exchange.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use futures_util::future::try_join_all;
use procura_e2e::{
    Fault, Testbed,
    harness::Outcome,
    serve::{DATABASE, Replica, Site, Store},
};
use serde_json::{Value, json};

use crate::keeper::Keeper;

pub(crate) const CALLERS: u32 = 32;
/// Longest time until the one of source and target follows the other that has the password already.
const BEHIND: Duration = Duration::from_millis(1900);
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) async fn no_exchange_fails_while_a_password_changes_that_a_file_keeps(testbed: &Testbed) -> Outcome {
    rotate(testbed, Keeper::File, 8).await.map(drop)
}

pub(crate) async fn no_exchange_fails_while_a_password_changes_that_vault_keeps(testbed: &Testbed) -> Outcome {
    rotate(testbed, Keeper::vault()?, 8).await.map(drop)
}

pub(crate) async fn no_exchange_fails_while_a_password_changes_that_secrets_manager_keeps(
    testbed: &Testbed,
) -> Outcome {
    rotate(testbed, Keeper::aws().await?, 8).await.map(drop)
}

/// A version that the target does not take, then a good one.
pub(crate) async fn a_bad_new_version_is_rolled_back_and_no_exchange_fails(testbed: &Testbed) -> Outcome {
    let site = site(testbed).await?;
    let broker = site.start().await?;
    let change = async {
        tokio::time::sleep(SETTLE).await;
        let bad = json!({"username": site.database.administrator, "password": "nobody has it"});
        site.put_secret(&bad.to_string())?;
        broker
            .until(async |broker| Ok(stage(broker).await?["refused"].as_bool().filter(|refused| *refused)))
            .await?;
        tokio::time::sleep(BEHIND).await;
        let readiness = broker.readiness().await?.expect_status(200)?;
        assert_eq!(
            (&readiness.body["ready"], &readiness.body["degraded"]),
            (&json!(true), &json!(true))
        );
        let good = site.database.set_password("second").await?;
        site.put_secret(&good)?;
        broker
            .until(async |broker| Ok(stage(broker).await?.is_null().then_some(())))
            .await?;
        tokio::time::sleep(SETTLE).await;
        Ok(())
    };
    under_load(&broker, change).await?;
    assert_eq!(versions(&broker).await?.len(), 2, "the bad one made nothing");
    let alarms = broker
        .stderr()
        .matches("the target refuses the new version of the secret")
        .count();
    assert_eq!(alarms, 1);
    Ok(())
}

/// What the broker says of the version of the database's secret that is not in use.
async fn stage(broker: &Replica<'_>) -> Result<Value, Fault> {
    Ok(broker.readiness().await?.expect_status(200)?.body["sources"][DATABASE.0].clone())
}

pub(crate) async fn procura_rotate_lets_log_ins_take_turns_and_no_exchange_fails(testbed: &Testbed) -> Outcome {
    take_turns(testbed, 4).await.map(drop)
}

/// Killed between the two of target and source, before the source has the new password and after: each time the
/// next broker issues, and rotates both log-ins.
pub(crate) async fn a_rotation_that_is_killed_leaves_a_log_in_that_works(testbed: &Testbed) -> Outcome {
    for point in ["postgres-rotate-before-write", "postgres-rotate-after-write"] {
        let (site, _keeper) = turns(testbed).await?;
        let broker = site.start_armed(&format!("{point}=kill")).await?;
        broker.exchange("alice").await?.expect_status(200)?;
        let answer = broker.rotate(DATABASE.0).await;
        assert!(answer.is_err() && broker.reached(), "{point}: {}", broker.stderr());
        broker.ended().await?;
        let broker = site.start().await?;
        broker.exchange("alice").await?.expect_status(200)?;
        for _ in 0..2 {
            let answer = broker.rotate(DATABASE.0).await?.expect_status(200)?;
            assert_eq!(answer.body["status"], "done", "{point}: {}", answer.body);
            broker.exchange("alice").await?.expect_status(200)?;
        }
    }
    Ok(())
}

/// A database whose administrator has two log-ins, and the source that keeps the password of one.
async fn turns(testbed: &Testbed) -> Result<(Site<'_>, Keeper), Fault> {
    let (site, keeper) = (site(testbed).await?, Keeper::vault()?);
    let (secret, lines) = site.database.take_turns().await?;
    keeper.keep(&site, &secret).await?;
    site.amend("policies/targets/tickets-db.toml", |text| {
        text.replacen("[grants", &format!("{lines}\n[grants"), 1)
    })?;
    Ok((site, keeper))
}

/// Rotates so many times as the operator does.
pub(crate) async fn take_turns(testbed: &Testbed, times: u32) -> Result<Rotated, Fault> {
    let (site, _keeper) = turns(testbed).await?;
    let mut broker = site.start().await?;
    let change = async {
        let mut made = BTreeSet::new();
        for _ in 0..times {
            tokio::time::sleep(SETTLE).await;
            let answer = broker.rotate(DATABASE.0).await?.expect_status(200)?;
            if answer.body["status"] != "done" {
                return Err(format!("not rotated: {}", answer.body).into());
            }
            made.insert(answer.text("source_version").to_owned());
        }
        tokio::time::sleep(SETTLE).await;
        Ok(made)
    };
    let (made, exchanges) = under_load(&broker, change).await?;
    let used = versions(&broker).await?;
    assert!(
        made.len() == times as usize && made.is_subset(&used),
        "{made:?}, {used:?}"
    );
    let records = broker.all("issuances").await?;
    let recorded = records
        .iter()
        .filter(|record| record["event"] == "rotation" && record["outcome"] == "done");
    assert_eq!(recorded.count(), times as usize);
    assert!(!broker.is_over()?);
    Ok(Rotated::of(&exchanges, used.len()))
}

/// What a run has shown.
pub(crate) struct Rotated {
    pub(crate) exchanges: usize,
    pub(crate) versions: usize,
    /// The longest that an exchange took.
    pub(crate) slowest: Duration,
}

impl Rotated {
    fn of(exchanges: &[Duration], versions: usize) -> Self {
        Self {
            exchanges: exchanges.len(),
            versions,
            slowest: exchanges.iter().max().copied().unwrap_or_default(),
        }
    }
}

async fn site(testbed: &Testbed) -> Result<Site<'_>, Fault> {
    Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await
}

/// Changes the password so many times.
pub(crate) async fn rotate(testbed: &Testbed, keeper: Keeper, times: u32) -> Result<Rotated, Fault> {
    let site = site(testbed).await?;
    keeper.keep(&site, &site.database.set_password("first").await?).await?;
    let mut broker = site.start().await?;
    let ((), exchanges) = under_load(&broker, change(&site, &keeper, times)).await?;
    let versions = versions(&broker).await?;
    // One that is replaced before it is proved makes nothing.
    if broker.is_over()? || versions.len() * 2 < times as usize {
        return Err(with_log(
            &format!("{} versions were used", versions.len()).into(),
            &broker,
        ));
    }
    Ok(Rotated::of(&exchanges, versions.len()))
}

fn with_log(fault: &Fault, broker: &Replica<'_>) -> Fault {
    format!("{fault}\n{}", broker.stderr()).into()
}

/// Does something while all callers exchange; one exchange that fails ends it.
async fn under_load<T>(
    broker: &Replica<'_>,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<(T, Vec<Duration>), Fault> {
    let over = Cell::new(false);
    let callers = (0..CALLERS).map(|number| call(broker, number, &over));
    let work = async {
        let done = work.await;
        over.set(true);
        done
    };
    let (done, exchanges) = futures_util::join!(work, try_join_all(callers));
    let exchanges = exchanges.map_err(|fault| with_log(&fault, broker))?;
    Ok((done.map_err(|fault| with_log(&fault, broker))?, exchanges.concat()))
}

/// By turns the target first and the source first; the other follows within two seconds. Connections that stand idle are
/// ended too, so that new ones are needed while the source is behind.
async fn change(site: &Site<'_>, keeper: &Keeper, times: u32) -> Outcome {
    let administrator = &site.database.administrator;
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE usename = '{administrator}' AND state = 'idle'"
    );
    for time in 0..times {
        tokio::time::sleep(SETTLE).await;
        let password = format!("password-{time}");
        let behind = BEHIND * (time % 4 + 1) / 4;
        if time % 2 == 0 {
            let secret = site.database.set_password(&password).await?;
            site.database.administer(&end).await?;
            tokio::time::sleep(behind).await;
            keeper.put(site, &secret).await?;
        } else {
            keeper
                .put(
                    site,
                    &json!({"username": administrator, "password": password}).to_string(),
                )
                .await?;
            tokio::time::sleep(behind).await;
            site.database.set_password(&password).await?;
            site.database.administer(&end).await?;
        }
    }
    tokio::time::sleep(SETTLE).await;
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
