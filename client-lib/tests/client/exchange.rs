//! Exchanges and the cache.

use std::time::Duration;

use futures_util::future::{join, join_all};
use procura_client::{Credential, Error, PostgresCredential, Request, Secret};
use serde_json::json;
use tokio::time::{Instant, advance, sleep};

use crate::kit::{Broker, user};

#[expect(clippy::disallowed_methods, reason = "a test compares what its broker made")]
async fn token(credential: &Credential<Secret>) -> String {
    let call = credential.begin("value").await.expect("a use");
    call.value().expose().to_owned()
}

#[tokio::test(start_paused = true)]
async fn each_kind_is_asked_for_by_its_name_and_read_into_its_fields() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    let aws = session
        .aws("objects", "read")
        .param("p", "x")
        .get()
        .await
        .expect("a credential");
    let aws = aws.begin("1").await.expect("a use");
    assert_eq!(aws.value().access_key_id, "ASIA1");
    assert_eq!(aws.value().secret_access_key, Secret::new("canary-key".to_owned()));
    let vault = session
        .vault("vault", "read")
        .param("p", "x")
        .get()
        .await
        .expect("a credential");
    let vault = vault.begin("1").await.expect("a use");
    assert_eq!(
        vault.value().field("password"),
        Some(Secret::new("canary-pw".to_owned()))
    );
    session
        .github_app("github", "read")
        .param("p", "x")
        .get()
        .await
        .expect("a credential");
    session
        .oauth("crm", "read")
        .param("p", "x")
        .get()
        .await
        .expect("a credential");
    let asked = broker.script();
    let asked: Vec<_> = asked
        .exchanges
        .iter()
        .map(|form| {
            (
                form["requested_token_type"].clone(),
                form["authorization_details"].clone(),
            )
        })
        .collect();
    let details = |kind: &str| format!(r#"[{{"p":"x","type":"{kind}"}}]"#);
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    let expected = [
        ("urn:procura:token-type:aws", "aws"),
        ("urn:procura:token-type:vault", "vault"),
        (access_token, "github-app"),
        (access_token, "oauth"),
    ];
    assert_eq!(asked, expected.map(|(ty, kind)| (ty.to_owned(), details(kind))));
}

