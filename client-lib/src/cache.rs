//! Issued credentials by key, each with one refresh at a time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use procura_wire::Digest;
use tokio::time::Instant;

/// A credential as the broker issued it.
#[derive(Debug)]
pub(crate) struct Issued<T> {
    pub(crate) value: T,
    pub(crate) issuance_id: String,
    pub(crate) session: String,
    pub(crate) tool: Option<String>,
    /// When it was asked for; its life counts from here, so that an answer's way only shortens it.
    pub(crate) asked: Instant,
    pub(crate) life: Duration,
    pub(crate) per_call: bool,
}

/// Less than this part of a life, or [`REFRESH_TIME`], left: time for a new one.
const REFRESH_PART: u32 = 5;
/// At most half of a life.
const REFRESH_TIME: Duration = Duration::from_secs(30);
/// Pause after a refresh that failed while the old credential is live.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

impl<T> Issued<T> {
    pub(crate) fn end(&self) -> Instant {
        self.asked + self.life
    }

    fn is_live(&self, now: Instant) -> bool {
        now < self.end()
    }

    fn wants_refresh(&self, now: Instant) -> bool {
        let margin = (self.life / REFRESH_PART).max(REFRESH_TIME.min(self.life / 2));
        self.end().saturating_duration_since(now) < margin
    }
}

/// The credentials of one type.
pub(crate) struct Cache<T>(Mutex<HashMap<Digest, Arc<Cell<T>>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Cache<T> {
    /// The cell of a key. Making one throws out those that nobody holds and whose credential has ended.
    pub(crate) fn cell(&self, key: Digest) -> Arc<Cell<T>> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Only when the map would grow, so that the sweep costs each new entry a constant share.
        if cells.len() == cells.capacity() && !cells.contains_key(&key) {
            let now = Instant::now();
            cells.retain(|_, cell| Arc::strong_count(cell) > 1 || cell.state().live(now).is_some());
        }
        Arc::clone(cells.entry(key).or_default())
    }
}

/// The place of one credential.
pub(crate) struct Cell<T> {
    state: Mutex<State<T>>,
    /// Held while the broker is asked.
    pub(crate) flight: tokio::sync::Mutex<()>,
    per_call: AtomicBool,
}

struct State<T> {
    issued: Option<Arc<Issued<T>>>,
    refresh_after: Option<Instant>,
}

impl<T> State<T> {
    fn live(&self, now: Instant) -> Option<&Arc<Issued<T>>> {
        self.issued.as_ref().filter(|issued| issued.is_live(now))
    }
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                issued: None,
                refresh_after: None,
            }),
            flight: tokio::sync::Mutex::default(),
            per_call: AtomicBool::new(false),
        }
    }
}

/// What a cell has.
pub(crate) enum Found<T> {
    /// A credential with time left.
    Live(Arc<Issued<T>>),
    /// One that still works and should be replaced.
    Ending(Arc<Issued<T>>),
    /// None.
    Nothing,
    /// None, and answers are not to be kept: each caller asks for itself.
    PerCall,
}

impl<T> Cell<T> {
    pub(crate) fn find(&self) -> Found<T> {
        let now = Instant::now();
        let state = self.state();
        match state.live(now) {
            Some(issued) if issued.wants_refresh(now) && state.refresh_after.is_none_or(|after| after <= now) => {
                Found::Ending(Arc::clone(issued))
            }
            Some(issued) => Found::Live(Arc::clone(issued)),
            None if self.per_call.load(Ordering::Relaxed) => Found::PerCall,
            None => Found::Nothing,
        }
    }

    /// Keeps it, unless it is for one call only.
    pub(crate) fn keep(&self, issued: &Arc<Issued<T>>) {
        self.per_call.store(issued.per_call, Ordering::Relaxed);
        *self.state() = State {
            issued: (!issued.per_call).then(|| Arc::clone(issued)),
            refresh_after: None,
        };
    }

    /// Leaves the live credential in use for a while.
    pub(crate) fn refresh_failed(&self) {
        self.state().refresh_after = Some(Instant::now() + FAILED_PAUSE);
    }

    /// Drops that credential, not one that came after it.
    pub(crate) fn forget(&self, issued: &Arc<Issued<T>>) {
        let mut state = self.state();
        if state.issued.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, issued)) {
            state.issued = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
