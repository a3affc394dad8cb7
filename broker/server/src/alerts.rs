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
const AT_ONCE: u32 = 20;
/// What is looked for.
const SPAN: Span = Span { days: 1, baseline: 30 };

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
        if let Err(error) = tell(&broker, &webhook).await {
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

async fn tell(broker: &Broker, webhook: &Webhook) -> Result<(), StoreError> {
    let usage = broker.engine.usage();
    let now = broker.ports.clock.now();
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
    use super::*;

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
