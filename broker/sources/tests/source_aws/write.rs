//! Writing and rotating.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use procura_wire::Secret;

use crate::bed::{Bed, text};

fn secret(value: &str) -> Secret {
    Secret::new(value.to_owned())
}

/// The versions that a label is at.
fn at(described: &DescribeSecretOutput, label: &str) -> Vec<String> {
    let versions = described.version_ids_to_stages().into_iter().flatten();
    let labelled = versions.filter(|(_, labels)| labels.iter().any(|other| other == label));
    labelled.map(|(version, _)| version.clone()).collect()
}

#[tokio::test]
async fn what_is_written_becomes_current_and_is_served_at_once() {
    let bed = Bed::new("write").await;
    let first = bed.create("app", "one").await;
    let app = bed.open("", "app");
    app.current().await.expect("secret");
    let second = app.write(&secret("two"), &first).await.expect("written");
    let served = app.current().await.expect("secret");
    assert_eq!((text(&served), served.version.as_str()), ("two", second.as_str()));
    let described = bed.describe("app").await;
    assert_eq!(at(&described, "AWSCURRENT"), [second]);
    assert_eq!(at(&described, "AWSPREVIOUS"), [first]);
    assert_eq!(bed.proxy.requests("\"ClientRequestToken\"").len(), 1);
}

#[tokio::test]
async fn a_write_over_another_version_than_the_expected_one_changes_nothing() {
    let bed = Bed::new("conflict").await;
    let first = bed.create("app", "one").await;
    let second = bed.stage("app", "somebody else's").await;
    bed.promote("app", &first, &second).await;
    let app = bed.open("", "app");
    for expected in [first.as_str(), "00000000-0000-4000-8000-000000000000"] {
        let error = app
            .write(&secret("canary"), expected)
            .await
            .expect_err("refused")
            .to_string();
        let said = format!("nothing is changed, because AWSCURRENT is not at version {expected} any more");
        assert!(error.contains(&said) && !error.contains("canary"), "{error}");
        let described = bed.describe("app").await;
        assert_eq!(at(&described, "AWSCURRENT"), [second.as_str()]);
        let none: [&str; 0] = [];
        assert_eq!(at(&described, "AWSPENDING"), none, "a later rotation is not held up");
        assert_eq!(text(&app.current().await.expect("secret")), "somebody else's");
    }
}

#[tokio::test]
async fn the_words_of_a_refused_write_are_not_repeated() {
    let bed = Bed::new("words").await;
    let first = bed.create("app", "one").await;
    let app = bed.open("", "app");
    let echo = r#"{"__type":"ValidationException","message":"Value 'canary' failed"}"#;
    bed.proxy.answer_with(Some((400, echo)));
    let error = app
        .write(&secret("canary"), &first)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("ValidationException") && !error.contains("canary"),
        "{error}"
    );
}

#[tokio::test]
async fn only_whole_secrets_of_the_current_stage_are_written() {
    let bed = Bed::new("bounds").await;
    let first = bed.create("app", r#"{"password":"one"}"#).await;
    for (keys, name, said) in [
        ("", "app#password", "without #password"),
        ("stage = 'AWSPENDING'", "app", "only a source of stage AWSCURRENT"),
    ] {
        let source = bed.open(keys, name);
        let error = source
            .write(&secret("two"), &first)
            .await
            .expect_err("refused")
            .to_string();
        assert!(error.contains(said), "{error}");
    }
    let error = bed
        .open("", "app#password")
        .rotate()
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("without #password"), "{error}");
    assert!(bed.proxy.requests("PutSecretValue").is_empty() && bed.proxy.requests("RotateSecret").is_empty());
}

#[tokio::test]
async fn a_rotation_is_asked_for_and_refused_in_the_services_words() {
    let bed = Bed::new("rotate").await;
    bed.create("app", "one").await;
    let app = bed.open("", "app");
    app.rotate().await.expect("begun");
    let asked = bed.proxy.requests("secretsmanager.RotateSecret");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].contains(r#""SecretId":"rotate/app""#), "{}", asked[0]);
    let refused = r#"{"__type":"InvalidRequestException","Message":"A previous rotation isn't complete"}"#;
    bed.proxy.answer_with(Some((400, refused)));
    let error = app.rotate().await.expect_err("refused").to_string();
    assert!(error.contains(r"A previous rotation isn\'t complete"), "{error}");
}
