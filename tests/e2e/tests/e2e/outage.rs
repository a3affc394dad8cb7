//! What the broker needs goes away: it answers 503, releases nothing, and goes on by itself when it is back.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use procura_e2e::{
    Fault, Testbed,
    database::Postgres,
    harness::Outcome,
    http::Reply,
    serve::{Replica, Site, Store},
};

use crate::witness::Witness;

const BACK: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
/// Exchanges after which a full disk must have been noticed: what the store has on disk already is used first.
const UNTIL_FULL: u32 = 300;
/// `EX_IOERR`
const EXIT_STORE: i32 = 74;

pub(crate) async fn a_full_disk_refuses_and_is_forgotten_when_there_is_space(testbed: &Testbed) -> Outcome {
    let site = Site::new(testbed, testbed.postgres().await?.target().await?, &Store::Sqlite).await?;
    let disk = SmallDisk::mount(site.path("store"))?;
    let mut broker = site.start().await?;
    let mut witness = Witness::default();
    witness.keep(broker.exchange("alice").await?)?;
    disk.fill()?;
    refused_after(&broker, &mut witness, UNTIL_FULL).await?;
    disk.empty()?;
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
            unavailable(reply)?;
            return unavailable(broker.exchange_at("alice", "api", "read-tickets").await?).map(drop);
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

/// A file system of a few MiB in memory, mounted on a folder until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> Result<Self, Fault> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs"])
            .arg(&folder);
        match mount.status()?.success() {
            true => Ok(Self(folder)),
            false => Err("cannot mount a file system for the test: it wants root".into()),
        }
    }

    fn fill(&self) -> Outcome {
        let mut file = File::create(self.0.join("filler"))?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    fn empty(&self) -> Outcome {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
