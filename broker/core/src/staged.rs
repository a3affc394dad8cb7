//! How a target takes a new version of its secret over: proved at the target before traffic uses it, with the version
//! before as fallback for a while. One [`Staged`] stands between each target's minter and its source.

mod state;

use std::{
    collections::BTreeSet,
    future::pending,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{Either, select},
    stream::FuturesUnordered,
};
use procura_wire::{Name, Secret};

use state::{Candidate, State};

use crate::{
    kind::{Minter, ProofError},
    ports::{BoxFuture, Clock, Ports},
    source::{Source, SourceError, SourceSecret},
};

/// How long the version before serves where the target refuses the one in use, and how long it is left alone there.
pub const GRACE: Duration = Duration::from_secs(600);
/// Time until a version that the target refused is tried again: the target may follow its source.
pub const AGAIN: Duration = Duration::from_secs(60);
/// How long one proof may take.
pub const PROOF: Duration = Duration::from_secs(20);
/// Time between two looks at what is to be done.
const EVERY: Duration = Duration::from_millis(500);

/// The source of one target, as its minter sees it. [`Source::current`] answers the version in use; another that the source
/// has is a candidate until a proof, or work done with it after the target refused the one in use, puts it in use.
pub struct Staged {
    target: Name,
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Versions of a target's secret and what is known of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stage {
    /// In use; `None` where the source was never read.
    pub active: Option<String>,
    /// The newest, if it is not in use.
    pub candidate: Option<String>,
    /// Why it is not: what the target or the way to it said of it last.
    pub problem: Option<String>,
    /// Whether the target refused it.
    pub refused: bool,
    /// Serves if the target refuses the one in use.
    pub fallback: Option<String>,
}

/// What is to be done at the target.
pub enum Due {
    /// Prove a new version.
    Prove(Arc<SourceSecret>),
    /// The grace time is over: take the log-in of the old version away, if the kind does that.
    Retire {
        /// The version before.
        old: Arc<SourceSecret>,
        /// The one in use.
        active: Arc<SourceSecret>,
    },
}

impl Staged {
    /// Stands before a target's source. Nothing is read yet.
    pub fn new(target: Name, source: Arc<dyn Source>, clock: Arc<dyn Clock>) -> Self {
        Self {
            target,
            source,
            clock,
            state: Mutex::default(),
        }
    }

    /// Which versions there are now.
    pub fn stage(&self) -> Stage {
        let (state, now) = (self.state(), self.clock.monotonic());
        let version = |secret: &Arc<SourceSecret>| secret.version.clone();
        let candidate = state.candidate.as_ref();
        let fallback = state.before.iter().find(|before| now < before.until);
        Stage {
            active: state.active.as_ref().map(version),
            candidate: candidate.map(|candidate| version(&candidate.secret)),
            problem: candidate.and_then(|candidate| Some(candidate.problem.as_ref()?.to_string())),
            refused: candidate.is_some_and(Candidate::is_refused),
            fallback: fallback.map(|before| version(&before.secret)),
        }
    }

    /// What is to be done now, if anything is. Does not ask the source: nobody works there while nobody asks for it.
    pub fn due(&self) -> Option<Due> {
        let (state, now) = (self.state(), self.clock.monotonic());
        let candidate = state.candidate.as_ref().filter(|candidate| candidate.due <= now);
        if let Some(candidate) = candidate {
            return Some(Due::Prove(Arc::clone(&candidate.secret)));
        }
        let before = state.before.iter().rfind(|before| before.due <= now)?;
        Some(Due::Retire {
            old: Arc::clone(&before.secret),
            active: Arc::clone(state.active.as_ref()?),
        })
    }

    /// Takes the outcome of a proof: the candidate is put in use, or is tried again later and alarms if it was refused.
    pub fn proved(&self, version: &str, outcome: Result<(), ProofError>) {
        let (mut state, now) = (self.state(), self.clock.monotonic());
        let Some(candidate) = state.candidate.as_mut().filter(|known| known.secret.version == version) else {
            return;
        };
        match outcome {
            Ok(()) => {
                state.promote(now);
                tracing::info!(target_name = %self.target, version, "the new version of the secret is proved and in use");
            }
            Err(error) => {
                let first = candidate.problem.is_none();
                candidate.attempts = candidate.attempts.saturating_add(1);
                candidate.due = now
                    + match &error {
                        ProofError::Refused(_) => AGAIN,
                        ProofError::Failed(_) => backoff(candidate.attempts),
                    };
                if matches!(error, ProofError::Refused(_)) && !candidate.is_refused() {
                    self.alarm(version, &error);
                } else if first {
                    tracing::warn!(target_name = %self.target, version, %error, "a new version of the secret cannot be proved yet");
                }
                candidate.problem = Some(error);
            }
        }
    }

    /// Takes the outcome of a retirement, which is tried again until it succeeds.
    pub fn retired(&self, version: &str, outcome: Result<(), ProofError>) {
        let (mut state, now) = (self.state(), self.clock.monotonic());
        match outcome {
            Ok(()) => state.before.retain(|before| before.secret.version != version),
            Err(error) => {
                let before = state.before.iter_mut().find(|before| before.secret.version == version);
                if let Some(before) = before {
                    before.due = now + AGAIN;
                }
                tracing::warn!(target_name = %self.target, version, %error, "the old version of the secret is not retired yet");
            }
        }
    }

    fn alarm(&self, version: &str, error: &ProofError) {
        tracing::error!(
            target_name = %self.target, version, %error,
            "the target refuses the new version of the secret; the one before stays in use"
        );
    }

