//! The broker's own keys: taken over as soon as their source has another version.

use std::sync::Arc;

use procura_core::source::{SourceError, SourceSecret};
use procura_target_jwt::Keyring;
use tokio::sync::Notify;

use super::OFTEN;
use crate::{
    assembly::{Broker, Keys, signs},
    health::Health,
};

/// Takes new signing keys over as soon as their source has another version.
pub(super) async fn keys(broker: Arc<Broker>, hangup: Arc<Notify>) {
    let Keys { ring, source, .. } = &broker.keys;
    let Some((source, seen)) = source else { return };
    let mut seen = Seen {
        version: seen.clone(),
        wrong: None,
    };
    let mut told = None;
    loop {
        let asked = tokio::select! {
            () = broker.ports.clock.sleep(OFTEN) => false,
            () = hangup.notified() => true,
        };
        let found = if asked {
            source.refetch().await
        } else {
            source.current().await
        };
        let problem = seen.next(found, ring, &broker.health);
        if let Some(problem) = &problem
            && told.as_ref() != Some(problem)
        {
            tracing::error!(problem, "the signing keys stay as they were");
        }
        told = problem;
    }
}

/// The same of the keys that seal.
pub(super) async fn seal_keys(broker: Arc<Broker>) {
    let Some((source, seen)) = &broker.keys.seal_source else {
        return;
    };
    let (seals, mut seen) = (&broker.workshop.seals, seen.clone());
    loop {
        broker.ports.clock.sleep(OFTEN).await;
        let Ok(found) = source.current().await else { continue };
        if found.version != seen {
            seen.clone_from(&found.version);
            match seals.replace(&found.value) {
                Ok(()) => tracing::info!(keys = ?seals, "sealing keys read"),
                Err(error) => tracing::error!(%error, "the sealing keys stay as they were"),
            }
        }
    }
}

/// The same of the keys that sign the log.
pub(super) async fn log_keys(broker: Arc<Broker>) {
    let log = &broker.keys.log;
    let Some((source, seen)) = &log.source else { return };
    let mut seen = seen.clone();
    loop {
        broker.ports.clock.sleep(OFTEN).await;
        let Ok(found) = source.current().await else { continue };
        if found.version != seen {
            seen.clone_from(&found.version);
            match log.keys.replace(&found.value) {
                Ok(()) => tracing::info!(keys = ?log.keys, "keys of the log read"),
                Err(error) => tracing::error!(%error, "the keys of the log stay as they were"),
            }
        }
    }
}

/// The key set that was read last.
struct Seen {
    version: String,
    /// Why it is not in force.
    wrong: Option<String>,
}

impl Seen {
    /// Puts another version in force; answers what is wrong now, and notes whether something is.
    fn next(
        &mut self,
        found: Result<Arc<SourceSecret>, SourceError>,
        ring: &Keyring,
        health: &Health,
    ) -> Option<String> {
        let problem = match found {
            Ok(secret) => {
                if secret.version != self.version {
                    self.version.clone_from(&secret.version);
                    self.wrong = ring.replace(&secret.value).err().map(|error| error.to_string());
                    tracing::info!(keys = ?ring, "signing keys read");
                }
                self.wrong.clone()
            }
            Err(error) => Some(error.to_string()),
        };
        health.note(|report| {
            report.signs = signs(ring);
            report.key_mistakes = usize::from(problem.is_some());
        });
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_key_set_that_cannot_be_read_leaves_the_keys_as_they_were() {
        let (broker, _folder) = testing::broker().await;
        let (ring, health) = (&broker.keys.ring, &broker.health);
        let before = ring.public_jwks();
        let version = |version: &str| {
            Ok(Arc::new(SourceSecret {
                value: procura_wire::Secret::new("{}".into()),
                version: version.to_owned(),
            }))
        };
        let away = || {
            Err(SourceError {
                reference: "keys:set".to_owned(),
                problem: "it is away".to_owned(),
            })
        };
        let mut seen = Seen {
            version: "1".to_owned(),
            wrong: None,
        };
        let mut degraded = |found| {
            let problem = seen.next(found, ring, health);
            let report = health.report();
            assert!(report.signs && ring.public_jwks() == before);
            assert_eq!(problem.is_some(), report.key_mistakes == 1);
            problem.is_some()
        };
        assert!(degraded(away()));
        assert!(!degraded(version("1")), "the outage is over");
        assert!(degraded(version("2")));
        assert!(degraded(away()) && degraded(version("2")), "it is still wrong");
    }
}
