//! Answers that are sent piece by piece, for as long as it takes.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use procura_core::ports::Clock;
use procura_wire::{QualifiedId, Reason};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Such answers at a time.
pub(super) const MOST: usize = 16;
/// Of one operator.
const MOST_OF_ONE: usize = 4;
/// Pieces that wait for a reader.
const WAITING: usize = 4;
/// A reader that takes nothing for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answers under way.
pub(crate) struct Streams {
    places: Arc<Places>,
    ending: CancellationToken,
    tasks: TaskTracker,
    clock: Arc<dyn Clock>,
}

/// The answer is over before its end: the reader went away or is too slow, may not read any more, or the broker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

/// Where pieces go. What ends without saying so is broken off, so that nobody takes a part for the whole.
pub(super) struct Outlet {
    /// `None` behind the last piece.
    pieces: mpsc::Sender<Option<Bytes>>,
    ending: CancellationToken,
    clock: Arc<dyn Clock>,
    _place: Place,
}

/// Who takes how many places.
#[derive(Debug, Default)]
struct Places(Mutex<HashMap<QualifiedId, usize>>);

/// A place of an operator, given back when it is dropped.
struct Place {
    places: Arc<Places>,
    of: QualifiedId,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<QualifiedId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, of: &QualifiedId) -> Option<Place> {
        let mut taken = self.taken();
        let theirs = taken.get(of).copied().unwrap_or(0);
        if theirs >= MOST_OF_ONE || taken.values().sum::<usize>() >= MOST {
            return None;
        }
        taken.insert(of.clone(), theirs + 1);
        let (places, of) = (Arc::clone(self), of.clone());
        Some(Place { places, of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

impl Streams {
    pub(crate) fn new(tasks: TaskTracker, clock: Arc<dyn Clock>) -> Self {
        Self {
            places: Arc::default(),
            ending: CancellationToken::new(),
            tasks,
            clock,
        }
    }

    /// Ends all, and those that come later at once.
    pub(crate) fn end(&self) {
        self.ending.cancel();
    }

    /// An answer of this content type to that operator, which the work sends; [`Reason::Overloaded`] where too many are
    /// under way.
    pub(super) fn answer<F>(
        &self,
        of: &QualifiedId,
        content_type: &'static str,
        work: impl FnOnce(Outlet) -> F,
    ) -> Result<Response, Reason>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let place = self.places.take(of).ok_or(Reason::Overloaded)?;
        let (pieces, taken) = mpsc::channel(WAITING);
        let outlet = Outlet {
            pieces,
            ending: self.ending.clone(),
            clock: Arc::clone(&self.clock),
            _place: place,
        };
        self.tasks.spawn(work(outlet));
        let body = stream::unfold(Some(taken), |taken| async move {
            let mut taken = taken?;
            match taken.recv().await {
                Some(Some(piece)) => Some((Ok(piece), Some(taken))),
                Some(None) => None,
                None => Some((Err(io::Error::from(io::ErrorKind::BrokenPipe)), None)),
            }
        });
        Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(body)).into_response())
    }
}

impl Outlet {
    /// Sends a piece.
    pub(super) async fn send(&self, piece: impl Into<Bytes>) -> Result<(), Cut> {
        tokio::select! {
            sent = self.pieces.send(Some(piece.into())) => sent.map_err(|_| Cut),
            () = self.clock.sleep(PATIENCE) => Err(Cut),
            () = self.ending.cancelled() => Err(Cut),
        }
    }

    /// Whether there is a reader still; what sends nothing for long asks.
    pub(super) fn look(&self) -> Result<(), Cut> {
        match self.pieces.is_closed() || self.ending.is_cancelled() {
            true => Err(Cut),
            false => Ok(()),
        }
    }

    /// Waits, for as long as there is a reader.
    pub(super) async fn pause(&self, time: Duration) -> Result<(), Cut> {
        tokio::select! {
            () = self.clock.sleep(time) => Ok(()),
            () = self.pieces.closed() => Err(Cut),
            () = self.ending.cancelled() => Err(Cut),
        }
    }

