//! The whole way: a Keycloak user's token, a real MCP client, the example server, the broker, and a row of
//! PostgreSQL that only this user may see.

use std::{fs, path::Path, time::Duration};

use procura_e2e::{
    Fault, Testbed,
    broker::Broker,
    database::query,
    harness::Outcome,
    http::{self, Reply, exchange},
    keycloak::{ALICE, BOB, Keycloak, RESOURCE},
    mcp::{Called, McpClient, TicketsServer},
};
use procura_wire::Digest;
use serde_json::{Value, json};

const AGENT: &str = "keycloak/desk-agent";
const RULE: &str = "keycloak-people-read-own-rows";

/// What is added to the bundle of `procura dev --postgres` for people and the agent that Keycloak knows.
fn additions(keycloak: &Keycloak) -> [(&'static str, String); 3] {
    let issuer = format!(
        r#"issuer = "{}"
algorithms = ["ES256"]
token_types = ["JWT"]
extra_audiences = ["account"]
actor_from = "azp"
groups = {{ claim = "groups", allow = ["support", "sre"] }}
"#,
        keycloak.issuer
    );
    let agent = r#"issuer = "keycloak"
sub = "desk-agent"
client_id = "agent"
owner = "support@example.com"
"#;
    let rules = format!(
        r#"@id("{RULE}")
permit (principal, action == Action::"tickets-db/read-rows", resource == Target::"tickets-db")
when {{ principal in Group::"keycloak/support" || principal in Group::"keycloak/sre" }};

@id("keycloak-support-lists-tickets")
permit (
    principal in Group::"keycloak/support",
    action == Action::"api/read-tickets",
    resource == Target::"api"
);
"#
    );
    [
        ("agents/desk-agent.toml", agent.to_owned()),
        ("rules/keycloak.cedar", rules),
        ("issuers/keycloak.toml", issuer),
    ]
}

/// Everything that takes part, besides the clients.
struct Stage<'a> {
    testbed: &'a Testbed,
    keycloak: &'a Keycloak,
    broker: Broker,
    server: TicketsServer,
    /// The sample database, by a superuser's URL.
    database: String,
}

impl<'a> Stage<'a> {
    async fn set(testbed: &'a Testbed) -> Result<Self, Fault> {
        let keycloak = testbed.keycloak().await?;
        let superuser = testbed.postgres().await?.empty().await?;
        let launch = testbed.dev()?.arg("--postgres").arg(&superuser);
        let broker = launch.start().await?;
        amend(&launch.dir().join(".procura/dev-postgres"), &broker, keycloak).await?;
        let (server, _) = superuser.rsplit_once('/').ok_or("no URL")?;
        let database = format!("{server}/procura_demo");
        let rows = format!(
            "INSERT INTO support.tickets (id, owner, title)
             VALUES (11, 'keycloak/{ALICE}', 'The printer of Alice'), (12, 'keycloak/{ALICE}', 'Her chair'),
                    (13, 'keycloak/{BOB}', 'The printer of Bob')
             ON CONFLICT DO NOTHING"
        );
        query(&database, &rows).await?;
        let settings = json!({
            "listen": "127.0.0.1:0",
            "origin": RESOURCE.trim_end_matches("/mcp"),
            "authorization_server": keycloak.issuer,
            "broker": broker.dev.issuer,
            "client_id": broker.dev.client_id,
            "client_secret": broker.dev.client_secret,
            "api_audience": "https://api.example/v1",
        });
        Ok(Self {
            server: testbed.tickets_server(&settings).await?,
            testbed,
            keycloak,
            broker,
            database,
        })
    }

    async fn call(&self, client: McpClient, token: &str, calls: &[(&str, Value)]) -> Result<Called, Fault> {
        client.call(self.testbed, &self.server, token, calls).await
    }

    /// The records of a listing, newest first.
    async fn records(&self, query: &str) -> Result<Vec<Value>, Fault> {
        let reply = self
            .broker
            .api(&format!("/issuances?{query}"))
            .await?
            .expect_status(200)?;
        Ok(reply.body["issuances"].as_array().cloned().unwrap_or_default())
    }

