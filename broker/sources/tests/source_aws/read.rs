//! Reading.

use std::time::Duration;

use aws_sdk_secretsmanager::primitives::Blob;
use procura_core::ports::Clock;
use procura_core::source::{Attempt, through_rotation};
use procura_sources::{FRESH, LAST_GOOD};

use crate::bed::{Bed, text};

#[tokio::test]
async fn the_current_text_is_read_with_the_id_of_its_version() {
    let bed = Bed::new("current").await;
    let version = bed.create("app", "hunter2").await;
    let secret = bed.open("", "app").current().await.expect("secret");
    assert_eq!((text(&secret), secret.version.as_str()), ("hunter2", version.as_str()));
    let requests = bed.proxy.requests("secretsmanager.GetSecretValue");
    assert_eq!(requests.len(), 1);
    assert!(
        requests[0].contains(r#""VersionStage":"AWSCURRENT""#),
        "{}",
        requests[0]
    );
}

#[tokio::test]
async fn a_field_of_a_json_object_is_read() {
    let bed = Bed::new("field").await;
    bed.create("app", r#"{"username":"app","password":"hunter2"}"#).await;
    let secret = bed.open("", "app#password").current().await.expect("secret");
    assert_eq!(text(&secret), "hunter2");
    let error = bed.open("", "app#pin").current().await.expect_err("no such field");
    assert!(error.to_string().contains("no field pin"), "{error}");
}

#[tokio::test]
async fn bytes_are_text_where_they_are_utf_8_and_base64_otherwise() {
    let bed = Bed::new("binary").await;
    for (name, bytes, expected) in [
        ("text", "naïve".as_bytes(), "naïve"),
        ("bytes", &[0xff, 0xfe, 0x00, 0x3e], "//4APg=="),
    ] {
        let request = bed.admin.create_secret().name(bed.secret(name));
        let request = request.secret_binary(Blob::new(bytes));
        request.send().await.expect("a new secret");
        assert_eq!(text(&bed.open("", name).current().await.expect("secret")), expected);
    }
}

#[tokio::test]
async fn a_rotation_is_seen_at_the_next_look_after_its_label_moved() {
    let bed = Bed::new("rotation").await;
    let first = bed.create("app", "one").await;
    let app = bed.open("", "app");
    assert_eq!(app.current().await.expect("secret").version, first);
    let second = bed.stage("app", "two").await;
    assert_eq!(app.refetch().await.expect("secret").version, first, "pending only");
    bed.promote("app", &first, &second).await;
    bed.clock.advance(FRESH - Duration::from_millis(1));
    assert_eq!(app.current().await.expect("secret").version, first, "fresh still");
    bed.clock.advance(Duration::from_millis(1));
    let secret = app.current().await.expect("secret");
    assert_eq!((text(&secret), secret.version.as_str()), ("two", second.as_str()));
}

#[tokio::test]
async fn attack_148_a_secret_that_the_target_refuses_is_read_again_at_once() {
    let bed = Bed::new("refused").await;
    let first = bed.create("app", "one").await;
    let app = bed.open("", "app");
    app.current().await.expect("secret");
    let second = bed.stage("app", "two").await;
    bed.promote("app", &first, &second).await;
    let deadline = bed.clock.monotonic() + Duration::from_secs(5);
    let outcome = through_rotation(&*app, &*bed.clock, deadline, async |secret| match text(&secret) {
        "two" => Attempt::Done(secret.version.clone()),
        _ => Attempt::<_, ()>::SecretRefused("password".to_owned()),
    });
    assert_eq!(outcome.await.expect("rotated"), second);
}

#[tokio::test]
async fn a_source_of_another_stage_reads_that_one() {
    let bed = Bed::new("stage").await;
    bed.create("app", "one").await;
    let pending = bed.open("stage = 'AWSPENDING'", "app");
    let error = pending.current().await.expect_err("nothing is pending").to_string();
    assert!(error.contains("no version of it at this stage"), "{error}");
    let second = bed.stage("app", "two").await;
    let secret = pending.refetch().await.expect("secret");
    assert_eq!((text(&secret), secret.version.as_str()), ("two", second.as_str()));
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_an_error_that_says_where_to_look() {
    let bed = Bed::new("missing").await;
    let error = bed.open("", "app").current().await.expect_err("missing").to_string();
    assert!(
        error.starts_with("source aws:missing/app: Secrets Manager has no such secret")
            && error.contains("check region, account and stage"),
        "{error}"
    );
}

#[tokio::test]
async fn a_secret_that_is_marked_for_deletion_serves_no_longer() {
    let bed = Bed::new("deleted").await;
    bed.create("app", "one").await;
    let app = bed.open("", "app");
    app.current().await.expect("secret");
    let request = bed.admin.delete_secret().secret_id(bed.secret("app"));
    request.recovery_window_in_days(7).send().await.expect("deleted");
    let error = app.refetch().await.expect_err("deleted").to_string();
    assert!(error.contains("marked deleted"), "{error}");
    assert!(app.current().await.is_err(), "nor as the last good value");
}

#[tokio::test]
async fn a_secret_that_may_not_be_read_any_more_serves_no_longer() {
    let bed = Bed::new("denied").await;
    bed.create("app", "one").await;
    let app = bed.open("", "app");
    app.current().await.expect("secret");
    let denied = r#"{"__type":"AccessDeniedException","Message":"User: x is not authorized\nto perform: y"}"#;
    bed.proxy.answer_with(Some((400, denied)));
    let error = app.refetch().await.expect_err("denied").to_string();
    assert!(
        error.contains(r"User: x is not authorized\nto perform: y; check the policies"),
        "{error}"
    );
    assert!(app.current().await.is_err(), "nor as the last good value");
}

#[tokio::test]
async fn while_the_service_is_away_the_last_good_value_serves() {
    let bed = Bed::new("away").await;
    bed.create("app", "one").await;
    let app = bed.open("", "app");
    app.current().await.expect("secret");
    for (status, body, said) in [
        (
            500,
            r#"{"__type":"InternalServiceError","Message":"m"}"#,
            "answers InternalServiceError: m",
        ),
        (
            400,
            r#"{"__type":"DecryptionFailure","Message":"m"}"#,
            "answers DecryptionFailure",
        ),
        (
            400,
            r#"{"__type":"ExpiredTokenException","message":"m"}"#,
            "answers ExpiredTokenException",
        ),
        (200, "{\"SecretString\": \"canary", "unreadable"),
        (200, "{}", "no value"),
        (200, r#"{"SecretString":"canary"}"#, "without a version"),
    ] {
        bed.proxy.answer_with(Some((status, body)));
        let error = app.refetch().await.expect_err("away").to_string();
        assert!(error.contains(said) && !error.contains("canary"), "{error}");
        assert_eq!(text(&app.current().await.expect("last good")), "one");
    }
    bed.clock.advance(LAST_GOOD);
    assert!(app.current().await.is_err(), "for its time and no longer");
    bed.proxy.answer_with(None);
    assert_eq!(text(&app.refetch().await.expect("back")), "one");
}

#[tokio::test]
async fn a_throttled_read_is_tried_once_more_and_then_left_to_the_background() {
    let bed = Bed::new("throttled").await;
    bed.proxy.answer_with(Some((
        400,
        r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
    )));
    let app = bed.open("", "app");
    for _ in 0..10 {
        let error = app.current().await.expect_err("throttled").to_string();
        assert!(error.contains("ThrottlingException: Rate exceeded"), "{error}");
    }
    assert_eq!(bed.proxy.requests("GetSecretValue").len(), 2);
}

#[tokio::test]
async fn a_closed_port_is_an_error_that_says_so() {
    let bed = Bed::new("closed").await;
    let app = bed.open("", "app");
    drop(bed.proxy);
    tokio::task::yield_now().await;
    let error = app.current().await.expect_err("closed").to_string();
    assert!(
        error.contains("cannot be asked: ") && error.contains("refused"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_given_up_after_three_seconds() {
    let bed = Bed::new("silent").await;
    bed.proxy.be_silent();
    let app = bed.open("", "app");
    let read = tokio::time::timeout(Duration::from_millis(3100), app.current());
    let error = read.await.expect("given up").expect_err("silent").to_string();
    assert!(error.contains("no answer within 3 s from Secrets Manager"), "{error}");
}
