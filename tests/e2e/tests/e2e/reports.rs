//! `procura report`: what was exchanged is in it, who was erased is not, and a patch leaves a bundle that loads.

use std::{
    fs,
    process::{Command, Output, Stdio},
    time::Duration,
};

use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    harness::Outcome,
    http::{Reply, exchange},
};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

/// The record of an exchange, issued or refused.
async fn ask(broker: &Broker, grant: &str, tool: &str) -> Result<String, Fault> {
    let token = broker.subject_token().await?;
    let mut fields = exchange(&token, &broker.dev.audience, grant);
    fields.push(("tool", tool));
    Ok(broker.exchange(&fields).await?.text("issuance_id").to_owned())
}

/// One issued, one refused, and both counted.
async fn asked(broker: &Broker) -> Result<String, Fault> {
    let issued = ask(broker, "read-tickets", "list_tickets").await?;
    ask(broker, "write-tickets", "close_ticket").await?;
    counted(broker, 2).await?;
    Ok(issued)
}

async fn counted(broker: &Broker, records: u64) -> Outcome {
    for _ in 0..500 {
        let counted = &report(broker, "novel").await?.body["counted"];
        if counted["records"].as_u64() >= Some(records) && counted["behind"] == false {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the records are not counted".into())
}

async fn report(broker: &Broker, query: &str) -> Result<Reply, Fault> {
    broker.api(&format!("/reports/{query}")).await
}

fn command(testbed: &Testbed, launch: &Launch, arguments: &[&str]) -> Result<(Option<i32>, String), Fault> {
    let mut command = Command::new(testbed.broker());
    command.args(arguments).current_dir(launch.dir());
    let Output { status, stdout, stderr } = command.output()?;
    Ok((status.code(), String::from_utf8(stdout)? + &String::from_utf8(stderr)?))
}

fn names<'v>(list: &'v Value, member: &str) -> Vec<&'v str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item[member].as_str()).collect()
}

