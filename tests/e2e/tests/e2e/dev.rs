//! `procura dev`: the main job on the embedded default, called as a newcomer and as a script would.

use std::{
    process::{Command, Output},
    time::Duration,
};

use procura_e2e::{
    Fault, Testbed,
    broker::{Broker, Launch},
    harness::Outcome,
    http::{self, Reply, exchange, unverified_claims, unverified_header},
};
use serde_json::{Value, json};

pub(crate) async fn the_four_printed_commands_work_as_pasted(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let printed = banner(&launch).await?;
    let commands: Vec<&str> = printed.lines().map(str::trim).filter(|line| is_command(line)).collect();
    // As it is printed where it was started by `cargo run`.
    let short = printed.replace(&*testbed.broker().to_string_lossy(), "cargo run -q --");
    assert!(
        short
            .lines()
            .filter(|line| is_command(line))
            .all(|line| line.chars().count() < 80),
        "{short}"
    );
    let codes: Vec<_> = commands
        .iter()
        .map(|line| paste(&launch, line).map(|out| out.status.code()))
        .collect();
    let codes: Vec<_> = codes.into_iter().collect::<Result<_, Fault>>()?;
    assert_eq!(codes, [Some(0), Some(1), Some(0), Some(0)], "{printed}");
    let shown = String::from_utf8(paste(&launch, commands[2])?.stdout)?;
    assert!(shown.contains("alice") && shown.contains("tickets"), "{shown}");
    broker.stop().await?;
    assert!(!launch.dir().join(".procura/dev.json").exists());
    Ok(())
}

