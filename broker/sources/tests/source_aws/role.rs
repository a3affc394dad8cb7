//! Secrets of other accounts.

use aws_config::sts::AssumeRoleProvider;
use aws_sdk_secretsmanager::{Client, config::Builder};

use crate::bed::{Bed, REGION, environment, text};

const OTHER: &str = "arn:aws:iam::222222222222:role/secret-reader";

/// A client with the rights of the role.
async fn in_other_account(bed: &Bed) -> Client {
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(REGION)
        .endpoint_url(&bed.moto.address)
        .load()
        .await;
    let role = AssumeRoleProvider::builder(OTHER)
        .session_name("admin")
        .configure(&config)
        .build()
        .await;
    Client::from_conf(Builder::from(&config).credentials_provider(role).build())
}

#[tokio::test]
async fn a_role_of_another_account_is_assumed_and_read_with() {
    let bed = Bed::new("role").await;
    let there = in_other_account(&bed).await;
    let request = there.create_secret().name(bed.secret("app")).secret_string("theirs");
    request.send().await.expect("a new secret");
    assert!(bed.open("", "app").current().await.is_err(), "not ours");
    let keys = format!(
        "role = '{OTHER}'\nexternal_id = 'corp/42'\nsts_endpoint = '{}'",
        bed.proxy.address
    );
    let app = bed.open(&keys, "app");
    assert_eq!(text(&app.current().await.expect("secret")), "theirs");
    app.refetch().await.expect("secret");

    let assumed = bed.proxy.requests("Action=AssumeRole");
    assert_eq!(assumed.len(), 1, "its credentials are kept");
    for part in [
        "RoleArn=arn%3Aaws%3Aiam%3A%3A222222222222%3Arole%2Fsecret-reader",
        "RoleSessionName=procura",
        "ExternalId=corp%2F42",
    ] {
        assert!(assumed[0].contains(part), "{part}: {}", assumed[0]);
    }
    let own = format!("Credential={}/", environment("AWS_ACCESS_KEY_ID"));
    let signed_as_own = |requests: &[String]| requests.iter().filter(|request| request.contains(&own)).count();
    assert_eq!(signed_as_own(&assumed), 1, "the role is asked for with what was found");
    let reads = bed.proxy.requests("secretsmanager.GetSecretValue");
    assert_eq!(
        (reads.len(), signed_as_own(&reads)),
        (3, 1),
        "the reads are made as the role"
    );
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_leaves_the_last_good_value() {
    let bed = Bed::new("refused-role").await;
    let keys = format!("role = '{OTHER}'\nsts_endpoint = '{}'", bed.proxy.address);
    let denied = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                  <Message>x may not assume y</Message></Error></ErrorResponse>";
    bed.proxy.answer_with(Some((403, denied)));
    let error = bed.open(&keys, "app").current().await.expect_err("refused").to_string();
    assert!(error.contains("x may not assume y"), "{error}");
    assert!(bed.proxy.requests("GetSecretValue").is_empty());
}

#[tokio::test]
async fn a_secret_of_a_named_account_is_asked_for_by_its_arn() {
    let bed = Bed::new("account").await;
    bed.create("app", "hunter2").await;
    let secret = bed
        .open("account = '123456789012'", "app")
        .current()
        .await
        .expect("secret");
    assert_eq!(text(&secret), "hunter2");
    let asked = r#""SecretId":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:account/app""#;
    assert_eq!(bed.proxy.requests(asked).len(), 1);
}
