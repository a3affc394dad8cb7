//! The versions of one target's secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{AGAIN, GRACE};
use crate::{kind::ProofError, source::SourceSecret};

/// Versions before the newest that are kept at most.
const KEPT: usize = 3;
/// Time between two attempts with a version that may have been refused, whoever makes them: the target is not to be flooded.
const APART: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct State {
    pub(super) active: Option<Arc<SourceSecret>>,
    /// The target refused the active one, and nothing has taken its place yet.
    pub(super) active_refused: bool,
    pub(super) candidate: Option<Candidate>,
    /// Those before, latest first. Where rotations follow each other faster than they are proved, the target may have one
    /// that the source has no longer.
    pub(super) before: Vec<Before>,
    /// When a version was given last to somebody who was refused, or was refused.
    pub(super) given: BTreeMap<String, Duration>,
}

pub(super) struct Candidate {
    pub(super) secret: Arc<SourceSecret>,
    pub(super) due: Duration,
    pub(super) attempts: u32,
    pub(super) problem: Option<ProofError>,
}

pub(super) struct Before {
    pub(super) secret: Arc<SourceSecret>,
    /// End of its grace time.
    pub(super) until: Duration,
    /// When it is to be retired.
    pub(super) due: Duration,
}

impl Candidate {
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.problem, Some(ProofError::Refused(_)))
    }
}

impl State {
    /// The source has this as its newest. What it has first is in use: there is nothing to fall back to.
    pub(super) fn see(&mut self, newest: Arc<SourceSecret>, now: Duration) {
        let Some(active) = &self.active else {
            self.active = Some(newest);
            return;
        };
        if newest.version == active.version {
            self.candidate = None;
            return;
        }
        if self
            .candidate
            .as_ref()
            .is_some_and(|known| known.secret.version == newest.version)
        {
            return;
        }
        self.before.retain(|before| before.secret.version != newest.version);
        let candidate = self.candidate.replace(Candidate {
            secret: newest,
            due: now,
            attempts: 0,
            problem: None,
        });
        if let Some(candidate) = candidate {
            self.keep(candidate.secret, now);
        }
    }

    pub(super) fn keep(&mut self, secret: Arc<SourceSecret>, now: Duration) {
        let (until, due) = (now + GRACE, now + GRACE);
        self.before.insert(0, Before { secret, until, due });
        self.before.truncate(KEPT);
    }

    /// What may serve after refusals without a look at the source.
    pub(super) fn unrefused(&self, tried: &BTreeSet<String>) -> Option<Arc<SourceSecret>> {
        let active = self.active.as_ref().filter(|_| !self.active_refused);
        let candidate = self.candidate.as_ref().filter(|candidate| !candidate.is_refused());
        let mut secrets = active.into_iter().chain(candidate.map(|candidate| &candidate.secret));
        secrets.find(|secret| !tried.contains(&secret.version)).cloned()
    }

    /// The same where the source has been looked at: what the target refused before, since it may have followed its source
    /// meanwhile, and what it took before. One caller at a time finds out, for all.
    pub(super) fn doubtful(&mut self, now: Duration) -> Option<Arc<SourceSecret>> {
        self.given.retain(|_, at| now.saturating_sub(*at) < APART);
        let before = self.before.iter().filter(|before| now < before.until);
        let candidate = self.candidate.as_ref().map(|candidate| &candidate.secret);
        let mut secrets = before.map(|before| &before.secret).chain(candidate).chain(&self.active);
        let secret = secrets.find(|secret| !self.given.contains_key(&secret.version))?;
        self.given.insert(secret.version.clone(), now);
        Some(Arc::clone(secret))
    }

    /// Puts another in use; the one in use until now is kept.
    pub(super) fn switch(&mut self, secret: Arc<SourceSecret>, now: Duration) {
        let before = self.active.replace(secret);
        self.active_refused = false;
        if let Some(before) = before {
            self.keep(before, now);
        }
    }

    pub(super) fn promote(&mut self, now: Duration) {
        if let Some(candidate) = self.candidate.take() {
            self.switch(candidate.secret, now);
        }
    }

    /// Puts one before in use again; the one that was refused is a candidate that was refused, unless there is a newer.
    pub(super) fn go_back(&mut self, version: &str, now: Duration) {
        let Some(index) = self.before.iter().position(|before| before.secret.version == version) else {
            return;
        };
        let before = self.before.remove(index);
        let refused = self.active.clone();
        self.switch(before.secret, now);
        if let (None, Some(secret)) = (&self.candidate, refused) {
            self.before.remove(0);
            self.candidate = Some(Candidate {
                secret,
                due: now + AGAIN,
                attempts: 1,
                problem: Some(ProofError::Refused("the target refused it in use".to_owned())),
            });
        }
    }
}
