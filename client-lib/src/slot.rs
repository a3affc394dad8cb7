//! What handles of one session share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::cache::Issued;

/// What is remembered of a session between handles.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    /// Held by the first exchange, so that others do not open sessions beside it.
    pub(crate) opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(crate) struct SlotState {
    pub(crate) id: Option<String>,
    /// When the last credential ends.
    pub(crate) end: Option<Instant>,
}

impl Slot {
    pub(crate) fn is_live(&self) -> bool {
        self.state().end.is_some_and(|end| Instant::now() < end)
    }

    pub(crate) fn id(&self) -> Option<String> {
        self.state().id.clone()
    }

    pub(crate) fn remember<T>(&self, issued: &Issued<T>) {
        let mut state = self.state();
        state.id = Some(issued.session.clone());
        state.end = state.end.max(Some(issued.end()));
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