/// What it printed, once the four commands are there.
async fn banner(launch: &Launch) -> Result<String, Fault> {
    for _ in 0..500 {
        let printed = std::fs::read_to_string(launch.dir().join("stdout"))?;
        if printed.lines().filter(|line| is_command(line)).count() == 4 {
            return Ok(printed);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("the four commands were not printed".into())
}

fn is_command(line: &str) -> bool {
    ["exchange --target", "log show", "session end"]
        .iter()
        .any(|verb| line.contains(&format!(" {verb} ")))
}

/// Runs a printed line in the folder that the broker was started in, as a shell would.
fn paste(launch: &Launch, line: &str) -> Result<Output, Fault> {
    Ok(Command::new("sh")
        .arg("-c")
        .arg(line)
        .current_dir(launch.dir())
        .output()?)
}

async fn issue(broker: &Broker, more: &[(&str, &str)]) -> Result<Reply, Fault> {
    let token = broker.subject_token().await?;
    let mut fields = exchange(&token, &broker.dev.audience, &broker.dev.scope);
    fields.extend_from_slice(more);
    broker.exchange(&fields).await
}

async fn is_active(broker: &Broker, token: &str) -> Result<bool, Fault> {
    let reply = broker
        .post(&broker.dev.introspection_endpoint, &[("token", token)])
        .await?
        .expect_status(200)?;
    if reply.body["active"] == false {
        assert_eq!(reply.body, json!({"active": false}), "req_052: nothing beside");
    }
    Ok(reply.body["active"] == true)
}

pub(crate) async fn an_exchange_issues_a_short_token_with_user_and_actor_and_logs_it(testbed: &Testbed) -> Outcome {
    let broker = testbed.dev()?.start().await?;
    let tool = broker.dev.tool.clone();
    let reply = issue(&broker, &[("tool", &tool), ("tool_call_id", "7")])
        .await?
        .expect_status(200)?;
    assert_eq!(reply.headers["cache-control"], "no-store");
    assert_eq!(
        reply.text("issued_token_type"),
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(
        (reply.text("token_type"), reply.text("scope")),
        ("Bearer", broker.dev.scope.as_str())
    );
    let token = reply.text("access_token");
    let (header, claims) = (unverified_header(token)?, unverified_claims(token)?);
    assert_eq!(header["typ"], "at+jwt");
    for claim in ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "act"] {
        assert!(!claims[claim].is_null(), "req_046: {claim}");
    }
    assert_eq!(claims["sub"], "dev/alice");
    assert_eq!(claims["jti"], reply.body["issuance_id"]);
    assert_eq!(
        claims["exp"]
            .as_i64()
            .zip(claims["iat"].as_i64())
            .map(|(exp, iat)| exp - iat),
        reply.body["expires_in"].as_i64()
    );
    let jwks = http::get(&broker.http, &broker.dev.jwks_uri, None)
        .await?
        .expect_status(200)?;
    let keys = jwks.body["keys"].as_array().ok_or("no keys")?;
    assert!(keys.iter().any(|key| key["kid"] == header["kid"]) && keys.iter().all(|key| key["d"].is_null()));
    let record = broker
        .record(reply.text("issuance_id"))
        .await?
        .expect_status(200)?
        .body
        .to_string();
    for part in [
        "alice",
        &broker.dev.client_id,
        &tool,
        r#"tool_call\":\"7"#,
        &broker.dev.scope,
    ] {
        assert!(record.contains(part), "{part} is missing in {record}");
    }
    assert!(!record.contains(token));
    Ok(())
}

pub(crate) async fn the_end_of_a_session_ends_its_tokens_and_refuses_the_subject_token(testbed: &Testbed) -> Outcome {
    let broker = testbed.dev()?.start().await?;
    let subject = broker.subject_token().await?;
    let fields = exchange(&subject, &broker.dev.audience, &broker.dev.scope);
    let reply = broker.exchange(&fields).await?.expect_status(200)?;
    assert!(is_active(&broker, reply.text("access_token")).await?);
    let url = format!("{}/sessions/{}", broker.dev.api, reply.text("session"));
    let ended = http::send(broker.http.delete(&url).bearer_auth(&broker.dev.operator_token))
        .await?
        .expect_status(200)?;
    assert_eq!(ended.body["credentials"][0]["status"], "until");
    assert!(!is_active(&broker, reply.text("access_token")).await?);
    let again = broker.exchange(&fields).await?.expect_status(400)?;
    assert_eq!(
        (again.text("error"), again.text("reason")),
        ("invalid_request", "subject.revoked")
    );
    Ok(())
}

pub(crate) async fn a_server_revokes_its_own_token_and_nobody_elses(testbed: &Testbed) -> Outcome {
    let broker = testbed.dev()?.start().await?;
    let token = issue(&broker, &[]).await?.text("access_token").to_owned();
    let revoke = [("token", token.as_str())];
    let unknown = broker
        .post(&broker.dev.revocation_endpoint, &[("token", "nothing")])
        .await?
        .expect_status(200)?;
    assert_eq!(unknown.body, json!({}));
    let reply = broker
        .post(&broker.dev.revocation_endpoint, &revoke)
        .await?
        .expect_status(200)?;
    assert_eq!(reply.text("revocation_status"), "until");
    assert!(!is_active(&broker, &token).await?);
    Ok(())
}

/// Status, error and reason of a refused exchange with these changes to a good one.
async fn refused(broker: &Broker, changes: &[(&str, Option<&str>)]) -> Result<(u16, Value, Value, Value), Fault> {
    let token = broker.subject_token().await?;
    let mut fields = exchange(&token, &broker.dev.audience, &broker.dev.scope);
    fields.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    fields.extend(changes.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
    let Reply { status, body, headers } = broker.exchange(&fields).await?;
    assert_eq!(headers["cache-control"], "no-store");
    assert!(
        body["access_token"].is_null() && body["trace_id"].is_string() && body["error_uri"].is_string(),
        "{body}"
    );
    Ok((
        status,
        body["error"].clone(),
        body["reason"].clone(),
        body["error_description"].clone(),
    ))
}

pub(crate) async fn bad_input_gets_one_clear_error_that_names_the_parameter(testbed: &Testbed) -> Outcome {
    let broker = testbed.dev()?.start().await?;
    for (changes, status, error, reason, named) in [
        (vec![("scope", None)], 400, "invalid_request", "param.missing", "scope"),
        (
            vec![("subject_token", Some(""))],
            400,
            "invalid_request",
            "param.missing",
            "subject_token",
        ),
        (
            vec![("grant_type", Some("password"))],
            400,
            "unsupported_grant_type",
            "grant_type.unsupported",
            "",
        ),
        (
            vec![("scope", Some("nothing"))],
            400,
            "invalid_scope",
            "grant.not_permitted",
            "",
        ),
        (
            vec![("audience", Some("nowhere"))],
            400,
            "invalid_target",
            "target.not_available",
            "",
        ),
        (
            vec![("tool", Some("nothing"))],
            400,
            "invalid_request",
            "tool.not_declared",
            "tool",
        ),
        (
            vec![("session", Some("nothing"))],
            400,
            "invalid_request",
            "session.unknown",
            "session",
        ),
        (
            vec![("requested_expires_in", Some("0"))],
            400,
            "invalid_request",
            "policy.ttl",
            "requested_expires_in",
        ),
        (
            vec![("authorization_details", Some("{}"))],
            400,
            "invalid_authorization_details",
            "policy.rar",
            "",
        ),
        (
            vec![("subject_token", Some("xyz"))],
            400,
            "invalid_request",
            "jwt.format",
            "subject_token",
        ),
        (
            vec![("actor_token_type", Some("urn:ietf:params:oauth:token-type:jwt"))],
            400,
            "invalid_request",
            "param.missing",
            "actor_token",
        ),
    ] {
        let (got_status, got_error, got_reason, text) = refused(&broker, &changes).await?;
        assert_eq!(
            (got_status, &got_error, &got_reason),
            (status, &json!(error), &json!(reason)),
            "{changes:?}"
        );
        assert!(
            text.as_str().is_some_and(|text| text.contains(named)),
            "{changes:?}: {text}"
        );
    }
    Ok(())
}

pub(crate) async fn only_its_own_server_may_present_a_secret(testbed: &Testbed) -> Outcome {
    let broker = testbed.dev()?.start().await?;
    let token = broker.subject_token().await?;
    let fields = exchange(&token, &broker.dev.audience, &broker.dev.scope);
    let url = broker.dev.token_endpoint.as_str();
    for basic in [
        None,
        Some((broker.dev.client_id.as_str(), "wrong")),
        Some(("nobody", broker.dev.client_secret.as_str())),
    ] {
        let reply = http::post_form(&broker.http, url, basic, &fields)
            .await?
            .expect_status(401)?;
        assert_eq!(
            (reply.text("error"), reply.text("reason")),
            ("invalid_client", "client.unauthenticated")
        );
        assert_eq!(
            reply.headers.contains_key("www-authenticate"),
            basic.is_some(),
            "req_012"
        );
        assert!(reply.body["issuance_id"].is_null());
    }
    let mut twice = fields.clone();
    twice.extend([
        ("client_id", broker.dev.client_id.as_str()),
        ("client_secret", broker.dev.client_secret.as_str()),
    ]);
    let both = broker.exchange(&twice).await?.expect_status(400)?;
    assert_eq!(both.text("reason"), "client.multiple_methods");
    let reply = http::post_form(&broker.http, url, None, &twice)
        .await?
        .expect_status(200)?;
    assert!(!reply.text("access_token").is_empty(), "client_secret_post works alone");
    Ok(())
}

pub(crate) async fn what_was_answered_survives_kill_9(testbed: &Testbed) -> Outcome {
    let launch = testbed.dev()?;
    let broker = launch.start().await?;
    let issuance = issue(&broker, &[])
        .await?
        .expect_status(200)?
        .text("issuance_id")
        .to_owned();
    broker.kill().await?;
    let broker = launch.start().await?;
    broker.record(&issuance).await?.expect_status(200)?;
    let list = broker
        .api("/issuances?subject=dev/alice&target=api&outcome=issued")
        .await?
        .expect_status(200)?;
    assert!(list.body.to_string().contains(&issuance));
    Ok(())
}

pub(crate) async fn the_api_wants_an_operator(testbed: &Testbed) -> Outcome {
    let broker = testbed.dev()?.start().await?;
    let url = format!("{}/issuances", broker.dev.api);
    let nobody = http::get(&broker.http, &url, None).await?.expect_status(401)?;
    assert!(
        nobody.headers["www-authenticate"]
            .to_str()?
            .contains("resource_metadata"),
        "req_067"
    );
    let subject = broker.subject_token().await?;
    http::get(&broker.http, &url, Some(&subject))
        .await?
        .expect_status(401)?;
    Ok(())
}
