//! Questions to the log, by command and by API, on either engine; who may ask what; following it.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    time::Duration,
};

use procura_e2e::{
    Fault, Testbed,
    broker::Broker,
    harness::Outcome,
    http::{exchange, trusting},
    serve::{Replica, Site, Store},
};
use serde_json::{Value, json};

/// Longer than a look at the log, shorter than the time after which connections are cut off.
const SOON: Duration = Duration::from_secs(8);

/// Who is in one of the two groups is no operator; support reads what was issued at the database.
const EXCEPT: &str = r#"resource
)
unless { principal in Group::"dev/sre" || principal in Group::"dev/support" };

@id("database-reader")
permit (principal in Group::"dev/support", action == Action::"read_log", resource == Target::"tickets-db");
"#;

/// What was asked for: two log-ins to the database, a token, and a grant that nobody gets.
async fn history(broker: &Replica<'_>) -> Result<[String; 3], Fault> {
    let rows = broker.exchange("alice").await?.expect_status(200)?;
    broker.exchange("bob").await?.expect_status(200)?;
    let token = broker
        .exchange_at("alice", "api", "read-tickets")
        .await?
        .expect_status(200)?;
    broker
        .exchange_at("alice", "api", "delete-tickets")
        .await?
        .expect_status(400)?;
    Ok([
        rows.text("issuance_id"),
        token.text("issuance_id"),
        rows.text("session"),
    ]
    .map(str::to_owned))
}

async fn site<'a>(testbed: &'a Testbed, store: &Store) -> Result<Site<'a>, Fault> {
    let mut site = Site::new(testbed, testbed.postgres().await?.target().await?, store).await?;
    site.speak_tls()?;
    Ok(site)
}

