//! Undoing in numbers: a target that is away with much to undo, and a store that holds many live leases.

use std::{fs, time::Duration};

use futures_util::{
    StreamExt, TryStreamExt,
    future::try_join_all,
    stream::{self},
};
use procura_e2e::{
    Fault, Testbed,
    broker::Signal,
    harness::Outcome,
    serve::{DATABASE, Replica, Site, Store},
    wire::Wire,
};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::time::Instant;

/// The target that stays up while the first is away.
const OTHER: &str = "other-db";
const CALLERS: u32 = 4;
/// Credentials of one session.
const HELD: u32 = 100;
const LOOK: Duration = Duration::from_millis(200);
/// Within this everything is undone again, whatever there was.
const AGAIN: Duration = Duration::from_secs(1800);

pub(crate) async fn a_target_that_was_away_is_cleared_and_holds_nobody_up(testbed: &Testbed) -> Outcome {
    away(testbed, 24, Duration::from_secs(3)).await.map(drop)
}

pub(crate) async fn what_lives_costs_nothing_until_it_is_due(testbed: &Testbed) -> Outcome {
    let few = standing(testbed, 50, 5, Duration::from_secs(1)).await?;
    assert_eq!(few["undone"], 5);
    Ok(())
}

/// Mints so many credentials, takes their target away for that time and asks for all of them to be undone
/// meanwhile. Answers what it took; whatever is forgotten is an error.
pub(crate) async fn away(testbed: &Testbed, times: u32, time: Duration) -> Result<Value, Fault> {
    let postgres = testbed.postgres().await?;
    let mut database = postgres.target().await?;
    let wire = Wire::start(database.port).await?;
    database.port = wire.port;
    let site = Site::new(testbed, database, &Store::Sqlite).await?;
    add_other(&site, postgres.target().await?).await?;
    let broker = site.start().await?;
    let minted = Instant::now();
    let sessions = fill(&broker, times).await?;
    let minted = minted.elapsed();
    let samples = (times / 20).clamp(10, 300);
    let before = mints(&broker, samples).await?;
    wire.cut();
    let begun = Instant::now();
    end_all(&broker, &sessions).await?;
    let meanwhile = mints(&broker, samples).await?;
    tokio::time::sleep(time.saturating_sub(begun.elapsed())).await;
    let waiting = broker.all("leases").await?;
    let waiting = waiting.iter().filter(|lease| lease["state"] == "undoing").count();
    wire.mend();
    let mended = Instant::now();
    let nothing_left = async || Ok::<_, Fault>(left(&broker).await? == 0);
    until(nothing_left).await?;
    let cleared = mended.elapsed();
    nothing_forgotten(&site, &broker).await?;
    let undone = undos(&broker, samples).await?;
    Ok(json!({
        "leases": times,
        "minted_per_second": f64::from(times) / minted.as_secs_f64(),
        "away_seconds": begun.elapsed().saturating_sub(cleared).as_secs(),
        "waiting_when_it_returned": waiting,
        "cleared_seconds": cleared.as_secs(),
        "forgotten": 0,
        "other_target_mint_p99_ms": {"before": millis(p99(before.clone())), "while_away": millis(p99(meanwhile.clone()))},
        "other_target_mint_p99_ratio": p99(meanwhile).as_secs_f64() / p99(before).as_secs_f64(),
        "undo_p99_ms_with_the_target_up": millis(p99(undone)),
    }))
}

/// A second database with an administrator of its own, and long lives for both.
async fn add_other(site: &Site<'_>, other: procura_e2e::database::Database) -> Outcome {
    let secret = site.path("secrets/other");
    fs::write(&secret, other.set_password("other").await?)?;
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    site.amend("procura.toml", |text| {
        text.replace("[\"target\"]", "[\"target\", \"other\"]")
    })?;
    site.amend("policies/targets/tickets-db.toml", |text| {
        text.replace("ttl = \"5m\"", "outlives_subject = true")
            .replace("max_ttl = \"15m\"", "max_ttl = \"12h\"")
    })?;
    let text = fs::read_to_string(site.path("policies/targets/tickets-db.toml"))?;
    let text = text
        .replace("db:target", "db:other")
        .replace(&site.database.name, &other.name)
        .replace(
            &format!("port = {}", site.database.port),
            &format!("port = {}", other.port),
        );
    let target = site.path("policies/targets/other-db.toml");
    fs::write(&target, text)?;
    fs::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    site.amend("policies/servers/tickets.toml", |text| {
        text.replace(
            "\"tickets-db/read-rows\"]\n\n[tools.list",
            "\"tickets-db/read-rows\", \"other-db/read-rows\"]\n\n[tools.list",
        )
    })?;
    site.amend("policies/rules/tickets-db.cedar", |text| {
        let rule = text.split("\n\n").next().unwrap_or_default();
        format!(
            "{text}\n{}\n",
            rule.replace("tickets-db", OTHER)
                .replace("support-reads-own-rows", "support-reads-other-rows")
        )
    })
}

