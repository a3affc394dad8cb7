//! The PostgreSQL server that `procura dev` starts by itself.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use procura_contract::postgres::installed;
use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    database::query,
    harness::Outcome,
    http::exchange,
};
use serde_json::Value;

const OWNERS: &str = "SELECT DISTINCT owner FROM support.tickets";

/// A broker that finds the programs. Run as root, the server's user must get to the folder.
fn launch(testbed: &Testbed) -> Result<Launch, Fault> {
    let launch = testbed.dev()?.env("PATH", installed()?.to_string_lossy());
    fs::set_permissions(launch.dir(), fs::Permissions::from_mode(0o755))?;
    Ok(launch)
}

/// A log-in to the sample database.
async fn log_in(broker: &Broker) -> Result<String, Fault> {
    let token = broker.subject_token().await?;
    let reply = broker.exchange(&exchange(&token, "tickets-db", "read-rows")).await?;
    let document: Value = serde_json::from_str(reply.expect_status(200)?.text("access_token"))?;
    Ok(document["url"].as_str().unwrap_or_default().to_owned())
}

/// Waits until nobody listens there any more.
async fn gone(url: &str) -> Outcome {
    let address = url.split('@').nth(1).and_then(|rest| rest.split('/').next());
    let address = address.ok_or("no address in the URL")?;
    for _ in 0..500 {
        if tokio::net::TcpStream::connect(address).await.is_err() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("{address} is still there").into())
}

pub(crate) async fn a_server_of_its_own_comes_and_goes_with_the_broker(testbed: &Testbed) -> Outcome {
    let launch = launch(testbed)?;
    let broker = launch.start().await?;
    let url = log_in(&broker).await?;
    assert!(url.contains("@127.0.0.1:"), "{url}");
    assert_eq!(query(&url, OWNERS).await?, ["dev/alice"]);
    assert!(launch.dir().join(".procura/postgres/data/PG_VERSION").exists());

    broker.kill().await?;
    gone(&url).await?;

    let broker = launch.start().await?;
    assert_eq!(
        query(&url, OWNERS).await?,
        ["dev/alice"],
        "the same server with the same log-ins"
    );
    broker.stop().await?;
    assert!(gone(&url).await.is_ok());
    assert!(
        !launch.dir().join(".procura/postgres/data/postmaster.pid").exists(),
        "an orderly end"
    );
    Ok(())
}

pub(crate) async fn without_the_programs_it_runs_without_a_database_and_says_how(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let mut printed = String::new();
    for _ in 0..250 {
        printed = fs::read_to_string(launch.dir().join("stdout"))?;
        if printed.contains("on PATH") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        printed.contains("(initdb, postgres) on PATH, or --postgres URL"),
        "{printed}"
    );
    assert!(launch.dir().join("policies/dev").exists() && !launch.dir().join(".procura/postgres").exists());
    broker.stop().await?;
    Ok(())
}