#[tokio::test(start_paused = true)]
async fn asks_as_rfc_8693_says_and_remembers_the_session() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject").actor(Secret::new("agent".to_owned()));
    let tool = json!({"name": "list_issues", "inputSchema": {}, "title": "no part of it"});
    let request = session
        .bearer("issues-api", "read")
        .tool_definition(&tool)
        .tool_call_id("7")
        .param("repositories", vec!["web"])
        .ttl(Duration::from_secs(60))
        .traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    request.get().await.expect("a credential");
    assert_eq!(session.id().as_deref(), Some("s1"));
    session.postgres("db", "rows").get().await.expect("a credential");
    let script = broker.script();
    let expected = [
        ("actor_token", "agent"),
        ("actor_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "issues-api"),
        ("authorization_details", r#"[{"repositories":["web"],"type":"jwt"}]"#),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_expires_in", "60"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", "read"),
        ("subject_token", "subject"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("tool", "list_issues"),
        ("tool_call_id", "7"),
        (
            "tool_definition_sha256",
            "ae4b45fc98c52cbb6fc1419e791c8339f65561389aa42e3aec22e2e609c64ffd",
        ),
    ];
    assert!(
        script.exchanges[0]
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .eq(expected)
    );
    assert_eq!(script.heads[0]["authorization"], "Basic dGlja2V0czpjbGllbnQtY2FuYXJ5");
    assert_eq!(
        script.heads[0]["traceparent"],
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    );
    assert_eq!(script.exchanges[1]["session"], "s1");
    assert_eq!(
        script.exchanges[1]["requested_token_type"],
        "urn:procura:token-type:postgres"
    );
}

#[tokio::test(start_paused = true)]
async fn equal_requests_share_a_credential_whatever_their_call() {
    let broker = Broker::start().await;
    let client = broker.client();
    for call in ["1", "2", "3"] {
        // A handle per request, as a stateless server has it.
        let session = user(&client, "subject");
        let credential = session.bearer("api", "read").tool("t").tool_call_id(call).get().await;
        assert_eq!(token(&credential.expect("a credential")).await, "canary-1");
    }
    assert_eq!(broker.exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_differ_in_anything_else_never_share() {
    let broker = Broker::start().await;
    let client = broker.client();
    let base = || user(&client, "subject");
    let sessions = [
        base(),
        user(&client, "other"),
        base().actor(Secret::new("agent".to_owned())),
        base().actor(Secret::new("another".to_owned())),
    ];
    for session in &sessions {
        session.bearer("api", "read").get().await.expect("a credential");
    }
    let session = base();
    let requests: [Request<'_, Secret>; 6] = [
        session.bearer("api2", "read"),
        session.bearer("api", "write"),
        session.bearer("api", "read").tool("t"),
        session.bearer("api", "read").param("a", 1),
        session.bearer("api", "read").param("a", 2),
        session.bearer("api", "read").ttl(Duration::from_secs(60)),
    ];
    for request in requests {
        request.get().await.expect("a credential");
    }
    session.postgres("api", "read").get().await.expect("a credential");
    assert_eq!(broker.exchanges(), 11);
    broker.script().session = "s2".to_owned();
    let renewed = user(&client, "renewed subject token");
    renewed.bearer("api", "read").get().await.expect("a credential");
    assert_eq!(broker.exchanges(), 12);
}

#[tokio::test(start_paused = true)]
async fn sixteen_callers_share_one_exchange() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    broker.hold(true);
    let callers = join_all((0..16).map(|_| session.bearer("api", "read").get()));
    let release = async {
        while broker.exchanges() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        broker.hold(false);
    };
    let (answers, ()) = join(callers, release).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(broker.exchanges(), 1);
    // The same once the session is known.
    let answers = join_all((0..16).map(|_| session.bearer("api", "write").get())).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(broker.exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_caller_refreshes_ahead_while_the_others_use_the_live_one() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    let get = || session.bearer("api", "read").get();
    get().await.expect("a credential");
    advance(Duration::from_secs(239)).await;
    assert_eq!(token(&get().await.expect("live")).await, "canary-1");
    // Less than a fifth of 300 s is left.
    advance(Duration::from_secs(2)).await;
    broker.hold(true);
    let refresher = get();
    let others = async {
        while broker.exchanges() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
        for other in join_all((0..8).map(|_| get())).await {
            assert_eq!(token(&other.expect("live")).await, "canary-1");
        }
        broker.hold(false);
    };
    let (refreshed, ()) = join(refresher, others).await;
    assert_eq!(token(&refreshed.expect("refreshed")).await, "canary-2");
    assert_eq!(broker.exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_leaves_the_live_one_until_its_end() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    let get = || session.bearer("api", "read").get();
    get().await.expect("a credential");
    advance(Duration::from_secs(250)).await;
    broker
        .script()
        .token_failures
        .extend([(503, "server.overloaded"), (400, "policy.ttl")]);
    let began = Instant::now();
    assert_eq!(token(&get().await.expect("live")).await, "canary-1");
    get().await.expect("live");
    assert_eq!(broker.exchanges(), 2, "not asked again at once");
    assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for Retry-After");
    advance(Duration::from_secs(50)).await;
    let error = get().await.expect_err("it has ended, and the broker refuses");
    assert_eq!(error.refusal().expect("an answer").body.reason, "policy.ttl");
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_is_asked_again_when_it_says_three_times_at_most() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    broker.script().token_failures.extend([(503, "server.overloaded"); 2]);
    let began = Instant::now();
    session.bearer("api", "read").get().await.expect("a credential");
    assert_eq!(broker.exchanges(), 3);
    assert!(began.elapsed() >= Duration::from_secs(6), "Retry-After was 3 s");
    broker.script().token_failures.extend([(503, "audit.unavailable"); 3]);
    let error = session.bearer("api", "write").get().await.expect_err("away");
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert_eq!(broker.exchanges(), 6);
    broker.script().token_failures.push_back((400, "grant.not_permitted"));
    session.bearer("api", "write").get().await.expect_err("refused");
    assert_eq!(broker.exchanges(), 7, "a refusal is not asked again");
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_not_followed() {
    let broker = Broker::start().await;
    let client = broker.client();
    broker.script().token_failures.push_back((307, "moved"));
    let session = user(&client, "subject");
    session.bearer("api", "read").get().await.expect_err("no answer");
    assert_eq!(broker.exchanges(), 1, "tokens go to the configured broker only");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_cannot_be_reached_is_an_error_that_says_so() {
    let broker = Broker::start().await;
    let client = broker.client();
    drop(broker);
    tokio::task::yield_now().await;
    let error = user(&client, "subject-canary")
        .bearer("api", "read")
        .get()
        .await
        .expect_err("away");
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    let text = format!("{error:?} {error}");
    assert!(text.contains("cannot be reached") && !text.contains("canary"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_is_opened_anew() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    session.bearer("api", "read").get().await.expect("a credential");
    broker.script().token_failures.push_back((400, "session.unknown"));
    broker.script().session = "s2".to_owned();
    session.bearer("api", "write").get().await.expect("a credential");
    assert_eq!(session.id().as_deref(), Some("s2"));
    assert!(!broker.script().exchanges[2].contains_key("session"));
    session.bearer("api", "read").get().await.expect("a credential");
    assert_eq!(
        broker.exchanges(),
        4,
        "what the old session got is not served in the new one"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_for_one_call_is_never_cached() {
    let broker = Broker::start().await;
    broker.script().per_call = true;
    let client = broker.client();
    let session = user(&client, "subject");
    for number in 1..=4 {
        let credential = session.bearer("api", "read").get().await.expect("a credential");
        assert_eq!(token(&credential).await, format!("canary-{number}"));
    }
    let many = join_all((0..4).map(|_| session.bearer("api", "read").get())).await;
    assert!(many.iter().all(Result::is_ok));
    assert_eq!(broker.exchanges(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_credential_is_asked_for_again_once() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    let get = || session.bearer("api", "read").get();
    let (first, same) = (get().await.expect("one"), get().await.expect("the same"));
    first.forget();
    assert_eq!(token(&get().await.expect("another")).await, "canary-2");
    same.forget();
    assert_eq!(
        token(&get().await.expect("kept")).await,
        "canary-2",
        "forgetting the old one spares the new"
    );
    assert_eq!(broker.exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_secret_shows_in_debug() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    let bearer = session.bearer("api", "read").get().await.expect("a credential");
    let postgres = session.postgres("db", "rows").get().await.expect("a credential");
    let call = postgres.begin("1").await.expect("a use");
    let document: &PostgresCredential = call.value();
    assert_eq!((document.user.as_str(), document.port), ("u", 5432));
    let text = format!("{bearer:?} {postgres:?} {call:?} {document:?}");
    assert!(!text.contains("canary"), "{text}");
}
