//! What readiness is made of.

use std::sync::{Mutex, MutexGuard, PoisonError};

use procura_core::Timestamp;

use crate::expiry::Expiry;

/// State of the parts that can be degraded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// A shutdown has begun.
    pub(crate) draining: bool,
    /// A key is active.
    pub(crate) signs: bool,
    /// Mistakes of the bundle that was last read; the one before stays in force.
    pub(crate) bundle_mistakes: usize,
    /// What is due is not undone (`serve --hold-revocation`).
    pub(crate) revocation_held: bool,
    /// End of the certificate that is served with.
    pub(crate) certificate_ends: Option<Timestamp>,
    /// Whether the key file could not be read last time: 0 or 1.
    pub(crate) key_mistakes: usize,
}

/// Shared by whoever reports and whoever asks.
#[derive(Debug, Default)]
pub(crate) struct Health {
    report: Mutex<Report>,
    expiring: Mutex<Vec<Expiry>>,
}

impl Health {
    pub(crate) fn report(&self) -> Report {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes what runs out soon.
    pub(crate) fn expiring(&self, soon: Vec<Expiry>) {
        *self.expires() = soon;
    }

    pub(crate) fn expires(&self) -> MutexGuard<'_, Vec<Expiry>> {
        self.expiring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
