//! What the broker needs goes away: it answers 503, releases nothing, and goes on by itself when it is back.

use std::{
    cell::Cell,
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    time::Duration,
};

use futures_util::future::join_all;
use procura_e2e::{
    Fault, Testbed,
    database::Postgres,
    harness::Outcome,
    http::Reply,
    serve::{Replica, Site, Store},
};
use rustix::process::geteuid;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Notify;

use crate::witness::Witness;

const BACK: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
/// Exchanges after which a full disk must have been noticed: what the store has on disk already is used first.
const UNTIL_FULL: u32 = 300;
/// Callers at once for a queue of four, of whom at least so many find no place in it.
const CROWD: usize = 16;
const TOO_MANY: usize = 6;
/// `EX_IOERR`
const EXIT_STORE: i32 = 74;

pub(crate) async fn a_full_disk_refuses_and_is_forgotten_when_there_is_space(testbed: &Testbed) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let mut broker = on_a_small_disk(&site).await?;
    let filler = broker.path("store/filler");
    let mut witness = Witness::default();
    witness.keep(broker.exchange("alice").await?)?;
    fill(&filler)?;
    refused_after(&broker, &mut witness, UNTIL_FULL).await?;
    fs::remove_file(&filler)?;
    back(&mut broker, &mut witness).await?;
    witness.check(&site, &broker).await
}

pub(crate) async fn a_read_only_store_refuses_and_is_forgotten_when_it_can_be_written(testbed: &Testbed) -> Outcome {
    let server = Postgres::start(None)?;
    let store = Store::Postgres(server.empty().await?);
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &store).await?;
    let mut broker = site.start().await?;
    let mut witness = Witness::default();
    witness.keep(broker.exchange("alice").await?)?;
    for setting in ["on", "off"] {
        server
            .administer(&format!("ALTER SYSTEM SET default_transaction_read_only = {setting}"))
            .await?;
        server.administer("SELECT pg_reload_conf()").await?;
        if setting == "on" {
            refused_after(&broker, &mut witness, 20).await?;
        }
    }
    back(&mut broker, &mut witness).await?;
    witness.check(&site, &broker).await
}

/// SQLite tells this limit, a used-up quota and a file system that became read-only by one and the same error.
pub(crate) async fn a_store_whose_files_cannot_grow_refuses_and_is_forgotten_when_they_can(
    testbed: &Testbed,
) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    // Else the first write beyond the limit is a signal that ends the process.
    let ignoring = "trap '' XFSZ; exec \"$@\"";
    let mut broker = site.start_by(Command::new("sh"), ignoring).await?;
    let mut witness = Witness::default();
    witness.keep(broker.exchange("alice").await?)?;
    broker.limit_files(Some(fs::metadata(site.path("store/procura.sqlite-wal"))?.len()))?;
    refused_after(&broker, &mut witness, 0).await?;
    let ready = broker.readiness().await?.expect_status(503)?;
    assert_eq!(ready.body["store"], "unavailable", "{}", ready.body);
    broker.limit_files(None)?;
    back(&mut broker, &mut witness).await?;
    broker.readiness().await?.expect_status(200)?;
    witness.check(&site, &broker).await
}

pub(crate) async fn more_writes_than_may_wait_are_refused_and_leave_nothing(testbed: &Testbed) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let mut broker = site.start_armed("store-short-queue=always").await?;
    let users: Vec<String> = (0..CROWD).map(|number| format!("user-{number}")).collect();
    let mut witness = Witness::default();
    for user in &users {
        witness.keep(broker.exchange(user).await?)?;
    }
    // The writer waits for whoever has the file.
    let options = SqliteConnectOptions::new().filename(site.path("store/procura.sqlite"));
    let mut other = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
    let (refused, enough) = (Cell::new(0), Notify::new());
    let asks = users.iter().map(async |user| {
        let reply = broker.exchange(user).await?;
        if reply.status != 200 {
            refused.set(refused.get() + 1);
            if refused.get() == TOO_MANY {
                enough.notify_one();
            }
        }
        Ok::<_, Fault>(reply)
    });
    let release = async {
        // Shorter than the writer's patience, which ends in another refusal.
        let in_time = tokio::time::timeout(Duration::from_secs(3), enough.notified()).await;
        other.close().await?;
        Ok::<_, Fault>(in_time.map_err(|_| "nothing was refused while the writer waited")?)
    };
    let (replies, released) = futures_util::join!(join_all(asks), release);
    released?;
    for reply in replies {
        let reply = reply?;
        if reply.status == 200 {
            witness.keep(reply)?;
        } else {
            assert_eq!(unavailable(reply)?.text("reason"), "server.overloaded");
        }
    }
    back(&mut broker, &mut witness).await?;
    witness.check(&site, &broker).await?;
    let issued = broker.all("issuances").await?;
    let issued = issued.iter().filter(|record| record["outcome"] == "issued").count();
    assert_eq!(issued, witness.count());
    Ok(())
}

