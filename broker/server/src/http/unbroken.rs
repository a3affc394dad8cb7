//! Work that is carried to its end, whoever waits for it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use tokio::runtime::Handle;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Runs where it is awaited. What is left of it when this is dropped goes on as a task of its own, so that a
/// caller who goes away cuts nothing half-way, and one who stays costs no task.
pub(super) struct Unbroken<F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
    /// Whoever waits for the tasks waits for this too.
    _token: TaskTrackerToken,
}

impl<F: Future<Output: Send> + Send + 'static> Unbroken<F> {
    pub(super) fn new(work: F, tasks: &TaskTracker) -> Self {
        Self {
            work: Some(Box::pin(work)),
            tasks: tasks.clone(),
            _token: tasks.token(),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Unbroken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let output = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Unbroken<F> {
    fn drop(&mut self) {
        // Work that panicked has ended.
        if let (Some(work), Ok(runtime), false) = (self.work.take(), Handle::try_current(), thread::panicking()) {
            self.tasks.spawn_on(work, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::{sync::oneshot, time::sleep};

    use super::*;

    #[tokio::test]
    async fn it_answers_who_waits() {
        let tasks = TaskTracker::new();
        let work = async {
            sleep(Duration::from_millis(1)).await;
            7
        };
        assert_eq!(Unbroken::new(work, &tasks).await, 7);
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn it_goes_on_when_nobody_waits_any_more() {
        let tasks = TaskTracker::new();
        tasks.close();
        let (go, gone) = oneshot::channel::<()>();
        let (done, seen) = oneshot::channel();
        let mut work = Box::pin(Unbroken::new(
            async move {
                let _ = gone.await;
                let _ = done.send(());
            },
            &tasks,
        ));
        assert!(work.as_mut().now_or_never().is_none(), "it has begun");
        drop(work);
        assert_eq!(tasks.len(), 1);
        go.send(()).expect("it waits");
        tasks.wait().await;
        assert_eq!(seen.await, Ok(()));
    }

    #[tokio::test]
    async fn it_goes_on_where_it_had_not_begun() {
        let tasks = TaskTracker::new();
        let (done, seen) = oneshot::channel();
        let work = async move { done.send(()) };
        drop(Unbroken::new(work, &tasks));
        assert_eq!(seen.await, Ok(()));
    }
}