/// Sessions that hold so many credentials together.
async fn fill(broker: &Replica<'_>, times: u32) -> Result<Vec<String>, Fault> {
    let users = times.div_ceil(HELD);
    let callers = (0..CALLERS).map(|caller| async move {
        let mut sessions = Vec::new();
        for user in (caller..users).step_by(CALLERS as usize) {
            for _ in 0..HELD.min(times - user * HELD) {
                let reply = broker.exchange(&format!("user-{user}")).await?.expect_status(200)?;
                sessions.push(reply.text("session").to_owned());
            }
        }
        sessions.dedup();
        Ok::<_, Fault>(sessions)
    });
    Ok(try_join_all(callers).await?.concat())
}

/// What each of so many mints at the other target takes.
async fn mints(broker: &Replica<'_>, count: u32) -> Result<Vec<Duration>, Fault> {
    let callers = (0..CALLERS).map(|caller| async move {
        let mut times = Vec::new();
        for _ in 0..count.div_ceil(CALLERS) {
            let begun = Instant::now();
            let reply = broker
                .exchange_at(&format!("other-{caller}"), OTHER, DATABASE.1)
                .await?;
            reply.expect_status(200)?;
            times.push(begun.elapsed());
        }
        Ok::<_, Fault>(times)
    });
    Ok(try_join_all(callers).await?.concat())
}

/// From the request until the target has confirmed, with the target up.
async fn undos(broker: &Replica<'_>, count: u32) -> Result<Vec<Duration>, Fault> {
    let callers = (0..CALLERS).map(|caller| async move {
        let mut times = Vec::new();
        for _ in 0..count.div_ceil(CALLERS) {
            let reply = broker.exchange(&format!("undone-{caller}")).await?.expect_status(200)?;
            let session = reply.text("session").to_owned();
            let begun = Instant::now();
            let reply = broker.revoke(reply.text("issuance_id")).await?.expect_status(200)?;
            // The answer waits a bounded time only: what it calls queued is followed to its end.
            if reply.text("revocation_status") != "done" {
                let query = format!("/leases?session={session}&state=undoing&limit=1");
                until(async || Ok(listed(broker, &query).await? == 0)).await?;
            }
            times.push(begun.elapsed());
        }
        Ok::<_, Fault>(times)
    });
    Ok(try_join_all(callers).await?.concat())
}

async fn end_all(broker: &Replica<'_>, sessions: &[String]) -> Outcome {
    let end = |session: &String| {
        let session = session.clone();
        async move {
            let reply = broker.end_session(&session).await?.expect_status(200)?;
            let reports = reply.body["credentials"].as_array().cloned().unwrap_or_default();
            assert!(
                reports.iter().all(|report| report["status"] == "queued"),
                "{}",
                reply.body
            );
            Ok::<_, Fault>(())
        }
    };
    stream::iter(sessions.iter().map(end).collect::<Vec<_>>())
        .buffer_unordered(CALLERS as usize)
        .try_collect()
        .await
}

/// Leases at the target that was away which are not gone.
async fn left(broker: &Replica<'_>) -> Result<usize, Fault> {
    let mut left = 0;
    for state in ["intended", "live", "undoing"] {
        left += listed(broker, &format!("/leases?target={}&state={state}&limit=1", DATABASE.0)).await?;
    }
    Ok(left)
}

async fn listed(broker: &Replica<'_>, query: &str) -> Result<usize, Fault> {
    let page = broker.api(query).await?.expect_status(200)?;
    Ok(page.body["leases"].as_array().map_or(0, Vec::len))
}

