//! Logs and numbers. Neither ever carries a token, a secret or a parameter's value.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use procura_core::ports::Clock;
use procura_wire::Reason;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logs {
    /// Text for people.
    Text,
    /// JSON lines for collectors.
    Json,
}

/// What is logged. Libraries that handle tokens or passwords stay at info and above, since what they log below holds
/// them: the AWS SDK at trace has whole bodies where its environment says so.
fn filter(form: Logs) -> EnvFilter {
    EnvFilter::new(match form {
        Logs::Text => "warn,procura=info",
        Logs::Json => "info",
    })
}

/// Starts logging to stderr.
pub(crate) fn logs(form: Logs) {
    let registry = tracing_subscriber::registry().with(filter(form));
    match form {
        Logs::Text => {
            let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
            registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init();
        }
        Logs::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).init(),
    }
}

/// Upper bounds of the latency histogram, seconds.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// Starts counting; the handle renders what was counted.
pub(crate) fn numbers() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS)?;
    builder.install_recorder()
}

/// Counts one exchange by how it ended and why, and how long it took.
pub(crate) fn exchange(ended: Result<(), Reason>, took: Duration) {
    let (outcome, reason) = match ended {
        Ok(()) => ("issued", ""),
        Err(reason) => ("refused", reason.code()),
    };
    metrics::counter!("procura_exchanges_total", "outcome" => outcome, "reason" => reason).increment(1);
    metrics::histogram!("procura_exchange_seconds").record(took.as_secs_f64());
}

/// Time between two lines about refusals that no record tells of.
const FAILURES_EVERY: Duration = Duration::from_secs(10);

/// Refusals before authentication: counted, and logged in bounded, aggregated lines, because anybody
/// can cause them.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<BTreeMap<Reason, u64>>);

impl Failures {
    pub(crate) fn note(&self, reason: Reason) {
        metrics::counter!("procura_unrecorded_refusals_total", "reason" => reason.code()).increment(1);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(reason).or_default() += 1;
    }

    fn take(&self) -> BTreeMap<Reason, u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Logs what was counted, every 10 s, for as long as it is polled.
    pub(crate) async fn run(&self, clock: &dyn Clock) {
        loop {
            clock.sleep(FAILURES_EVERY).await;
            for (reason, count) in self.take() {
                tracing::info!(reason = reason.code(), count, "refused without a record");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[test]
    fn attack_160_nothing_below_info_is_logged() {
        for form in [Logs::Text, Logs::Json] {
            assert_eq!(filter(form).max_level_hint(), Some(LevelFilter::INFO), "{form:?}");
        }
    }

    #[test]
    fn refusals_are_aggregated_by_reason() {
        let failures = Failures::default();
        for reason in [
            Reason::ClientUnauthenticated,
            Reason::HttpHost,
            Reason::ClientUnauthenticated,
        ] {
            failures.note(reason);
        }
        let counts = failures.take();
        assert_eq!(counts.get(&Reason::ClientUnauthenticated), Some(&2));
        assert!(failures.take().is_empty());
    }
}
