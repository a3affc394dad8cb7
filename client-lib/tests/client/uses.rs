//! Reports of uses.

use std::time::Duration;

use futures_util::future::join;
use procura_client::{Client, Credential, Error, Secret, UseOutcome};
use tokio::time::{advance, sleep};

use crate::kit::{Broker, user};

#[tokio::test(start_paused = true)]
async fn the_issuing_call_is_not_reported_and_every_other_is() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    let request = || session.bearer("api", "read").tool("t");
    let first = request().tool_call_id("1").get().await.expect("a credential");
    first.begin("1").await.expect("a use").finish(UseOutcome::Ok, None);
    let mut again = first.begin("1b").await.expect("a use");
    again.arguments(b"{}");
    advance(Duration::from_millis(40)).await;
    again.finish(UseOutcome::Ok, Some(12));
    let second = request().tool_call_id("2").get().await.expect("a credential");
    drop(second.begin("2").await.expect("a use"));
    client.shutdown().await.expect("all reported");
    let batches = &broker.script().batches;
    let uses = batches.concat();
    assert_eq!(uses.len(), 2);
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(uses[0]["issuance_id"], "issuance-1");
    assert_eq!(uses[0]["tool"], "t");
    assert_eq!(uses[0]["tool_call_id"], "1b");
    assert_eq!(uses[0]["outcome"], "ok");
    assert_eq!(uses[0]["result_bytes"], 12);
    assert_eq!(uses[0]["arguments_sha256"], hash);
    assert!(uses[0]["duration_ms"].as_u64() >= Some(40));
    assert_eq!(uses[1]["tool_call_id"], "2");
    assert_eq!(uses[1]["outcome"], "error", "dropped without an outcome");
}

#[tokio::test(start_paused = true)]
async fn a_first_use_by_another_call_than_the_recorded_one_is_reported() {
    let broker = Broker::start().await;
    let client = broker.client();
    let session = user(&client, "subject");
    for (grant, recorded) in [("read", Some("1")), ("write", None)] {
        let mut request = session.bearer("api", grant);
        if let Some(id) = recorded {
            request = request.tool_call_id(id);
        }
        let credential = request.get().await.expect("a credential");
        drop(credential.begin("2").await.expect("a use"));
    }
    client.shutdown().await.expect("all reported");
    assert_eq!(broker.script().batches.concat().len(), 2);
}

/// A credential whose every use is reported.
async fn cached(client: &Client) -> Credential<Secret> {
    let session = user(client, "subject");
    session.bearer("api", "read").get().await.expect("a credential");
    session.bearer("api", "read").get().await.expect("a credential")
}

#[tokio::test(start_paused = true)]
async fn reports_go_out_after_a_second_or_256_uses_and_at_shutdown() {
    let broker = Broker::start().await;
    let client = broker.client();
    let credential = cached(&client).await;
    let sizes = || broker.script().batches.iter().map(Vec::len).collect::<Vec<_>>();
    let use_it = async |count: usize| {
        for number in 0..count {
            let call = credential.begin(&number.to_string()).await.expect("a use");
            call.finish(UseOutcome::Ok, None);
        }
    };
    use_it(2).await;
    sleep(Duration::from_millis(900)).await;
    assert!(sizes().is_empty());
    sleep(Duration::from_millis(200)).await;
    assert_eq!(sizes(), [2]);
    use_it(300).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(sizes(), [2, 256]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(sizes(), [2, 256, 44]);
    use_it(3).await;
    client.shutdown().await.expect("all reported");
    assert_eq!(sizes(), [2, 256, 44, 3]);
    let error = credential.begin("late").await.expect_err("nothing begins unreported");
    assert!(matches!(error, Error::ShutDown));
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_uses_under_way() {
    let broker = Broker::start().await;
    let client = broker.client();
    let credential = cached(&client).await;
    let call = credential.begin("1").await.expect("a use");
    let end = async {
        sleep(Duration::from_secs(20)).await;
        call.finish(UseOutcome::Ok, None);
    };
    let (outcome, ()) = join(client.shutdown(), end).await;
    outcome.expect("all reported");
    assert_eq!(broker.script().batches.concat()[0]["outcome"], "ok");
}

#[tokio::test(start_paused = true)]
async fn no_use_is_lost_while_the_broker_is_busy_and_a_full_buffer_makes_callers_wait() {
    let broker = Broker::start().await;
    let client = broker.client();
    let credential = cached(&client).await;
    broker.script().uses_failures.extend([(503, "audit.unavailable"); 12]);
    let mut held = Vec::new();
    for _ in 0..1024 {
        held.push(credential.begin("held").await.expect("a use"));
    }
    let mut waiting = Box::pin(credential.begin("waits"));
    assert!(futures_util::poll!(&mut waiting).is_pending(), "the buffer is full");
    held.clear();
    waiting.await.expect("a use").finish(UseOutcome::Ok, None);
    client.shutdown().await.expect("all reported");
    assert_eq!(broker.script().batches.concat().len(), 1025);
}

#[tokio::test(start_paused = true)]
async fn a_refused_report_takes_no_other_with_it_and_is_told() {
    let broker = Broker::start().await;
    let client = broker.client();
    let credential = cached(&client).await;
    broker.script().refused_call = Some("bad".to_owned());
    for call in ["a", "bad", "b"] {
        credential
            .begin(call)
            .await
            .expect("a use")
            .finish(UseOutcome::Ok, None);
    }
    let error = client.shutdown().await.expect_err("one is lost");
    assert!(matches!(error, Error::Unreported(1)), "{error}");
    assert_eq!(broker.script().batches.concat().len(), 2);
}