    /// The one credential that a user's calls of `read_rows` led to.
    async fn issuance(&self, user: &str) -> Result<Value, Fault> {
        let query = format!("event=exchange&outcome=issued&tool=read_rows&subject=keycloak/{user}");
        let found = self.records(&query).await?;
        assert_eq!(found.len(), 1, "{found:?}");
        Ok(found[0].clone())
    }
}

/// Adds to the bundle while the broker runs, and waits until it is in force.
async fn amend(bundle: &Path, broker: &Broker, keycloak: &Keycloak) -> Result<(), Fault> {
    for (file, text) in additions(keycloak) {
        fs::write(bundle.join(file), text)?;
    }
    for _ in 0..500 {
        if broker.stderr().contains("bundle in force") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("the bundle was not loaded:\n{}", broker.stderr()).into())
}

fn titles(text: &str) -> Result<Vec<String>, Fault> {
    let rows: Vec<Value> = serde_json::from_str(text).map_err(|_| text.to_owned())?;
    Ok(rows
        .iter()
        .map(|row| row["title"].as_str().unwrap_or_default().to_owned())
        .collect())
}

pub(crate) async fn every_client_reaches_the_rows_that_only_its_user_may_see(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed).await?;
    for (client, protocol) in [
        (McpClient::Npm, "2026-07-28"),
        (McpClient::NpmSdk, "2025-11-25"),
        (McpClient::Python, "2026-07-28"),
    ] {
        let token = stage.keycloak.user_token("alice").await?;
        let calls = [("read_rows", json!({})), ("list_tickets", json!({}))];
        let called = stage.call(client, &token, &calls).await?;
        assert_eq!(called.protocol, protocol, "{client:?}");
        let [rows, tickets] = &called.results[..] else {
            return Err(format!("{called:?}").into());
        };
        assert_eq!(titles(&rows.text)?, ["The printer of Alice", "Her chair"]);
        let tickets: Value = serde_json::from_str(&tickets.text).map_err(|_| tickets.text.clone())?;
        assert_eq!(tickets["user"], format!("keycloak/{ALICE}"));
        assert_eq!(
            (&tickets["through"], &tickets["actor"]),
            (&json!("tickets"), &json!("desk-agent"))
        );

        let token = stage.keycloak.user_token("bob").await?;
        let called = stage.call(client, &token, &calls).await?;
        assert_eq!(titles(&called.results[0].text)?, ["The printer of Bob"]);
        let refused = &called.results[1];
        assert!(refused.error, "{refused:?}");
        assert!(
            refused
                .text
                .starts_with("403 forbidden: invalid_scope (grant.not_permitted)"),
            "{refused:?}"
        );
    }
    Ok(())
}

pub(crate) async fn the_mcp_server_wants_a_token_and_says_from_whom(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed).await?;
    let http = http::client()?;
    let reply = http::send(http.post(&stage.server.url).json(&json!({})))
        .await?
        .expect_status(401)?;
    let metadata = format!(
        "{}/.well-known/oauth-protected-resource/mcp",
        RESOURCE.trim_end_matches("/mcp")
    );
    assert_eq!(
        reply.headers["www-authenticate"],
        format!("Bearer resource_metadata=\"{metadata}\"")
    );
    let url = stage
        .server
        .url
        .replace("/mcp", "/.well-known/oauth-protected-resource/mcp");
    let reply = http::get(&http, &url, None).await?.expect_status(200)?;
    assert_eq!(reply.body["resource"], RESOURCE);
    assert_eq!(reply.body["authorization_servers"], json!([stage.keycloak.issuer]));

    let called = stage
        .call(McpClient::Npm, "no.such.token", &[("read_rows", json!({}))])
        .await?;
    assert!(called.results[0].error);
    assert!(
        called.results[0]
            .text
            .starts_with("403 forbidden: invalid_request (jwt."),
        "{called:?}"
    );
    Ok(())
}

