//! Fills the sums that reports read, behind the log.

use std::{sync::Arc, time::Duration};

use crate::assembly::Broker;

/// Time between two looks at the number of commits, which asks nobody.
const LOOK: Duration = Duration::from_secs(1);
/// Looks after which the store is asked whatever that number is: another replica may have ended before it counted.
const ASK: u32 = 30;

/// Counts whatever waits, for as long as the process runs.
pub(crate) async fn run(broker: Arc<Broker>) {
    let (mut seen, mut looks) = (None, 0);
    loop {
        let commits = broker.engine.numbers().0;
        looks += 1;
        if seen != Some(commits) || looks >= ASK {
            // What is counted is a commit too.
            seen = Some(commits + all(&broker).await);
            looks = 0;
        }
        broker.ports.clock.sleep(LOOK).await;
    }
}

/// Answers the number of batches.
async fn all(broker: &Broker) -> u64 {
    let (usage, ports) = (broker.engine.usage(), &broker.ports);
    let mut batches = 0;
    loop {
        match usage.project(ports.replica, ports.clock.now()).await {
            Ok(0) => return batches,
            Ok(records) => {
                batches += 1;
                metrics::counter!("procura_usage_records_total").increment(records);
            }
            Err(error) => {
                metrics::counter!("procura_usage_failures_total").increment(1);
                tracing::warn!(%error, "reports do not count what is new");
                return batches;
            }
        }
    }
}
