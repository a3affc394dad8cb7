//! Time that passes when a test says so.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use procura_core::{
    Timestamp,
    ports::{BoxFuture, Clock},
};
use tokio::sync::oneshot;

/// A clock that stands still between two calls of [`ManualClock::advance`].
#[derive(Default)]
pub struct ManualClock(Mutex<State>);

#[derive(Default)]
struct State {
    passed: Duration,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl ManualClock {
    /// Lets time pass and wakes whoever slept until then.
    pub fn advance(&self, time: Duration) {
        let mut state = self.state();
        state.passed += time;
        let now = state.passed;
        for (_, sleeper) in state.sleepers.extract_if(.., |(end, _)| *end <= now) {
            // Whoever no longer sleeps has dropped its end.
            let _ = sleeper.send(());
        }
    }

    /// How many sleep now.
    pub fn sleepers(&self) -> usize {
        let mut state = self.state();
        state.sleepers.retain(|(_, sleeper)| !sleeper.is_closed());
        state.sleepers.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    /// 2026-11-20T09:00:00Z and what has passed since.
    fn now(&self) -> Timestamp {
        Timestamp::constant(1_795_165_200, 0) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.state().passed
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state();
        let end = state.passed + time;
        state.sleepers.push((end, wake));
        woken.map(|_| ()).boxed()
    }
}