/// What both the record of an issuance and that of a use of it must name.
fn names_everything(record: &Value, bundle: &str) -> Result<Value, Fault> {
    assert_eq!(record["subject"], format!("keycloak/{ALICE}"));
    assert_eq!(record["actor"], AGENT);
    assert_eq!(
        (&record["server"], &record["tool"]),
        (&json!("tickets"), &json!("read_rows"))
    );
    assert_eq!(
        (&record["target"], &record["grants"]),
        (&json!("tickets-db"), &json!(["read-rows"]))
    );
    let leaf: Value = serde_json::from_str(record["leaf"].as_str().ok_or("no leaf")?)?;
    assert_eq!(leaf["actor_asserted_by"], "azp");
    assert_eq!(
        (&leaf["server"], &leaf["tool"]),
        (&json!("tickets"), &json!("read_rows"))
    );
    assert!(leaf["tool_call"].is_string(), "{leaf}");
    assert_eq!(leaf["rules"], json!([RULE]));
    assert_eq!(leaf["bundle"], bundle);
    Ok(leaf)
}

pub(crate) async fn the_log_names_everything_for_the_first_call_and_for_cached_ones(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed).await?;
    let token = stage.keycloak.user_token("alice").await?;
    let arguments = json!({"contains": "printer"});
    let calls = [("read_rows", arguments.clone()), ("read_rows", arguments.clone())];
    let called = stage.call(McpClient::Python, &token, &calls).await?;
    assert!(called.results.iter().all(|result| !result.error), "{called:?}");
    let log = stage.broker.stderr();
    let (_, bundle) = log.rsplit_once("digest=").ok_or("no digest")?;
    let bundle = &bundle[..64];

    let issuance = stage.issuance(ALICE).await?;
    let first = names_everything(&issuance, bundle)?;
    // What is not reported yet is reported when the server stops.
    assert!(stage.server.stop().await?.success());
    let uses = format!("/issuances?event=use&about={}", issuance["id"].as_str().ok_or("no id")?);
    let reply = stage.broker.api(&uses).await?.expect_status(200)?;
    let [reported] = &reply.body["issuances"].as_array().ok_or("no list")?[..] else {
        return Err(format!("not one use: {}", reply.body).into());
    };
    assert_eq!(reported["outcome"], "reported");
    let cached = names_everything(reported, bundle)?;
    assert_ne!(first["tool_call"], cached["tool_call"]);
    let used = &cached["used"];
    assert_eq!(
        (&used["outcome"], &used["result_bytes"]),
        (&json!("ok"), &json!(called.results[1].text.len()))
    );
    assert_eq!(
        used["arguments_sha256"],
        Digest::of(arguments.to_string().as_bytes()).to_string()
    );
    Ok(())
}

/// Gives every setting of the session every value that could matter, and counts rows of others each time.
const SET_EVERYTHING: &str = r"
DO $$
DECLARE
    it record;
    value text;
    seen int;
    tried int := 0;
    leaks text := '';
BEGIN
    FOR it IN
        SELECT name, coalesce(enumvals, ARRAY['on', 'off', min_val, max_val, 'OTHER', '']) AS candidates
        FROM pg_settings WHERE context IN ('user', 'superuser') AND name <> 'exit_on_error'
        UNION ALL VALUES
            ('role', ARRAY['support_reader', 'procura_dev', 'procura_left', 'none']),
            ('session_authorization', ARRAY['postgres', 'procura_dev', 'support_reader']),
            ('search_path', ARRAY['pg_temp, support', 'procura']),
            ('procura.subject', ARRAY['OTHER']), ('procura.administrator', ARRAY['OTHER'])
    LOOP
        FOREACH value IN ARRAY it.candidates LOOP
            BEGIN
                PERFORM set_config(it.name, value, true);
                tried := tried + 1;
                SELECT count(*) INTO seen FROM support.tickets WHERE owner <> 'OWN';
                IF seen > 0 THEN leaks := leaks || it.name || '=' || value || ' '; END IF;
                RAISE 'back to what it was';
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
    END LOOP;
    PERFORM set_config('seen.leaks', leaks, false), set_config('seen.tried', tried::text, false);