fn encoded(q: &str) -> String {
    q.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn listed(page: &Value) -> Vec<&str> {
    let records = page["issuances"].as_array().into_iter().flatten();
    records.filter_map(|record| record["id"].as_str()).collect()
}

pub(crate) async fn a_question_finds_the_same_by_command_and_api_on_both_engines(testbed: &Testbed) -> Outcome {
    for store in [Store::Sqlite, Store::Postgres(testbed.postgres().await?.empty().await?)] {
        let site = site(testbed, &store).await?;
        let broker = site.start().await?;
        let [rows, token, session] = history(&broker).await?;
        for (q, count) in [
            ("", 4),
            ("subject = dev/alice and outcome = issued", 2),
            ("target = tickets-db", 2),
            ("issuer = dev and outcome = issued", 3),
            ("at >= -1h and not outcome = issued", 1),
            ("grant = read-rows and until > -0s and kind = postgres", 2),
            ("server = tickets and target in (api, nowhere)", 2),
            ("subject = dev/* and subject != dev/bob", 3),
            ("at < -1h", 0),
            ("tool = \"%\"", 0),
            ("tool = \"x' OR 1=1 --\"", 0),
            ("subject = \"dev/alice' OR '1'='1\"", 0),
            ("tool = \"x\"*", 0),
        ] {
            let page = broker
                .api(&format!("/issuances?q={}", encoded(q)))
                .await?
                .expect_status(200)?;
            assert_eq!(listed(&page.body).len(), count, "{q}: {}", page.body);
            assert_eq!(
                (&page.body["next"], &page.body["targets"]),
                (&Value::Null, &Value::Null)
            );
            let told = site.procura(&["log", "list", q, "--json"], "")?.json(0)?;
            assert_eq!(listed(&told), listed(&page.body), "{q}");
            let lines = site.procura(&["log", "list", q, "--jsonl"], "")?.stdout;
            assert_eq!(lines.lines().count(), count, "{q}: {lines}");
        }
        let ids = broker
            .api(&format!(
                "/issuances?q={}",
                encoded(&format!("id in ({rows}, {token})"))
            ))
            .await?;
        assert_eq!(listed(&ids.body), [token.as_str(), rows.as_str()]);
        let csv = site.procura(&["log", "list", "--csv", "--limit", "3"], "")?.stdout;
        assert!(
            csv.starts_with("at,id,event,outcome,") && csv.matches("\r\n").count() == 4,
            "{csv}"
        );
        for (q, says) in [
            ("subjct = x", "did you mean subject?"),
            ("tool = (", "character 8"),
            ("'; DROP TABLE record", "character 1"),
        ] {
            let refused = broker
                .api(&format!("/issuances?q={}", encoded(q)))
                .await?
                .expect_status(400)?;
            assert!(refused.text("error_description").contains(says), "{}", refused.body);
            assert_eq!(refused.text("reason"), "param.malformed");
            let told = site.procura(&["log", "list", q], "")?;
            assert!(told.code == Some(1) && told.stderr.contains(says), "{told:?}");
        }
        broker.end_session(&session).await?.expect_status(200)?;
        let told = site.procura(&["session", "show", &session], "")?.stdout;
        for says in [
            "what happened",
            "opened",
            "tickets-db: read-rows",
            "gone, revoked ",
            "ended by operator, dev/operator",
        ] {
            assert!(told.contains(says), "{says}: {told}");
        }
    }
    Ok(())
}

/// Role by endpoint: who reads everything, who reads one target, who reads nothing.
pub(crate) async fn a_reader_of_one_target_is_told_of_no_other(testbed: &Testbed) -> Outcome {
    let site = site(testbed, &Store::Sqlite).await?;
    fs::remove_dir_all(site.path("policies/tests"))?;
    site.amend("policies/rules/operators.cedar", |text| {
        text.replace("resource\n);\n", EXCEPT)
    })?;
    site.seal()?;
    let broker = site.start().await?;
    let [rows, token, _] = history(&broker).await?;
    let reader = |groups: &[&str]| site.operator_with(json!({ "groups": groups }));
    let one = reader(&["support"])?;
    let get = async |path: &str, token: &str| broker.api_as(path, &format!("Bearer {token}"), None).await;
    for path in [
        "",
        "&target=tickets-db",
        "&q=target+%3D+api+or+not+target+%3D+api",
        "&q=subject+%3D+*",
    ] {
        let page = get(&format!("/issuances?limit=9{path}"), &one)
            .await?
            .expect_status(200)?;
        assert_eq!(listed(&page.body).len(), 2, "{path}: {}", page.body);
        assert_eq!(page.body["targets"], json!(["tickets-db"]));
    }
    for q in [
        "outcome = refused",
        "grant = read-tickets",
        &format!("id = {token}"),
        "not target = *",
    ] {
        let page = get(&format!("/issuances?q={}", encoded(q)), &one)
            .await?
            .expect_status(200)?;
        assert_eq!((listed(&page.body).len(), &page.body["next"]), (0, &Value::Null), "{q}");
    }
    let nothing = reader(&["sre"])?;
    for (path, all, of_one, of_none) in [
        ("/issuances", 200, 200, 403),
        ("/issuances?target=tickets-db", 200, 200, 403),
        ("/issuances?target=api", 200, 403, 403),
        ("/issuances?q=target+%3D+api", 200, 403, 403),
        ("/issuances?format=csv", 200, 200, 403),
        ("/issuances?format=csv&target=api", 200, 403, 403),
        ("/issuances?format=jsonl", 200, 200, 403),
        ("/issuances?q=nonsense", 400, 400, 403),
        ("/issuances/stream?target=api", 0, 403, 403),
        ("/issuances/stream?q=nonsense", 400, 400, 403),
        (&format!("/issuances/{rows}"), 200, 200, 403),
        (&format!("/issuances/{token}"), 200, 403, 403),
        ("/sessions", 200, 403, 403),
    ] {
        for (token, status) in [(&reader(&[])?, all), (&one, of_one), (&nothing, of_none)] {
            if status != 0 {
                assert_eq!(get(path, token).await?.status, status, "{path}");
            }
        }
    }
    let authority = site.authority.as_ref().ok_or("it speaks TLS")?;
    let url = format!("{}/v1/issuances?format=csv", site.identifier);
    let csv = trusting(&authority.certificate)?
        .get(url)
        .bearer_auth(&one)
        .send()
        .await?
        .text()
        .await?;
    assert!(csv.lines().count() == 3 && !csv.contains(&token), "{csv}");
    Ok(())
}

/// Who follows one target sees its records in the order of the tree, goes on behind one of them, and cannot go on behind
/// one of another target, or tell it from one that does not exist.
pub(crate) async fn a_reader_of_one_target_follows_no_other(testbed: &Testbed) -> Outcome {
    let site = site(testbed, &Store::Sqlite).await?;
    fs::remove_dir_all(site.path("policies/tests"))?;
    site.amend("policies/rules/operators.cedar", |text| {
        text.replace("resource\n);\n", EXCEPT)
    })?;
    site.seal()?;
    let broker = site.start().await?;
    let [rows, token, _] = history(&broker).await?;
    super::log::published(&broker, 4).await?;
    let http = trusting(&site.authority.as_ref().ok_or("it speaks TLS")?.certificate)?;
    let reader = site.operator_with(json!({ "groups": ["support"] }))?;
    let follow = async |last: &str| {
        let request = http.get(format!("{}/v1/issuances/stream", site.identifier));
        let request = request.bearer_auth(&reader).header("Last-Event-ID", last);
        Ok::<_, Fault>(request.send().await?)
    };
    for hidden in [token.as_str(), "01890a5d-ac96-774b-bcce-b302099a8057"] {
        let refused = follow(hidden).await?;
        assert_eq!(refused.status(), 404);
        let body: Value = serde_json::from_str(&refused.text().await?)?;
        assert_eq!(body["reason"], "v1.not_found");
    }
    let mut followed = follow(&rows).await?;
    assert_eq!(followed.status(), 200);
    broker
        .exchange_at("alice", "api", "read-tickets")
        .await?
        .expect_status(200)?;
    let last = broker.exchange("alice").await?.expect_status(200)?;
    let last = format!("id: {}\n", last.text("issuance_id"));
    let mut text = String::new();
    let read = async {
        while !text.contains(&last) {
            let piece = followed.chunk().await?.ok_or("it ended")?;
            text.push_str(std::str::from_utf8(&piece)?);
        }
        Ok::<_, Fault>(())
    };
    tokio::time::timeout(Duration::from_secs(60), read).await??;
    assert_eq!(text.matches("\ndata: ").count(), 2, "bob's, and the last: {text}");
    assert!(
        !text.contains("index") && !text.contains(&token),
        "nothing tells of others: {text}"
    );
    drop(followed);
    broker.kill().await
}

pub(crate) async fn whoever_follows_the_log_sees_each_record_and_holds_up_no_end(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let before = ask(&broker, "read-tickets").await?;
    let shown = launch.dir().join("shown");
    let mut tail = Command::new(testbed.broker())
        .args(["log", "tail", "target = api and not outcome = refused", "--json"])
        .current_dir(launch.dir())
        .stdout(File::create(&shown)?)
        .stderr(Stdio::null())
        .spawn()?;
    // It follows from some moment on: until the first record is shown, more are made.
    let mut made = Vec::new();
    let read = || fs::read_to_string(&shown);
    let followed = async {
        while read()?.is_empty() {
            made.push(ask(&broker, "read-tickets").await?);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        ask(&broker, "delete-tickets").await?;
        let last = ask(&broker, "read-tickets").await?;
        made.push(last.clone());
        while !read()?.contains(&last) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<_, Fault>(())
    };
    let followed = tokio::time::timeout(Duration::from_secs(60), followed).await;
    let stopped = tokio::time::timeout(SOON, broker.stop()).await;
    tail.kill()?;
    tail.wait()?;
    followed??;
    assert!(stopped??.success(), "a follower holds up no end");
    let text = read()?;
    let records: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ids: Vec<&str> = records.iter().filter_map(|record| record["id"].as_str()).collect();
    let first = made
        .iter()
        .position(|id| id == ids[0])
        .ok_or("of those that were made")?;
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, made[first..], "each once, without what does not pass");
    assert!(!text.contains(&before));
    Ok(())
}

async fn ask(broker: &Broker, grant: &str) -> Result<String, Fault> {
    let token = broker.subject_token().await?;
    let fields = exchange(&token, &broker.dev.audience, grant);
    Ok(broker.exchange(&fields).await?.text("issuance_id").to_owned())
}