/// The roles at the server are those of live leases, one for one.
async fn nothing_forgotten(site: &Site<'_>, broker: &Replica<'_>) -> Outcome {
    let leases = broker.all("leases").await?;
    let handles = crate::witness::handles(&leases, |state| state == "live");
    let installation = handles
        .first()
        .and_then(|handle| handle.get(1..9))
        .unwrap_or("none")
        .to_owned();
    let roles = site.database.roles(&installation).await?;
    let (more, less): (Vec<_>, Vec<_>) = (
        roles.difference(&handles).collect(),
        handles.difference(&roles).collect(),
    );
    match (more.is_empty(), less.is_empty()) {
        (true, true) => Ok(()),
        _ => Err(format!("roles without a live lease: {more:?}; live leases without a role: {less:?}").into()),
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> Result<bool, Fault>) -> Outcome {
    let wait = async {
        while !is_so().await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    };
    tokio::time::timeout(AGAIN, wait)
        .await
        .unwrap_or_else(|_| Err(format!("not within {AGAIN:?}").into()))
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A broker on a store with so many live leases: memory and CPU time of its start and while nothing is due, and
/// CPU time of undoing a few that become due together.
pub(crate) async fn standing(testbed: &Testbed, lives: u32, due: u32, idle: Duration) -> Result<Value, Fault> {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let broker = site.start().await?;
    broker.exchange("user-0").await?.expect_status(200)?;
    stop(broker).await?;
    copy_leases(&site, lives).await?;
    let mut broker = site.start().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = broker.used()?;
    tokio::time::sleep(idle).await;
    let rest = broker.used()?;
    let undone = fall_due(&site, due).await?;
    let end = broker.used()?;
    if broker.is_over()? {
        return Err(broker.stderr().into());
    }
    Ok(json!({
        "live_leases": lives,
        "resident_mib": {"started": start.resident_mib, "idle": rest.resident_mib, "after_undoing": end.resident_mib},
        "start_cpu_ms": start.cpu_ms,
        "idle_cpu_ms_per_second": (rest.cpu_ms - start.cpu_ms) as f64 / idle.as_secs_f64(),
        "undone": undone,
        "undoing_cpu_ms": end.cpu_ms - rest.cpu_ms,
    }))
}

async fn stop(broker: Replica<'_>) -> Outcome {
    broker.signal(Signal::TERM)?;
    broker.ended().await.map(drop)
}

async fn store(site: &Site<'_>) -> Result<SqliteConnection, Fault> {
    let options = SqliteConnectOptions::new().filename(site.path("store/procura.sqlite"));
    let options = options.busy_timeout(Duration::from_secs(30));
    Ok(SqliteConnection::connect_with(&options).await?)
}

/// Copies of the one lease that there is, with names of their own; none of them is due for a year.
async fn copy_leases(site: &Site<'_>, count: u32) -> Outcome {
    let mut store = store(site).await?;
    sqlx::query(
        "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?1),
              copy (id) AS MATERIALIZED (SELECT randomblob(16) FROM number)
         INSERT INTO lease (id, handle, target, place, session, state, replica, fence, deadline, until,
                            source_version, attempts, due)
         SELECT copy.id, substr(handle, 1, 10) || lower(hex(copy.id)), target, place, session, 'live', replica, fence,
                deadline, until + 31536000000000, source_version, 0, until + 31536000000000
           FROM copy, (SELECT * FROM lease LIMIT 1)",
    )
    .bind(count)
    .execute(&mut store)
    .await?;
    Ok(store.close().await?)
}

/// Lets so many come to their end, and waits until they are gone. Looks into the store itself: a listing of those that are
/// gone would walk through all leases, and be measured too.
async fn fall_due(site: &Site<'_>, count: u32) -> Result<i64, Fault> {
    let mut store = store(site).await?;
    sqlx::query(
        "UPDATE lease SET due = 1, until = 1
          WHERE id IN (SELECT id FROM lease WHERE due IS NOT NULL ORDER BY target, due DESC LIMIT ?1)",
    )
    .bind(count)
    .execute(&mut store)
    .await?;
    let mut gone = 0;
    until(async || {
        gone = sqlx::query_scalar("SELECT count(*) FROM lease WHERE state = 'gone'")
            .fetch_one(&mut store)
            .await?;
        Ok(gone >= i64::from(count))
    })
    .await?;
    store.close().await?;
    Ok(gone)
}