END
$$;
SELECT current_setting('seen.leaks') || 'leaks', current_setting('seen.tried')::int > 200;
SET exit_on_error = on; -- left out above: it makes the way back the end
SELECT owner FROM support.tickets";

pub(crate) async fn no_setting_of_a_session_shows_it_the_rows_of_others(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed).await?;
    let token = stage.keycloak.user_token("alice").await?;
    let credential = log_in(&stage.broker, &token).await?;
    let (own, other) = (format!("keycloak/{ALICE}"), format!("keycloak/{BOB}"));
    let script = SET_EVERYTHING
        .replace("OWN", &own)
        .replace("OTHER'", &format!("{other}'"));
    let lines = query(credential["url"].as_str().ok_or("no url")?, &script).await?;
    assert_eq!(lines, ["leaks|t", own.as_str(), own.as_str()]);
    let all = query(&stage.database, "SELECT count(*) > 3 FROM support.tickets").await?;
    assert_eq!(all, ["t"], "there are others");
    Ok(())
}

/// Asks for a log-in as the MCP server does; answers the credential document.
async fn log_in(broker: &Broker, token: &str) -> Result<Value, Fault> {
    let reply = ask(broker, token).await?.expect_status(200)?;
    Ok(serde_json::from_str(reply.text("access_token"))?)
}

async fn ask(broker: &Broker, token: &str) -> Result<Reply, Fault> {
    let mut fields = exchange(token, "tickets-db", "read-rows");
    fields.push(("requested_token_type", "urn:procura:token-type:postgres"));
    fields.push(("tool", "read_rows"));
    broker.exchange(&fields).await
}

pub(crate) async fn the_end_of_a_session_ends_role_connection_and_subject_token(testbed: &Testbed) -> Outcome {
    let stage = Stage::set(testbed).await?;
    let token = stage.keycloak.user_token("alice").await?;
    let call = [("read_rows", json!({}))];
    let called = stage.call(McpClient::NpmSdk, &token, &call).await?;
    assert!(!called.results[0].error, "{called:?}");
    let issuance = stage.issuance(ALICE).await?;
    let leaf: Value = serde_json::from_str(issuance["leaf"].as_str().unwrap_or_default())?;
    let role = leaf["handle"].as_str().ok_or("no handle")?;
    let there = format!(
        "SELECT (SELECT count(*) FROM pg_roles WHERE rolname = '{role}'),
                (SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}')"
    );
    assert_eq!(
        query(&stage.database, &there).await?,
        ["1|1"],
        "a role with an open connection"
    );

    let broker = &stage.broker;
    let session = issuance["session"].as_str().ok_or("no session")?;
    let end = broker.http.delete(format!("{}/sessions/{session}", broker.dev.api));
    let report = http::send(end.bearer_auth(&broker.dev.operator_token))
        .await?
        .expect_status(200)?;
    assert_eq!(report.body["credentials"][0]["status"], "done", "{}", report.body);
    assert_eq!(query(&stage.database, &there).await?, ["0|0"]);

    let called = stage
        .call(McpClient::NpmSdk, &token, &[call[0].clone(), call[0].clone()])
        .await?;
    let [broken, refused] = &called.results[..] else {
        return Err(format!("{called:?}").into());
    };
    assert!(
        broken.error && broken.text.starts_with("the database ended the connection"),
        "{broken:?}"
    );
    assert!(
        refused.error
            && refused
                .text
                .starts_with("403 forbidden: invalid_request (subject.revoked)"),
        "{refused:?}"
    );
    let refused = ask(broker, &token).await?.expect_status(400)?;
    assert_eq!(refused.text("reason"), "subject.revoked");
    Ok(())
}