    /// Says that everything was sent.
    pub(super) async fn end(self) {
        tokio::select! {
            _ = self.pieces.send(None) => {}
            () = self.clock.sleep(PATIENCE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::clock::SystemClock;

    fn streams() -> Streams {
        Streams::new(TaskTracker::new(), Arc::new(SystemClock::start()))
    }

    fn reader(n: usize) -> QualifiedId {
        format!("corp/{n}").parse().expect("id")
    }

    async fn read(response: Response) -> Result<Bytes, axum::Error> {
        Ok(response.into_body().collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn only_what_says_its_end_is_whole() {
        let streams = streams();
        let whole = async |outlet: Outlet| {
            outlet.send("a").await.expect("sent");
            outlet.send("b").await.expect("sent");
            outlet.end().await;
        };
        let answer = streams.answer(&reader(0), "text/csv", whole).expect("a place");
        assert_eq!(read(answer).await.expect("whole"), "ab");
        let part = async |outlet: Outlet| outlet.send("a").await.expect("sent");
        let answer = streams.answer(&reader(0), "text/csv", part).expect("a place");
        assert!(read(answer).await.is_err(), "broken off");
    }

    #[tokio::test]
    async fn there_are_so_many_at_a_time_and_a_reader_that_goes_gives_its_place_back() {
        let streams = streams();
        let work = async |outlet: Outlet| while outlet.pause(Duration::from_secs(3600)).await.is_ok() {};
        let mut answers: Vec<_> = (0..MOST)
            .map(|n| streams.answer(&reader(n), "x/y", work).expect("a place"))
            .collect();
        assert_eq!(
            streams.answer(&reader(MOST), "x/y", work).err(),
            Some(Reason::Overloaded)
        );
        answers.pop();
        while streams.places.taken().len() == MOST {
            tokio::task::yield_now().await;
        }
        assert!(streams.answer(&reader(MOST), "x/y", work).is_ok());
    }

    #[tokio::test]
    async fn one_operator_does_not_take_all_places() {
        let streams = streams();
        let work = async |outlet: Outlet| while outlet.pause(Duration::from_secs(3600)).await.is_ok() {};
        let answers: Vec<_> = (0..MOST)
            .filter_map(|_| streams.answer(&reader(0), "x/y", work).ok())
            .collect();
        assert_eq!(answers.len(), MOST_OF_ONE);
        assert!(streams.answer(&reader(1), "x/y", work).is_ok());
    }

    #[tokio::test]
    async fn what_sends_nothing_notices_that_its_reader_left_and_that_the_broker_ends() {
        let streams = streams();
        let work = async |outlet: Outlet| {
            while outlet.look().is_ok() {
                tokio::task::yield_now().await;
            }
        };
        drop(streams.answer(&reader(0), "x/y", work).expect("a place"));
        while !streams.places.taken().is_empty() {
            tokio::task::yield_now().await;
        }
        let _answer = streams.answer(&reader(0), "x/y", work).expect("a place");
        streams.end();
        streams.tasks.close();
        streams.tasks.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_cut_off() {
        let streams = streams();
        let work = async |outlet: Outlet| while outlet.send("x").await.is_ok() {};
        let _answer = streams.answer(&reader(0), "x/y", work).expect("a place");
        streams.tasks.close();
        streams.tasks.wait().await;
        assert!(streams.places.taken().is_empty(), "nothing is kept of who left");
    }

    #[tokio::test]
    async fn the_end_of_the_broker_ends_them() {
        let streams = streams();
        let work = async |outlet: Outlet| while outlet.pause(Duration::from_secs(3600)).await.is_ok() {};
        let answer = streams.answer(&reader(0), "x/y", work).expect("a place");
        streams.end();
        assert!(read(answer).await.is_err());
        streams.tasks.close();
        streams.tasks.wait().await;
    }
}