pub(crate) async fn exchanges_are_in_the_blast_radius_of_all_that_they_hang_on(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let issued = asked(&broker).await?;
    let leaf: Value = serde_json::from_str(broker.record(&issued).await?.text("leaf"))?;
    let (ours, theirs) = (&leaf["signing_key"], &leaf["token_key"]);
    let (ours, theirs) = (ours.as_str().ok_or("no key")?, theirs.as_str().ok_or("no key")?);

    let alice = report(&broker, "blast-radius?subject=dev/alice")
        .await?
        .expect_status(200)?
        .body;
    // The broker tries its own sample at the start.
    let all = alice["obtained"]["issued"].as_u64().unwrap_or_default();
    assert!(all > 0 && alice["obtained"]["refused"] == 1, "{alice}");
    assert_eq!(
        names(&alice["could"], "grant"),
        ["read-tickets"],
        "what sre may she cannot"
    );
    assert_eq!(alice["could"][0]["rules"][0], "support-reads-tickets");
    assert_eq!(alice["live"][0]["values"], all, "{alice}");
    assert_eq!(alice["worst"], alice["live"][0]["until"]);
    let session = alice["next"][0]["command"].as_str().unwrap_or_default();
    assert!(session.starts_with("procura session end "), "{session}");

    for (query, wanted) in [
        ("target=api".to_owned(), all),
        ("server=tickets".to_owned(), all),
        ("server=wiki".to_owned(), 0),
        ("issuer=dev".to_owned(), all),
        (format!("signing_key={ours}"), all),
        (format!("signing_key={theirs}"), all),
        ("signing_key=nobodys".to_owned(), 0),
        ("agent=dev/triage-bot".to_owned(), 0),
        ("target=api&since=2100-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let told = report(&broker, &format!("blast-radius?{query}"))
            .await?
            .expect_status(200)?
            .body;
        assert_eq!(told["obtained"]["issued"], wanted, "{query}: {told}");
    }
    let key_of = async |kid: &str| -> Result<Value, Fault> {
        let told = report(&broker, &format!("blast-radius?signing_key={kid}")).await?;
        Ok(told.body["key_of"].clone())
    };
    assert_eq!(key_of(ours).await?, serde_json::json!(["broker"]));
    assert_eq!(key_of(theirs).await?, serde_json::json!(["issuer:dev"]));
    assert_eq!(key_of("nobodys").await?, serde_json::json!([]));

    let (exit, text) = command(testbed, &launch, &["report", "blast-radius", "--subject", "dev/alice"])?;
    assert!(
        exit == Some(0) && text.contains("api/read-tickets") && text.contains("procura session end"),
        "{text}"
    );
    let novel = report(&broker, "novel").await?.body;
    let tool = novel["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["finding"] == "subject_tool");
    let tool = tool.ok_or("nothing is new")?;
    assert_eq!(
        (&tool["of"]["subject"], &tool["of"]["tool"]),
        (&"dev/alice".into(), &"list_tickets".into())
    );
    assert_eq!(tool["record"], issued.as_str());
    let (exit, text) = command(testbed, &launch, &["report", "novel"])?;
    assert!(
        exit == Some(0) && text.contains("subject dev/alice, server tickets, tool list_tickets"),
        "{text}"
    );
    Ok(())
}

pub(crate) async fn the_patch_of_what_is_not_used_leaves_a_bundle_that_loads(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    asked(&broker).await?;
    let unused = report(&broker, "unused?days=7").await?.expect_status(200)?.body;
    let patched: Vec<&str> = unused["idle"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|idle| idle["in_patch"] == true)
        .filter_map(|idle| idle["name"].as_str())
        .collect();
    for name in [
        "sre-works-on-tickets",
        "tickets/delete_ticket",
        "api/delete-tickets",
        "wiki",
    ] {
        assert!(patched.contains(&name), "{name}: {unused}");
    }
    assert!(
        !patched.contains(&"no-agent-destroys") && !patched.contains(&"api/write-tickets"),
        "{unused}"
    );
    let (exit, patch) = command(testbed, &launch, &["report", "unused", "--days", "7", "--patch"])?;
    assert_eq!((exit, Some(patch.as_str())), (Some(0), unused["patch"].as_str()));
    let bundle = launch.dir().join("policies/dev");
    fs::write(launch.dir().join("unused.patch"), &patch)?;
    let mut git = Command::new("git");
    git.args(["apply", "../../unused.patch"])
        .current_dir(&bundle)
        .stdout(Stdio::null());
    git.env("GIT_CEILING_DIRECTORIES", launch.dir());
    assert!(git.status()?.success(), "{patch}");
    let (exit, text) = command(testbed, &launch, &["policy", "check"])?;
    assert_eq!(exit, Some(0), "{text}");
    for _ in 0..250 {
        if report(&broker, "unused?days=7").await?.body["patch"] == "" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let again = report(&broker, "unused?days=7").await?.body;
    assert_eq!(again["patch"], "", "{again}");
    // What was used goes on.
    let reply = broker
        .record(&ask(&broker, "read-tickets", "list_tickets").await?)
        .await?;
    assert_eq!(reply.text("outcome"), "issued");
    Ok(())
}

pub(crate) async fn an_erased_subject_is_in_no_report(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    asked(&broker).await?;
    let before = report(&broker, "blast-radius?target=api").await?.body;
    assert_eq!(names(&before["obtained"]["by_subject"], "what"), ["dev/alice"]);
    let options = SqliteConnectOptions::new().filename(launch.dir().join(".procura/store.sqlite"));
    let mut store = SqliteConnection::connect_with(&options).await?;
    let erased = sqlx::query("DELETE FROM side").execute(&mut store).await?;
    assert!(erased.rows_affected() >= 2);
    let after = report(&broker, "blast-radius?target=api").await?.body;
    assert_eq!(after["obtained"]["issued"], before["obtained"]["issued"], "counts stay");
    assert!(!after["obtained"].to_string().contains("alice"), "{after}");
    let alice = report(&broker, "blast-radius?subject=dev/alice").await?.body;
    assert_eq!(alice["obtained"]["issued"], 0);
    let novel = report(&broker, "novel").await?.body;
    assert!(!novel.to_string().contains("alice"), "{novel}");
    Ok(())
}

pub(crate) async fn a_reader_of_one_target_is_told_of_that_one(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    asked(&broker).await?;
    let rule = launch.dir().join("policies/dev/rules/operators.cedar");
    let only = |target: &str| {
        format!(
            "@id(\"reader\")\npermit (principal == User::\"dev/operator\", action == Action::\"read_log\", resource == \
             Target::\"{target}\");\n"
        )
    };
    fs::write(&rule, only("api"))?;
    for _ in 0..250 {
        if report(&broker, "unused").await?.status == 403 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    report(&broker, "unused").await?.expect_status(403)?;
    report(&broker, "blast-radius?target=other").await?.expect_status(403)?;
    let told = report(&broker, "blast-radius?subject=dev/alice")
        .await?
        .expect_status(200)?
        .body;
    assert!(
        told["obtained"]["issued"].as_u64() > Some(0) && told["live"][0]["target"] == "api",
        "{told}"
    );
    assert!(
        !told["next"].to_string().contains("session end"),
        "sessions are for readers of all: {told}"
    );
    let novel = report(&broker, "novel").await?.expect_status(200)?.body;
    assert!(
        novel["counted"]["records"].is_null() && novel["counted"]["at"].is_null(),
        "{novel}"
    );

    // A second target, of which alone the reader may know.
    let targets = launch.dir().join("policies/dev/targets");
    let api = fs::read_to_string(targets.join("api.toml"))?;
    fs::write(
        targets.join("other.toml"),
        api.replace("https://api.example/v1", "https://other.example"),
    )?;
    fs::write(&rule, only("other"))?;
    let mut told = Value::Null;
    for _ in 0..250 {
        let reply = report(&broker, "blast-radius?subject=dev/alice").await?;
        told = reply.body;
        if told["obtained"]["issued"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told["obtained"]["issued"], 0, "{told}");
    for member in ["could", "live"] {
        assert_eq!(told[member], serde_json::json!([]), "{member}");
    }
    let novel = report(&broker, "novel").await?.expect_status(200)?.body;
    assert_eq!(novel["findings"], serde_json::json!([]));
    report(&broker, "blast-radius?target=api").await?.expect_status(403)?;
    // A subject's token is no reader's.
    let url = format!("{}/reports/novel", broker.dev.api);
    let stranger = broker
        .http
        .get(&url)
        .bearer_auth(broker.subject_token().await?)
        .send()
        .await?;
    assert_eq!(stranger.status(), 401);
    Ok(())
}