pub(crate) async fn a_stopped_store_refuses_and_is_forgotten_when_it_runs(testbed: &Testbed) -> Outcome {
    let mut server = Postgres::start(None)?;
    let store = Store::Postgres(server.empty().await?);
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &store).await?;
    let mut broker = site.start().await?;
    let mut witness = Witness::default();
    witness.keep(broker.exchange("alice").await?)?;
    server.stop()?;
    refused_after(&broker, &mut witness, 0).await?;
    server.resume()?;
    back(&mut broker, &mut witness).await?;
    witness.check(&site, &broker).await
}

pub(crate) async fn an_fsync_error_ends_the_process_and_the_next_one_recovers(testbed: &Testbed) -> Outcome {
    let postgres = testbed.postgres().await?;
    for store in [Store::Sqlite, Store::Postgres(postgres.empty().await?)] {
        let site = Site::new(testbed, postgres.target().await?, &store).await?;
        let mut witness = Witness::default();
        let mut broker = site.start_armed("store-fsync=error@9").await?;
        assert!(witness.until_dead(&mut broker, 1).await?, "it lives on");
        assert_eq!(broker.ended().await?.code(), Some(EXIT_STORE));
        let broker = site.start().await?;
        witness.check(&site, &broker).await?;
    }
    Ok(())
}

pub(crate) async fn a_source_that_is_away_breaks_only_the_target_that_needs_it(testbed: &Testbed) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let secret = fs::read_to_string(site.path("secrets/target"))?;
    fs::remove_file(site.path("secrets/target"))?;
    let mut broker = site.start().await?;
    let refused = unavailable(broker.exchange("alice").await?)?;
    assert_eq!(refused.text("reason"), "source.unavailable");
    broker
        .exchange_at("alice", "api", "read-tickets")
        .await?
        .expect_status(200)?;
    site.put_secret(&secret)?;
    let mut witness = Witness::default();
    back(&mut broker, &mut witness).await?;
    // What was read once is used for a while when the source goes away again.
    fs::remove_file(site.path("secrets/target"))?;
    witness.keep(broker.exchange("alice").await?)?;
    witness.check(&site, &broker).await
}

pub(crate) async fn the_last_good_value_of_a_source_serves_for_a_limited_time(testbed: &Testbed) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let mut broker = site.start_armed("source-short-last-good=always").await?;
    let mut witness = Witness::default();
    witness.keep(broker.exchange("alice").await?)?;
    let secret = fs::read_to_string(site.path("secrets/target"))?;
    fs::remove_file(site.path("secrets/target"))?;
    let refused = async {
        loop {
            let reply = broker.exchange("alice").await?;
            if reply.status != 200 {
                return unavailable(reply);
            }
            witness.keep(reply)?;
            tokio::time::sleep(LOOK).await;
        }
    };
    let refused = tokio::time::timeout(BACK, refused).await??;
    assert_eq!(refused.text("reason"), "source.unavailable");
    let other = broker.exchange_at("alice", "api", "read-tickets").await?;
    other.expect_status(200)?;
    site.put_secret(&secret)?;
    back(&mut broker, &mut witness).await?;
    witness.check(&site, &broker).await
}

/// Refused as a client that waits can be told.
fn unavailable(reply: Reply) -> Result<Reply, Fault> {
    let reply = reply.expect_status(503)?;
    assert!(reply.headers.contains_key("retry-after"), "{:?}", reply.headers);
    assert!(reply.body["access_token"].is_null(), "{}", reply.body);
    Ok(reply)
}

/// Refused at the latest after so many that succeed, for a credential at a target and for one made in memory.
async fn refused_after(broker: &Replica<'_>, witness: &mut Witness, most: u32) -> Outcome {
    for _ in 0..=most {
        let reply = broker.exchange("alice").await?;
        if reply.status != 200 {
            let other = broker.exchange_at("alice", "api", "read-tickets").await?;
            for refused in [reply, other] {
                assert_eq!(unavailable(refused)?.text("reason"), "audit.unavailable");
            }
            return Ok(());
        }
        witness.keep(reply)?;
    }
    Err("nothing was refused".into())
}

/// Serves again within a while, the same process.
async fn back(broker: &mut Replica<'_>, witness: &mut Witness) -> Outcome {
    let begun = tokio::time::Instant::now();
    loop {
        let reply = broker.exchange("alice").await?;
        if reply.status == 200 {
            assert!(!broker.is_over()?);
            return witness.keep(reply);
        }
        unavailable(reply)?;
        if begun.elapsed() > BACK {
            return Err(format!("does not serve again\n{}", broker.stderr()).into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Starts a broker whose store lies on a file system of a few MiB, which only its process sees and which ends with it.
async fn on_a_small_disk<'a>(site: &'a Site<'_>) -> Result<Replica<'a>, Fault> {
    let mut shell = Command::new("unshare");
    if !geteuid().is_root() {
        shell.arg("--map-root-user");
    }
    shell.args(["--mount", "sh"]);
    let store = site.path("store");
    let mount = format!("mount -t tmpfs -o size=4m,mode=700 tmpfs {}", store.display());
    let started = site.start_by(shell, &format!("{mount} && exec \"$@\"")).await;
    started.map_err(|fault| format!("{fault}\nroot, or user namespaces, may mount a file system").into())
}

fn fill(file: &Path) -> Outcome {
    let mut file = File::create(file)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}
