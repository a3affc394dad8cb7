//! `[alerts]`: what `procura report novel` finds is told a webhook, once for each finding and day.
//!
//! A finding is kept in the store before it is told, and told until the receiver takes it: at least once, for an hour.
//! The receiver knows by the signature that the broker sent it, and when.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use procura_core::{
    Timestamp,
    ledger::StoreError,
    report::{self, Readers, Span},
    source::Source,
    usage::Alert,
};
use url::Url;

use crate::assembly::Broker;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(60);
/// Time between two attempts to tell one finding.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// Attempts, of which each counts before it is made.
const ATTEMPTS: u32 = 12;
/// Told at a time.
const AT_ONCE: u32 = 100;
/// What is looked for: yesterday too, for what came at its end may be counted today only. No number of findings hides
/// another one.
const SPAN: Span = Span {
    days: 2,
    baseline: 30,
    most: usize::MAX,
};

/// Where findings are told, and the secret that they are signed with.
pub(crate) struct Webhook {
    pub(crate) url: Url,
    pub(crate) secret: Arc<dyn Source>,
}

/// Looks and tells, for as long as the process runs.
pub(crate) async fn run(broker: Arc<Broker>, webhook: Webhook) {
    let mut counted = None;
    loop {
        match look(&broker, counted).await {
            Ok(records) => counted = Some(records),
            Err(error) => {
                failed("look");
                tracing::warn!(%error, "findings are not looked for");
            }
        }
        if let Err(error) = tell(&broker, &webhook, broker.ports.clock.now()).await {
            failed("store");
            tracing::warn!(%error, "findings are not told");
        }
        broker.ports.clock.sleep(LOOK).await;
    }
}

fn failed(at: &'static str) {
    metrics::counter!("procura_alert_failures_total", "at" => at).increment(1);
}

/// Keeps what is new where more records are counted than last time; answers how many are.
async fn look(broker: &Broker, counted: Option<u64>) -> Result<u64, StoreError> {
    let usage = broker.engine.usage();
    let records = usage.projected().await?.records;
    if counted == Some(records) {
        return Ok(records);
    }
    let readers = Readers {
        ports: &broker.ports,
        usage: &*usage,
    };
    let novel = report::novel(readers, SPAN, None).await?;
    if novel.more {
        failed("more");
        tracing::warn!("there are more combinations than are read: some findings are not told, or are not new");
    }
    // Without a baseline everything would be new.
    if novel.baseline_days > 0 {
        let (installation, now) = (&broker.ports.installation, broker.ports.clock.now());
        let alerts: Vec<Alert> = novel
            .findings
            .iter()
            .filter_map(|finding| finding.alert(installation, now))
            .collect();
        if !alerts.is_empty() {
            usage.alert(alerts).await?;
        }
    }
    Ok(records)
}

async fn tell(broker: &Broker, webhook: &Webhook, now: Timestamp) -> Result<(), StoreError> {
    let usage = broker.engine.usage();
    for alert in usage.take_alerts(now, now + AGAIN, AT_ONCE).await? {
        match send(broker, webhook, &alert, now).await {
            Ok(()) => metrics::counter!("procura_alerts_sent_total").increment(1),
            Err(problem) if alert.attempts < ATTEMPTS => {
                failed("send");
                tracing::warn!(problem, finding = %alert.key, attempt = alert.attempts, "a finding was not taken");
                continue;
            }
            Err(problem) => {
                failed("given_up");
                tracing::error!(problem, finding = %alert.key, "a finding is given up; `procura report novel` tells it");
            }
        }
        usage.settle_alert(alert.key).await?;
    }
    Ok(())
}

async fn send(broker: &Broker, webhook: &Webhook, alert: &Alert, now: Timestamp) -> Result<(), String> {
    let secret = webhook.secret.current().await.map_err(|error| error.to_string())?;
    #[expect(clippy::disallowed_methods, reason = "the key that the receiver knows the broker by")]
    let signature = sign(secret.value.expose().as_bytes(), now.as_second(), &alert.body);
    let headers = [
        ("procura-finding", alert.key.to_string()),
        ("procura-timestamp", now.as_second().to_string()),
        ("procura-signature", signature),
    ];
    let sent = broker.identity.post(&webhook.url, &headers, alert.body.clone()).await;
    sent.map_err(|error| error.to_string())
}

