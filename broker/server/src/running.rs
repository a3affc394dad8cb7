//! A running broker and its end: requests under way are finished, then the store is closed.

use std::{net::SocketAddr, process, sync::Arc, time::Duration};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::{
    assembly::Broker,
    background::{Background, Revocation, Watch},
    cli::Failure,
    http::{self, Listener},
};

/// Longest time for requests under way.
const SOFT: Duration = Duration::from_secs(10);
/// Exit code of a second signal.
const EXIT_HARD: i32 = 130;

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::found)?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::found)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Bound sockets.
pub(crate) struct Doors {
    pub(crate) public: Listener,
    pub(crate) tls: Option<RustlsConfig>,
    pub(crate) admin: Option<Listener>,
}

/// Binds an address; the error says what to do.
pub(crate) fn bind(address: SocketAddr) -> Result<Listener, Failure> {
    http::bind(address).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; end the program that has it, or choose another address",
            _ => "",
        };
        Failure::usage(format!("cannot listen on {address}: {error}{hint}"))
    })
}

/// A broker that answers.
pub(crate) struct Running {
    broker: Arc<Broker>,
    public: Handle<SocketAddr>,
    serving: TaskTracker,
    /// Work beside requests.
    pub(crate) background: Background,
}

impl Running {
    /// Opens the doors and starts what goes on beside requests.
    pub(crate) fn start(broker: Arc<Broker>, routes: Router, doors: Doors, mode: (Watch, Revocation)) -> Self {
        let background = Background::start(Arc::clone(&broker), mode.0, mode.1);
        if let Some(admin) = doors.admin {
            background.also(admin.serve(http::admin(&broker), None, Handle::new()));
        }
        let (public, serving) = (Handle::new(), TaskTracker::new());
        serving.spawn(doors.public.serve(routes, doors.tls, public.clone()));
        Self {
            broker,
            public,
            serving,
            background,
        }
    }

    /// Waits for a signal, then ends softly; a second signal ends at once.
    pub(crate) async fn until(self, mut signals: Signals) {
        signals.next().await;
        tracing::info!("shutting down");
        self.broker.health.note(|report| report.draining = true);
        tokio::select! {
            () = self.drain() => {}
            () = signals.next() => {
                tracing::warn!("second signal: ending at once");
                process::exit(EXIT_HARD);
            }
        }
    }

    async fn drain(self) {
        self.broker.streams.end();
        self.public.graceful_shutdown(Some(SOFT));
        self.serving.close();
        self.serving.wait().await;
        let requests = &self.broker.requests;
        requests.close();
        let given_up = "requests still under way are given up; recovery undoes what they made";
        bounded(requests.wait(), given_up).await;
        let given_up = "undoing still under way is given up; the next start goes on with it";
        bounded(self.background.stop(), given_up).await;
        let given_up = "the store does not close and is given up; what it has not answered may not be kept";
        bounded(self.broker.engine.close(), given_up).await;
    }
}

async fn bounded(work: impl Future<Output = ()>, given_up: &str) {
    if tokio::time::timeout(SOFT, work).await.is_err() {
        tracing::warn!("{given_up}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_never_comes_is_given_up() {
        bounded(std::future::pending(), "given up").await;
    }
}
