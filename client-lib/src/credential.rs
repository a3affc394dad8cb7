//! Credentials and their uses.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_wire::{Digest, UseOutcome, UseReport};
use tokio::{sync::mpsc::OwnedPermit, time::Instant};

use crate::{
    cache::{Cell, Issued},
    client::Inner,
    error::Error,
};

/// A live credential. Its value is reached through [`Credential::begin`].
pub struct Credential<T> {
    issued: Arc<Issued<T>>,
    cell: Arc<Cell<T>>,
    client: Arc<Inner>,
    /// The call that the issuance itself records, until that call begins.
    recorded: Mutex<Option<Option<String>>>,
}

impl<T> Credential<T> {
    pub(crate) fn new(
        issued: Arc<Issued<T>>,
        cell: Arc<Cell<T>>,
        client: Arc<Inner>,
        recorded: Option<Option<String>>,
    ) -> Self {
        let recorded = Mutex::new(recorded);
        Self {
            issued,
            cell,
            client,
            recorded,
        }
    }

    /// Begins to use it for a tool call. The use is reported when it ends, unless it is the very call that the
    /// broker recorded with the issuance. Waits while too many reports are under way.
    ///
    /// # Errors
    ///
    /// [`Error::ShutDown`]: a use that cannot be reported does not begin.
    pub async fn begin(&self, tool_call_id: &str) -> Result<Use<T>, Error> {
        let recorded = {
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            matches!(recorded.take(), Some(Some(id)) if id == tool_call_id)
        };
        let report = if recorded {
            None
        } else {
            Some(Report {
                permit: self.client.reporter.reserve().await?,
                began: Instant::now(),
                report: UseReport {
                    issuance_id: self.issued.issuance_id.clone(),
                    tool: self.issued.tool.clone(),
                    tool_call_id: Some(tool_call_id.to_owned()),
                    started: wall_clock(),
                    duration_ms: 0,
                    outcome: UseOutcome::Error,
                    result_bytes: None,
                    arguments_sha256: None,
                },
            })
        };
        Ok(Use {
            issued: Arc::clone(&self.issued),
            report,
        })
    }

    /// Takes it out of the cache: the target refused it (401), so that the next request asks for a new one.
    pub fn forget(&self) {
        self.cell.forget(&self.issued);
    }

    /// How long it still lives.
    pub fn expires_in(&self) -> Duration {
        self.issued.end().saturating_duration_since(Instant::now())
    }

    /// Id of its issuance in the broker's log.
    pub fn issuance_id(&self) -> &str {
        &self.issued.issuance_id
    }
}

impl<T> fmt::Debug for Credential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("issuance_id", &self.issued.issuance_id)
            .finish_non_exhaustive()
    }
}

/// A use of a credential under way. Dropped without [`Use::finish`] it counts as failed.
pub struct Use<T> {
    issued: Arc<Issued<T>>,
    report: Option<Report>,
}

struct Report {
    permit: OwnedPermit<UseReport>,
    began: Instant,
    report: UseReport,
}

impl<T> Use<T> {
    /// The token, or the fields of the credential document.
    pub fn value(&self) -> &T {
        &self.issued.value
    }

    /// Adds the SHA-256 of the call's arguments to the report; the arguments themselves are not kept.
    pub fn arguments(&mut self, arguments: &[u8]) {
        if let Some(report) = &mut self.report {
            report.report.arguments_sha256 = Some(Digest::of(arguments));
        }
    }

    /// Ends the use, with the size of its result in bytes where there is one.
    pub fn finish(mut self, outcome: UseOutcome, result_bytes: Option<u64>) {
        if let Some(report) = &mut self.report {
            report.report.outcome = outcome;
            report.report.result_bytes = result_bytes;
        }
    }
}

impl<T> Drop for Use<T> {
    fn drop(&mut self) {
        if let Some(Report {
            permit,
            began,
            mut report,
        }) = self.report.take()
        {
            report.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            permit.send(report);
        }
    }
}

impl<T> fmt::Debug for Use<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Use")
            .field("issuance_id", &self.issued.issuance_id)
            .finish_non_exhaustive()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a report says when the use began; nothing is decided by it"
)]
fn wall_clock() -> String {
    jiff::Timestamp::now().to_string()
}