/// `v1=` and the HMAC-SHA-256 (RFC 2104) over the seconds, a full stop and the body, in hex.
fn sign(key: &[u8], seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    format!("v1={}", hex::encode(tag))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, future::IntoFuture as _, sync::Mutex};

    use axum::{
        Router,
        http::{HeaderMap, StatusCode},
        routing::post,
    };
    use procura_core::{
        identity::Principal,
        ids::IssuanceId,
        ledger::{Conditions, Event, Outcome},
        ports::BoxFuture,
        record::Draft,
        source::{SourceError, SourceSecret},
    };
    use procura_identity::HttpOptions;
    use procura_wire::Secret;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::{assembly::Trust, testing};

    struct Key;

    impl Source for Key {
        fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
            self.refetch()
        }

        fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
            let secret = SourceSecret {
                value: Secret::new("key".to_owned()),
                version: "1".to_owned(),
            };
            Box::pin(async { Ok(Arc::new(secret)) })
        }
    }

    type Told = Arc<Mutex<Vec<(HeaderMap, String)>>>;

    /// Refuses the first request and takes the next ones.
    async fn receiver() -> (Webhook, Told) {
        let told = Told::default();
        let kept = Arc::clone(&told);
        let take = move |headers: HeaderMap, body: String| async move {
            let mut kept = kept.lock().expect("lock");
            kept.push((headers, body));
            if kept.len() == 1 {
                StatusCode::BAD_GATEWAY
            } else {
                StatusCode::NO_CONTENT
            }
        };
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}/hook", socket.local_addr().expect("address"));
        let serving = axum::serve(socket, Router::new().route("/hook", post(take))).into_future();
        TaskTracker::new().spawn(serving);
        let webhook = Webhook {
            url: url.parse().expect("url"),
            secret: Arc::new(Key),
        };
        (webhook, told)
    }

    async fn append(broker: &Broker, seconds_ago: i64, tool: &str) {
        let at = Timestamp::from_second(broker.ports.clock.now().as_second() - seconds_ago).expect("time");
        let id = IssuanceId::new(at, &*broker.ports.entropy);
        let mut draft = Draft::new(id, at, Event::Exchange, String::new());
        draft.facts.server = "tickets".parse().ok();
        draft.facts.tool = Some(tool.to_owned());
        draft.facts.target = "api".parse().ok();
        draft.clear.subject = "dev/alice".parse().ok().map(Principal::User);
        let entry = draft
            .seal(Outcome::Issued, None, &*broker.ports.entropy)
            .expect("short");
        let appended = broker.ports.ledger.append(entry, Conditions::default()).await;
        appended.expect("appended");
    }

    async fn count(broker: &Broker) {
        let usage = broker.engine.usage();
        while usage
            .project(broker.ports.replica, broker.ports.clock.now())
            .await
            .expect("counted")
            > 0
        {}
    }

    #[tokio::test]
    async fn a_finding_is_told_until_it_is_taken_and_then_never_again() {
        let trust = Trust {
            http: HttpOptions {
                allow_http_loopback: true,
                ..HttpOptions::default()
            },
            ..Trust::default()
        };
        let (broker, _folder) = testing::trusting(trust).await;
        let (webhook, told) = receiver().await;
        append(&broker, 3 * 24 * 60 * 60, "list_tickets").await;
        append(&broker, 0, "list_tickets").await;
        count(&broker).await;
        assert_eq!(look(&broker, None).await, Ok(2));
        let now = broker.ports.clock.now();
        tell(&broker, &webhook, now).await.expect("told");
        assert!(told.lock().expect("lock").is_empty(), "nothing is new");

        append(&broker, 0, "delete_ticket").await;
        count(&broker).await;
        assert_eq!(look(&broker, Some(2)).await, Ok(3));
        assert_eq!(look(&broker, None).await, Ok(3), "found twice");
        let now = broker.ports.clock.now();
        for minutes in [0, 1, 6, 12, 18] {
            let later = now + Duration::from_secs(60 * minutes);
            tell(&broker, &webhook, later).await.expect("told");
        }
        let told = told.lock().expect("lock");
        let bodies: BTreeSet<&str> = told.iter().map(|(_, body)| body.as_str()).collect();
        assert_eq!((told.len(), bodies.len()), (2, 1), "refused once, then taken");
        let (headers, body) = &told[1];
        let text = |name: &str| headers[name].to_str().expect("text").to_owned();
        let seconds: i64 = text("procura-timestamp").parse().expect("seconds");
        assert_eq!(text("procura-signature"), sign(b"key", seconds, body));
        let document: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(document["finding"]["finding"], "subject_tool");
        assert_eq!(document["finding"]["of"]["tool"], "delete_ticket");
        assert!(document["finding"]["record"].is_string());
    }

    #[tokio::test]
    async fn what_may_not_be_reached_is_given_up_after_an_hour() {
        let (broker, _folder) = testing::broker().await;
        let (mut webhook, told) = receiver().await;
        webhook.url.set_scheme("https").expect("scheme");
        append(&broker, 3 * 24 * 60 * 60, "list_tickets").await;
        append(&broker, 0, "delete_ticket").await;
        count(&broker).await;
        look(&broker, None).await.expect("looked");
        let (usage, now) = (broker.engine.usage(), broker.ports.clock.now());
        let later = |minutes: u32| now + Duration::from_secs(60 * u64::from(minutes));
        for attempt in 0..ATTEMPTS {
            let due = usage.take_alerts(later(0) - Duration::from_secs(1), now, 1).await;
            assert_eq!(due, Ok(Vec::new()));
            tell(&broker, &webhook, later(6 * attempt)).await.expect("told");
        }
        let left = usage.take_alerts(later(600), later(600), 9).await;
        assert_eq!(left, Ok(Vec::new()), "given up");
        assert!(told.lock().expect("lock").is_empty(), "loopback is no public address");
    }

    const DAY: i64 = 24 * 60 * 60;

    /// What comes in the last minute of a day is counted on the next one.
    #[tokio::test]
    async fn what_was_new_yesterday_is_found_and_its_digest_forgotten_in_time() {
        let (broker, _folder) = testing::broker().await;
        append(&broker, 3 * DAY, "list_tickets").await;
        append(&broker, DAY, "delete_ticket").await;
        count(&broker).await;
        assert_eq!(look(&broker, None).await, Ok(2));
        let (usage, now) = (broker.engine.usage(), broker.ports.clock.now());
        let later = now + Duration::from_secs(60);
        let found = usage.take_alerts(later, later, 9).await.expect("taken");
        assert_eq!(found.len(), 1);
        usage.settle_alert(found[0].key).await.expect("settled");
        let again = || usage.alert(found.clone());
        assert_eq!(again().await, Ok(0), "told once");
        append(&broker, -8 * DAY, "list_tickets").await;
        broker.ports.ledger.forget_replay_ids().await.expect("forgotten");
        assert_eq!(again().await, Ok(1), "nothing is kept of it");
    }

    #[tokio::test]
    async fn without_a_baseline_nothing_is_told() {
        let (broker, _folder) = testing::broker().await;
        append(&broker, 0, "list_tickets").await;
        count(&broker).await;
        assert_eq!(look(&broker, None).await, Ok(1));
        let (usage, now) = (broker.engine.usage(), broker.ports.clock.now());
        let later = now + Duration::from_secs(60);
        assert_eq!(usage.take_alerts(later, later, 9).await, Ok(Vec::new()));
    }

    /// Computed with `printf '1795165200.{}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn a_signature_is_over_timestamp_and_body() {
        let signature = sign(b"key", 1_795_165_200, "{}");
        assert_eq!(
            signature,
            "v1=18a921c75db32fe418f8aebe5fa7242bc0403b7ac5b7963223262ca8c3c464e8"
        );
        assert_ne!(signature, sign(b"key", 1_795_165_201, "{}"));
        assert_ne!(signature, sign(b"key", 1_795_165_200, "{} "));
        assert_ne!(signature, sign(b"kez", 1_795_165_200, "{}"));
    }
}