    /// Notes a refusal in use.
    fn note_refused(&self, state: &mut State, version: &str, now: Duration) {
        if state.active.as_ref().is_some_and(|active| active.version == version) {
            state.active_refused = true;
        }
        state.given.insert(version.to_owned(), now);
        let candidate = state.candidate.as_mut();
        let candidate = candidate.filter(|known| known.secret.version == version && !known.is_refused());
        if let Some(candidate) = candidate {
            let error = ProofError::Refused("the target refused it in use".to_owned());
            self.alarm(version, &error);
            candidate.due = now + AGAIN;
            candidate.problem = Some(error);
        }
    }

    async fn other_than(&self, refused: &str, tried: &BTreeSet<String>) -> Result<Arc<SourceSecret>, SourceError> {
        let unrefused = {
            let (mut state, now) = (self.state(), self.clock.monotonic());
            self.note_refused(&mut state, refused, now);
            state.unrefused(tried)
        };
        if let Some(secret) = unrefused {
            return Ok(secret);
        }
        let fetched = self.source.refetch().await;
        let (mut state, now) = (self.state(), self.clock.monotonic());
        // A source that is away takes nothing from what was read before.
        let error = match fetched {
            Ok(newest) => {
                state.see(newest, now);
                None
            }
            Err(error) => Some(error),
        };
        let other = state.unrefused(tried).or_else(|| state.doubtful(now));
        match (other, error) {
            (Some(secret), _) => Ok(secret),
            (None, Some(error)) => Err(error),
            (None, None) => self.nothing(),
        }
    }

    fn seen(&self, newest: Arc<SourceSecret>) -> Result<Arc<SourceSecret>, SourceError> {
        let mut state = self.state();
        state.see(newest, self.clock.monotonic());
        state.active.clone().map_or_else(|| self.nothing(), Ok)
    }

    fn nothing(&self) -> Result<Arc<SourceSecret>, SourceError> {
        Err(SourceError {
            reference: format!("of target {}", self.target),
            problem: "every version was refused a moment ago".to_owned(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 1 s, 2 s, 4 s, up to a minute.
fn backoff(attempts: u32) -> Duration {
    AGAIN.min(Duration::from_secs(1 << attempts.saturating_sub(1).min(6)))
}

impl Source for Staged {
    fn current(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        async { self.seen(self.source.current().await?) }.boxed()
    }

    fn refetch(&self) -> BoxFuture<'_, Result<Arc<SourceSecret>, SourceError>> {
        async { self.seen(self.source.refetch().await?) }.boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<String, SourceError>> {
        async {
            let newest = self.source.refetch().await?;
            let version = newest.version.clone();
            self.seen(newest)?;
            Ok(version)
        }
        .boxed()
    }

    fn refused<'a>(
        &'a self,
        version: &'a str,
        tried: &'a BTreeSet<String>,
    ) -> BoxFuture<'a, Result<Arc<SourceSecret>, SourceError>> {
        self.other_than(version, tried).boxed()
    }

    fn works(&self, version: &str) {
        let (mut state, now) = (self.state(), self.clock.monotonic());
        let is = |secret: &Arc<SourceSecret>| secret.version == version;
        if state.active.as_ref().is_some_and(is) {
            state.active_refused = false;
        } else if !state.active_refused {
            // Somebody was quicker.
        } else if state.candidate.as_ref().is_some_and(|candidate| is(&candidate.secret)) {
            state.promote(now);
            tracing::info!(target_name = %self.target, version, "the new version of the secret works and is in use");
        } else if state.before.iter().any(|before| is(&before.secret)) {
            state.go_back(version, now);
            tracing::error!(
                target_name = %self.target, version,
                "the target refuses the version of the secret that was in use; the one before is in use again"
            );
        }
    }

    fn write<'a>(&'a self, value: &'a Secret, expected: &'a str) -> BoxFuture<'a, Result<String, SourceError>> {
        self.source.write(value, expected)
    }

    fn rotate(&self) -> BoxFuture<'_, Result<(), SourceError>> {
        self.source.rotate()
    }
}

/// Does what is due at one target.
pub async fn tend(staged: &Staged, minter: &dyn Minter) {
    match staged.due() {
        Some(Due::Prove(secret)) => {
            let version = secret.version.clone();
            let outcome = in_time(staged, minter.prove(secret)).await;
            staged.proved(&version, outcome);
        }
        Some(Due::Retire { old, active }) => {
            let version = old.version.clone();
            let outcome = in_time(staged, minter.retire(old, active)).await;
            staged.retired(&version, outcome);
        }
        None => {}
    }
}

async fn in_time(staged: &Staged, work: BoxFuture<'_, Result<(), ProofError>>) -> Result<(), ProofError> {
    match select(work, staged.clock.sleep(PROOF)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Err(ProofError::Failed(format!("no answer within {PROOF:?}"))),
    }
}

/// Proves and retires, for as long as it is polled. Each target at its own pace. What is interrupted is begun again.
pub async fn run(ports: Arc<Ports>) {
    let mut busy = BTreeSet::new();
    let mut work = FuturesUnordered::new();
    loop {
        let snapshot = ports.active.snapshot();
        for (name, staged) in &snapshot.staged {
            let minter = snapshot.minters.get(name).filter(|_| staged.due().is_some());
            if let Some(minter) = minter
                && busy.insert(name.clone())
            {
                let (name, staged, minter) = (name.clone(), Arc::clone(staged), Arc::clone(minter));
                work.push(async move {
                    // One that panics ends the proofs of no other.
                    if AssertUnwindSafe(tend(&staged, &*minter)).catch_unwind().await.is_err() {
                        tracing::error!(target_name = %name, "a proof or a retirement panicked");
                    }
                    name
                });
            }
        }
        let ended = async {
            while let Some(name) = work.next().await {
                busy.remove(&name);
            }
            pending::<()>().await;
        };
        select(ports.clock.sleep(EVERY), pin!(ended)).await;
    }
}
